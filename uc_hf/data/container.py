"""How protected images are stored: the format, and the quality of a lossy one."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from uc_hf.errors import SettingError


class Format(NamedTuple):
    """Properties of a format.

    Attributes:
        suffix: suffix of its files, with the dot.
        longest_side: largest side of an image in pixels; None without a limit.
        quality: default quality of a lossy format; None for a lossless one.
    """

    suffix: str
    longest_side: int | None
    quality: int | None = None


FORMATS = {"png": Format(".png", None), "webp": Format(".webp", 16383), "jpeg": Format(".jpg", 65500, quality=95)}
"""Formats that `images.encode` writes."""

CONTAINERS = tuple(name if kind.quality is None else f"{name}:QUALITY" for name, kind in FORMATS.items())
"""The names that a user writes."""


@dataclass(frozen=True)
class Container:
    """How every image of a protected dataset is stored.

    Attributes:
        format: a name in `FORMATS`: "png" and "webp" are lossless, "jpeg" is not.
        quality: 1 to 100; None for the lossless formats.
    """

    format: str
    quality: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Container":
        """Reads "png", "webp", "jpeg" (quality 95) or "jpeg:QUALITY"; anything else is a SettingError.

        Examples:
            >>> Container.parse("jpeg")
            Container(format='jpeg', quality=95)
        """
        match = re.fullmatch(r"([a-z]+)(?::([0-9]{1,3}))?", text)
        known = FORMATS.get(match[1]) if match else None
        if match and known and known.quality is None and match[2] is None:
            return cls(match[1])
        if match and known and known.quality is not None and 1 <= int(match[2] or known.quality) <= 100:
            return cls(match[1], int(match[2] or known.quality))
        *lossless, lossy = (repr(str(cls(name, kind.quality))) for name, kind in FORMATS.items())
        raise SettingError(
            f"container {text!r} is not known: write {' or '.join(lossless)} (lossless), or {lossy} (lossy, any "
            "quality from 1 to 100)."
        )

    @property
    def suffix(self) -> str:
        """The file suffix, with its dot."""
        return FORMATS[self.format].suffix

    @property
    def longest_side(self) -> int | None:
        """Largest side of an image in pixels; None without a limit."""
        return FORMATS[self.format].longest_side

    @property
    def lossless(self) -> bool:
        """Whether decoding gives the encoded pixels bit for bit."""
        return FORMATS[self.format].quality is None

    def __str__(self) -> str:
        return self.format if self.quality is None else f"{self.format}:{self.quality}"
