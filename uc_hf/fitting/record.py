"""What a fit is given, and the record of what it learnt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from uc_hf.errors import SettingError
from uc_hf.fitting.noise import CanvasNoise, Noise
from uc_hf.fitting.schema import Items, check
from uc_hf.fitting.settings import at_least


ALGORITHM = 16
"""Goes up whenever equal settings would give other pixels, so that a cached map is not served for them: `datasets`
hashes a library's class by its name alone."""


@dataclass(frozen=True)
class Fit:
    """What every method's `fit` learns, and where it came from.

    Attributes:
        noise: that of each group; of a method whose noise is each image's own, that of one image of each group.
        sizes: images of each group in the sample.
        column: the image column that was fitted on.
        surrogate_digest: SHA-256 of the surrogate's weights and input; None where none was asked.
        surrogate_revision: commit of a surrogate from the Hub; for an ensemble, each member's.
        coloured: whether any image of the sample is stored in colour. Gray ones are then, too; those of a protector of
            an earlier version stay gray.
    """

    noise: Noise
    sizes: Annotated[list[int], Items("p")]
    column: str
    surrogate_digest: str | None
    surrogate_revision: str | list[str | None] | None
    coloured: bool = field(default=False, kw_only=True)

    @property
    def canvas_size(self) -> int:
        """S, the side of the canvas in pixels."""
        return self.noise.size

    @property
    def view_size(self) -> int:
        """Side in pixels of the squares by which images are put into groups."""
        return self.canvas_size

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, as safetensors hold them."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return self.noise.arrays() | own

    def facts(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, (np.ndarray, Noise))}

    @classmethod
    def restore(
        cls, arrays: Mapping[str, Any], facts: Mapping[str, Any], noise_type: type[Noise] = CanvasNoise
    ) -> Self:
        """What `arrays` and `facts` gave, put together again.

        Args:
            arrays: of the noise and of the fit itself.
            facts: all else.
            noise_type: what the noise is kept as.
        """
        names = {field.name for field in fields(cls)} - {"noise"}
        own = {name: array for name, array in arrays.items() if name in names}
        noise = noise_type.restore({name: array for name, array in arrays.items() if name not in names})
        return cls(noise=noise, **own, **facts)

    def check(self) -> None:
        """Refuse what no fit can have learnt, of a record that comes from elsewhere.

        Raises:
            SettingError: a field is not what it has to be; it is named.
        """
        check(self)
        self.noise.check()
        if min(self.sizes, default=-1) < 0 or not self.column:
            raise SettingError(f"sizes={self.sizes} and column={self.column!r} are not those of any images.")

    def groups(self) -> list[dict[str, Any]]:
        """Each group of images, and how many there were: a line of a table each."""
        return [{"group": group, "images": images} for group, images in enumerate(self.sizes)]

    def summary(self) -> str:
        """In a few words."""
        return f"fitted on {sum(self.sizes)} images, groups of {min(self.sizes)} to {max(self.sizes)}"


FitT = TypeVar("FitT", bound=Fit)


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a fit is done: what changes nothing in its result, but for the precision.

    Attributes:
        accelerator: its device, processes and mixed precision are used.
        embed_batch_size: images per forward pass of the surrogate while embedding.
        num_workers: processes that decode images.
        checkpoint_dir: where the unfinished fit is kept.
        keep_checkpoint: leave it there when the fit is finished.
        check: look at every image of a `Dataset` first.
    """

    accelerator: Accelerator
    embed_batch_size: int
    num_workers: int
    checkpoint_dir: Path
    keep_checkpoint: bool
    check: bool

    def __post_init__(self) -> None:
        """Refuse what is out of range, with the range.

        Raises:
            SettingError: it is.
        """
        at_least("embed_batch_size", self.embed_batch_size, 1)
        at_least("num_workers", self.num_workers, 0)

    def finish(self, checkpoint: Path) -> None:
        """Remove the checkpoint of a finished fit, unless it is to be kept."""
        if not self.keep_checkpoint:
            checkpoint.unlink(missing_ok=True)

    def once(self, learn: Callable[[], FitT]) -> FitT:
        """What the main process learns, in all processes."""
        outcome = [learn() if self.accelerator.is_main_process else None]
        return broadcast_object_list(outcome)[0]
