"""Destinations of parquet shards, and the work that a destination holds already.

A shard counts when it is complete: on a disk when the manifest lists it, on the Hub when it is committed. A mark in
its parquet metadata tells a later run which work is done, and which is not its own.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard
from yaml import YAMLError

from uc_hf.errors import OutputError, UCError, first_line
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.marks import Mark, Work


CARD = "README.md"

ATTEMPTS = 10
"""Number of attempts to write while somebody else writes to the destination too."""

_SHARD = re.compile(r"data/(?P<split>\w+(?:\.\w+)*)-(?P<number>\d{5,})\.parquet")
_REMEDY = "Empty it, or choose another output."


class Conflict(Exception):
    """Somebody else has written to the destination since its files were listed."""


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished shard: its rows, the size of its file in bytes, and its mark."""

    rows: int
    size: int
    mark: Mark


@dataclass(frozen=True, kw_only=True)
class Held:
    """The first shards of a split.

    Attributes:
        shards: their number.
        rows: rows in all of them.
        size: size of their files in bytes.
        bytes_before: size of the original images of their rows in bytes.
    """

    shards: int = 0
    rows: int = 0
    size: int = 0
    bytes_before: int = 0

    def plus(self, shard: Shard, bytes_before: int) -> "Held":
        """The same with one more shard, whose original images have so many bytes."""
        return Held(
            shards=self.shards + 1,
            rows=self.rows + shard.rows,
            size=self.size + shard.size,
            bytes_before=self.bytes_before + bytes_before,
        )


class Store(Protocol):
    """A place for shards and a README.md; paths are relative to it and written with "/"."""

    name: str
    """Its name in messages."""

    @property
    def workspace(self) -> Path:
        """A folder on this machine in which a shard is written before `take`."""

    def files(self) -> dict[str, int]:
        """Path and size in bytes of every data file."""

    def is_whole(self, path: str) -> bool:
        """Whether a data file still holds the bytes that `take` received; by default the place sees to that."""
        return True

    def was_taken(self, path: str) -> bool:
        """Whether a data file came by `take`, even if it has changed since; no, where only the mark in it says so."""
        return False

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file, without its rows."""

    def take(self, file: Path, path: str) -> None:
        """Put a finished file at `path`, whole or not at all; raises `Conflict`."""

    def read_card(self) -> str | None:
        """The README.md, if there is one."""

    def write_card(self, text: str) -> None:
        """Write the README.md; raises `Conflict`."""


class Destination(Store, Protocol):
    """A place to publish at: a store that others read. `uc_hf.publishing.destinations` knows them by name.

    Errors are `OutputError`, with the remedy.
    """

    url: str
    """Its address, as it is shown to the user."""

    def check(self) -> None:
        """Check whether it can be written to, before hours are spent; nothing is written."""

    def is_filled(self) -> bool:
        """Whether it exists and holds data."""

    def create(self, private: bool | None = None) -> None:
        """Create it if it does not exist; None for the destination's own default of who may read it."""

    def upload(self, folder: Path) -> None:
        """Replace its shards by those of a local folder; raises `Conflict`."""

    def introduce(
        self, protector: Protector, source: str | None, protected_splits: Sequence[str], clean_splits: Sequence[str]
    ) -> None:
        """Describe the finished dataset in its README.md (`uc_hf.publishing.cards`)."""


def shard_path(split: str, number: int) -> str:
    """The path of a shard; the number of shards is not known beforehand."""
    return f"data/{split}-{number:05d}.parquet"


def list_shards(destination: Store) -> dict[str, dict[int, int]]:
    """The size in bytes of each shard in a destination, by split and number.

    Raises:
        OutputError: a data file is not a shard.
    """
    found: dict[str, dict[int, int]] = {}
    for path, size in destination.files().items():
        match = _SHARD.fullmatch(path)
        if match is None:
            raise OutputError(f"{destination.name} holds files of another dataset: {path}. {_REMEDY}")
        found.setdefault(match["split"], {})[int(match["number"])] = size
    return found


def list_own_shards(destination: Store, splits: Collection[str]) -> dict[str, dict[int, int]]:
    """As `list_shards`, of a destination that holds these splits alone: its card is written of them.

    Raises:
        OutputError: it holds another split, or a data file is not a shard.
    """
    found = list_shards(destination)
    if others := [split for split in found if split not in splits]:
        raise OutputError(
            f"{destination.name} holds the split {others[0]!r}, which is not among those to publish now: "
            f"{', '.join(map(repr, splits))}. Publish all of them at once, as a DatasetDict, choose another output, "
            f"or remove data/{others[0]}-*.parquet."
        )
    return found


