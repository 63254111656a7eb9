"""A look at every picture before hours are spent on any."""

import logging
from collections.abc import Iterable

import datasets

from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.data.images import ImageValue
from uc_hf.data.pointers import holds_files
from uc_hf.data.progress import Bar
from uc_hf.data.rows import plain_images, read_rows
from uc_hf.errors import ImageError


logger = logging.getLogger(__name__)

SHOWN_ERRORS = 5
"""So many bad pictures are named in one message."""


def check_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset, column: str, container: Container, split: str | None = None
) -> None:
    """Look at every picture of a dataset before time is spent on any.

    Args:
        dataset: rows of images; a stream is read through.
        column: its images.
        container: what they will be stored in.
        split: named in the message.

    Raises:
        ImageError: pictures that cannot be protected, named by their row.
    """
    of = "" if split is None else f" of split {split!r}"
    total = None
    if isinstance(dataset, datasets.IterableDataset):
        values = (row[column][0].as_py() for row in read_rows(dataset, f"the split {split!r}"))
    else:
        values, total = (row[column] for row in undecoded(dataset, column)), len(dataset)
    check_all(((f"row {row}{of}, column {column!r}", value) for row, value in enumerate(values)), total, container)


def check_carried(
    dataset: datasets.Dataset | datasets.IterableDataset, split: str, keep_exif: bool, protected: str | None = None
) -> None:
    """Look at every file of a dataset that is carried over clean.

    Args:
        dataset: rows; a stream is read through.
        split: named in the message.
        keep_exif: else it must be possible to take the EXIF out of an image.
        protected: the column that is not carried over clean.

    Raises:
        DatasetError: a row that cannot be read.
        ImageError: an image that is damaged.
    """
    clean = [name for name, feature in dataset.features.items() if holds_files(feature) and name != protected]
    where = f"the split {split!r}"
    for number, row in enumerate(read_rows(dataset.select_columns(clean), where) if clean else ()):
        if not keep_exif:
            plain_images(row, dataset.features, where, number, protected)


def undecoded(dataset: datasets.Dataset, column: str, *others: str) -> datasets.Dataset:
    """A dataset's images as they are stored, and what other columns are named."""
    dataset = dataset.with_format(None).select_columns([column, *others])
    return dataset.cast_column(column, datasets.Image(decode=False))


def check_all(values: Iterable[tuple[str, ImageValue]], total: int | None, container: Container) -> None:
    """Look at pictures and name all that cannot be protected, or not stored in the container.

    Tells of gray ones among coloured ones.

    Args:
        values: a name for the message, and the picture as it is stored.
        total: how many there are, where that is known.
        container: what they will be stored in.

    Raises:
        ImageError: one or more cannot be protected.
    """
    bad, gray, looked_at = [], [], 0
    for name, value in Bar(values, total=total, desc="checking images", unit="image", leave=False):
        looked_at += 1
        try:
            if images.check(value, container).mode in images.GRAY:
                gray.append(name)
        except ImageError as error:
            bad.append(f"  {name}: {error}")
    if bad:
        more = [f"  and {len(bad) - SHOWN_ERRORS} more"] if len(bad) > SHOWN_ERRORS else []
        reasons = "\n".join([*bad[:SHOWN_ERRORS], *more])
        raise ImageError(
            f"{len(bad)} of {looked_at} images cannot be protected:\n{reasons}\nMend them, or leave them out."
        )
    if 0 < len(gray) < looked_at:
        logger.warning(
            "%d of %d images are stored in gray (the first: %s). They will be stored in colour like the others: one "
            "or two in a hundred without coloured noise can undo much of what the others' noise protects.",
            len(gray),
            looked_at,
            gray[0],
        )
