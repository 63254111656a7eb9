"""`uc-hf inspect`: what a saved protector is and has learnt."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from uc_hf.commands.console import say_lines
from uc_hf.errors import OutputError
from uc_hf.figures import noise_gallery
from uc_hf.protector import UCProtector


@dataclass(frozen=True)
class ClusterFacts:
    """One cluster of a protector.

    Attributes:
        cluster: its number.
        images: of the sample that the protector was fitted on.
        goal: the cluster that its noise moves images to.
        mean_change: mean of |noise| in 8-bit levels.
        at_bound: share of the noise's values at +-epsilon.
    """

    cluster: int
    images: int
    goal: int
    mean_change: float
    at_bound: float


_TOLD = ("epsilon", "surrogate", "surrogate_revision")


def inspect(protector: UCProtector) -> dict[str, Any]:
    """All that can be said of a protector, as JSON values."""
    learnt, levels = protector.fitted, protector.settings.levels
    magnitude = np.abs(learnt.noise.astype(np.int16))
    clusters = [
        ClusterFacts(cluster, images, goal, float(noise.mean()), float((noise == levels).mean()))
        for cluster, (images, goal, noise) in enumerate(zip(learnt.sizes, learnt.goals, magnitude, strict=True))
    ]
    return {
        "settings": protector.settings.plain(),
        "column": learnt.column,
        "images_fitted": sum(learnt.sizes),
        "canvas_size": learnt.canvas_size,
        "embedding_size": int(learnt.centroids.shape[1]),
        "moved": learnt.moved,
        "surrogate_revision": learnt.surrogate_revision,
        "surrogate_digest": learnt.surrogate_digest,
        "noise": {
            "mean_change": float(magnitude.mean()),
            "max_change": int(magnitude.max()),
            "at_bound": float((magnitude == levels).mean()),
        },
        "clusters": [asdict(facts) for facts in clusters],
    }


def draw(protector: UCProtector, picture: Path) -> None:
    """Write the gallery of a protector's noises.

    Raises:
        OutputError: not the name of a .png file.
    """
    if picture.suffix != ".png":
        raise OutputError(f"--picture {picture}: write a name that ends in .png.")
    picture.parent.mkdir(parents=True, exist_ok=True)
    noise_gallery(protector.fitted.noise, protector.settings.epsilon).savefig(picture)


def say(facts: dict[str, Any]) -> None:
    """Print the facts for a person."""
    settings, noise, canvas = facts["settings"], facts["noise"], facts["canvas_size"]
    typer.echo(f"A protector fitted on {facts['images_fitted']:,} images of the column {facts['column']!r}")
    say_lines(
        {
            "moved": f"{facts['moved']:.0%} of these images lie nearest to their goal once protected",
            "noise": f"{canvas} x {canvas} pixels; mean |change| {noise['mean_change']:.1f}/255, "
            f"largest {noise['max_change']}/255, {noise['at_bound']:.0%} at the bound",
            "epsilon": f"{settings['epsilon'] * 255:g}/255",
            "surrogate": f"{settings['surrogate']} ({facts['embedding_size']} features, "
            f"revision {facts['surrogate_revision'] or 'local'})",
            **{name: str(value) for name, value in settings.items() if name not in _TOLD and value is not None},
        }
    )
    table = Table(box=None, pad_edge=False)
    for title in ("cluster", "images", "goal", "mean |change|", "at the bound"):
        table.add_column(title, justify="right")
    for row in facts["clusters"]:
        change, bound = f"{row['mean_change']:.1f}/255", f"{row['at_bound']:.0%}"
        table.add_row(str(row["cluster"]), f"{row['images']:,}", str(row["goal"]), change, bound)
    Console().print(table)
