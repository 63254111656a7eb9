"""Where the parquet shards of a protected dataset go, and what such a place tells of the work that lies in it.

A shard counts once it is complete: on a disk when it has its name, on the Hub (`uc_hf.publishing.publish`) when it is
committed. Each carries a mark in its parquet metadata, by which an interrupted job finds where to go on and refuses
what is not its own.
"""

import re
import time
from collections.abc import Callable, Mapping
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

from uc_hf.errors import OutputError, first_line
from uc_hf.publishing.marks import Mark, Work


CARD = "README.md"

ATTEMPTS = 10
"""So often a write is tried because somebody else writes to the destination too."""

_SHARD = re.compile(r"data/(?P<split>\w+(?:\.\w+)*)-(?P<number>\d{5,})\.parquet")
_REMEDY = "Empty it, or choose another output."


class Conflict(Exception):
    """Somebody else has written to the destination since it was looked at: look again."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a destination holds of one split.

    Attributes:
        shards: how many.
        rows: in all of them.
        size: of their files, in bytes.
        mark: of the last one; None where there is none.
    """

    shards: int = 0
    rows: int = 0
    size: int = 0
    mark: Mark | None = None


class Destination(Protocol):
    """A place for shards and a README.md; paths are relative to it and written with "/"."""

    name: str
    """What messages call it."""

    @property
    def workspace(self) -> Path:
        """A folder on this machine where a shard is written before it is taken."""

    def files(self) -> dict[str, int]:
        """Path and size in bytes of every data file that is complete now."""

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file, without its rows."""

    def take(self, file: Path, path: str) -> None:
        """Make a finished file the one at `path`, whole or not at all; raises `Conflict`."""

    def read_card(self) -> str | None:
        """The README.md, if there is one."""

    def write_card(self, text: str) -> None:
        """Write the README.md; raises `Conflict`."""


def shard_path(split: str, number: int) -> str:
    """Where a shard lies; how many there will be is not known beforehand."""
    return f"data/{split}-{number:05d}.parquet"


def find_shards(
    destination: Destination, work: Work, protected: Mapping[str, bool], features: datasets.Features
) -> dict[str, Held]:
    """What lies in a destination, by split; of each only the last shard is opened, and no row is read.

    Args:
        destination: where to look.
        work: whose shards may lie there.
        protected: the splits of this job, and whether each one gets the noise.
        features: of this job's rows.

    Raises:
        OutputError: files that are not this work's.
    """
    found: dict[str, dict[int, int]] = {}
    for path, size in destination.files().items():
        match = _SHARD.fullmatch(path)
        if match is None:
            raise OutputError(f"{destination.name} holds files of another dataset: {path}. {_REMEDY}")
        found.setdefault(match["split"], {})[int(match["number"])] = size
    held = {split: Held() for split in protected}
    for split, sizes in found.items():
        if missing := set(range(max(sizes))) - set(sizes):
            path = shard_path(split, min(missing))
            raise OutputError(f"{destination.name} lacks {path}, and holds later ones. {_REMEDY}")
        path = shard_path(split, max(sizes))
        footer = _readable_footer(destination, path)
        mark = _own_mark(destination, path, footer, work, protected.get(split))
        if datasets.Features.from_arrow_schema(footer.schema.to_arrow_schema()) != features:
            raise OutputError(f"{destination.name} holds rows with other columns: {path}. {_REMEDY}")
        rows = mark.rows_before + footer.num_rows
        held[split] = Held(shards=len(sizes), rows=rows, size=sum(sizes.values()), mark=mark)
    return held


def write_split_table(destination: Destination, held: Mapping[str, Held], features: datasets.Features) -> None:
    """Write into the README.md which files are which split and what the columns are; all else in it stays.

    Raises:
        Conflict: the destination has changed since `held` was found out.
    """
    present = destination.read_card()
    card = DatasetCard(present or f"---\n\n---\n\n# {Path(destination.name).name}\n")
    held = {split: part for split, part in held.items() if part.shards}
    files = [{"split": split, "path": f"data/{split}-*"} for split in held]
    MetadataConfigs({"default": {"data_files": files}}).to_dataset_card_data(card.data)
    splits = {split: SplitInfo(split, num_bytes=part.size, num_examples=part.rows) for split, part in held.items()}
    # Images are stored as they are, so a table is about as large as its file.
    size = sum(part.size for part in held.values())
    info = DatasetInfo(features=features, splits=SplitDict(splits), download_size=size, dataset_size=size)
    DatasetInfosDict({"default": info}).to_dataset_card_data(card.data)
    if str(card) != present:
        destination.write_card(str(card))


def retry_on_conflict(write: Callable[[], None], look_again: Callable[[], None]) -> None:
    """Write to a destination, again when somebody else has written to it in between.

    Raises:
        OutputError: that goes on and on, or what they have written is not of this work.
    """
    for attempt in range(ATTEMPTS):
        try:
            return write()
        except Conflict:
            time.sleep(attempt)
            look_again()
    raise OutputError("somebody else writes to the destination all the time. Run the same command again later.")


def _readable_footer(destination: Destination, path: str) -> pq.FileMetaData:
    try:
        return destination.footer(path)
    except pa.ArrowInvalid as error:
        raise OutputError(f"{destination.name} holds a damaged file, {path}: {first_line(error)} {_REMEDY}") from error


def _own_mark(
    destination: Destination, path: str, footer: pq.FileMetaData, work: Work, protected: bool | None
) -> Mark:
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
    if protected is not None and mark.protected != protected:
        lies, wanted = ("protected", "clean") if mark.protected else ("clean", "protected")
        raise OutputError(f"{holds} this split {lies}, and it is to be {wanted} now: {path}. {_REMEDY}")
    return mark
