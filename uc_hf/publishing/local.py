"""A folder on this machine as a destination."""

from pathlib import Path

import pyarrow.parquet as pq

from uc_hf.files import put, write_whole
from uc_hf.publishing.destination import CARD


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
        put(file, self._root / path)

    def read_card(self) -> str | None:
        """The README.md, if there is one."""
        path = self._root / CARD
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def write_card(self, text: str) -> None:
        """Write the README.md, whole or not at all."""
        write_whole(self._root / CARD, text.encode())
