"""`uc-hf inspect`: what a saved protector is and has learnt."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from uc_hf.cli.console import cell, say_lines, say_text
from uc_hf.errors import OutputError
from uc_hf.protecting.protector import Protector
from uc_hf.protecting.saving import UNBOUNDED
from uc_hf.reports.figures import noise_gallery


_SHOWN_ABOVE = ("epsilon", "surrogate", "surrogate_revision")
_TITLES = {"mean_change": "mean |change|", "at_bound": "at the bound"}


def inspect(protector: Protector) -> dict[str, Any]:
    """All facts about a protector, as JSON values."""
    learnt, levels = protector.fitted, protector.settings.levels
    magnitude = np.abs(protector.canvases().astype(np.int16))
    groups = [
        group | {"mean_change": float(noise.mean()), "at_bound": float((noise == levels).mean())}
        for group, noise in zip(learnt.groups(), magnitude, strict=True)
    ]
    return {
        "method": protector.method,
        "bound": protector.limit,
        "settings": protector.settings.plain(),
        "column": learnt.column,
        "images_fitted": sum(learnt.sizes),
        "canvas_size": learnt.canvas_size,
        "summary": learnt.summary(),
        "learnt": learnt.facts(),
        "surrogate_revision": learnt.surrogate_revision,
        "surrogate_digest": learnt.surrogate_digest,
        "noise": {
            "mean_change": float(magnitude.mean()),
            "max_change": int(magnitude.max()),
            "at_bound": float((magnitude == levels).mean()),
        },
        "groups": groups,
    }


def draw(protector: Protector, picture: Path) -> None:
    """Draw the noise of every cluster into a file.

    Raises:
        OutputError: not the name of a .png file.
    """
    if picture.suffix != ".png":
        raise OutputError(f"--picture {picture}: write a name that ends in .png.")
    picture.parent.mkdir(parents=True, exist_ok=True)
    noise_gallery(protector.canvases(), protector.settings.epsilon).savefig(picture)


def say(facts: dict[str, Any]) -> None:
    """Print the facts for a person."""
    settings, noise, canvas = facts["settings"], facts["noise"], facts["canvas_size"]
    cut = ", here cut off at epsilon" if facts["bound"] == UNBOUNDED else ""
    say_text(f"A protector by the method {facts['method']!r} for the column {facts['column']!r}")
    say_lines(
        {
            "learnt": facts["summary"],
            "noise": f"drawn at {canvas} x {canvas} pixels{cut}; mean |change| {noise['mean_change']:.1f}/255, "
            f"largest {noise['max_change']}/255, {noise['at_bound']:.0%} at the bound",
            "epsilon": facts["bound"],
            "surrogate": f"{settings['surrogate']} (revision {facts['surrogate_revision'] or 'local'})"
            if facts["surrogate_digest"]
            else "none",
            **{name: str(value) for name, value in settings.items() if name not in _SHOWN_ABOVE and value is not None},
        }
    )
    table = Table(box=None, pad_edge=False)
    for title in facts["groups"][0]:
        table.add_column(_TITLES.get(title, title), justify="right")
    for row in facts["groups"]:
        change, bound = f"{row['mean_change']:.1f}/255", f"{row['at_bound']:.0%}"
        table.add_row(*(cell(value) for value in (row | {"mean_change": change, "at_bound": bound}).values()))
    Console().print(table)
