"""What is asked about: each published picture, and the copy that could have been published in its place.

The phase of a picture's noise, where its wave begins, is drawn from the owner's secret key and the picture. The copy
with the opposite phase, half a period on, was equally likely to be published. Without the key nobody can tell the two
apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import datasets
import numpy as np

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import class_name, is_missing
from uc_hf.data.images import ImageValue, Picture
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, naming
from uc_hf.fitting.noise import KeyedNoise
from uc_hf.protecting.noise import add
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.trace.duplicates import Scenes


AT_ONCE = 64
"""Number of rows that are decoded and assigned to groups together."""


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
        repeats: number of pictures left out because an earlier one shows the same scene.
        strangers: number of originals left out because the published set lacks the copy that this key makes.
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
        published: the published set; originals whose copy it lacks are left out. None leaves none out.
        limit: largest number of scenes.
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
            f"of the {len(rows)} originals none has the copy in the published set that this protector makes: the set "
            "is another protector's, has other originals, or was changed afterwards. Name the protector and the "
            "originals that it was made from."
        )
    return pairs


def as_published(protector: Protector, original: Picture, copy: Picture) -> np.ndarray:
    """The pixels of a copy as a reader of the published files sees them, uint8 [H, W, 3]."""
    lossless = protector.settings.stored_as.lossless
    return copy.pixels if lossless else images.decode(protector.store(original, copy)).pixels


class Published:
    """The published set, searched by pixels: its order does not matter.

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
    with naming(f"row {row}"):
        return images.decode(values[row])


def _label(rows: datasets.Dataset, column: str | None, row: int) -> str | None:
    if column is None or is_missing(feature := rows.features[column], label := rows[row][column]):
        return None
    return class_name(feature, label)
