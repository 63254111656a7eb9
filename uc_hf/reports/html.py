"""One self-contained HTML page: headline, tables and figures; no script, nothing loaded from elsewhere."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from uc_hf.files import write_whole
from uc_hf.reports import templates
from uc_hf.reports.page import PAPER, PROTECTED


@dataclass(frozen=True)
class Section:
    """A part of the page: a title, its text, and a figure or a table (or both, or neither).

    Attributes:
        title: the heading.
        text: plain text; a blank line starts a new paragraph.
        figure: drawn below the text.
        table: one mapping per row; the columns are the keys in the order of their first appearance. Integers get
            thousands separators, the floats of a column the same number of decimals (at most three), None and NaN a
            dash; text is shown as it is, so write fractions with `figures.percent`. Columns of numbers, of
            percentages too, are aligned right.
    """

    title: str
    text: str = ""
    figure: Figure | None = None
    table: Sequence[Mapping[str, Any]] | None = None


def write_report(
    path: Path, *, title: str, headline: str, sections: Sequence[Section], verdict: tuple[str, str] | None = None
) -> None:
    """Write the page; the same input gives the same bytes.

    Args:
        path: the HTML file; its folder is created if it does not exist.
        title: what was measured; the small line at the top, and the title of the browser's tab.
        headline: the result in one sentence.
        sections: shown in order.
        verdict: the verdict in a word and the rule behind it; shown above the headline.
    """
    shown = [_shown(section) for section in sections]
    page = templates.fill(
        "report.html",
        title=title,
        headline=headline,
        sections=shown,
        verdict=verdict,
        accent=PROTECTED,
        paper=PAPER,
    )
    write_whole(path, f"{page}\n".encode())


@dataclass(frozen=True)
class _Column:
    name: str
    cells: list[str]
    numeric: bool


def _shown(section: Section) -> dict[str, Any]:
    """A section as the template takes it: its numbers as text, its figure as a picture."""
    return {
        "title": section.title,
        "paragraphs": [paragraph for paragraph in re.split(r"\n\s*\n", section.text.strip()) if paragraph],
        "columns": _columns(section.table or []),
        "image": None if section.figure is None else _image(section.figure),
    }


def _image(figure: Figure) -> dict[str, Any]:
    """The figure as PNG in base64, at 100 CSS pixels per inch whatever its resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": None})
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    return {"data": base64.b64encode(buffer.getvalue()).decode("ascii"), "width": width, "height": height}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[_Column]:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [(str(name), _column([row.get(name) for row in rows])) for name in names]
    return [_Column(name, cells, all(map(_looks_numeric, cells))) for name, cells in columns]


def _column(values: Sequence[Any]) -> list[str]:
    floats = [float(v) for v in values if isinstance(v, Real) and not isinstance(v, Integral) and v == v]
    decimals = max((len(f"{v:.3f}".rstrip("0").partition(".")[2]) for v in floats), default=0)
    return [_cell(value, decimals) for value in values]


def _cell(value: Any, decimals: int) -> str:
    if value is None or value != value:
        return _MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, Real):
        return f"{value:,.{decimals}f}"
    return str(value)


def _looks_numeric(text: str) -> bool:
    """True for "1,234", "21.3 %", "21.3 % ± 0.4", "33.2 dB", "16/255" and the dash of a missing value."""
    return text == _MISSING or re.fullmatch(r"[-+\u2212±<>≈]?\s*\d[^A-Za-z]*[A-Za-z]{0,3}", text) is not None


_MISSING = "\N{EN DASH}"
