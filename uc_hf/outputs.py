"""Protected folders and datasets on disk, written so that an interrupted job goes on where it stopped.

A file is complete when it exists: each is written beside its final name and renamed.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.table import embed_table_storage
from tqdm.auto import tqdm

from uc_hf import images
from uc_hf.checks import undecoded
from uc_hf.columns import image_column
from uc_hf.errors import NO_SPACE, ImageError, OutputError
from uc_hf.folders import check_folder, folder_images, is_image_file, visible
from uc_hf.images import Container, ImageValue
from uc_hf.protector import UCProtector


logger = logging.getLogger(__name__)

SHARD_ROWS = 1000
BATCH = 16
COMPARED = 100
"""So many pairs of an original and its protected copy are handed out for comparison."""


@dataclass(frozen=True)
class Outcome:
    """What a finished job has written.

    Attributes:
        images: protected images in the output.
        already: how many of them an earlier run had written.
        ignored: files that are not images, by their suffix.
        carried: splits that were carried over clean.
        bytes_before: size of the originals.
        bytes_after: size of the protected files.
        pairs: an original and its protected copy, evenly spread, at most `COMPARED`; read as they are asked for.
    """

    images: int
    already: int
    ignored: dict[str, int]
    carried: list[str]
    bytes_before: int
    bytes_after: int
    pairs: Iterable[tuple[ImageValue, ImageValue]]


def protect_folder(source: Path, out: Path, protector: UCProtector) -> Outcome:
    """Write the protected copy of a folder: the same tree, the same stems.

    Copies that exist are taken to be done, so that the same call goes on after an interruption, and protects what has
    been added since.

    Args:
        source: a folder of pictures.
        out: made where needed.
        protector: fitted.

    Raises:
        DatasetError: no picture, or two that would have the same copy.
        ImageError: pictures that cannot be protected, all named before the first is written.
        OutputError: no space left.
    """
    container = Container.parse(protector.settings.container)
    copies = folder_images(source, container)
    ahead = [name for name, copy in copies.items() if not (out / copy).exists()]
    check_folder(source, ahead, container)
    already = len(copies) - len(ahead)
    with tqdm(total=len(copies), initial=already, desc="protecting", unit="image") as bar:
        for batch in _batches(ahead):
            encoded = protector.protect([_decoded(source, name) for name in batch])
            for name, data in zip(batch, encoded, strict=True):
                with _whole_file(out / copies[name], bar) as partial:
                    partial.write_bytes(data)
                bar.update()
    ignored = Counter(path.suffix.lower() or path.name for path in visible(source) if not is_image_file(path))
    names = list(copies)
    return Outcome(
        images=len(copies),
        already=already,
        ignored=dict(ignored),
        carried=[],
        bytes_before=sum((source / name).stat().st_size for name in names),
        bytes_after=sum((out / copy).stat().st_size for copy in copies.values()),
        pairs=((source / names[index], out / copies[names[index]]) for index in _spread(len(names))),
    )


def protect_dataset(
    splits: datasets.DatasetDict, protect: Sequence[str], out: Path, protector: UCProtector
) -> Outcome:
    """Write a dataset with some of its splits protected, as parquet shards that `load_dataset` reads.

    Columns, features and order stay; shards that exist are taken to be done; memory holds one shard.

    Args:
        splits: the dataset.
        protect: names of the splits to protect; the others are carried over as they are.
        out: files are written to `out/data`.
        protector: fitted.

    Raises:
        DatasetError: a split to protect lacks the protector's column.
        ImageError: a picture that cannot be protected, named by its row.
        OutputError: no space left, or other files in `out/data`.
    """
    for split in protect:
        image_column(splits[split].features, protector.fitted.column)
    shards = {split: _shards(out, split, len(dataset)) for split, dataset in splits.items()}
    _refuse_strangers(out / "data", {path for paths in shards.values() for path in paths})
    total = sum(len(splits[split]) for split in protect)
    already = sum(len(rows) for split in protect for path, rows in shards[split].items() if path.exists())
    with tqdm(total=total, initial=already, desc="protecting", unit="image") as bar:
        for split, dataset in splits.items():
            for path, rows in shards[split].items():
                if path.exists():
                    continue
                with _whole_file(path, bar) as partial:
                    shard = dataset.with_format(None).select(rows)
                    if split in protect:
                        shard = _protected(shard, split, rows.start, protector, bar)
                    _self_contained(shard).to_parquet(partial)
    column = protector.fitted.column
    return Outcome(
        images=total,
        already=already,
        ignored={},
        carried=[split for split in splits if split not in protect],
        bytes_before=sum(_image_bytes(splits[split], column) for split in protect),
        bytes_after=sum(path.stat().st_size for split in protect for path in shards[split]),
        pairs=_dataset_pairs({split: splits[split] for split in protect}, shards, column),
    )


def _decoded(source: Path, name: Path) -> images.Picture:
    try:
        return images.decode(source / name)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def _batches(names: Sequence[Path]) -> Iterator[Sequence[Path]]:
    return (names[start : start + BATCH] for start in range(0, len(names), BATCH))


def _spread(total: int) -> list[int]:
    return np.linspace(0, total - 1, min(COMPARED, total)).astype(int).tolist()


@contextmanager
def _whole_file(path: Path, bar: tqdm) -> Iterator[Path]:
    """A name to write to; it becomes `path` when all went well and is removed otherwise."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise OutputError(
                f"{path} cannot be written: {error.strerror or error}. {bar.n} of {bar.total} images are done and "
                "kept. Make room: the same command goes on where it stopped."
            ) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _shards(out: Path, split: str, n_rows: int) -> dict[Path, range]:
    count = max(1, math.ceil(n_rows / SHARD_ROWS))
    return {
        out / "data" / f"{split}-{index:05d}-of-{count:05d}.parquet": range(
            index * SHARD_ROWS, min((index + 1) * SHARD_ROWS, n_rows)
        )
        for index in range(count)
    }


