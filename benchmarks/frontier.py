"""What a look costs the eye, and how much of what the originals teach it leaves: one picture of measured results.

    python -m benchmarks.frontier --out docs/images/frontier.png

The rows are those of the table "judges" in docs/scorecards/results.toml, by the first judge of each file; JOD is the
mean over Kodak's photographs. What is left is 100 % for a set that teaches as much as its originals, and 0 % for one
that teaches no more than guessing.
"""

import argparse
import tomllib
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.results import SCORECARDS, Line, at, lines
from uc_hf.methods.unlearnable_clusters.families.wave import FLAT
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.reports.page import CLUSTERS, INK, MARGIN, MUTED, WIDTH, chart, new_figure, write


IDENTICAL = 10.0
"""JOD of a picture beside itself."""

CONTROL = "control-family"
DEFAULT = "balanced"
"""The look of the sets "protected" and "control-family"."""

KEY = "dots: waves; squares: tints; rings: waves of the default look that were drawn at random; dashed: half is left"


def draw(measured: list[Line], jod: dict[str, float]) -> Figure:
    """A line for each set, from the originals to the most visible wave, and a mark for its tints.

    Args:
        measured: a row for each set.
        jod: of each look.
    """
    figure = new_figure(5.6)
    title = "What is left of what the originals teach, by how visible the noise is"
    write(figure, MARGIN, MARGIN + 0.08, title, size=11, weight="bold")
    axes = chart(figure, 0.9, MARGIN + 0.45, WIDTH - 4.2, 3.9)
    axes.set(xlim=(IDENTICAL + 0.1, min(jod.values()) - 0.2), ylim=(-0.05, 1.1), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticklabels(["0", "25 %", "50 %", "75 %", "100 %"])
    axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for look, place in jod.items():
        axes.annotate(look, (place, 1.04), ha="center", fontsize=8, color=MUTED)
        axes.axvline(place, color=MUTED, linewidth=0.4)
    ends = []
    for line, colour in zip(measured, CLUSTERS, strict=False):
        shown = {look: line.left("protected" if look == DEFAULT else look) for look in LOOKS}
        places = {look: (jod[look], share) for look, share in shown.items() if share is not None}
        points = [(IDENTICAL, 1.0), *(place for look, place in places.items() if LOOKS[look].wave != FLAT)]
        axes.plot(*zip(*points, strict=True), "o-", color=colour, linewidth=1.6, markersize=5)
        for look in (look for look in places if LOOKS[look].wave == FLAT):
            axes.plot(*places[look], "s", color=colour, markersize=7)
        if (random := line.left(CONTROL)) is not None:
            axes.plot(jod[DEFAULT], random, "o", color="none", markeredgecolor=colour, markersize=8)
        ends.append((points[-1][1], line.name, colour))
    for (_, name, colour), place in zip(sorted(ends), _apart([end for end, *_ in sorted(ends)]), strict=True):
        axes.annotate(name, (1.02, place), xycoords=("axes fraction", "data"), color=colour, fontsize=8, va="center")
    write(figure, 0.9, 5.05, "JOD (ColorVideoVDP) of Kodak's photographs; 10 is identical", size=8, colour=INK)
    write(figure, 0.9, 5.28, KEY, size=8, colour=MUTED)
    return figure


def _apart(places: list[float], gap: float = 0.055) -> list[float]:
    """Rising places, moved up where they are too close for text."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    return moved


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    table = tomllib.loads((SCORECARDS / "results.toml").read_text())["judges"]
    measured = [line for row in table["row"] for line in lines(row)]
    looks = at(*table["seen"].split(":"))
    jod = {look: looks[look]["jod"] for look in LOOKS}
    draw(measured, jod).savefig(args.out, metadata={"Software": None})


if __name__ == "__main__":
    main()
