"""The result of a protection job."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uc_hf.data.images import ImageValue


COMPARED = 100
"""Largest number of pairs, of an original and its protected copy, that are returned for comparison."""

ALL_COMPARED = 24
"""Number of images up to which all are compared; of more images a tenth, since comparing takes half as long as
protecting."""


@dataclass(frozen=True)
class Outcome:
    """The result of a finished job.

    Attributes:
        images: number of protected images in the output.
        already: how many of them an earlier run had written.
        again: how many were written again because they or their originals had changed since an earlier run.
        orphans: files of an earlier run that this one would not write: copies of what is gone, descriptions.
        ignored: number of files that are not images, by suffix.
        left_out: reason -> paths or rows of images, or of folders that may hold some, that have no copy.
        noted: reason -> other paths that were not followed; no image is missing because of them.
        carried: splits that were copied without protection.
        bytes_before: size of the originals in bytes.
        bytes_after: size of the protected files in bytes.
        pairs: originals with their protected copies, evenly spread, at most `COMPARED`; for a dataset from the rows
            that this run has protected.
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
    """Evenly spread numbers in [0, total): the images that are compared."""
    count = min(total, max(ALL_COMPARED, min(COMPARED, total // 10)))
    return np.linspace(0, total - 1, count).astype(int).tolist()
