"""A folder on this machine as a destination."""

from pathlib import Path

import pyarrow.parquet as pq

from uc_hf.data.made import digest_of_file
from uc_hf.files import put, write_whole
from uc_hf.publishing.destination import CARD
from uc_hf.publishing.manifest import Manifest


class LocalFolder:
    """A folder on this machine.

    Args:
        root: the folder; created if it does not exist.
        manifest: its finished files.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.name = str(root)
        self._root, self._manifest = root, manifest

    @property
    def workspace(self) -> Path:
        """A folder beside the finished shards, so that `take` only renames."""
        folder = self._root / "data"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def files(self) -> dict[str, int]:
        """The parquet files; other files beside them are ignored."""
        paths = sorted((self._root / "data").glob("*.parquet"))
        return {path.relative_to(self._root).as_posix(): path.stat().st_size for path in paths}

    def is_whole(self, path: str) -> bool:
        """Whether a file holds the bytes that the manifest lists."""
        return self._manifest.holds(path, self._root / path)

    def was_taken(self, path: str) -> bool:
        """Whether a file came by `take`, even if it has changed since."""
        return path in self._manifest

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file, without its rows."""
        return pq.read_metadata(self._root / path)

    def take(self, file: Path, path: str) -> None:
        """Rename a finished file, and list it in the manifest."""
        digest = digest_of_file(file)
        put(file, self._root / path)
        with self._manifest:
            self._manifest.add(path, self._root / path, digest)

    def read_card(self) -> str | None:
        """The README.md, if there is one and it is text."""
        path = self._root / CARD
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except UnicodeDecodeError:
            return None
        return None if not text or "\0" in text else text

    def write_card(self, text: str) -> None:
        """Write the README.md, whole or not at all."""
        write_whole(self._root / CARD, text.encode())
