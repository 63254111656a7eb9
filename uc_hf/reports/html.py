"""One self-contained HTML page: headline, tables and figures; no script, nothing loaded from elsewhere."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Integral, Real
from pathlib import Path
from string import Template
from typing import Any

from matplotlib.figure import Figure

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


def write_report(path: Path, *, title: str, headline: str, sections: Sequence[Section]) -> None:
    """Write the page; the same input gives the same bytes.

    Args:
        path: the HTML file; its folder is made where needed.
        title: what was measured, the small line at the top and the name of the browser's tab.
        headline: the result in one sentence.
        sections: shown in order.
    """
    body = "\n".join(_section(section) for section in sections)
    page = _PAGE.substitute(title=escape(title), headline=escape(headline), body=body, accent=PROTECTED, paper=PAPER)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8", newline="\n")


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in re.split(r"\n\s*\n", section.text.strip()) if paragraph]
    if section.table:
        parts.append(_table(section.table))
    if section.figure is not None:
        parts.append(_image(section.figure, section.title))
    return "\n".join([*parts, "</section>"])


def _image(figure: Figure, title: str) -> str:
    """The figure as an <img> of 100 CSS pixels per inch, whatever its resolution."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": None})
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    image = f'<img alt="{escape(title)}" width="{width}" height="{height}" src="data:image/png;base64,{data}">'
    return f'<div class="card" tabindex="0">{image}</div>'


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    marks = {name: ' class="number"' if all(map(_looks_numeric, columns[name])) else "" for name in names}
    head = "".join(f'<th scope="col"{marks[name]}>{escape(str(name))}</th>' for name in names)
    body = "\n".join(
        "<tr>" + "".join(f"<td{marks[name]}>{escape(columns[name][row])}</td>" for name in names) + "</tr>"
        for row in range(len(rows))
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return f'<div class="table" tabindex="0">{table}</div>'


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

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark; --page: #ffffff; --ink: #1f2328; --muted: #5f6772; --line: #e3e1db;
  --accent: $accent; --paper: $paper; --dim: 1; }
@media (prefers-color-scheme: dark) { :root { --page: #15171a; --ink: #e6e4df; --muted: #9aa1ab; --line: #2f3338;
  --accent: #f0834a; --dim: .92; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 17px/1.6 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; text-size-adjust: 100%; -webkit-text-size-adjust: 100%; }
main { max-width: 1032px; margin: 0 auto; padding: 64px 24px 96px; }
header { border-top: 4px solid var(--accent); padding-top: 20px; }
.title { margin: 0; color: var(--muted); font-size: 15px; letter-spacing: .01em; }
h1 { margin: 12px 0 0; max-width: 26em; font-size: clamp(26px, 4.2vw, 38px); line-height: 1.22; font-weight: 680;
  letter-spacing: -.015em; text-wrap: balance; overflow-wrap: anywhere; }
section { margin-top: 64px; }
h2 { margin: 0 0 8px; font-size: 21px; line-height: 1.3; font-weight: 650; letter-spacing: -.005em; }
p { margin: 0 0 12px; max-width: 42em; color: var(--muted); overflow-wrap: break-word; }
.card, .table { margin-top: 20px; overflow-x: auto; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; filter: brightness(var(--dim)); }
.card img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
table { border-collapse: collapse; min-width: 100%; font-size: 15.5px; line-height: 1.4; }
th, td { padding: 9px 28px 9px 0; text-align: left; vertical-align: baseline; border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-size: 13.5px; font-weight: 500; vertical-align: bottom; }
thead th { border-bottom: 1.5px solid var(--muted); }
td:first-child { min-width: 9em; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
th:last-child, td:last-child { padding-right: 0; }
@media (max-width: 700px) { body { font-size: 16px; } main { padding: 28px 16px 56px; } section { margin-top: 44px; }
  .card { margin-left: -16px; margin-right: -16px; border-radius: 0; border-width: 1px 0; }
  .card img { max-width: none; width: 720px; } th, td { padding-right: 18px; } }
@media print { main { padding: 0; } section { break-inside: avoid; } .card { filter: none; } }
</style>
</head>
<body>
<main>
<header>
<p class="title">$title</p>
<h1>$headline</h1>
</header>
$body
</main>
</body>
</html>
""")
