"""What protecting came to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uc_hf.data.images import ImageValue


COMPARED = 100
"""At most so many pairs of an original and its protected copy are handed out for comparison."""

ALL_COMPARED = 24
"""Of so few images all; of more a tenth, since comparing takes half as long as protecting."""


@dataclass(frozen=True)
class Outcome:
    """What a finished job has written.

    Attributes:
        images: protected images in the output.
        already: how many of them an earlier run had written.
        again: how many of the others an earlier run had written, too, before they or their originals changed.
        orphans: copies of an earlier run whose original is gone, or has another copy now.
        ignored: files that are not images, by their suffix.
        left_out: why pictures of the source, or folders that may hold some, have no copy -> their paths or rows.
        noted: what else was not followed -> its paths; no picture is missing for it.
        carried: splits that were carried over clean.
        bytes_before: size of the originals.
        bytes_after: size of the protected files.
        pairs: an original and its protected copy, evenly spread, at most `COMPARED`; of a dataset, from the rows that
            this run has protected.
    """

    images: int
    already: int
    again: int
    orphans: list[str]
    ignored: Mapping[str, int]
    left_out: Mapping[str, Sequence[Any]]
    noted: Mapping[str, Sequence[Any]]
    carried: list[str]
    bytes_before: int
    bytes_after: int
    pairs: Iterable[tuple[ImageValue, ImageValue]]


def spread(total: int) -> list[int]:
    """Evenly spread numbers in [0, total): of the images that are compared."""
    count = min(total, max(ALL_COMPARED, min(COMPARED, total // 10)))
    return np.linspace(0, total - 1, count).astype(int).tolist()