def open_shard(
    destination: Store, path: str, size: int, work: Work, protected: bool, features: datasets.Features
) -> Shard | None:
    """A shard by its footer; no row is read.

    Args:
        destination: the destination that holds it.
        path: path of the shard.
        size: size of its file in bytes.
        work: the work to which it has to belong.
        protected: whether its rows have to carry the noise.
        features: features of its rows.

    Returns:
        None if the shard belongs to this work but is damaged.

    Raises:
        OutputError: the shard does not belong to this work.
    """
    try:
        footer = destination.footer(path)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, UCError):
            raise
        if destination.was_taken(path):
            return None
        raise OutputError(
            f"{destination.name} holds a damaged file, {path}: {first_line(error)}. {_REMEDY}"
        ) from error
    mark = _own_mark(destination, path, footer, work, protected)
    if datasets.Features.from_arrow_schema(footer.schema.to_arrow_schema()) != features:
        raise OutputError(f"{destination.name} holds rows with other columns: {path}. {_REMEDY}")
    return Shard(rows=footer.num_rows, size=size, mark=mark) if destination.is_whole(path) else None


def find_shards(
    destination: Store, work: Work, protected: Mapping[str, bool], features: datasets.Features
) -> dict[str, tuple[Held, Shard | None]]:
    """The shards in a destination by split, and the last shard, which alone is opened; no row is read.

    Args:
        destination: the destination to search.
        work: the work to which its shards have to belong.
        protected: the splits of this job, and whether each gets the noise.
        features: features of this job's rows.

    Raises:
        OutputError: files do not belong to this work, or to another split, or shards are missing or damaged.
    """
    held: dict[str, tuple[Held, Shard | None]] = {split: (Held(), None) for split in protected}
    for split, sizes in list_own_shards(destination, protected).items():
        missing = set(range(max(sizes))) - set(sizes)
        path = shard_path(split, min(missing, default=max(sizes)))
        last = None
        if not missing:
            last = open_shard(destination, path, sizes[max(sizes)], work, protected[split], features)
        if last is None:
            raise OutputError(f"{destination.name} lacks {path}, or holds it damaged. {_REMEDY}")
        rows = last.mark.rows_before + last.rows
        size = sum(sizes.values())
        held[split] = Held(shards=len(sizes), rows=rows, size=size, bytes_before=last.mark.bytes_before), last
    return held


def write_split_table(destination: Store, held: Mapping[str, Held], features: datasets.Features) -> None:
    """Write the files of each split and the columns into the README.md; everything else in it stays.

    Raises:
        Conflict: the destination has changed since `held` was read.
    """
    present, fresh = destination.read_card(), _card(destination, None, held, features)
    # A card that is only the beginning of ours was cut off by an interruption.
    card = fresh if present is None or fresh.startswith(present) else _card(destination, present, held, features)
    if card != present:
        destination.write_card(card)


def _card(destination: Store, present: str | None, held: Mapping[str, Held], features: datasets.Features) -> str:
    try:
        card = DatasetCard(present or f"---\n\n---\n\n# {Path(destination.name).name}\n")
    except (ValueError, YAMLError) as error:
        raise OutputError(
            f"the {CARD} of {destination.name} cannot be read: {first_line(error)}. Mend or remove it."
        ) from error
    held = {split: part for split, part in held.items() if part.shards}
    files = [{"split": split, "path": f"data/{split}-*"} for split in held]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(card.data)
    splits = {split: SplitInfo(split, num_bytes=part.size, num_examples=part.rows) for split, part in held.items()}
    # Images are stored as they are, so a table is about as large as its file.
    size = sum(part.size for part in held.values())
    info = DatasetInfo(features=features, splits=SplitDict(splits), download_size=size, dataset_size=size)
    DatasetInfosDict({"default": info}).to_dataset_card_data(card.data)
    return str(card)


def retry_on_conflict(write: Callable[[], None], look_again: Callable[[], None]) -> None:
    """Write to a destination, and retry if somebody else has written to it in between.

    Raises:
        OutputError: conflicts do not end, or the other files do not belong to this work.
    """
    for attempt in range(ATTEMPTS):
        try:
            return write()
        except Conflict:
            time.sleep(attempt)
            look_again()
    raise OutputError("somebody else keeps writing to the destination. Run the same command again later.")


def _own_mark(destination: Store, path: str, footer: pq.FileMetaData, work: Work, protected: bool) -> Mark:
    mark, holds = Mark.of(footer), f"{destination.name} holds"
    if mark is None:
        raise OutputError(f"{holds} files of another dataset: {path}. {_REMEDY}")
    if mark.protector != work.protector:
        raise OutputError(
            f"{holds} rows that another protector has made: {path}. Name that protector to go on with it, or choose "
            "another output."
        )
    if mark.source != work.source:
        raise OutputError(f"{holds} the protected copy of other originals: {path}. {_REMEDY}")
    if mark.protected != protected:
        lies, wanted = ("protected", "clean") if mark.protected else ("clean", "protected")
        raise OutputError(f"{holds} this split {lies}, and it is to be {wanted} now: {path}. {_REMEDY}")
    return mark
