"""Files that are whole or not there, whatever ends the program: the one way in which uc_hf writes what has to last.

And the one way in which it reads pictures: of regular files alone.
"""

import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout, UnixFileLock

from uc_hf.errors import NO_SPACE, OutputError, UCError


PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")
"""The name of what is unfinished: hidden, and short, so that it fits wherever the finished one does."""

PROBE = bytes(2**20)
"""Is written to see whether a place takes anything: a checkpoint or a protector has about this size."""


def read_file(path: str | Path) -> bytes:
    """The bytes of a regular file; a pipe or a device, which may never end, is not opened.

    Raises:
        OSError: it is not a regular file, or cannot be read.
    """
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return Path(path).read_bytes()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A new file, or folder, which takes the place of `path` once the disk holds it, and is removed otherwise.

    Args:
        path: its folder is made where needed. A file is replaced.

    Yields:
        where to write, beside `path`; nothing is there yet.

    Raises:
        OutputError: it cannot be written.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        put(partial, path)
    except UCError:
        raise
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        _remove(partial)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is whole or not there.

    Raises:
        OutputError: it cannot be written.
    """
    with whole(path) as partial:
        partial.write_bytes(data)


def partial_path(path: Path) -> Path:
    """A name beside a path that no other run writes to, by which it is known whose unfinished part it is."""
    return beside(path, f"{secrets.token_hex(4)}.partial")


def beside(path: Path, suffix: str) -> Path:
    """A hidden name beside a path that is the path's own, and short however long that is."""
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}{suffix}")


def put(finished: Path, path: Path) -> None:
    """Give a finished file or folder its name, once the disk holds all of it, and wait until it holds the name."""
    for member in [*finished.rglob("*"), finished]:
        sync(member)
    finished.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until the disk holds the bytes of a file, or the names in a folder."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return  # Windows opens no folder
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not folder or error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network disks sync no folder
            raise
    finally:
        os.close(descriptor)


@contextmanager
def alone(lock: Path, place: str, wait: float = 0) -> Iterator[None]:
    """Be the only run that writes to a place; however a run ends, the system frees its lock.

    Args:
        lock: a file that is made, with its folder, and removed again.
        place: what messages call it.
        wait: for another run to end, in seconds.

    Raises:
        OutputError: another run has the lock, or it cannot be made.
    """
    made: list[Path] = []
    held = FileLock(lock, timeout=wait)
    try:
        made = [folder for folder in lock.parents if not folder.exists()]
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
        if isinstance(held, UnixFileLock):  # others keep their own notes in the file, or let nobody write to it
            lock.write_text(f"process {os.getpid()} on {platform.node()}, since {time.ctime()}")
    except Timeout as error:
        raise OutputError(
            f"another run writes to {place} ({_note(lock)}). Wait until it has ended, or stop it."
        ) from error
    except OSError as error:
        raise cannot_write(place, error) from error
    try:
        yield
    finally:
        with suppress(OSError):
            lock.unlink()
        held.release()
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


def check_writable(folder: Path, longest_name: str = "") -> None:
    """Write to a folder and remove that again, so that nobody learns hours later that it takes nothing.

    Args:
        folder: made where needed.
        longest_name: of the files that will be written to it.

    Raises:
        OutputError: it cannot be made or written to, or takes no name as long.
    """
    probe = partial_path(folder / "probe")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(PROBE)
        sync(probe)
        with suppress(FileNotFoundError):
            (folder / longest_name).lstat()
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        _remove(probe)


def remove_partials(folder: Path) -> None:
    """Remove what killed runs have left unfinished in a folder, at any depth. No other run may be writing there."""
    for path in folder.rglob(".*.partial"):
        if PARTIAL.fullmatch(path.name):
            _remove(path)


def remove_partials_of(path: Path) -> None:
    """Remove what killed runs have left of one file or folder. No other run may be writing it."""
    for partial in path.parent.glob(beside(path, "*.partial").name):
        _remove(partial)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that a new one can take its place and a person can look at it; its new path."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    return aside


def cannot_write(path: Path | str, error: OSError, remedy: str | None = None) -> OutputError:
    """An error of the disk in our words, with its number.

    Args:
        path: what was to be written.
        error: why it was not.
        remedy: what to do; None for what helps anywhere.
    """
    remedy = remedy or ("Make room there." if error.errno in NO_SPACE else "Mend that, or choose another place.")
    reason = error.__cause__ if isinstance(error, UCError) else error
    refusal = OutputError(f"{path} cannot be written: {getattr(reason, 'strerror', None) or reason}. {remedy}")
    refusal.errno = error.errno
    return refusal


def _note(lock: Path) -> str:
    try:
        return lock.read_text() or "which it is, is not known"
    except OSError:
        return "which it is, is not known"


def _remove(partial: Path) -> None:
    with suppress(OSError):
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink()
