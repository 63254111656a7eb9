"""Files that rows only point to, and whether they belong to the dataset.

A row of a parquet file, a saved dataset or a stream can name any file of this machine and any address, and that file
would be published with the dataset. So a file is opened only if it lies within the dataset that names it.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.utils.file_utils import is_local_path, xopen
from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from uc_hf.errors import DatasetError, cell, listed, shown
from uc_hf.files import read_file


AT_ONCE = 1000
"""Number of stored rows that are checked together."""

Rows = TypeVar("Rows", datasets.Dataset, datasets.IterableDataset)


@dataclass(frozen=True)
class Home:
    """The place of a dataset's own files.

    Attributes:
        folder: folder on this machine; None if no local file belongs to the dataset.
        repository: name of the dataset on the Hub; None if it is not there.
    """

    folder: Path | None = None
    repository: str | None = None

    @classmethod
    def on_hub(cls, name: str) -> "Home":
        """The files of a dataset on the Hub, and their copies in the cache."""
        return cls(Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="dataset"), name)

    def refusal(self, path: str) -> str | None:
        """The reason why a file that a row points to is not opened; None if it belongs to the dataset."""
        *archives, place = path.split("::")
        if len(archives) > 1 or not all(archive.startswith("zip://") for archive in archives):
            return "a chain of addresses is not followed"
        if is_local_path(place):
            return self._refusal_here(place)
        start = f"hf://datasets/{self.repository}@"
        within = self.repository is not None and place.startswith(start) and ".." not in place.split("/")
        return None if within else "this address is not within the dataset"

    def _refusal_here(self, path: str) -> str | None:
        if self.folder is None or "\0" in path:
            return "it lies outside the dataset"
        root, place = (Path(os.path.realpath(at)) for at in (self.folder, path))
        if not place.is_relative_to(root):
            return "it lies outside the dataset"
        if any(part.startswith(".") for part in place.relative_to(root).parts):
            return "it is hidden"
        try:
            return None if stat.S_ISREG(place.stat().st_mode) else "it is not a regular file"
        except OSError as error:
            return f"it cannot be read ({error.strerror})"


def confined(dataset: Rows, home: Home, split: str) -> Rows:
    """The dataset, if no row points to a file that is not its own.

    Stored rows are checked now, rows of a stream when they are read.

    Args:
        dataset: a dataset with known features.
        home: place of its own files.
        split: name of the split in the message.

    Raises:
        DatasetError: rows point elsewhere; the message names them and their column.
    """
    features = {name: feature for name, feature in dataset.features.items() if holds_files(feature)}
    guard = _Guard(features, home, split)
    if not features:
        return dataset
    if isinstance(dataset, datasets.IterableDataset):
        return as_stored(dataset, guard)
    stored = dataset.with_format("arrow").select_columns(list(features))
    refused = [
        reason
        for number, table in enumerate(stored.iter(batch_size=AT_ONCE))
        for reason in guard.refusals(table, range(number * AT_ONCE, number * AT_ONCE + len(table)))
    ]
    if refused:
        raise _elsewhere(refused)
    return dataset


def as_stored(
    stream: datasets.IterableDataset, each: Callable[[pa.Table, list[int]], pa.Table]
) -> datasets.IterableDataset:
    """A stream with what becomes of each row, as it is stored.

    Args:
        stream: of known features.
        each: a table of one row, and its number -> a table of one row or none.
    """
    rows = stream.decode(False).with_format("arrow")  # else pictures may be decoded, and encoded anew
    rows = rows.map(each, with_indices=True, batched=True, batch_size=1, features=stream.features)
    return rows.with_format(None)


class _Guard:
    """Lets rows of a stream pass that point to files of their own dataset."""

    def __init__(self, features: Mapping[str, Any], home: Home, split: str) -> None:
        self.features, self.home, self.split = features, home, split

    def __call__(self, table: pa.Table, rows: list[int]) -> pa.Table:
        """The same table, or a DatasetError."""
        if refused := self.refusals(table, rows):
            raise _elsewhere(refused)
        return table

    def refusals(self, table: pa.Table, rows: "range | list[int]") -> list[str]:
        """The rows with refused files, and why."""
        return [
            f"{cell(rows[row], name, f'the split {self.split!r}')}: {shown(path)!r}: {reason}"
            for name, feature in self.features.items()
            if name in table.column_names
            for row, path in pointers(table[name], feature)
            if (reason := self.home.refusal(path))
        ]


def _elsewhere(refused: list[str]) -> DatasetError:
    return DatasetError(
        "rows point to files that are not the dataset's own, which would be published with it:\n"
        f"{listed(refused)}\nLeave these rows out, or store the bytes of the files in them."
    )


def holds_files(feature: Any, kind: type | None = None) -> bool:
    """Whether a feature holds files (images, audio, video, ...), or files of one kind, at any depth."""
    if isinstance(feature, dict):
        return any(holds_files(inner, kind) for inner in feature.values())
    if hasattr(feature, "feature"):
        return holds_files(feature.feature, kind)
    return hasattr(feature, "embed_storage") if kind is None else isinstance(feature, kind)


def pointers(column: pa.ChunkedArray, feature: Any) -> Iterator[tuple[int, str]]:
    """Row and path of each file in a column, at any depth, that is stored without bytes."""
    start = 0
    for chunk in column.chunks:
        yield from _pointers(chunk, feature, pa.array(np.arange(start, start + len(chunk))))
        start += len(chunk)


def _pointers(array: pa.Array, feature: Any, rows: pa.Array) -> Iterator[tuple[int, str]]:
    if hasattr(feature, "embed_storage"):
        paths = pc.struct_field(array, "path")
        pointing = pc.and_(pc.is_null(pc.struct_field(array, "bytes")), pc.is_valid(paths))
        if pc.any(pointing).as_py():
            yield from zip(rows.filter(pointing).to_pylist(), paths.filter(pointing).to_pylist(), strict=True)
    elif isinstance(feature, dict):
        for name, inner in feature.items():
            yield from _pointers(pc.struct_field(array, name), inner, rows)
    elif hasattr(feature, "feature"):
        yield from _pointers(pc.list_flatten(array), feature.feature, rows.take(pc.list_parent_indices(array)))


def taken_in(table: pa.Table, features: Mapping[str, Any]) -> pa.Table:
    """A table of few rows, with the bytes of the files that it only points to.

    Raises:
        OSError: a file cannot be read, or is not a regular file.
    """
    for position, name in enumerate(table.column_names):
        feature = features[name]
        if holds_files(feature) and any(True for _ in pointers(table[name], feature)):
            field = table.schema.field(position)
            values = [changed_files(value, feature, _with_bytes) for value in table[name].to_pylist()]
            table = table.set_column(position, field, pa.chunked_array([pa.array(values, field.type)]))
    return table


def _with_bytes(file: dict[str, Any], feature: Any) -> dict[str, Any]:
    if file["bytes"] is not None or file["path"] is None:
        return file
    path = file["path"]
    return {"bytes": fetched(path), "path": Path(path.split("::")[0] if "://" in path else path).name}


def changed_files(value: Any, feature: Any, change: Callable[[dict[str, Any], Any], dict[str, Any]]) -> Any:
    """A value of a column with each of its files changed, at any depth.

    Args:
        value: the value from Arrow.
        feature: the column's feature.
        change: takes a stored file, {"bytes", "path"}, and its feature; returns the new file.
    """
    if value is None or not holds_files(feature):
        return value
    if isinstance(feature, dict):
        return {name: changed_files(value[name], inner, change) for name, inner in feature.items()}
    if hasattr(feature, "feature"):
        return [changed_files(item, feature.feature, change) for item in value]
    return change(value, feature)


def is_member(path: str) -> bool:
    """Whether a path means a file within a zip archive of this machine, as `datasets` names it."""
    member, _, archive = path.rpartition("::")
    return member.startswith("zip://") and "::" not in member and is_local_path(archive)


def fetched(path: str) -> bytes:
    """The bytes of a file that a row points to.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    if Path(path).is_absolute() or is_local_path(path):
        return read_file(path)
    with xopen(path, "rb") as file:
        return file.read()
