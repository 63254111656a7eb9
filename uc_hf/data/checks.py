"""Checks of every image before hours are spent on any."""

import logging
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa
from datasets import Dataset, Features, Image, IterableDataset

from uc_hf.data import images
from uc_hf.data.columns import refuse_transform
from uc_hf.data.container import Container
from uc_hf.data.images import ImageValue
from uc_hf.data.pointers import as_stored, changed_files, holds_files, taken_in
from uc_hf.data.progress import Bar
from uc_hf.data.rows import plain_image, plain_images, read_rows
from uc_hf.errors import BadImage, BadImages, ImageError, cell


logger = logging.getLogger(__name__)


def check_dataset(dataset: Dataset | IterableDataset, column: str, container: Container) -> None:
    """Check every image of a dataset before time is spent on any.

    Args:
        dataset: rows; a stream is read to its end.
        column: the column of images.
        container: format in which they will be stored.

    Raises:
        BadImages: some images cannot be protected.
    """
    look = Look(container)
    look.at_rows(dataset, column)
    look.end()


def undecoded(dataset: Dataset, column: str, *others: str) -> Dataset:
    """A dataset's images as stored, and the other columns that are named.

    Raises:
        DatasetError: the dataset has a transform.
    """
    refuse_transform(dataset)
    dataset = dataset.with_format(None).select_columns([column, *others])
    return dataset.cast_column(column, Image(decode=False))


class Look:
    """A check of many images that collects all bad ones instead of ending at the first.

    Attributes:
        bad: the images that cannot be protected.
        looked_at: number of checked images.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.bad: list[BadImage] = []
        self.looked_at = 0
        self._gray: list[str] = []

    def at(self, values: Iterable[tuple[BadImage, ImageValue]], total: int | None) -> None:
        """Check whether images can be protected and stored in the container.

        Args:
            values: for each image the report if it is bad, still without a reason, and the stored image.
            total: number of images, if it is known.
        """
        for named, value in Bar(values, total=total, desc="checking images", unit="image", leave=False):
            self.looked_at += 1
            try:
                if images.check(value, self.container).mode in images.GRAY:
                    self._gray.append(named.name)
            except ImageError as error:
                self.bad.append(replace(named, reason=str(error)))

    def at_rows(
        self, dataset: Dataset | IterableDataset, column: str, split: str | None = None, first: int = 0
    ) -> None:
        """Check the images of a dataset from a row on; a stream is read to its end."""
        where, total = "" if split is None else f"the split {split!r}", None
        if isinstance(dataset, IterableDataset):
            values = (row[column][0].as_py() for row in read_rows(dataset, where, first))
        else:
            rows = undecoded(dataset, column).select(range(first, len(dataset)))
            values, total = (row[column] for row in rows), len(rows)
        named = (
            (BadImage(row, cell(row, column, where), "", split), value) for row, value in enumerate(values, first)
        )
        self.at(named, total)

    def at_carried(
        self,
        dataset: Dataset | IterableDataset,
        split: str,
        keep_exif: bool,
        protected: str | None = None,
        first: int = 0,
    ) -> None:
        """Check the files of a dataset that are copied without protection.

        Args:
            dataset: rows; a stream is read to its end.
            split: its name.
            keep_exif: whether EXIF stays; otherwise it must be possible to remove it from an image.
            protected: the column that is protected.
            first: the first row.

        Raises:
            DatasetError: a row cannot be read.
        """
        clean = {name: kind for name, kind in dataset.features.items() if holds_files(kind) and name != protected}
        rows = read_rows(dataset.select_columns(list(clean)), f"the split {split!r}", first) if clean else iter(())
        for number, row in enumerate(rows, first):
            for name, feature in {} if keep_exif else clean.items():
                try:
                    changed_files(row[name][0].as_py(), feature, plain_image)
                except ImageError as error:
                    where = cell(number, name, f"the split {split!r}")
                    self.bad.append(BadImage(number, where, str(error), split))

    def end(self) -> None:
        """Report gray images among coloured ones.

        Raises:
            BadImages: some images are bad.
        """
        if self.bad:
            raise BadImages(self.bad, self.looked_at)
        if 0 < len(self._gray) < self.looked_at:
            logger.warning(
                "%d of %d images are stored in gray (the first: %s). They will be stored in colour like the others: "
                "even 1 to 2 %% of images without coloured noise weaken the protection of the whole set.",
                len(self._gray),
                self.looked_at,
                self._gray[0],
            )


class Skipping:
    """Filters a stream: rows that can be protected or copied pass, the others are recorded.

    Args:
        features: features of the stream.
        split: its name.
        column: the images to protect; None in a split that is copied clean.
        container: format in which they will be stored.
        keep_exif: whether EXIF stays; otherwise it must be possible to remove it from images that stay clean.

    Attributes:
        bad: row -> the reason why it was left out.
    """

    def __init__(
        self, features: Features, split: str, column: str | None, container: Container, keep_exif: bool
    ) -> None:
        self.features, self.split, self.column = features, split, column
        self.container, self.keep_exif = container, keep_exif
        self.bad: dict[int, BadImage] = {}

    def over(self, stream: IterableDataset) -> IterableDataset:
        """The stream without its bad rows."""
        return as_stored(stream, self)

    def __call__(self, table: pa.Table, rows: list[int]) -> pa.Table:
        """A table of one row, or of none."""
        table = taken_in(table, self.features)
        try:
            if self.column is not None:
                images.check(table[self.column][0].as_py(), self.container)
            if not self.keep_exif:
                plain_images(table, self.features, f"the split {self.split!r}", rows[0], self.column)
        except ImageError as error:
            self.bad[rows[0]] = BadImage(rows[0], f"row {rows[0]} of the split {self.split!r}", str(error), self.split)
            return table.slice(0, 0)
        return table
