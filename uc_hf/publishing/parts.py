"""Parts of a job: what each of several runs protects, and how their finished files are joined.

Users call them shards. Each takes an even share of the images that are protected, in their order, and writes it into a
folder of its own as if there were nothing else; what is copied clean waits for the end.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from uc_hf.data.progress import Bar
from uc_hf.errors import PartError, SettingError, shown
from uc_hf.files import sync
from uc_hf.publishing.destination import list_shards, open_shard, shard_path
from uc_hf.publishing.local import LocalFolder
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Mark, Work


FOLDER = ".shards"
"""The folder in an output that holds its parts."""

_NAME = re.compile(r"(\d+)-of-(\d+)")


@dataclass(frozen=True, order=True)
class Part:
    """One part of so many; the first is 1."""

    number: int
    of: int

    @classmethod
    def read(cls, text: str) -> Self:
        """A part as users write it: "2/4".

        Raises:
            SettingError: it is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingError(f"--shard {text}: write I/N, from 1/N to N/N; 2/4 is the second of four.")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def all_in(cls, out: Path) -> list[Self]:
        """Those that have begun in an output, sorted."""
        names = [_NAME.fullmatch(folder.name) for folder in (out / FOLDER).glob("*")]
        return sorted(cls(int(name[1]), int(name[2])) for name in names if name is not None)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def folder(self, out: Path) -> Path:
        """Where it writes."""
        return out / FOLDER / f"{self.number}-of-{self.of}"

    def check(self, images: int) -> None:
        """Check that every part has an image.

        Raises:
            SettingError: there are more parts than images.
        """
        if self.of > images:
            raise SettingError(f"--shard {self}: there are only {images} images to protect. Write fewer shards.")

    def share(self, total: int) -> range:
        """Its share of so many images in a row."""
        return range(total * (self.number - 1) // self.of, total * self.number // self.of)


@dataclass(frozen=True)
class Finished:
    """A part that should be finished, its folder, and its manifest."""

    part: Part
    folder: Path
    manifest: Manifest


def gather(parts: Sequence[tuple[Finished, Mapping[Path, Path]]], root: Path, out: Path, manifest: Manifest) -> None:
    """Move the protected pictures of all parts into one folder, once all are known to be there and unchanged.

    Args:
        parts: each, and the copies of its pictures.
        root: the folder of the originals.
        out: the folder of the copies; a picture that an interrupted call has moved there is left there.
        manifest: its finished files.

    Raises:
        PartError: a copy is missing, or it or its original has changed.
    """
    copies = [(finished, name, copy) for finished, named in parts for name, copy in named.items()]
    for finished, name, copy in Bar(copies, desc="checking copies", unit="image", leave=False):
        made = finished.folder / copy
        place = made if made.exists() else out / copy
        if not finished.manifest.holds(str(copy), place, root / name, verify=True):
            raise PartError(
                str(finished.part),
                f"has no copy of {shown(name)} as it is now: it is not finished, or one of the two has changed",
            )
    with manifest:
        for finished, _, copy in copies:
            if (finished.folder / copy).exists():
                (out / copy).parent.mkdir(parents=True, exist_ok=True)
                (finished.folder / copy).replace(out / copy)
            manifest.adopt(finished.manifest, str(copy), out / copy)
        for folder in {(out / copy).parent for _, _, copy in copies}:
            sync(folder)


@dataclass(frozen=True)
class _File:
    part: Part
    path: Path
    first: int


class FinishedRows:
    """The protected rows of all parts in the order of the originals: `made` of `protect_dataset`.

    Args:
        parts: each, and the number of its rows in each split.
        work: to which they have to belong.
        features: of the rows.

    Raises:
        PartError: rows are missing, or a file has changed.
        OutputError: a file belongs to other work.
    """

    def __init__(
        self, parts: Sequence[tuple[Finished, Mapping[str, int]]], work: Work, features: datasets.Features
    ) -> None:
        self._schema = features.arrow_schema
        self._files: dict[str, list[_File]] = {}
        rows: dict[str, int] = {}
        for finished, counts in parts:
            for split, count in counts.items():
                first = rows.get(split, 0)
                self._files.setdefault(split, []).extend(_files(finished, split, first, count, work, features))
                rows[split] = first + count
        self._next: tuple[str, int] | None = None

    def __call__(self, originals: pa.Table, split: str, first: int, digests: Sequence[str]) -> pa.Table:
        """The protected rows of original ones; they are asked for in order.

        Raises:
            PartError: a row was made of another original.
        """
        if self._next != (split, first):
            self._rows = self._read(split, first)
        self._next = split, first + len(originals)
        rows = list(islice(self._rows, len(originals)))
        for row, (part, digest, _), own in zip(range(first, first + len(rows)), rows, digests, strict=True):
            if digest != own:
                raise PartError(
                    str(part), f"was made of other rows than the source has now, as row {row} of {split!r} shows"
                )
        return pa.concat_tables([table for _, _, table in rows]).combine_chunks().cast(self._schema)

    def _read(self, split: str, first: int) -> Iterator[tuple[Part, str, pa.Table]]:
        files = self._files[split]
        at = bisect_right([file.first for file in files], first) - 1
        for file in files[at:]:
            row = file.first
            with pq.ParquetFile(file.path) as opened:
                mark = Mark.of(opened.metadata)
                digests = [] if mark is None else mark.rows
                for group in range(opened.num_row_groups):
                    end = row + opened.metadata.row_group(group).num_rows
                    if end > first:
                        table = opened.read_row_group(group)
                        for number in range(max(row, first), end):
                            yield file.part, digests[number - file.first], table.slice(number - row, 1)
                    row = end


def _files(
    finished: Finished, split: str, first: int, count: int, work: Work, features: datasets.Features
) -> Iterator[_File]:
    """The files of one part of a split, which hold so many rows from the first on."""
    store, part = LocalFolder(finished.folder, finished.manifest), str(finished.part)
    found, held = list_shards(store).get(split, {}), 0
    for number in range(max(found, default=-1) + 1):
        path = shard_path(split, number)
        finished.manifest.holds(path, finished.folder / path, verify=True)
        shard = open_shard(store, path, found[number], work, True, features) if number in found else None
        if shard is None or shard.mark.rows_before != held:
            raise PartError(part, f"lacks {path}, or its file has changed since")
        yield _File(finished.part, finished.folder / path, first + held)
        held += shard.rows
    if held != count:
        raise PartError(part, f"holds {held} of its {count} rows of {split!r}: it is not finished")
