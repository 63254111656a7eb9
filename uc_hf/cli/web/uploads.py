"""Files that a user drops into the page -> photographs in a folder.

Everything here comes from outside: a zip file may name places outside its folder, hold links, or unpack to more than
the disk holds. Nothing is written but pictures, under names that stay below the folder.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.data.folders import is_image_file
from uc_hf.errors import ImageError, UCError
from uc_hf.files import whole


PIECE = 1024 * 1024
"""Bytes that are unpacked at a time, so that a zip bomb is noticed before it is large."""


PNG = Container("png")
"""The container of the protected copies."""

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Limits:
    """How much one user may drop in.

    Attributes:
        files: number of pictures, including those in zip files.
        n_bytes: size of all of them, unpacked, in bytes.
    """

    files: int = 20_000
    n_bytes: int = 20 * 10**9


@dataclass(frozen=True)
class LeftOut:
    """A file that was dropped in and is not protected.

    Attributes:
        name: as the user knows it.
        reason: in words, with the remedy.
    """

    name: str
    reason: str


class TooMuchError(UCError):
    """More was dropped in than there is room for."""


def take_in(files: Sequence[Path], into: Path, limits: Limits) -> list[LeftOut]:
    """Copy pictures, and those in zip files, into a folder; one that was dropped in before is taken once.

    Args:
        files: the files that the browser has uploaded.
        into: the folder; it may hold earlier uploads.
        limits: for all that the folder then holds.

    Returns:
        the files that were left out, with the reason.

    Raises:
        TooMuchError: the limits are reached; pictures taken in until then stay.
    """
    room = _Room(into, limits)
    left_out: list[LeftOut] = []
    for file in files:
        if file.suffix.lower() == ".zip":
            left_out.extend(_unpack(file, room))
        elif not is_image_file(file) or file.name.startswith("."):
            left_out.append(LeftOut(file.name, "not a picture, and not a .zip of pictures."))
        else:
            with file.open("rb") as data:
                left_out.extend(room.put(PurePosixPath(file.name), data))
    return left_out


class _Room:
    """A folder, and how much more it may hold."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        held = [path for path in folder.rglob("*") if path.is_file()]
        self._folder = folder
        self._files = limits.files - len(held)
        self._bytes = limits.n_bytes - sum(path.stat().st_size for path in held)
        self._limits = limits

    def put(self, name: PurePosixPath, data: IO[bytes]) -> Iterator[LeftOut]:
        """Write a picture under a name below the folder, or yield the reason why it is left out."""
        if self._files < 1:
            raise TooMuchError(f"more than {self._limits.files:,} files. Protect them in parts, or by the command.")
        partial = self._folder / ".partial"
        try:
            self._copy(data, partial)
            images.check(partial, PNG)
            place = self._free(name, partial)
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                partial.replace(place)
                self._files -= 1
        except (ImageError, zipfile.BadZipFile, zlib.error) as error:
            yield LeftOut(str(name), str(error))
        except OSError as error:  # its text has the server's path
            yield LeftOut(str(name), f"it cannot be kept under this name: {error.strerror}. Rename it.")
        finally:
            partial.unlink(missing_ok=True)

    def _copy(self, data: IO[bytes], to: Path) -> None:
        with to.open("wb") as file:
            while piece := data.read(PIECE):
                self._bytes -= len(piece)
                if self._bytes < 0:
                    limit = f"{self._limits.n_bytes / 10**9:g} GB"
                    raise TooMuchError(f"more than {limit} in all. Protect them in parts, or by the command.")
                file.write(piece)

    def _free(self, name: PurePosixPath, picture: Path) -> Path | None:
        """A path with a stem of its own, since copies are named by it; None if the same picture is there already."""
        taken = {path.stem.casefold(): path for path in (self._folder / name.parent).glob("*") if path.is_file()}
        stem, number = name.stem, 1
        while (other := taken.get(stem.casefold())) is not None:
            if other.suffix == name.suffix and other.read_bytes() == picture.read_bytes():
                return None
            number += 1
            stem = f"{name.stem} ({number})"
        return self._folder / name.parent / f"{stem}{name.suffix}"


def _unpack(file: Path, room: _Room) -> Iterator[LeftOut]:
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.is_dir() or _is_litter(entry.filename):
                    continue
                if reason := _refusal(entry):
                    yield LeftOut(f"{file.name}: {_printable(entry.filename)}", reason)
                    continue
                with archive.open(entry) as data:
                    for left in room.put(PurePosixPath(entry.filename), data):
                        yield LeftOut(f"{file.name}: {left.name}", left.reason)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        yield LeftOut(file.name, f"the zip file is damaged or of an unknown kind: {error}. Pack it again.")


def _refusal(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry of a zip file is not unpacked; None if it may be."""
    name = PurePosixPath(entry.filename)
    strange = not entry.filename.isprintable() or any(character in entry.filename for character in "\\:")
    if name.is_absolute() or ".." in name.parts or strange:
        return "its name points outside the zip file, or holds characters that no file name should."
    if any(part.startswith(".") for part in name.parts):
        return "a hidden file."
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "a link or a special file, not a picture."
    if entry.flag_bits & 0x1:
        return "it is encrypted. Pack it without a password."
    if name.suffix.lower() == ".zip":
        return "a zip file within a zip file. Unpack it first."
    return None if is_image_file(Path(name.name)) else "not a picture."


def _is_litter(name: str) -> bool:
    """Whether it is a file that operating systems add, such as .DS_Store."""
    path = PurePosixPath(name)
    return "__MACOSX" in path.parts or path.name in LITTER or path.name.startswith("._")


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def pack(folder: Path, to: Path) -> None:
    """Pack all files of a folder into a zip file with the same tree, uncompressed: pictures are compressed already."""
    with whole(to) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
