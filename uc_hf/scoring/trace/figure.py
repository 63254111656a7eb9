"""A trace as a picture: what each test would give by chance, and what it gave."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from uc_hf.reports.page import FONT, INK, MARGIN, MUTED, PROTECTED, WIDTH, chart, new_figure, write
from uc_hf.scoring.trace.evidence import NAMES, Evidence, Test, p_text


BINS = 81
REACH = 4.5
"""Extent of the axis in standard deviations of the null; more if the observed value lies beyond."""

HEIGHT, HEAD, FOOT = 1.9, 0.62, 0.75


def draw(evidence: Evidence) -> Figure:
    """The last look of each test: its exact null distribution and the observed value."""
    tests = list({test.name: test for test in evidence.tests}.values())
    figure = new_figure(2 * MARGIN + 0.3 + len(tests) * (HEAD + HEIGHT + FOOT))
    colour = PROTECTED if evidence.found else INK
    write(figure, MARGIN, MARGIN + 0.05, evidence.sentence(), size=11, weight="bold", colour=colour)
    for place, test in enumerate(tests):
        _draw_test(figure, test, MARGIN + 0.35 + place * (HEAD + HEIGHT + FOOT))
    return figure


def _draw_test(figure: Figure, test: Test, top: float) -> None:
    write(figure, MARGIN, top + 0.15, f"{NAMES[test.name]}: {p_text(test.p)}", weight="bold")
    axes = chart(figure, MARGIN, top + 0.4, WIDTH - 2 * MARGIN, HEIGHT)
    axes.spines[["left", "top", "right"]].set_visible(False)
    spread = test.null.spread or 1.0
    middle = float(test.null.values @ test.null.chances)
    observed = (test.null.observed - middle) / spread
    reach = max(REACH, abs(observed) * 1.15)
    edges = np.linspace(-reach, reach, BINS + 1)
    heights, _ = np.histogram((test.null.values - middle) / spread, edges, weights=test.null.chances)
    axes.fill_between(edges, np.append(heights, heights[-1:]), step="post", color=MUTED, alpha=0.45, linewidth=0)
    axes.axvline(observed, color=PROTECTED, linewidth=2)
    axes.set(xlim=(-reach, reach), ylim=(0, None), yticks=[])
    label = f"observed, {observed:.1f}"
    side = "right" if observed > 0 else "left"
    style: dict[str, Any] = {"fontfamily": FONT, "fontsize": 9, "color": PROTECTED, "va": "top", "ha": side}
    axes.text(observed, axes.get_ylim()[1], f" {label} ", **style)
    what = "standard deviations of the null: what chance gives if the suspect was not trained on the set"
    write(figure, MARGIN, top + 0.4 + HEIGHT + 0.38, what, size=8, colour=MUTED)
