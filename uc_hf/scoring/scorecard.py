"""The scorecard: what target models learn from clean, protected and control sets, tested on clean images."""

import json
import logging
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import datasets

from uc_hf.columns import image_column as find_image_column
from uc_hf.columns import label_column as find_label_column
from uc_hf.errors import DatasetError, SettingError
from uc_hf.scoring.targets import build_target
from uc_hf.scoring.training import LabelledImages, Recipe, class_name, load_images, train_target


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One training of one target model.

    Attributes:
        target: name of the target model.
        protocol: name of the recipe, for example "from-scratch".
        train_set: "clean", "protected", "control-random", "control-blocky" or a name of the caller's.
        counter_measure: what the scraper did against the noise; None for the plain recipe.
        seed: of the initial weights, the order of images and the augmentations.
        last: accuracy on clean test images after the last epoch, in [0, 1].
        peak: the best accuracy after any epoch, in [0, 1]: what early stopping would give the scraper.
    """

    target: str
    protocol: str
    train_set: str
    counter_measure: str | None
    seed: int
    last: float
    peak: float


@dataclass(frozen=True)
class Summary:
    """All seeds of one target model on one training set; accuracies in [0, 1].

    Attributes:
        target: name of the target model.
        train_set: name of the training set.
        seeds: how many trainings.
        last: mean accuracy after the last epoch.
        last_std: its sample standard deviation over the seeds; 0 for one seed.
        peak: mean of the best accuracies.
        drop: mean last accuracy on the clean set minus this one's.
    """

    target: str
    train_set: str
    seeds: int
    last: float
    last_std: float
    peak: float
    drop: float


@dataclass(frozen=True)
class Scorecard:
    """All trainings, beside the chance level.

    Attributes:
        chance: accuracy on the test set of always answering its most common class, in [0, 1].
        rows: one for each training.
        curves: for each row, its accuracy after every epoch; not part of the JSON, so empty for a row that was read.
    """

    chance: float
    rows: list[Row]
    curves: list[list[float]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The one schema of a scorecard, in files, on the command line and from the evaluate module.

        `{"chance": float, "rows": [{"target", "protocol", "train_set", "counter_measure", "seed", "last", "peak"}]}`
        """
        return {"chance": self.chance, "rows": [asdict(row) for row in self.rows]}

    def save(self, path: str | Path) -> None:
        """Write `to_dict()` as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Scorecard":
        """Read what `save` wrote."""
        saved = json.loads(Path(path).read_text())
        return cls(saved["chance"], [Row(**row) for row in saved["rows"]], [[] for _ in saved["rows"]])

    def summaries(self) -> list[Summary]:
        """One summary for each target and training set, in the order they were trained."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            groups.setdefault((row.target, row.train_set), []).append(row)
        means = {key: statistics.mean(row.last for row in rows) for key, rows in groups.items()}
        return [
            Summary(
                target=target,
                train_set=train_set,
                seeds=len(rows),
                last=means[target, train_set],
                last_std=statistics.stdev(row.last for row in rows) if len(rows) > 1 else 0.0,
                peak=statistics.mean(row.peak for row in rows),
                drop=means[target, "clean"] - means[target, train_set],
            )
            for (target, train_set), rows in groups.items()
        ]

    def headline(self) -> str:
        """The result in one sentence, for the first target; needs the sets "clean" and "protected"."""
        of = {summary.train_set: summary for summary in self.summaries() if summary.target == self.rows[0].target}
        clean, protected = of["clean"], of["protected"]
        return (
            f"A {clean.target} trained on the protected set reaches {_percent(protected)} on clean pictures; "
            f"on the originals it reaches {_percent(clean)}; guessing gives {self.chance:.0%}."
        )


def _percent(summary: Summary) -> str:
    spread = f" ± {100 * summary.last_std:.0f}" if summary.seeds > 1 else ""
    return f"{summary.last:.0%}{spread}"


def score(
    train_sets: Mapping[str, datasets.Dataset],
    test: datasets.Dataset,
    *,
    targets: Sequence[str] = ("resnet-small",),
    seeds: Sequence[int] = (0, 1, 2),
    recipe: Recipe | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    resume: Path | None = None,
) -> Scorecard:
    """Train target models on every set with one pipeline, and test them on clean images.

    Args:
        train_sets: by name; "clean" is required and "protected" usual. "clean" should have gone through the same
            encoding as "protected" (`uc_hf.scoring.controls` does that; lossless containers change nothing).
        test: clean, labelled images.
        targets: presets ("resnet-small", "resnet-18"), Hub names or local folders; weights are fresh.
        seeds: one training each; three or more for a claim.
        recipe: the training protocol.
        image_column: None for the only image column.
        label_column: None for the only ClassLabel, or a usual name.
        resume: a scorecard's JSON, written after each training; those that it holds already are not run again. One
            file belongs to one choice of sets and recipe.

    Raises:
        SettingError: no seeds or targets, "clean" is missing, or an unknown target.
        DatasetError: a set without rows, images or labels.
        ImageError: an image that cannot be read, named by set and row.
    """
    recipe = recipe or Recipe()
    if "clean" not in train_sets:
        raise SettingError(f"train_sets lacks 'clean', which the others are compared with: it has {list(train_sets)}.")
    if not seeds or not targets:
        raise SettingError(f"seeds={list(seeds)} and targets={list(targets)}: write at least one of each.")
    classes = class_names(train_sets["clean"], label_column)

    def load(name: str, dataset: datasets.Dataset) -> LabelledImages:
        columns = find_image_column(dataset.features, image_column), find_label_column(dataset.features, label_column)
        return load_images(dataset, *columns, classes, recipe.image_size, name)

    tested = load("test", test)
    loaded = {name: load(name, dataset) for name, dataset in train_sets.items()}
    most_common = Counter(tested.labels.tolist()).most_common(1)[0][1]
    card = Scorecard(chance=most_common / len(tested), rows=[])
    if resume is not None and resume.exists():
        card = Scorecard.load(resume)
    done = {(row.target, row.protocol, row.train_set, row.counter_measure, row.seed) for row in card.rows}
    for name, train_set, seed in product(targets, loaded, seeds):
        if (name, recipe.name, train_set, None, seed) in done:
            continue
        target = build_target(name, len(classes), recipe.image_size, seed)
        curve = train_target(target, loaded[train_set], tested, recipe, seed, f"{name}, {train_set}, seed {seed}")
        logger.info("%s on %s, seed %d: last %.3f, peak %.3f", name, train_set, seed, curve[-1], max(curve))
        card.rows.append(Row(name, recipe.name, train_set, None, seed, last=curve[-1], peak=max(curve)))
        card.curves.append(curve)
        if resume is not None:
            card.save(resume)
    return card


def class_names(dataset: datasets.Dataset, label_column: str | None = None) -> list[str]:
    """The classes of a dataset in label order: a ClassLabel's names, or the different values as text.

    Raises:
        DatasetError: no column of labels, or fewer than two classes.
    """
    column = find_label_column(dataset.features, label_column)
    feature = dataset.features[column]
    if isinstance(feature, datasets.ClassLabel):
        return feature.names
    names = sorted({class_name(feature, label) for label in dataset[column]})
    if len(names) < 2:
        raise DatasetError(f"column {column!r} holds {len(names)} different labels; a classifier needs two or more.")
    return names
