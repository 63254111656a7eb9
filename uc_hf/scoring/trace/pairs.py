"""What is asked about: each published picture, and the one that could have been published in its place.

Where the noise of a picture begins, its phase, is drawn from the owner's secret key and the picture. So the copy whose
phase is half a turn on was as likely to be published, and to whoever does not know the key the two are alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import class_name
from uc_hf.data.images import Container, ImageValue, Picture
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, ImageError
from uc_hf.fitting.noise import KeyedNoise
from uc_hf.protecting.noise import add
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.trace.duplicates import Scenes


AT_ONCE = 64
"""Rows that are decoded and put into groups at once."""


@dataclass(frozen=True)
class Scene:
    """A picture that is asked about.

    Attributes:
        row: in the dataset of originals.
        group: whose noise it carries.
        label: the owner's, as text; None where there is none.
    """

    row: int
    group: int
    label: str | None


@dataclass
class Pairs:
    """The scenes of a dataset of originals; pictures are made when they are asked for, so memory stays flat.

    Attributes:
        protector: the key.
        scenes: in the order in which they are asked.
        repeats: pictures left out since an earlier one shows the same scene.
        strangers: originals left out since the published set does not hold the copy that this key makes.
    """

    protector: Protector
    values: Sequence[ImageValue]
    scenes: list[Scene] = field(default_factory=list)
    repeats: int = 0
    strangers: int = 0

    def __len__(self) -> int:
        return len(self.scenes)

    def original(self, index: int) -> Picture:
        """The original of a scene, in the mode in which its copy is stored."""
        return self.protector.as_stored(images.decode(self.values[self.scenes[index].row]))

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The published copy of a scene and the opposite one, each uint8 [H, W, 3]."""
        picture, noise = self.original(index), self.protector.fitted.noise
        assert isinstance(noise, KeyedNoise)
        both = (make(picture, self.scenes[index].group) for make in (noise.for_picture, noise.opposite))
        levels = self.protector.settings.levels
        published, opposite = (as_published(self.protector, picture, add(picture, n, levels)) for n in both)
        return published, opposite


def find_pairs(
    protector: Protector,
    originals: datasets.Dataset,
    column: str,
    label_column: str | None,
    published: "Published | None",
    limit: int,
    seed: int,
) -> Pairs:
    """A random sample of scenes, each once.

    Args:
        protector: the key.
        originals: as they were before they were protected.
        column: their images.
        label_column: their labels; None for none.
        published: what was published, where it is at hand; originals whose copy is not in it are left out.
        limit: scenes at most.
        seed: of the order.

    Raises:
        DatasetError: no original has a published copy.
        ImageError: an original that cannot be read, named by row.
    """
    rows = undecoded(originals, column, *([] if label_column is None else [label_column]))
    pairs = Pairs(protector, rows[column])
    seen = Scenes()
    order = np.random.default_rng(seed).permutation(len(rows))
    with Bar(total=min(limit, len(rows)), desc="finding the published copies", unit="image", leave=False) as bar:
        for start in range(0, len(order), AT_ONCE):
            part = order[start : start + AT_ONCE].tolist()
            pictures = [protector.as_stored(_decoded(pairs.values, row)) for row in part]
            groups = protector.assign(pictures)
            copies = protector.perturbed(pictures, groups)
            for row, picture, group, copy in zip(part, pictures, groups.tolist(), copies, strict=True):
                if len(pairs) == limit:
                    return pairs
                if published is not None and as_published(protector, picture, copy) not in published:
                    pairs.strangers += 1
                elif not seen.is_new(picture):
                    pairs.repeats += 1
                else:
                    pairs.scenes.append(Scene(row, group, _label(rows, label_column, row)))
                    bar.update()
    if not pairs.scenes:
        raise DatasetError(
            f"none of the {len(rows)} originals has a copy in the published set that this protector makes: it is "
            "another protector's, another set, or the copies were changed after they were made. Name the right ones."
        )
    return pairs


def as_published(protector: Protector, original: Picture, copy: Picture) -> np.ndarray:
    """The pixels of a copy as a reader of the published files sees them, uint8 [H, W, 3]."""
    container = Container.parse(protector.settings.container)
    return copy.pixels if container.lossless else images.decode(protector.store(original, copy)).pixels


class Published:
    """What was published: pictures found by their pixels, in whatever order they lie.

    Args:
        dataset: the protected set.
        column: its images.

    Raises:
        ImageError: a picture that cannot be read, named by row.
    """

    def __init__(self, dataset: datasets.Dataset, column: str) -> None:
        values = undecoded(dataset, column)[column]
        rows = Bar(range(len(values)), desc="reading the published set", unit="image", leave=False)
        self._digests = {_digest(_decoded(values, row).pixels) for row in rows}

    def __contains__(self, pixels: np.ndarray) -> bool:
        return _digest(pixels) in self._digests


def _digest(pixels: np.ndarray) -> int:
    return hash((pixels.shape, pixels.tobytes()))


def _decoded(values: Sequence[ImageValue], row: int) -> Picture:
    try:
        return images.decode(values[row])
    except ImageError as error:
        raise ImageError(f"row {row}: {error}") from error


def _label(rows: datasets.Dataset, column: str | None, row: int) -> str | None:
    return None if column is None else class_name(rows.features[column], rows[row][column])
