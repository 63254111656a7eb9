"""The noise that a fit keeps, and the noise of an image that is made from it."""

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
    """The noise of every group, stored as pixels or as parameters from which pixels are computed.

    All noise is int8 in 8-bit levels. It is clipped to epsilon when it is added.
    """

    def check(self) -> None:  # noqa: B027
        """Refuse values that have the annotated type but that no noise can have.

        Raises:
            SettingError: there is such a value; the message names its field.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """S, the side in pixels of the canvas on which it was learnt."""

    @property
    def testifies(self) -> bool:
        """Whether images have phases of their own, so that a trace can ask about them (`KeyedNoise`)."""
        return False

    @abstractmethod
    def for_picture(self, picture: Picture, group: int) -> np.ndarray:
        """The noise of an image at its own size: a function of the two arguments alone.

        Returns:
            int8 [3, H, W].
        """

    def carried(self, picture: Picture, group: int) -> np.ndarray:
        """The noise that a protected image of that group carries, which its owner can subtract again.

        This default serves noise that depends only on the size of an image; other noise is found in the image.

        Returns:
            int8 [3, H, W].
        """
        return self.for_picture(picture, group)

    @abstractmethod
    def canvases(self, size: int | None = None) -> np.ndarray:
        """The noise of each group on a square, for figures, measures and controls.

        Args:
            size: side in pixels; None for the side of the canvas.

        Returns:
            int8 [p, 3, size, size].
        """

    @abstractmethod
    def weakened(self, group: int, times: int) -> Self:
        """The same noise with one group weakened by a factor, but nowhere below one level."""

    def drawn_at_random(self, seed: int) -> Self | None:
        """The control of the same family: random noise with the same strengths and colours; None if there is none.

        Args:
            seed: of the random noise.
        """
        return None

    @abstractmethod
    def scaled(self, share: float) -> Self:
        """The same noise multiplied by a factor; where it is not zero it stays at least one level."""

    @abstractmethod
    def arrays(self) -> dict[str, np.ndarray]:
        """All of its arrays, for safetensors."""

    @classmethod
    @abstractmethod
    def restore(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The noise from its `arrays`."""


class KeyedNoise(Noise):
    """Noise with a phase for each image, which follows from a secret key and the image.

    Only the key's owner knows which phase of an image was published; that is the evidence of `uc_hf.scoring.trace`.
    """

    @property
    def testifies(self) -> bool:
        """As `Noise.testifies`."""
        return True

    @abstractmethod
    def opposite(self, picture: Picture, group: int) -> np.ndarray:
        """The noise half a turn further, which the key would have made just as likely: int8 [3, H, W]."""

    @abstractmethod
    def evened(self) -> Self:
        """The same noise with every group as strong as the strongest: nothing but the key tells them apart."""


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
        """The noise from its `arrays`."""
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
