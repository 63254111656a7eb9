"""Every error that a user can mend: the message says what is wrong, where, and what to write instead."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the OSErrors that mean: no room left to write."""

SHOWN = 5
"""Largest number of images, rows or copies that one message names."""


class UCError(Exception):
    """Base of the errors raised on purpose by uc_hf; the CLI prints them without a traceback."""


class SettingError(UCError, ValueError):
    """A setting is outside its allowed range."""


class EpsilonError(SettingError):
    """Epsilon is not a bound on pixels in [0, 1]."""


class DatasetError(UCError, ValueError):
    """A dataset, split, column or folder is not what the job needs."""


class ImageError(UCError, ValueError):
    """An image cannot be read or protected; callers prefix the message with the row or the file."""


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be protected.

    Attributes:
        place: where it is: its path in a folder, its row in a dataset.
        name: of the place, as a message gives it.
        reason: what is wrong, and the remedy.
        split: of a dataset.
    """

    place: Path | int
    name: str
    reason: str
    split: str | None = None

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class BadImages(ImageError):
    """Images that cannot be protected, all that there are; the message names the first.

    Attributes:
        found: each of them.
    """

    def __init__(
        self, found: Sequence[BadImage], looked_at: int, remedy: str = "Mend them, or leave them out."
    ) -> None:
        self.found, self.looked_at = list(found), looked_at
        super().__init__(f"{len(found)} of {looked_at} images cannot be protected:\n{listed(found)}\n{remedy}")

    def to_list(self) -> list[dict[str, str]]:
        """Each image and its reason, as JSON values."""
        return [{"image": bad.name, "reason": bad.reason} for bad in self.found]


class SurrogateError(UCError, ValueError):
    """A surrogate cannot be found, is not a vision model, or is not the one that was fitted with."""


class ClusterError(UCError, ValueError):
    """The embeddings cannot be split into the clusters that were asked for."""


class NotFittedError(UCError, RuntimeError):
    """A protector is used before `fit`."""


class BoundError(UCError, AssertionError):
    """A saved image differs from its original by more than epsilon: a defect of uc_hf, never of the data."""


class SuspectError(UCError, ValueError):
    """A model that is suspected cannot be asked, or answers what is not understood."""


class OutputError(UCError, OSError):
    """The output cannot be written: it is not empty, or there is no space left."""


class PartError(OutputError):
    """One of the parts of a job is not finished, or not what it should be.

    Attributes:
        part: "2/4" for the second of four.
    """

    def __init__(self, part: str, reason: str) -> None:
        self.part = part
        super().__init__(f"shard {part} {reason}")


_NO_BREAK = "\N{NO-BREAK SPACE}"
"""Python does not call it printable; percentages have it before their sign."""


def first_line(error: BaseException) -> str:
    """The first line of another library's error without its full stop, as a reason; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


def shown(text: object) -> str:
    r"""A name or a text from data as a terminal may show it: control characters and line ends as escapes.

    Examples:
        >>> shown("a\x1b[2Jb\n")
        'a\\x1b[2Jb\\n'
        >>> shown("63.3\N{NO-BREAK SPACE}%") == "63.3\N{NO-BREAK SPACE}%"
        True
    """
    return "".join(c if c.isprintable() or c == _NO_BREAK else c.encode("unicode_escape").decode() for c in str(text))


def printable(text: str) -> str:
    """A message of several lines as a terminal may show it, as `shown` does for each."""
    return "\n".join(map(shown, text.split("\n")))


def counted(number: int, thing: str) -> str:
    """A number of things in words.

    Examples:
        >>> counted(1, "image"), counted(1200, "image")
        ('1 image', '1,200 images')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def listed(things: Sequence[object]) -> str:
    """The first things, a line each, and how many more there are.

    Examples:
        >>> listed(range(7)).splitlines()[-2:]
        ['  4', '  and 2 more']
    """
    more = [f"  and {len(things) - SHOWN} more"] if len(things) > SHOWN else []
    return "\n".join([*(f"  {thing}" for thing in things[:SHOWN]), *more])


def cell(row: int, column: str, where: str = "") -> str:
    """What messages call one value of a dataset: "row 7 of the split 'train', column 'image'"."""
    return f"row {row}{where and f' of {where}'}, column {column!r}"


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Says which image an error is about.

    Raises:
        ImageError: the one that was raised, after `what`.
    """
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{what}: {error}") from error
