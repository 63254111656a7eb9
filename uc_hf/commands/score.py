"""`uc-hf score`: train targets on the clean and the protected set, and test them on clean images."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import typer
from PIL.Image import Image
from rich.console import Console
from rich.table import Table

from uc_hf import figures, images
from uc_hf.columns import image_column as find_image_column
from uc_hf.commands.jobs import TEST_SPLITS
from uc_hf.errors import DatasetError, ImageError
from uc_hf.figures import percent
from uc_hf.imperceptibility import compare
from uc_hf.report import Section, write_report
from uc_hf.scoring.controls import train_sets as control_sets
from uc_hf.scoring.scorecard import Scorecard, Summary, score
from uc_hf.scoring.training import Recipe
from uc_hf.sources import open_dataset, open_protector


SHOWN = 8
"""Pictures in the report's contact sheet."""


def score_sets(
    protected: str,
    clean: str,
    *,
    test: str | None,
    protector: str | None,
    targets: Sequence[str],
    seeds: int,
    recipe: Recipe,
    image_column: str | None,
    label_column: str | None,
    out: Path | None,
) -> Scorecard:
    """Score a protected set against its originals.

    Args:
        protected: what `uc_hf.sources.open_dataset` takes.
        clean: the originals, the same.
        test: a split of the clean set, or another dataset; None for the clean set's test split.
        protector: adds the controls on the same clusters, and the clean set through the same encoding.
        targets: presets, Hub names or folders.
        seeds: trainings of each target on each set.
        recipe: how they are trained.
        image_column: None for the only one.
        label_column: None for the only ClassLabel, or a usual name.
        out: a folder for scorecard.json and report.html.

    Raises:
        UCError: of any kind, with the remedy.
    """
    originals, copies = open_dataset(clean), open_dataset(protected)
    train_sets = {"clean": _train_split(originals, clean), "protected": _train_split(copies, protected)}
    tested = _test_set(originals, clean, test)
    key = None if protector is None else open_protector(protector)
    if key is not None:
        train_sets = control_sets(key, train_sets["clean"], train_sets["protected"])
    card = score(
        train_sets,
        tested,
        targets=targets,
        seeds=range(seeds),
        recipe=recipe,
        image_column=image_column,
        label_column=label_column,
    )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        card.save(out / "scorecard.json")
        sections = [*accuracy_sections(card), *picture_sections(train_sets, image_column)]
        if key is not None:
            gallery = figures.noise_gallery(key.fitted.noise, key.settings.epsilon)
            sections.append(Section("The noise", "One pattern for each cluster of images.", gallery))
        write_report(
            out / "report.html", title=f"{protected}: how unlearnable?", headline=card.headline(), sections=sections
        )
    return card


def say(card: Scorecard) -> None:
    """Print a scorecard for a person."""
    table = Table(box=None, pad_edge=False)
    rows = _table(card)
    for index, title in enumerate(rows[0]):
        table.add_column(title, justify="left" if index < 2 else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
    typer.echo(f"\n{card.headline()}")


def _train_split(splits: datasets.DatasetDict, source: str) -> datasets.Dataset:
    names = [name for name in splits if name not in TEST_SPLITS] or list(splits)
    if "train" not in splits and len(names) > 1:
        raise DatasetError(
            f"{source} has no split 'train' but {', '.join(map(repr, names))}. Name a dataset with one."
        )
    return splits["train" if "train" in splits else names[0]]


def _test_set(clean: datasets.DatasetDict, source: str, test: str | None) -> datasets.Dataset:
    if test is not None and test not in clean:
        other = open_dataset(test)
        return other[next((name for name in TEST_SPLITS if name in other), next(iter(other)))]
    name = test or next((name for name in TEST_SPLITS if name in clean), None)
    if name is None:
        raise DatasetError(
            f"{source} has no test split (it has {', '.join(map(repr, clean))}). "
            "Write --test SPLIT, or --test with another dataset of clean, labelled images."
        )
    return clean[name]


def _table(card: Scorecard) -> list[dict[str, str | int]]:
    chance = {"trained on": "guessing", "accuracy": percent(card.chance)}
    rows = [_row(summary) for summary in card.summaries()]
    return [*rows, {**dict.fromkeys(rows[0], ""), **chance}]


def _row(summary: Summary) -> dict[str, str | int]:
    spread = f" ± {100 * summary.last_std:.1f}" if summary.seeds > 1 else ""
    return {
        "target": summary.target,
        "trained on": summary.train_set,
        "seeds": summary.seeds,
        "accuracy": percent(summary.last) + spread,
        "best epoch": percent(summary.peak),
        "drop": percent(summary.drop),
    }


def accuracy_sections(card: Scorecard) -> list[Section]:
    """The table of accuracies, and each target's curves."""
    """The report's table of accuracies, and the curves of each target."""
    text = (
        "Accuracy on clean pictures after the last epoch, mean and standard deviation over the seeds. The best epoch "
        "is what early stopping would give a scraper; the drop is against the originals."
    )
    sections = [Section("Accuracy", text, table=_table(card))]
    for target in dict.fromkeys(row.target for row in card.rows):
        curves: dict[str, list[list[float]]] = {}
        for row, curve in zip(card.rows, card.curves, strict=True):
            if row.target == target:
                curves.setdefault(row.train_set, []).append(curve)
        arrays = {name: np.array(values) for name, values in curves.items()}
        sections.append(
            Section(target, figure=figures.accuracy_curves(arrays, card.chance, f"{target}, while training"))
        )
    return sections


def picture_sections(train_sets: dict[str, datasets.Dataset], column: str | None) -> list[Section]:
    """Pictures before and after, with the measured differences."""
    """The report's pictures, "clean" and "protected" side by side; or why the two sets' rows do not pair up."""
    clean, protected = train_sets["clean"], train_sets["protected"]
    if len(clean) != len(protected):
        text = f"The sets have {len(clean):,} and {len(protected):,} rows: their pictures do not pair up."
        return [Section("Pictures", text)]
    spread = np.linspace(0, len(clean) - 1, min(SHOWN, len(clean))).astype(int).tolist()
    before, after = _pictures(clean, spread, column), _pictures(protected, spread, column)
    try:
        measured = compare(zip(before, after, strict=True))
    except ImageError as error:
        return [Section("Pictures", f"The sets do not pair up row by row: {error}")]
    text = (
        f"PSNR {measured.psnr:.1f} dB, SSIM {measured.ssim:.3f}, largest change {measured.max_difference}/255 "
        f"over the {measured.images} pictures shown."
    )
    return [Section("Pictures", text, figures.contact_sheet(before, after))]


def _pictures(dataset: datasets.Dataset, rows: list[int], column: str | None) -> list[Image]:
    name = find_image_column(dataset.features, column)
    shown = dataset.with_format(None).select(rows).cast_column(name, datasets.Image(decode=False))
    return [images.open_image(value) for value in shown[name]]
