"""What was finished in an output: a copy counts only while it, and its original, are what they were then.

It lies in the protector's folder, which is private. The output is published as it is, and has no place for the time at
which an original was taken, or for what would confirm a guess of it; the digests of originals are keyed by the noise
besides. A line is appended for each copy, so that the millionth costs no more than the first. Of the lines of a name
the last holds; one that was cut off or damaged, or is another protector's, counts for nothing: its copy is made again.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

from uc_hf.files import cannot_write, sync, write_whole
from uc_hf.publishing.marks import Work


class State(NamedTuple):
    """What a disk tells of a file without its bytes being read.

    Attributes:
        size: in bytes.
        modified: when its bytes were written, in nanoseconds; programs set it back.
        changed: when anything of it changed, in nanoseconds; nobody sets it back.
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
    """A file as it was: the digest of its bytes, and its state."""

    digest: str
    state: State

    def again(self, path: Path, digest: Callable[[Path], str], *, verify: bool) -> "Seen | None":
        """A file as it is now; None where its bytes are others. Of the same state they are only read to `verify`."""
        now = State.of(path)
        if now == self.state and not verify:
            return self
        same = now.size == self.state.size and digest(path) == self.digest
        return Seen(self.digest, now) if same else None


class Entry(NamedTuple):
    """A finished copy, its original where that is a file, and whether the copy carries the noise."""

    copy: Seen
    original: Seen | None
    protected: bool


class Manifest:
    """The finished copies of one output, by name.

    Args:
        path: of its file.
        work: of the protector that makes the copies.

    Attributes:
        changed: copies that were finished, and found to be others now, or missing, or of another original.
    """

    def __init__(self, path: Path, work: Work) -> None:
        self._path, self._work = path, work
        self._entries = dict(_read(path, self._mark))
        self._lines: list[str] = []
        self.changed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """However the work within ends, what was noted is written down."""
        self.sync()

    @property
    def _mark(self) -> str:
        return self._work.protector[:8]

    def __contains__(self, name: str) -> bool:
        """Whether a copy of this name was finished, whatever has become of it."""
        return name in self._entries or name in self.changed

    @property
    def names(self) -> list[str]:
        """Of all copies that were finished, and not found changed since."""
        return list(self._entries)

    def begin(self) -> None:
        """Make the file, by which the output is known as this protector's work.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._path.exists():
            write_whole(self._path, b"")

    def holds(
        self, name: str, copy: Path, original: Path | None = None, *, protected: bool = True, verify: bool = False
    ) -> bool:
        """Whether a copy is finished, and it and its original are what they were; what is not is `changed`.

        Args:
            name: of the copy.
            copy: its file, which may be missing.
            original: the original's file, where it is one.
            protected: whether the copy is to carry the noise.
            verify: read them, however sure their states are.
        """
        entry = self._entries.get(name)
        if entry is None:
            return False
        now = self._again(entry, copy, original, verify) if entry.protected == protected else None
        if now is None:
            del self._entries[name]
            self.changed.add(name)
        elif now != entry:
            self._note(name, now)
        return now is not None

    def _again(self, entry: Entry, copy: Path, original: Path | None, verify: bool) -> Entry | None:
        try:
            finished, source = entry.copy.again(copy, digest_of_file, verify=verify), entry.original
            if source is not None and original is not None:
                source = source.again(original, self._digest_of_original, verify=verify)
        except OSError:
            return None  # missing; or whoever reads it next says why it cannot be read
        if finished is None or (source is None and original is not None):
            return None
        return entry._replace(copy=finished, original=source)

    def _note(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry
        files = [file and [file.digest, *file.state] for file in (entry.copy, entry.original)]
        self._lines.append(json.dumps([self._mark, name, *files, entry.protected]) + "\n")

    def add(self, name: str, copy: Path, digest: str, original: Seen | None = None, *, protected: bool = True) -> None:
        """Note a finished copy; `sync` writes that down.

        Args:
            name: of the copy.
            copy: its file.
            digest: of its bytes.
            original: as it was when it was read.
            protected: whether the copy carries the noise.
        """
        self._note(name, Entry(Seen(digest, State.of(copy)), original, protected))

    def seen(self, data: bytes, state: State) -> Seen:
        """An original of these bytes, as `add` takes it; `state` is from before it was read."""
        return Seen(self._work.original(data), state)

    def _digest_of_original(self, path: Path) -> str:
        return self._work.original(path.read_bytes())

    def sync(self) -> None:
        """Write down what was noted, and wait until the disk holds it.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._lines:
            return
        try:
            with self._path.open("ab") as file:
                file.write(("\n" + "".join(self._lines)).encode())  # a line that was cut off ends here
            sync(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._lines.clear()


def digest_of(data: bytes) -> str:
    """The digest of a copy's bytes, which are public."""
    return hashlib.sha256(data).hexdigest()


def digest_of_file(path: Path) -> str:
    """The digest of a copy, whatever its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path, mark: str) -> Iterator[tuple[str, Entry]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                of, name, copy, original, protected = json.loads(line)
                if of == mark:
                    yield str(name), Entry(_seen(copy), original and _seen(original), protected)
            except (TypeError, ValueError):
                continue  # damaged, or empty


def _seen(values: list) -> Seen:
    digest, *state = values
    return Seen(digest, State(*state))
