"""Arrays of numbers in the columns of a dataset, and which of them may be pictures."""

from collections.abc import Collection, Iterator

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from uc_hf.data.columns import clean_twin
from uc_hf.data.pointers import Rows, as_stored


SIDE = 8
"""The least side of a picture. Boxes have 4 numbers, key points 2 or 3."""

AT_ONCE = 100
"""Number of stored rows that are looked at together."""


def refuse_arrays(dataset: Rows, column: str, keep_clean: Collection[str] = ()) -> Rows:
    """The dataset, if no other column has arrays of numbers that may be pictures: with two sides of `SIDE` or more.

    Stored rows are looked at now, rows of a stream when they are read.

    Args:
        dataset: a dataset with known features.
        column: the column that will be protected.
        keep_clean: columns that may stay clean.

    Raises:
        DatasetError: another column has such an array; the message names its row.
    """
    names = _array_columns(dataset.features, {column, *keep_clean})

    def refuse(table: pa.Table, rows: "range | list[int]") -> pa.Table:
        for name, row in _found(table, names):
            raise clean_twin(name, f"(row {rows[row]}: numbers with two sides of {SIDE} or more) may hold", column)
        return table

    if not names:
        return dataset
    if isinstance(dataset, datasets.IterableDataset):
        return as_stored(dataset, refuse)
    for number, table in enumerate(_tables(dataset, names)):
        refuse(table, range(number * AT_ONCE, number * AT_ONCE + len(table)))
    return dataset


def picture_arrays(dataset: datasets.Dataset, column: str) -> list[str]:
    """The first of the other columns with arrays of numbers that may be pictures; empty if there is none."""
    names = _array_columns(dataset.features, {column})
    tables = _tables(dataset, names) if names else iter(())
    return next(([name] for table in tables for name, _ in _found(table, names)), [])


def _array_columns(features: datasets.Features, left_out: Collection[str]) -> list[str]:
    return [field.name for field in features.arrow_schema if field.name not in left_out and _nested(field.type)]


def _tables(dataset: datasets.Dataset, names: list[str]) -> Iterator[pa.Table]:
    return dataset.with_format("arrow").select_columns(names).iter(batch_size=AT_ONCE)


def _found(table: pa.Table, names: list[str]) -> Iterator[tuple[str, int]]:
    """Column and row of the first array in each column that may be a picture."""
    for name in names:
        row = _first_picture(table[name].combine_chunks()) if name in table.column_names else None
        if row is not None:
            yield name, row


def _nested(kind: pa.DataType, depth: int = 0) -> bool:
    """Whether a type holds lists of lists of numbers."""
    kind = _storage(kind)
    if pa.types.is_struct(kind):
        return any(_nested(field.type) for field in kind)
    if _is_list(kind):
        return _nested(kind.value_type, depth + 1)
    return depth > 1 and (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _first_picture(array: pa.Array, rows: np.ndarray | None = None) -> int | None:
    """The first row with an array whose sides, each of one length, are `SIDE` or more at least twice.

    Args:
        array: lists, structs, or values.
        rows: the row of each item; None if each is a row.
    """
    rows = np.arange(len(array)) if rows is None else rows
    first, sides = np.arange(len(array)), np.zeros(len(array), int)
    array = _stored(array)
    while _is_list(array.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        least, most = np.full(len(sides), np.iinfo(np.int64).max), np.zeros(len(sides), int)
        np.minimum.at(least, first, lengths)
        np.maximum.at(most, first, lengths)
        sides += (least == most) & (most >= SIDE)
        first = first[pc.list_parent_indices(array).to_numpy(zero_copy_only=False)]
        array = _stored(pc.list_flatten(array))
    if pa.types.is_struct(array.type):
        inner = [pc.struct_field(array, index) for index in range(array.type.num_fields)]
        found = [row for part in inner if (row := _first_picture(part, rows[first])) is not None]
        return min(found, default=None)
    pictures = np.flatnonzero(sides > 1)
    return int(rows[pictures[0]]) if len(pictures) and _nested(array.type, 2) else None


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _stored(array: pa.Array) -> pa.Array:
    return array.storage if isinstance(array, pa.ExtensionArray) else array
