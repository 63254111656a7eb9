"""Where the parquet shards of a protected dataset go, and what such a place tells of the work that lies in it.

A shard counts once it is complete: on a disk when it has its name, on the Hub (`uc_hf.publishing`) when it is
committed. Each carries a mark in its parquet metadata, by which an interrupted job finds where to go on and refuses
what is not its own.
"""

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol, Self

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.info import DatasetInfo, DatasetInfosDict
from datasets.splits import SplitDict, SplitInfo
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import DatasetCard

from uc_hf.errors import OutputError, first_line
from uc_hf.fitting.record import ALGORITHM
from uc_hf.protecting.protector import Protector


MARK = b"uc_hf"
"""The key of the mark in a shard's parquet metadata."""

CARD = "README.md"

ATTEMPTS = 10
"""So often a write is tried because somebody else writes to the destination too."""

_SHARD = re.compile(r"data/(?P<split>\w+(?:\.\w+)*)-(?P<number>\d{5,})\.parquet")
_REMEDY = "Empty it, or choose another output."


class Conflict(Exception):
    """Somebody else has written to the destination since it was looked at: look again."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a shard says of itself; nothing in it tells of the noise, of the originals, or of where they lie.

    Attributes:
        protector: digest of what decides the pixels.
        source: digest of the originals' name.
        protected: whether this split carries the noise, or was carried over clean.
        rows_before: rows of the split in earlier shards.
        bytes_before: size of the originals' images up to the end of this shard.
        last_row: digest of the original of this shard's last row.
        final: whether the split ended with this shard.
    """

    protector: str
    source: str
    protected: bool
    rows_before: int
    bytes_before: int
    last_row: str
    final: bool

    @classmethod
    def of(cls, footer: pq.FileMetaData) -> Self | None:
        """The mark in a parquet file's metadata; None where there is none that this version knows."""
        written = json.loads((footer.metadata or {}).get(MARK, "{}"))
        return cls(**written) if set(written) == {attribute.name for attribute in fields(cls)} else None

    def to_json(self) -> str:
        """As it is written into parquet metadata."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Work:
    """One protector's work on one source.

    Its digests are keyed by the noise: who does not hold the protector can neither check a guess of the source's name
    by them, nor tell which published original is which row.

    Attributes:
        protector: digest, as in `Mark`.
        source: digest, as in `Mark`.
        key: secret, never written.
    """

    protector: str
    source: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, protector: Protector, source: str) -> Self:
        """The work of a fitted protector on the originals of a name."""
        fit, settings = protector.fitted, protector.settings
        chosen = settings.plain() | {"surrogate": fit.surrogate_digest, "surrogate_revision": None}
        decisive = [ALGORITHM, protector.method, fit.column, fit.coloured, chosen]
        learnt = b"".join(array.tobytes() for _, array in sorted(fit.arrays().items()))
        key = hashlib.sha256(json.dumps(decisive).encode() + learnt).digest()
        return cls(protector=_digest(key, b"protector"), source=_digest(key, b"source" + source.encode()), key=key)

    def row(self, original: bytes) -> str:
        """Digest of an original image."""
        return _digest(self.key, b"row" + original)


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


class LocalFolder:
    """A folder on this machine."""

    def __init__(self, root: Path) -> None:
        self.name = str(root)
        self._root = root

    @property
    def workspace(self) -> Path:
        """Beside the finished shards, so that taking one is renaming it."""
        folder = self._root / "data"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def files(self) -> dict[str, int]:
        """The parquet files; what a person keeps beside them is left alone."""
        paths = sorted((self._root / "data").glob("*.parquet"))
        return {path.relative_to(self._root).as_posix(): path.stat().st_size for path in paths}

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file, without its rows."""
        return pq.read_metadata(self._root / path)

    def take(self, file: Path, path: str) -> None:
        """Rename a finished file."""
        file.replace(self._root / path)

    def read_card(self) -> str | None:
        """The README.md, if there is one."""
        path = self._root / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def write_card(self, text: str) -> None:
        """Write the README.md, whole or not at all."""
        partial = self._root / f"{CARD}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self._root / CARD)


def shard_path(split: str, number: int) -> str:
    """Where a shard lies; how many there will be is not known beforehand."""
    return f"data/{split}-{number:05d}.parquet"


def look(
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


def describe(destination: Destination, held: Mapping[str, Held], features: datasets.Features) -> None:
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


def settle(write: Callable[[], None], look_again: Callable[[], None]) -> None:
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


def _digest(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]


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
