"""What protectors have made: their own folders, whose pictures show the noise, and the copies that they list."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Self


KEY_SUFFIX = ".protector"
"""Of the folder with the protector, beside the output that is named as it is without."""

OUTPUTS = "outputs"
"""The folder beside a protector's files that holds the manifest of each output which it has written."""


class State(NamedTuple):
    """Properties of a file that are known without reading it.

    Attributes:
        size: in bytes.
        modified: time of the last write in nanoseconds; programs can set it back.
        changed: time of the last change of any kind in nanoseconds; it cannot be set back.
    """

    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """The state of a file now."""
        told = path.stat()
        return cls(told.st_size, told.st_mtime_ns, told.st_ctime_ns)


class Seen(NamedTuple):
    """A file at some time.

    Attributes:
        digest: of its bytes.
        state: then.
        named: keyed digest of an original's name; None of a copy, and of what earlier versions noted down.
    """

    digest: str
    state: State
    named: str | None = None

    def again(self, path: Path, digest: Callable[[Path], str], *, verify: bool) -> "Seen | None":
        """The file now; None if its bytes have changed. With an unchanged state they are only read to `verify`."""
        now = State.of(path)
        if now == self.state and not verify:
            return self
        same = now.size == self.state.size and digest(path) == self.digest
        return self._replace(state=now) if same else None


class Entry(NamedTuple):
    """A finished copy, its original if that is a file, and whether the copy carries the noise."""

    copy: Seen
    original: Seen | None
    protected: bool


def is_key(folder: Path) -> bool:
    """Whether a folder is a saved protector, whatever it is called."""
    files = ["config.json"] if folder.name.endswith(KEY_SUFFIX) else ["config.json", "model.safetensors"]
    return all(os.access(folder / name, os.F_OK) for name in files)  # False also where it may not be looked at


def made_here(entries: Sequence["os.DirEntry[str]"]) -> set[str]:
    """The names of protectors' folders, and of the outputs that they lie beside."""
    folders = [Path(entry.path) for entry in entries if not entry.is_file(follow_symlinks=False)]
    keys = [folder for folder in folders if is_key(folder)]
    outputs = {folder.name for folder in folders if _is_made_by(keys, folder)}
    return outputs.union(key.name for key in keys)


def is_output(folder: Path, key: Path | None = None, split: str | None = None) -> bool:
    """Whether a folder holds protected copies.

    Args:
        folder: that may hold some.
        key: the folder of a protector that may have made them, besides the one that lies beside them.
        split: asks for those of one split, which is a folder in it.
    """
    place = folder.resolve()
    keys = [place.parent / f"{place.name}{KEY_SUFFIX}", *([] if key is None else [key])]
    return _is_made_by(keys, place, split)


def _is_made_by(keys: Sequence[Path], folder: Path, split: str | None = None) -> bool:
    return any(_lists_files_of(manifest, folder, split) for key in keys for manifest in _manifests(key))


def _manifests(key: Path) -> list[Path]:
    try:
        return sorted((key / OUTPUTS).glob("*.jsonl"))
    except OSError:
        return []  # a name that is too long for a key's, or what may not be read


def _lists_files_of(manifest: Path, folder: Path, split: str | None) -> bool:
    """Whether a protected copy that a manifest of any protector lists lies in a folder, with its bytes."""
    return any(
        entry.protected and split in (None, Path(name).parts[0].lower()) and _is_there(entry.copy, folder / name)
        for name, entry in read_entries(manifest)
    )


def _is_there(copy: Seen, path: Path) -> bool:
    try:
        return path.is_file() and copy.again(path, digest_of_file, verify=False) is not None
    except (OSError, ValueError):
        return False  # what cannot be read, or a name that none can have


def digest_of_file(path: Path) -> str:
    """The digest of a copy of any size, read in parts."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_entries(path: Path, mark: str | None = None) -> Iterator[tuple[str, Entry]]:
    """The entries of a manifest by one protector, or by any, in the order in which they were written."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                of, name, copy, original, protected = json.loads(line)
                if mark in (None, of):
                    yield str(name), Entry(_seen(copy), original and _seen(original), protected)
            except (TypeError, ValueError):
                continue  # damaged, or empty


def _seen(values: list) -> Seen:
    digest, size, modified, changed, *named = values
    return Seen(digest, State(size, modified, changed), *named)
