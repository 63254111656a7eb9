"""The finished files of an output: a copy counts only while it and its original are unchanged.

The manifest is stored in the protector's folder, which is private. The output will be published, so it must not hold
the times of originals or anything that confirms a guess of them; digests of originals and of their names are keyed by
the noise as well. A line is appended for each copy, so the cost does not grow with their number. The last line of a
name is valid. A line that is damaged, or belongs to another protector, is ignored, and its copy is made again.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Self

from uc_hf.data.made import Entry, Seen, State, digest_of_file, read_entries
from uc_hf.errors import DatasetError, shown
from uc_hf.files import cannot_write, sync, write_whole
from uc_hf.publishing.marks import Work


class Manifest:
    """The finished copies of one output, by name.

    Args:
        path: path of the manifest.
        work: work of the protector that makes the copies.

    Attributes:
        changed: copies that were finished and are now changed, missing, or those of another original.
    """

    def __init__(self, path: Path, work: Work) -> None:
        self._path, self._work = path, work
        self._entries = dict(read_entries(path, self._mark))
        self._lines: list[str] = []
        self.changed: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write the recorded entries, however the work within ends."""
        self.sync()

    @property
    def _mark(self) -> str:
        return self._work.protector[:8]

    def __contains__(self, name: str) -> bool:
        """Whether a copy of this name was finished, even if it has changed since."""
        return name in self._entries or name in self.changed

    @property
    def names(self) -> list[str]:
        """The names of all finished copies that are not known to have changed."""
        return list(self._entries)

    def begin(self) -> None:
        """Create the file, which identifies the output as this protector's work.

        Raises:
            OutputError: it cannot be written.
        """
        if not self._path.exists():
            write_whole(self._path, b"")

    def holds(
        self, name: str, copy: Path, original: Path | None = None, *, protected: bool = True, verify: bool = False
    ) -> bool:
        """Whether a copy is finished and it and its original are unchanged; otherwise it is added to `changed`.

        Args:
            name: name of the copy.
            copy: its file, which may be missing.
            original: file of the original, if it is a file.
            protected: whether the copy has to carry the noise.
            verify: read both even if their states are unchanged.

        Raises:
            DatasetError: it is the copy of another original, which is still there.
        """
        entry = self._entries.get(name)
        if entry is None:
            return False
        now = self._again(entry, copy, original, verify) if entry.protected == protected else None
        if now is None and original is not None:
            self._refuse_another(name, entry.original, original)
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
                source = source and source._replace(named=self._name_of(original))
        except OSError:
            return None  # missing, or unreadable, which the next read reports
        if finished is None or (source is None and original is not None):
            return None
        return entry._replace(copy=finished, original=source)

    def _refuse_another(self, name: str, before: Seen | None, original: Path) -> None:
        """Refuse to replace the copy of an original by that of another one with the same stem beside it."""
        if before is None or before.named in (None, self._name_of(original)):
            return
        for other in original.parent.iterdir():
            if other.stem == original.stem and self._name_of(other) == before.named:
                raise DatasetError(
                    f"{shown(name)} is the copy of {shown(other)}, and {shown(original)} would take its place. Rename "
                    "one of the two, or choose another --out."
                )

    def _name_of(self, original: Path) -> str:
        return self._work.original(os.fsencode(original.name))

    def _note(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry
        files = [
            file and [file.digest, *file.state, *filter(None, [file.named])] for file in (entry.copy, entry.original)
        ]
        self._lines.append(json.dumps([self._mark, name, *files, entry.protected]) + "\n")

    def add(self, name: str, copy: Path, digest: str, original: Seen | None = None, *, protected: bool = True) -> None:
        """Record a finished copy; `sync` writes the record.

        Args:
            name: name of the copy.
            copy: its file.
            digest: digest of its bytes.
            original: the original when it was read.
            protected: whether the copy carries the noise.
        """
        self._note(name, Entry(Seen(digest, State.of(copy)), original, protected))

    def adopt(self, other: "Manifest", name: str, copy: Path) -> None:
        """Record a finished copy that another manifest lists, and that lies here now.

        Args:
            other: of the same work.
            name: name of the copy.
            copy: its file.
        """
        entry = other._entries[name]
        self.add(name, copy, entry.copy.digest, entry.original, protected=entry.protected)

    def seen(self, original: Path, data: bytes, state: State) -> Seen:
        """An original with these bytes, for `add`; `state` was taken before it was read."""
        return Seen(self._work.original(data), state, self._name_of(original))

    def _digest_of_original(self, path: Path) -> str:
        return self._work.original(path.read_bytes())

    def sync(self) -> None:
        """Write the recorded entries, and wait until the disk holds them.

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
