"""The rows of a dataset, stored or streamed: one at a time, in batches, in row groups.

Images stay encoded. The grouping depends only on the rows, so that the written files do too.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.table import embed_table_storage

from uc_hf.data.batches import PIXELS
from uc_hf.data.exif import without_metadata
from uc_hf.data.hub import FAILURES
from uc_hf.data.images import n_pixels
from uc_hf.data.pointers import changed_files, holds_files, taken_in
from uc_hf.errors import DatasetError, UCError, cell, first_line, naming


GROUP_ROWS, GROUP_BYTES = 100, 32 * 2**20
"""Limits of a row group, the smallest part that a reader or the Hub's viewer fetches; the batch that reaches one ends
it."""

BATCH_BYTES = 16 * 2**20
"""Size limit of a batch, which ends with the row that reaches it."""


class Ahead(Iterator[pa.Table]):
    """Rows with one read ahead, so that it is known whether more follow."""

    def __init__(self, rows: Iterator[pa.Table]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    @property
    def ended(self) -> bool:
        """Whether all rows have been read."""
        return self._next is None

    def __next__(self) -> pa.Table:
        if self._next is None:
            raise StopIteration
        row, self._next = self._next, next(self._rows, None)
        return row


class RowGroups:
    """Collects batches until they make a row group."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._batches: list[pa.Table] = []
        self._size = 0

    def add(self, batch: pa.Table) -> int:
        """Add a batch and return the size of its files in bytes."""
        size = files_size(batch)
        self._batches.append(batch)
        self._size += size
        if sum(map(len, self._batches)) >= GROUP_ROWS or self._size >= GROUP_BYTES:
            self.flush()
        return size

    def flush(self) -> None:
        """Write the collected batches."""
        if self._batches:
            # In one piece, since the pages of the file would otherwise depend on how the rows arrived.
            self._writer.write_table(pa.concat_tables(self._batches).combine_chunks())
        self._batches, self._size = [], 0


def read_rows(dataset: datasets.Dataset | datasets.IterableDataset, where: str, start: int = 0) -> Iterator[pa.Table]:
    """Stored rows as tables of one row; files that a row only points to are read into it.

    Args:
        dataset: stored or streamed.
        where: name of the dataset in the message if a row cannot be read.
        start: the first row.

    Raises:
        DatasetError: a row cannot be read.
    """
    if isinstance(dataset, datasets.IterableDataset):
        stored = dataset.decode(False).skip(start)
    else:
        stored = dataset.with_format(None).select(range(start, len(dataset)))
    rows = iter(stored.with_format("arrow").iter(batch_size=1))
    while True:
        try:
            row = next(rows, None)
            row = None if row is None else taken_in(row, dataset.features)
        except UCError:
            raise
        except (*FAILURES, ValueError, pa.ArrowException) as error:
            raise DatasetError(
                f"row {start} of {where} cannot be read: {first_line(error)}. What was written before is "
                "kept: the same command goes on behind it."
            ) from error
        if row is None:
            return
        yield row
        start += 1


def next_batch(rows: Iterator[pa.Table], limit: int, schema: pa.Schema, column: str) -> pa.Table:
    """The next rows in one table, files under their bare names: at most `limit`, fewer when they are large.

    Args:
        rows: tables of one row.
        limit: of rows.
        schema: of the table.
        column: of the images whose pixels count.
    """
    batch, size, pixels = [], 0, 0
    for row in islice(rows, limit):
        batch.append(row)
        size += files_size(row)
        pixels += n_pixels(row[column][0].as_py())
        if size >= BATCH_BYTES or pixels >= PIXELS:
            break
    table = pa.concat_tables(batch).combine_chunks().cast(schema)
    return embed_table_storage(table)


def plain_images(table: pa.Table, features: datasets.Features, where: str, start: int, leave: str | None) -> pa.Table:
    """A table whose images have lost their EXIF and other metadata.

    Args:
        table: rows as they are stored.
        features: of its columns.
        where: what the rows are called when an image is damaged.
        start: number of the first.
        leave: a column to leave as it is.

    Raises:
        ImageError: an image is damaged, so that what it holds cannot be told.
    """
    for position, field in enumerate(table.schema):
        feature = features[field.name]
        if field.name == leave or not holds_files(feature, datasets.Image):
            continue
        values = []
        for row, value in enumerate(table[field.name].to_pylist(), start):
            with naming(cell(row, field.name, where)):
                values.append(changed_files(value, feature, plain_image))
        table = table.set_column(position, field, pa.chunked_array([pa.array(values, field.type)]))
    return table


def plain_image(file: dict[str, Any], feature: Any) -> dict[str, Any]:
    """A file as it is stored, without its metadata if it is an image.

    Raises:
        ImageError: it is damaged, so that what it holds cannot be told.
    """
    if not isinstance(feature, datasets.Image) or not file["bytes"]:
        return file
    return file | {"bytes": without_metadata(file["bytes"])}


def files_size(table: pa.Table) -> int:
    """Size of the images and other files of a table in bytes."""
    structs = [field for field in table.schema if pa.types.is_struct(field.type)]
    names = [field.name for field in structs if {"bytes", "path"} <= {child.name for child in field.type}]
    return sum(pc.sum(pc.binary_length(pc.struct_field(table[name], "bytes"))).as_py() or 0 for name in names)
