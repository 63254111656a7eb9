"""A folder at any address that fsspec writes to: s3://, gs://, az://, and others whose library is installed."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from huggingface_hub import DatasetCard

from uc_hf.errors import OutputError, SettingError, UCError, first_line
from uc_hf.files import PROBE, cannot_write, partial_path
from uc_hf.protecting.protector import Protector
from uc_hf.publishing.cards import CONTACT_SHEET, contact_sheet, dataset_card, sample_of
from uc_hf.publishing.destination import CARD, Destination


class RemoteFolder(Destination):
    """A folder that fsspec writes to, as a destination. Its own settings say who may write and read.

    Two runs that push to it at once do not notice each other: let one at a time do so.

    Args:
        address: as fsspec takes it.

    Raises:
        SettingError: nothing here opens such an address.
    """

    def __init__(self, address: str) -> None:
        self.name = self.url = address
        try:
            self._system, self._root = url_to_fs(address)
        except (ImportError, ValueError) as error:
            raise SettingError(f"{address!r} cannot be opened: {first_line(error)}.") from error
        self._scratch = tempfile.TemporaryDirectory(prefix="uc_hf-")

    def check(self) -> None:
        """Write something there and remove it again.

        Raises:
            OutputError: it cannot be written to.
        """
        probe = self._place(partial_path(Path("probe")).name)
        with self._writing():
            self._system.makedirs(self._root, exist_ok=True)
            self._system.pipe_file(probe, PROBE)
            self._system.rm_file(probe)

    def is_filled(self) -> bool:
        """Whether it holds data."""
        return bool(self.files())

    def create(self, private: bool | None = None) -> None:
        """Nothing: `check` has made the folder.

        Raises:
            OutputError: it has to be private, which its owner alone can say.
        """
        if private:
            raise OutputError(f"who may read {self.name} is set where it lies: set it there, and leave private out.")

    @property
    def workspace(self) -> Path:
        """A folder that is deleted with this object."""
        return Path(self._scratch.name)

    def files(self) -> dict[str, int]:
        """Path and size of its files; the card and hidden files are left out."""
        self._system.invalidate_cache()
        found = self._system.find(self._root, detail=True) if self._system.exists(self._root) else {}
        sizes = {place.removeprefix(self._root).lstrip("/"): told["size"] for place, told in found.items()}
        hidden = [path for path in sizes if any(part.startswith(".") for part in path.split("/"))]
        return {path: size for path, size in sizes.items() if path not in (CARD, *hidden)}

    def footer(self, path: str) -> pq.FileMetaData:
        """The metadata of a parquet file; only its end is fetched."""
        with self._opened(path) as file:
            return file.metadata

    @contextmanager
    def _opened(self, path: str) -> Iterator[pq.ParquetFile]:
        with self._system.open(self._place(path)) as remote, pq.ParquetFile(remote) as file:
            yield file

    def take(self, file: Path, path: str) -> None:
        """Send a finished file under another name, and then give it its own."""
        partial = self._place(partial_path(Path(path)).as_posix())
        with self._writing():
            self._system.makedirs(self._system._parent(partial), exist_ok=True)
            self._system.put_file(str(file), partial)
            self._system.mv(partial, self._place(path))

    def read_card(self) -> str | None:
        """The README.md, if there is one."""
        place = self._place(CARD)
        return self._system.cat_file(place).decode() if self._system.exists(place) else None

    def write_card(self, text: str) -> None:
        """Write the README.md."""
        self._write(CARD, text.encode())

    def upload(self, folder: Path) -> None:
        """Replace its shards by those of a local folder."""
        coming = {f"data/{file.name}": file for file in sorted((folder / "data").glob("*.parquet"))}
        for path, file in coming.items():
            self.take(file, path)
        with self._writing():
            for path in self.files().keys() - coming.keys():
                self._system.rm_file(self._place(path))

    def introduce(
        self, protector: Protector, source: str | None, protected_splits: Sequence[str], clean_splits: Sequence[str]
    ) -> None:
        """Write the card, and the sheet with images of the first protected split."""
        sample = sample_of(self.files(), protected_splits, protector.fitted.column, self._opened)
        self._write(CONTACT_SHEET, contact_sheet(sample.pictures))
        card = dataset_card(
            DatasetCard(self.read_card() or ""),
            protector,
            source_name=None,
            source_card=None,
            protected_splits=protected_splits,
            clean_splits=clean_splits,
            scorecard=None,
            flip=sample.flip,
            contact_sheet=True,
        )
        self.write_card(str(card))

    def _place(self, path: str) -> str:
        return f"{self._root.rstrip('/')}/{path}"

    def _write(self, path: str, data: bytes) -> None:
        place = self._place(path)
        with self._writing():
            self._system.makedirs(self._system._parent(place), exist_ok=True)
            self._system.pipe_file(place, data)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except UCError:
            raise
        except OSError as error:
            raise cannot_write(self.name, error) from error
