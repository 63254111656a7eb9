"""What `datasets.map` and its like hand over, in any format: the images as they are stored, and a place for others."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
from datasets.formatting.formatting import LazyBatch, LazyRow

from uc_hf.data.columns import refuse_mode, refuse_transform
from uc_hf.errors import DatasetError


IMAGE_TYPE = datasets.Image().pa_type

_SEVERAL = (list, tuple, pd.Series, pa.Array, pa.ChunkedArray)


@dataclass(frozen=True)
class Examples:
    """One example or a batch.

    Attributes:
        columns: those that were asked for and are there, as stored.
        many: whether it is a batch.
        replace: takes the new images, a list, and gives what the caller is to be given.
    """

    columns: Mapping[str, Sequence[Any]]
    many: bool
    replace: Callable[[list[dict[str, Any]]], Any]


def open_examples(examples: Any, names: Sequence[str], caller: FrameType) -> Examples:
    """The columns of what was handed over.

    Args:
        examples: a row or batch of `datasets`, an Arrow table or record batch, a data frame, a dict, or, without
            their name, the values of the first column.
        names: that of the images first.
        caller: the frame that hands it over.

    Raises:
        DatasetError: there is no such column of images, it shows them otherwise than they are stored, or `map` would
            remove it.
    """
    column = names[0]
    call = _map_of(examples, column, caller)
    if call is not None and (stored := call.rows) is not None:
        if isinstance(examples, Mapping):
            return _of_table(stored, names, _alone(column, call.many), call.many)
        removed = [name for name in call.removed if name != column]  # of tables `map` leaves it to the function
        return _of_table(stored, names, lambda images: _with_images(stored, column, images).drop_columns(removed))
    if isinstance(examples, pa.Table | pa.RecordBatch):
        return _of_table(examples, names, lambda images: _with_images(examples, column, images))
    if isinstance(examples, LazyBatch | LazyRow) and _untouched(examples, names):
        # As stored, not as `datasets` decodes it: mode, profile and file name would be lost.
        refuse_mode(examples.formatter.features or {}, column)
        many = isinstance(examples, LazyBatch)
        return _of_table(examples.pa_table, names, _assigned(examples, column, many), many)
    if isinstance(examples, pd.DataFrame):
        _check_column(examples.columns, column)
        columns: dict[str, Sequence[Any]] = {name: list(examples[name]) for name in names if name in examples}
        return Examples(columns, True, lambda images: examples.assign(**{column: images}))
    if not isinstance(examples, Mapping):
        many = _is_several(examples)
        return Examples({column: _values(examples, many)}, many, _alone(column, many))
    _check_column(examples, column)
    many = _is_several(examples[column])
    columns = {name: _values(examples[name], many) for name in names if name in examples}
    return Examples(columns, many, _assigned(examples, column, many) if call is None else _alone(column, many))


def _untouched(examples: LazyBatch | LazyRow, names: Sequence[str]) -> bool:
    """Whether nobody has put other values into these columns."""
    return all(name in examples.keys_to_format for name in names if name in examples)


@dataclass(frozen=True)
class _Map:
    """A call by `map`.

    Attributes:
        removed: the columns that it was told to remove.
        rows: what it hands over, as stored; None of a stream, and of columns without their name.
        many: whether it is batched.
    """

    removed: Sequence[str]
    rows: pa.Table | None
    many: bool


def _map_of(examples: Any, column: str, caller: FrameType) -> _Map | None:
    """The `map` that calls; None where another function does.

    Of a dataset with a format, `with_format("torch")` and others, it hands over bare arrays, that have lost their
    palette, profile and name, and says nowhere what they were made of; but it has the rows at hand where it calls.
    """
    module, known = caller.f_globals.get("__name__"), caller.f_locals
    frame: FrameType | None = caller
    if module == "datasets.iterable_dataset":
        stream = known["self"]
        refuse_mode(stream.features or {}, column)
        removed = stream.remove_columns or []
        if column in removed and isinstance(examples, pa.Table | pd.DataFrame):
            raise DatasetError(
                f"of a stream of tables `datasets` removes column {column!r} with the protected images in it: leave "
                f"{column!r} out of remove_columns, or write stream.with_format(None) first."
            )
        return _Map(removed, None, stream.batched)
    while module == "datasets.arrow_dataset" and frame is not None:
        if "shard" in (told := frame.f_locals):
            refuse_transform(told["shard"])
            refuse_mode(told["features"] or told["shard"].features, column)
            rows = known["pa_inputs"] if known.get("inputs") is examples else None
            return _Map(told["remove_columns"] or [], rows, told["batched"])
        frame = frame.f_back
    return None


def _of_table(
    table: pa.Table | pa.RecordBatch, names: Sequence[str], replace: Callable[[list[Any]], Any], many: bool = True
) -> Examples:
    _check_column(table.column_names, names[0])
    columns = {name: _Stored(table[name]) for name in names if name in table.column_names}
    return Examples(columns, many, replace)


class _Stored(Sequence[Any]):
    """A stored column; of its values one is in memory at a time."""

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, row: Any) -> Any:
        return self._column[row].as_py()


def _with_images(table: pa.Table | pa.RecordBatch, column: str, images: list[Any]) -> pa.Table | pa.RecordBatch:
    position = table.schema.get_field_index(column)
    kind = table.schema.field(position).type
    array = pa.array(images, kind if pa.types.is_struct(kind) else IMAGE_TYPE)
    return table.set_column(position, table.schema.field(position).with_type(array.type), array)


def _alone(column: str, many: bool) -> Callable[[list[Any]], Any]:
    """Gives the images alone: `map` keeps the other columns as they are stored, or removes them."""
    return lambda images: {column: images if many else images[0]}


def _assigned(examples: Any, column: str, many: bool) -> Callable[[list[Any]], Any]:
    """Puts images into the examples themselves: under `with_transform` what is not returned is lost."""

    def replace(images: list[Any]) -> Any:
        examples[column] = images if many else images[0]
        return examples

    return replace


def _is_several(value: Any) -> bool:
    """Whether a value is a column, and no image."""
    return isinstance(value, _SEVERAL) or (
        isinstance(value, np.ndarray) and (value.dtype == object or value.ndim == 4)
    )


def _values(value: Any, many: bool) -> Sequence[Any]:
    if not many:
        return [value]
    return _Stored(value) if isinstance(value, pa.Array | pa.ChunkedArray) else list(value)


def _check_column(names: Iterable[str], column: str) -> None:
    if column not in names:
        raise DatasetError(
            f"these rows have no column {column!r}, on which the protector was fitted, but {', '.join(names)}: "
            f"write dataset.rename_column('THE IMAGES', {column!r}) first."
        )
