"""What `benchmarks.trace` has found: the file of its trials, their tables and their picture."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from uc_hf.reports import markdown
from uc_hf.reports.page import INK, MARGIN, MUTED, PROTECTED, WIDTH, chart, new_figure, write
from uc_hf.scoring.trace.evidence import SURE


PLAIN = "plain"
"""A scenario: the suspect was trained on the set as it is."""

OWN = "its own key"
"""A claim: by the owner, about the pictures that he published."""

KEYS = ("share", "owners", "scenario", "trial", "claim", "target", "epochs", "train_images", "reference")
"""What names a line of the file."""


@dataclass(frozen=True)
class Trials:
    """What is done, in a file.

    Attributes:
        path: JSON Lines.
    """

    path: Path

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def add(self, line: dict[str, Any]) -> None:
        """Write one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def key(line: dict[str, Any]) -> str:
    """What names a line of the file, as text."""
    return json.dumps({name: line[name] for name in KEYS})


def power(lines: Sequence[dict[str, Any]], at_least: int = 1) -> list[dict[str, str]]:
    """How often each kind of suspect that was trained on the set was found, a row for each.

    Args:
        lines: of the file.
        at_least: claims of a kind that is shown.
    """
    return [
        {
            "protected": _protected(group[0]),
            "scenario": group[0]["scenario"],
            "target, epochs": f"{Path(group[0]['target']).name}, {group[0]['epochs']}",
            "reference": "yes" if group[0]["reference"] else "no",
            "accuracy": f"{100 * np.mean([line['accuracy'] for line in group]):.1f} %",
            "pictures": f"{max(line['scenes'] for line in group):,}",
            f"found, p below {SURE}": f"{sum(line['p'] < SURE for line in group)} of {len(group)}",
            "median p": f"{np.median([line['p'] for line in group]):.1g}",
        }
        for group in sorted(_kinds(lines), key=lambda group: (group[0]["scenario"] != PLAIN, group[0]["share"]))
        if len(group) >= at_least
    ]


def _kinds(lines: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The owners' claims, those about suspects of one kind together."""
    own: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for line in lines:
        if line["claim"] == OWN:
            own.setdefault(tuple(line[name] for name in KEYS if name not in ("trial", "claim")), []).append(line)
    return list(own.values())


def _protected(line: dict[str, Any]) -> str:
    each = f"{100 * line['share']:g} %"
    return each if line["owners"] == 1 else f"{each} by each of {line['owners']}"


def alarms(lines: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """How often a suspect that knew nothing looked as if it did, a row for each kind of null and one for all."""
    nulls: dict[str, list[float]] = {}
    for line in lines:
        if line["claim"] != OWN:
            kind = line["claim"].rsplit(",", 1)[0]
            kind += "" if line["share"] or line["scenario"] == PLAIN else f", {line['scenario']}"
            nulls.setdefault(kind, []).append(line["p"])
    kinds = nulls | {"all": [p for ps in nulls.values() for p in ps]} if nulls else {}
    return [
        {
            "suspect and claim": kind,
            f"p below {SURE}": f"{sum(p < SURE for p in ps)} of {len(ps)}",
            "p below 0.1": f"{sum(p < 0.1 for p in ps)} of {len(ps)}",
            "least p": f"{min(ps):.1g}",
        }
        for kind, ps in kinds.items()
    ]


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Both as Markdown."""
    return "\n\n".join(markdown.table(rows) for rows in (power(lines), alarms(lines)) if rows) + "\n"


def draw(lines: Sequence[dict[str, Any]]) -> Figure:
    """The p-values of suspects that knew nothing, in order: on the diagonal where the test keeps its word.

    Beside them those of the kind of suspect that was tried most often.
    """
    most = max(_kinds(lines), key=len, default=[])
    found = np.sort([line["p"] for line in most])
    nulls = np.sort([line["p"] for line in lines if line["claim"] != OWN])
    figure = new_figure(5.2)
    title = f"p-values of {len(nulls)} nulls and {len(found)} suspects that were trained on the set"
    write(figure, MARGIN, MARGIN + 0.08, title, size=11, weight="bold")
    axes = chart(figure, 0.9, MARGIN + 0.45, WIDTH - 1.4, 3.7)
    axes.set(xscale="log", yscale="linear", xlim=(1e-8, 1), ylim=(0, 1))
    grid = np.geomspace(1e-8, 1, 200)
    axes.plot(grid, grid, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for values, colour in ((nulls, INK), (found, PROTECTED)):
        shares = np.arange(1, len(values) + 1) / max(len(values), 1)
        axes.step(np.clip(values, 1e-8, 1), shares, color=colour, where="post")
    axes.axvline(SURE, color=MUTED, linewidth=0.8)
    kind = f" ({_protected(most[0])} protected, {most[0]['scenario']})" if most else ""
    key = f"share of p-values at or below; dark: nulls, dashed: what chance gives, coloured: trained on the set{kind}"
    write(figure, 0.9, 4.75, key, size=8, colour=MUTED)
    return figure