def _refuse_strangers(folder: Path, expected: set[Path]) -> None:
    strangers = sorted(path.name for path in set(folder.glob("*.parquet")) - expected)
    if strangers:
        raise OutputError(
            f"{folder} holds files of another dataset, or of this one when it had other rows: {strangers[0]}"
            f"{' and others' if len(strangers) > 1 else ''}. Empty it, or choose another output."
        )


def _protected(shard: datasets.Dataset, split: str, start: int, protector: UCProtector, bar: tqdm) -> datasets.Dataset:
    def protect_rows(batch: Any, positions: list[int]) -> Any:
        protected = protector(batch, [start + position for position in positions])
        bar.update(len(positions))
        return protected

    # The fingerprint is given, since the bar cannot be hashed; nothing is cached here.
    try:
        return shard.map(
            protect_rows,
            with_indices=True,
            batched=True,
            batch_size=BATCH,
            features=shard.features,
            keep_in_memory=True,
            new_fingerprint=f"uc-{split}-{start}"[:64],
        )
    except ImageError as error:
        raise ImageError(f"split {split!r}, {error}") from error


def _self_contained(shard: datasets.Dataset) -> datasets.Dataset:
    """The bytes of files that rows only point to are taken in, so that the output can be moved and published."""
    embedded = shard.with_format("arrow").map(
        embed_table_storage, batched=True, batch_size=BATCH, features=shard.features, keep_in_memory=True
    )
    return embedded.with_format(None)


def _image_bytes(dataset: datasets.Dataset, column: str) -> int:
    total = 0
    for table in undecoded(dataset, column).with_format("arrow").iter(batch_size=SHARD_ROWS):
        values = table[column].combine_chunks()
        data = values.field("bytes")
        total += pc.sum(pc.binary_length(data)).as_py() or 0
        total += sum(Path(path).stat().st_size for path in values.field("path").filter(data.is_null()).to_pylist())
    return total


def _dataset_pairs(
    splits: dict[str, datasets.Dataset], shards: dict[str, dict[Path, range]], column: str
) -> Iterator[tuple[ImageValue, ImageValue]]:
    places = [(split, path, row) for split in splits for path, rows in shards[split].items() for row in rows]
    for index in _spread(len(places)):
        split, path, row = places[index]
        original = undecoded(splits[split].select([row]), column)[0][column]
        yield original, _stored(path, column, row - shards[split][path].start)


def _stored(shard: Path, column: str, row: int) -> dict[str, Any]:
    """One value of a parquet file; only its row group is read."""
    with pq.ParquetFile(shard) as file:
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if row < size:
                return file.read_row_group(group, columns=[column])[column][row].as_py()
            row -= size
    raise OutputError(f"{shard} holds fewer rows than it should. Remove it, and run the same command again.")
