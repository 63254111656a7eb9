"""A dataset -> a bounded, seeded sample of its images."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import datasets
import numpy as np
from PIL import Image

from uc_hf.data import images
from uc_hf.data.arrays import picture_arrays
from uc_hf.data.checks import Look, check_dataset, undecoded
from uc_hf.data.columns import image_column, other_images, refuse_mode
from uc_hf.data.container import Container
from uc_hf.data.images import ImageValue
from uc_hf.data.rows import read_rows
from uc_hf.errors import BadImage, DatasetError, ImageError, cell
from uc_hf.fitting.settings import CommonSettings


logger = logging.getLogger(__name__)

DRAWN_FROM = 2
"""Rows of a stream from which its sample is drawn, as a multiple of the sample's size."""


FILES_AT_ONCE = 4
"""Number of a stream's files from which rows are taken in turn; a row group of each is in memory."""


TAKEN_AT_ONCE = 8
"""Number of encoded images, which may be large, that are in memory together."""

LARGE_FILE = 256 * 1024
"""In bytes."""


@dataclass(frozen=True)
class Sample:
    """The images that a protector is fitted on.

    Attributes:
        column: the image column's name.
        rows: the row of each image in the dataset it came from.
        values: each image as the dataset stores it (bytes, a path, or both), not decoded.
    """

    column: str
    rows: Sequence[int]
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def coloured(self) -> bool:
        """Whether any of them is stored in colour."""
        return not all(images.stored_gray(value) for value in self.values)

    def take(self, indices: list[int]) -> Iterator[Any]:
        """Some of the values; of a dataset a few are read at once, which takes a fraction of the time."""
        if not isinstance(self.values, datasets.Column):
            yield from (self.values[index] for index in indices)
        else:
            for start in range(0, len(indices), TAKEN_AT_ONCE):
                yield from self.values[indices[start : start + TAKEN_AT_ONCE]]


def draw_sample(
    dataset: datasets.Dataset | datasets.IterableDataset,
    settings: CommonSettings,
    side: int | None = None,
    *,
    check: bool = True,
) -> Sample:
    """A seeded sample of at most `max_fit_images`, after a check of every row of a stored dataset.

    The sample of a stream is drawn from the first `DRAWN_FROM` times as many rows, with its files in random order and
    `FILES_AT_ONCE` of them in turn, so that it does not only represent the beginning.

    Args:
        dataset: the images.
        settings: settings of the fit.
        side: side in pixels of the squares that are made of the images; large files of a stream are reduced to it,
            since the sample is kept in memory.
        check: check all rows of a `Dataset`, other columns for arrays that may be pictures among them; the sample of
            a stream is always checked.

    Raises:
        DatasetError: the dataset is empty, has no image column or several, or shows images in another mode than they
            are stored in.
        ImageError: images cannot be protected; the message names their rows.
    """
    if isinstance(dataset, datasets.IterableDataset):
        return _draw_from_stream(dataset, settings, side)
    if len(dataset) == 0:
        raise DatasetError("the dataset is empty: there is nothing to protect.")
    name = image_column(dataset.features, settings.image_column)
    refuse_mode(dataset.features, name)
    if others := other_images(dataset.features, name) or (picture_arrays(dataset, name) if check else []):
        logger.warning(
            "Column %r holds images, or what may be some, too: it stays clean. Leave it out before you publish.",
            others[0],
        )
    if check:
        check_dataset(dataset, name, settings.stored_as)
    values, limit = undecoded(dataset, name), settings.max_fit_images
    rows = np.arange(len(values))
    if limit is not None and limit < len(values):
        rows = np.sort(np.random.default_rng(settings.seed).permutation(len(values))[:limit])
        logger.info("fitting on a sample of %d of %d images", limit, len(values))
    return Sample(column=name, rows=rows.tolist(), values=values.select(rows)[name])


def _draw_from_stream(stream: datasets.IterableDataset, settings: CommonSettings, side: int | None) -> Sample:
    limit = settings.max_fit_images
    if stream.features is not None:
        stream = stream.decode(False)  # first of all: later, images would be decoded and encoded anew
    if limit is not None:
        # The files alone: a buffer of rows would hold as much as the sample does.
        stream = stream.shuffle(seed=settings.seed, buffer_size=1, max_buffer_input_shards=FILES_AT_ONCE)
    name, images_of_rows = _images_of(stream, settings)
    generator, values = np.random.default_rng(settings.seed), []
    for row, value in enumerate(islice(images_of_rows, None if limit is None else DRAWN_FROM * limit)):
        if limit is None or row < limit:
            values.append(_small_enough(value, side))
        elif (place := int(generator.integers(row + 1))) < limit:
            values[place] = _small_enough(value, side)
    if not values:
        raise DatasetError("the stream is empty: there is nothing to protect.")
    look = Look(settings.stored_as)
    named = (BadImage(row, cell(row, name, "the sample"), "") for row in range(len(values)))
    look.at(zip(named, values, strict=True), len(values))
    look.end()
    return Sample(column=name, rows=range(len(values)), values=values)


def _images_of(stream: datasets.IterableDataset, settings: CommonSettings) -> tuple[str, Iterator[ImageValue]]:
    """The image column of a stream, and its values."""
    if stream.features is not None:
        name = image_column(stream.features, settings.image_column)
        refuse_mode(stream.features, name)
        rows = read_rows(stream.select_columns([name]), "the sample")
        return name, (row[name][0].as_py() for row in rows)
    name = settings.image_column or "image"
    first = next(iter(stream), {name: None})
    if name not in first:
        raise DatasetError(f"the stream has no column {name!r}; its columns are {', '.join(map(repr, first))}.")
    return name, (row[name] for row in stream)


def _small_enough(value: ImageValue, side: int | None) -> ImageValue:
    """An image as it is stored; in place of a large file a copy whose shorter side has `side` pixels."""
    if side is None or not isinstance(value, Mapping) or len(value["bytes"] or b"") <= LARGE_FILE:
        return value
    try:
        picture = images.decode(value)
    except ImageError:
        return value  # to be named with all others that are bad
    height, width, _ = picture.pixels.shape
    scale = side / min(height, width)
    if scale >= 1 or picture.alpha is not None:
        return value
    small = Image.fromarray(picture.pixels).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.BILINEAR
    )
    plain = replace(picture, pixels=np.array(small), icc=None, exif=None)
    return {"bytes": images.encode(plain, Container("png")), "path": value.get("path")}
