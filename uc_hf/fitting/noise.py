"""What a fit keeps of its noise, and the noise of a picture that is made from it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
import torch
from torch import Tensor

from uc_hf.data.images import Picture, resize
from uc_hf.fitting.schema import Array


class Noise(ABC):
    """The noise of every group, however it is kept: as pixels, or as what the pixels are computed from.

    All noise is int8 in 8-bit levels. Whoever adds it clips it to epsilon.
    """

    def check(self) -> None:  # noqa: B027
        """Refuse values, of the types that the annotations ask for, that no noise can have.

        Raises:
            SettingError: there is one; its field is named.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """S, the side in pixels of the canvas on which it was learnt."""

    @abstractmethod
    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        """The noise of a picture at the picture's own size: a function of the two arguments alone.

        Returns:
            int8 [3, H, W].
        """

    def carried(self, picture: Picture, group: int) -> np.ndarray:
        """The noise that a protected picture carries, where it is of that group: what its owner takes away again.

        As it stands, for noise that depends on a picture's size alone; other noise is found in the picture here.

        Returns:
            int8 [3, H, W].
        """
        return self.for_picture(picture, group)

    @abstractmethod
    def canvases(self, size: int | None = None) -> np.ndarray:
        """The noise of each group on a square, for figures, measures and controls.

        Args:
            size: side in pixels; None for that of the canvas.

        Returns:
            int8 [p, 3, size, size].
        """

    @abstractmethod
    def weakened(self, group: int, times: int) -> Self:
        """The same noise, but for one group, whose noise is so many times weaker and nowhere less than one level."""

    def drawn_at_random(self, seed: int) -> Self | None:
        """The control of the same family: the same strengths and colours, drawn at random; None where there is none.

        Args:
            seed: of the draw.
        """
        return None

    @abstractmethod
    def scaled(self, share: float) -> Self:
        """The same noise, so many times as strong, and nowhere less than one level where there is any."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All that it is made of, as safetensors hold it."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """What `arrays` gave, put together again."""


class KeyedNoise(Noise):
    """Noise that begins on each picture at a phase of its own, drawn from a secret key and the picture.

    Which of a picture's phases was published is known to the key's owner alone: that testifies (uc_hf.scoring.trace).
    """

    @abstractmethod
    def opposite(self, picture: Picture, group: int) -> np.ndarray:
        """The noise that the picture would have got as likely, its phase half a turn on: int8 [3, H, W]."""


@dataclass(frozen=True)
class CanvasNoise(Noise):
    """Noise that is kept as the pixels of a canvas and stretched over each picture.

    Attributes:
        levels: int8 [p, 3, S, S].
    """

    levels: Annotated[np.ndarray, Array("int8", ("p", 3, "S", "S"))]

    @property
    def size(self) -> int:
        """S, the side of the canvas in pixels."""
        return int(self.levels.shape[-1])

    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        """The group's noise, stretched: int8 [3, H, W]."""
        return stretch(self.levels[group], picture)

    def canvases(self, size: int | None = None) -> np.ndarray:
        """The noise itself, or stretched: int8 [p, 3, size, size]."""
        if size is None or size == self.size:
            return self.levels
        return np.stack([resize_noise(torch.from_numpy(noise), (size, size)).numpy() for noise in self.levels])

    def weakened(self, group: int, times: int) -> Self:
        """As `Noise.weakened`; what is 0 stays 0."""
        levels = self.levels.copy()
        levels[group] = np.sign(levels[group]) * np.maximum(np.abs(levels[group]) // times, 1)
        return type(self)(levels)

    def scaled(self, share: float) -> Self:
        """As `Noise.scaled`, rounded to whole levels."""
        strength = np.maximum(np.rint(np.abs(self.levels.astype(np.float64)) * share), 1)
        return type(self)((np.sign(self.levels) * strength).astype(np.int8))

    def arrays(self) -> dict[str, np.ndarray]:
        """The canvases, under the name "noise"."""
        return {"noise": self.levels}

    @classmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """What `arrays` gave, put together again."""
        return cls(arrays["noise"])


def stretch(noise: np.ndarray, picture: Picture) -> np.ndarray:
    """Noise on a canvas, int8 [3, S, S], stretched over a picture: int8 [3, H, W]."""
    height, width, _ = picture.pixels.shape
    return resize_noise(torch.from_numpy(noise), (height, width)).numpy()


def resize_noise(noise: Tensor, size: tuple[int, int]) -> Tensor:
    """A noise at another size, in whole 8-bit levels so that rounding cannot break the bound.

    A noise that is plus or minus the same everywhere, as textures are, stays so: an interpolated one has soft edges,
    and less is left of it where a scraper shrinks the image again.

    Args:
        noise: int8 [3, S, S].
        size: (H, W) in pixels.

    Returns:
        int8 [3, H, W]; an interpolated one may be a level beyond the largest of `noise`.
    """
    if noise.shape[1:] == size:
        return noise
    shifted = (noise ^ -128).view(torch.uint8)  # n + 128: resized like pixels, and as fast
    stretched = resize(shifted.permute(1, 2, 0).contiguous().permute(2, 0, 1), size)
    stretched = stretched.view(torch.int8).bitwise_xor_(-128)  # in place: of a large photo each copy is large
    least, strength = (int(bound) for bound in noise.abs().aminmax())
    if least < strength:
        return stretched
    # -1 or 0, then the two levels; torch.where takes three times as long.
    return stretched.bitwise_right_shift_(7).mul_(2 * strength).add_(strength)
