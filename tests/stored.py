"""What tests look at: images as datasets store them, files as they lie on the disk, and a disk that is full."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datasets import Dataset, Image, IterableDataset
from PIL import Image as PILImage

from uc_hf import UCProtector
from uc_hf.publishing.local import LocalFolder
from uc_hf.publishing.manifest import Manifest
from uc_hf.publishing.marks import Work


def stored(dataset: Dataset | IterableDataset, column: str = "image") -> list[dict]:
    """The images of a dataset as they are stored: {"bytes", "path"}."""
    if isinstance(dataset, IterableDataset):
        return [row[column] for row in dataset.decode(False)]
    return list(dataset.cast_column(column, Image(decode=False))[column])


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of writing of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file."""
    return {name: data for name, (data, _) in snapshot(folder).items()}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_a_bit_and_set_the_time_back(path: Path) -> None:
    times = path.stat()
    flip_a_bit(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "one bit": flip_a_bit,
    "one bit, its time set back": flip_a_bit_and_set_the_time_back,
    "another picture": lambda path: PILImage.new("RGB", (30, 30), "teal").save(path, "PNG"),
    "gone": Path.unlink,
}
"""What a crash, a failing disk or a person does to a file."""


def local_folder(out: Path, protector: UCProtector) -> LocalFolder:
    """A destination as a run of its own sees it: all that it knows of earlier ones is on the disk."""
    manifest = Manifest(out.with_name(f"{out.name}.jsonl"), Work.of(protector, "s"))
    manifest.begin()
    return LocalFolder(out, manifest)
