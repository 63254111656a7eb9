"""Markdown in which text from data is only shown: it never acts as HTML, a link, or the end of a section."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


class Markdown(str):
    """Text that is Markdown already; any other text is escaped where it is filled in."""


_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ACTIVE = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")
_ADDRESS = re.compile(r"(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)


def plain(text: Any) -> Markdown:
    r"""Text from data as Markdown that shows it: on one line, without effect.

    Examples:
        >>> plain("MIT <img src=x> [free](http://x.example)")
        'MIT &lt;img src=x&gt; \\[free\\](http&#58;//x.example)'
    """
    if isinstance(text, Markdown):
        return text
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    shown = _ACTIVE.sub(lambda match: "\\" + match[0], shown)
    shown = "".join(_ENTITIES.get(c, c) for c in shown)
    return Markdown(_ADDRESS.sub(lambda match: f"&#{ord(match[0])};", shown))


def code(text: Any) -> Markdown:
    """A name or a number from data as a span of code; anything else as plain text."""
    return Markdown(f"`{text}`") if re.fullmatch(r"[\w./@+-]+", str(text)) else plain(text)


def table(rows: Sequence[Mapping[str, Any]]) -> Markdown:
    """A Markdown table.

    Args:
        rows: at least one, all with the keys of the first, which are the headings.
    """
    lines: list[list[Any]] = [list(rows[0]), [Markdown("---")] * len(rows[0]), *(list(row.values()) for row in rows)]
    return Markdown("\n".join("| " + " | ".join(map(plain, line)) + " |" for line in lines))
