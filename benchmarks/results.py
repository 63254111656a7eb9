"""Write the tables of measured results into the pages: those of results, of the trace and of scale, and the README.

    python -m benchmarks.results           # what `make results` does
    python -m benchmarks.results --check   # write nothing; fail if a page is not up to date

docs/scorecards/results.toml lists the tables, their columns and, row by row, the scorecard that each row shows. A
page holds a table between `<!-- results: NAME -->` and `<!-- end of results -->`; what stands between them is
replaced. No figure is typed by hand.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import small
from benchmarks.strength import DRAW, mean_and_deviation
from benchmarks.trials import alarms, power
from uc_hf.errors import SettingError
from uc_hf.reports import markdown
from uc_hf.reports.markdown import Markdown
from uc_hf.reports.page import TIMES
from uc_hf.scoring.results import NONE, Scorecard, Summary, in_percent
from uc_hf.scoring.trace.exact import sign_flips


ROOT = Path(__file__).parents[1]
SCORECARDS = ROOT / "docs" / "scorecards"
IN_DOCS = ("reference/results.md", "concepts/trace.md", "how-to/scale.md", "log/gratings.md")
PAGES = (ROOT / "README.md", *(ROOT / "docs" / name for name in IN_DOCS))

BLOCK = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Line:
    """One row of a table: a scorecard, and which of its trainings are shown.

    Attributes:
        name: text of the first column.
        files: text of a link -> the JSON it shows, in docs/scorecards.
        card: the scorecard.
        protected: name of the set that the row is about.
        surrogate: part of a set's name in brackets, where the file compares several surrogates; None for any.
        counter_measure: the only one that is shown.
        judge: the only target that is shown, and its protocol.
        seen: measures of visibility, such as psnr, ssim, flip and jod; empty where none are given.
    """

    name: str
    files: dict[str, str]
    card: Scorecard
    protected: str
    surrogate: str | None
    counter_measure: str | None
    judge: tuple[str, str]
    seen: dict[str, Any]

    def draws(self, set_name: str) -> list[Summary]:
        """The summaries over seeds of a set, one for each draw of its noise; empty if it was not trained on."""
        surrogate = r"[^,()]+" if self.surrogate is None else re.escape(self.surrogate)
        pattern = rf"{re.escape(set_name)}( \({surrogate}({DRAW}\d+)?\))?"
        return [
            of
            for of in self.card.summaries()
            if re.fullmatch(pattern, of.train_set)
            and (of.counter_measure, of.target, of.protocol) == (self.counter_measure, *self.judge)
        ]

    def left(self, set_name: str) -> float | None:
        """The share of what the originals teach that a set still teaches; None where it was not trained on.

        All of it where the originals teach nothing beyond guessing.
        """
        draws = self.draws(set_name)
        if not draws:
            return None
        clean, taught = (mean_and_deviation(of)[0] - self.card.chance for of in (self.draws("clean"), draws))
        return taught / clean if clean > 0 else 1.0

    def controls(self) -> list[list[Summary]]:
        """The draws of each control that was trained on."""
        names = dict.fromkeys(of.train_set.split(" (")[0] for of in self.card.summaries())
        found = [self.draws(name) for name in names if name.startswith("control-")]
        return [draws for draws in found if draws]


def cell(line: Line, shown: str, set_name: str) -> str:
    """The text of one cell.

    Args:
        line: the row.
        shown: "last", "peak", "early", "drop", "lead", "best control", "draws", "worst draw", "over seeds",
            "chance", or a measure of visibility.
        set_name: the training set, for those that need one; "protected" is the row's own.
    """
    if shown == "chance":
        return in_percent(line.card.chance)
    if shown == "best control":
        draws = min(line.controls(), key=lambda draws: mean_and_deviation(draws)[0], default=[])
    elif set_name:
        draws = line.draws(line.protected if set_name == "protected" else set_name)
    else:
        return f"{line.seen[shown]:.{1 if shown == 'psnr' else 2}f}" if shown in line.seen else DASH
    if not draws:
        return DASH
    if shown == "lead":
        return lead(ahead(line, set_name))
    mean, deviation = mean_and_deviation(draws)
    if shown in ("last", "best control"):
        return in_percent(mean) + (f" ± {100 * deviation:.1f}" if len(draws) > 1 or draws[0].seeds > 1 else "")
    if shown == "drop":
        clean = line.draws("clean")
        return f"{100 * (mean_and_deviation(clean)[0] - mean):.1f}" if clean else DASH
    if shown in ("worst draw", "over seeds"):
        return scatter(draws, shown)
    if shown == "draws":
        seeds = sorted({of.seeds for of in draws})
        return f"{len(draws)} {TIMES} {' to '.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))}"
    values = [getattr(of, shown) for of in draws]
    return DASH if None in values else in_percent(statistics.mean(values))


def lines(row: dict[str, Any], every_judge: bool = False) -> Iterator[Line]:
    """The rows of an entry of results.toml: one, or one for each counter-measure or judge, the worst first.

    The worst judge is the one that the noise takes the least share of what the originals teach; the worst
    counter-measure the one that gives the highest accuracy.

    Args:
        row: the entry.
        every_judge: show each; otherwise the file's first.
    """
    card = Scorecard.load(SCORECARDS / row["file"])
    seen, _, place = row.get("visibility", "").partition(":")
    judges = list(dict.fromkeys((of.target, of.protocol) for of in card.summaries()))
    line = Line(
        name=row.get("name", ""),
        files={"JSON": row["file"]} | ({"visibility": seen} if seen else {}),
        card=card,
        protected=row.get("protected", "protected"),
        surrogate=row.get("surrogate"),
        counter_measure=row.get("counter_measure"),
        judge=judges[0],
        seen=at(seen, place) if seen else {},
    )
    if row.get("every_counter_measure"):
        measures = dict.fromkeys(of.counter_measure for of in card.summaries())
        found = [replace(line, name=f"`{measure or NONE}`", counter_measure=measure) for measure in measures]
        yield from sorted(filter(_measured, found), key=_learnt, reverse=True)
    elif every_judge:
        found = [replace(line, name=f"{line.name}, {_judge(judge)}", judge=judge) for judge in judges]
        yield from sorted(filter(_measured, found), key=lambda line: line.left(line.protected) or 0.0, reverse=True)
    elif _measured(line):
        yield line


def _measured(line: Line) -> bool:
    return bool(line.draws(line.protected))


def _learnt(line: Line) -> float:
    """What a scraper gets out of the protected set."""
    return statistics.mean(of.scraper for of in line.draws(line.protected))


def _judge(judge: tuple[str, str]) -> str:
    target, protocol = judge
    return f"{Path(target).name}, {protocol.replace('-', ' ')}"


def table(name: str, page: Path) -> str:
    """One table of results.toml as Markdown, its files linked from a page.

    Raises:
        SettingError: there is no such table.
    """
    tables = tomllib.loads((SCORECARDS / "results.toml").read_text())
    if name not in tables:
        raise SettingError(f"{page} asks for the table {name!r}, but results.toml has {', '.join(tables)}.")
    spec = tables.get(tables[name].get("like"), {}) | tables[name]
    if "trials" in spec:
        return trace_table(spec)
    if "paper" in spec:
        return small.table(spec["paper"], Scorecard.load(SCORECARDS / spec["file"])).rstrip("\n")
    if "list" in spec:
        measured = json.loads((SCORECARDS / spec["file"]).read_text())[spec["list"]]
        return markdown.table(
            [{heading: _plain(row[key]) for heading, key in spec["columns"].items()} for row in measured]
        )
    seen = at(*spec["seen"].split(":")) if "seen" in spec else {}
    short = spec.get("short", {})
    columns = {heading.format(**seen): what.partition(" of ")[::2] for heading, what in spec["columns"].items()}
    found = [line for row in spec["row"] for line in lines(row, spec.get("every_judge", False))]
    rows = [
        {spec["rows"]: linked(line, page, short)} | {heading: cell(line, *what) for heading, what in columns.items()}
        for line in found
    ]
    if "together" in spec:
        whole = {heading: together(found, *what) for heading, what in columns.items()}
        rows.append({spec["rows"]: spec["together"]} | whole)
    return markdown.table([{Markdown(heading): Markdown(text) for heading, text in row.items()} for row in rows])


def ahead(line: Line, control: str) -> np.ndarray:
    """How far the noise is ahead of a control, for each draw of both, in [0, 1]: these share their clusters."""
    theirs = {_draw(of): of.last for of in line.draws(control)}
    pairs = [(theirs[_draw(own)], own.last) for own in line.draws(line.protected) if _draw(own) in theirs]
    return np.array([control - own for control, own in pairs])


def _draw(of: Summary) -> str:
    return of.train_set.partition(" (")[2]


def lead(differences: np.ndarray) -> str:
    """How far the noise is ahead of a control on average, in points, and an exact p-value.

    The p-value is that of a sign-flip test (Fisher 1935): the share of all ways to call one of each pair the control
    in which the noise would be as far ahead.

    Args:
        differences: of pairs, in [0, 1].
    """
    if len(differences) < 2:
        return DASH
    mean, deviation = 100 * differences.mean(), 100 * differences.std(ddof=1)
    return f"{mean:.1f} ± {deviation:.1f} (p = {sign_flips(differences).p:.2g})"


def together(found: list[Line], shown: str, set_name: str) -> str:
    """A cell of the row for all rows together: a lead over the pairs of each that has several."""
    if shown != "lead":
        return DASH
    several = [pairs for line in found if len(pairs := ahead(line, set_name)) > 1]
    return lead(np.concatenate(several)) if several else DASH


def scatter(draws: list[Summary], shown: str) -> str:
    """How much accuracy hangs on the draw of the noise, or on the seed of the training, in points.

    Args:
        draws: of one set, each a mean over seeds.
        shown: "worst draw" (how far the highest mean is above the mean of all), "over seeds" (standard deviation of
            the trainings of one draw, pooled over draws).
    """
    if min(of.seeds for of in draws) < 2 or len(draws) < 2:
        return DASH
    if shown == "worst draw":
        found = max(of.last for of in draws) - mean_and_deviation(draws)[0]
    else:
        found = statistics.fmean(of.last_std**2 for of in draws) ** 0.5
    return f"{100 * found:.1f}"


def linked(line: Line, page: Path, short: dict[str, str]) -> str:
    """The name of a row, parts of it shortened, which links to its scorecard, and its other files."""
    card, *others = line.files.items()
    name = line.name
    for part, shorter in short.items():
        name = name.replace(part, shorter)
    places = [(text, os.path.relpath(SCORECARDS / file, page.parent)) for text, file in ((name, card[1]), *others)]
    return ", ".join(f"[{text}]({place})" for text, place in places)


def trace_table(spec: dict[str, Any]) -> str:
    """A table of `benchmarks.trace`: its power or its false alarms, of the trials that have what `only` asks for."""
    lines = [json.loads(line) for line in (SCORECARDS / spec["trials"]).read_text().splitlines()]
    only = spec.get("only", {}).items()
    shown = [one for one in lines if only <= one.items()]
    rows = power(shown, spec.get("at_least", 1)) if spec["shows"] == "power" else alarms(shown)
    left_out = spec.get("leave_out", ())
    return markdown.table([{name: text for name, text in row.items() if name not in left_out} for row in rows])


def filled(page: Path) -> str:
    """The text of a page with its tables up to date."""
    return BLOCK.sub(lambda found: f"{found[1]}{table(found[2], page)}\n{found[3]}", page.read_text())


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,}"


def at(file: str, place: str) -> dict[str, Any]:
    """What stands at a place in a JSON file: keys separated by dots, such as "kodak.16/255"."""
    found: dict[str, Any] = json.loads((SCORECARDS / file).read_text())
    for key in filter(None, place.split(".")):
        found = found[key]
    return found


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
    if parser.parse_args().check:
        old = [str(page.relative_to(ROOT)) for page in PAGES if filled(page) != page.read_text()]
        sys.exit(f"not up to date: {', '.join(old)}. Run `make results`." if old else 0)
    for page in PAGES:
        page.write_text(filled(page))


if __name__ == "__main__":
    main()
