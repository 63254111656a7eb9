"""`uc-hf score`: train targets on the clean and the protected set, and test them on clean images."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from PIL.Image import Image
from rich.console import Console
from rich.table import Table

from uc_hf.cli.console import cell, say_text
from uc_hf.cli.places import only_run_in
from uc_hf.cli.sets import check_apart, check_clean, check_report
from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column as find_image_column
from uc_hf.data.sources import open_dataset
from uc_hf.data.splits import TEST_SPLITS
from uc_hf.errors import DatasetError, ImageError, SettingError
from uc_hf.methods.registry import open_protector
from uc_hf.reports import figures
from uc_hf.reports.figures import percent
from uc_hf.reports.html import Section, write_report
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.imperceptibility import compare
from uc_hf.scoring.recipes import PROTOCOLS, RECIPES, Recipe
from uc_hf.scoring.results import Scorecard, describe_detection
from uc_hf.scoring.scorecard import CHOSEN, score
from uc_hf.scoring.verdict import NOT_PROTECTED, PARTLY, PROTECTED, judge


SCORECARD, REPORT = "scorecard.json", "scorecard.html"

SHOWN = 8
"""Number of pictures in the report's contact sheet."""

COLOURS = {PROTECTED: "green", PARTLY: "yellow", NOT_PROTECTED: "red"}

SHARED = ("target", "protocol", "counter-measure")
WIDE = 240


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Which trainings a scorecard consists of.

    Attributes:
        recipe: optimiser, schedule, augmentation and image size.
        targets: presets, Hub names or folders.
        protocols: names.
        counter_measures: names.
        seeds: number of trainings of each combination.
        choose: fields of the recipe that are chosen by the pictures unless the user sets them.
    """

    recipe: Recipe
    targets: Sequence[str]
    protocols: Sequence[str] = ("from-scratch",)
    counter_measures: Sequence[str] = ("none",)
    seeds: int = 3
    choose: Sequence[str] = ()

    def changed(self, recipe: Mapping[str, Any], given: Mapping[str, Any]) -> "Preset":
        """A copy with the given values; None and empty lists keep the preset's.

        Raises:
            SettingError: a recipe out of its range.
        """
        fields = {name: value for name, value in recipe.items() if value is not None}
        others = {name: value for name, value in given.items() if value}
        choose = [name for name in self.choose if name not in fields]
        return replace(self, recipe=replace(self.recipe, **fields), choose=choose, **others)


PRESETS = {
    "quick": Preset(recipe=RECIPES["quick"], targets=["resnet-small"], choose=CHOSEN),
    "paper": Preset(
        recipe=RECIPES["paper"],
        targets=["resnet-18", "efficientnet-b1", "regnetx-1.6gf"],
        counter_measures=["none", "mixup", "gaussian", "cutmix", "cutout", "pgd-1", "pgd-2"],
    ),
    "full": Preset(
        recipe=RECIPES["paper"],
        targets=["resnet-18"],
        protocols=list(PROTOCOLS),
        counter_measures=[
            "none",
            *("jpeg-75", "jpeg-10", "gray", "grayworld", "bits-3", "resize-2"),
            *("gaussian-1", "median-3", "lowpass-0.5", "notch-3"),
            *("averaging-10", "leaked-1", "leaked-3", "projection", "spectral-10", "restore-50", "tv-10"),
            *("mixup", "cutmix", "cutout", "erasing", "noise-8", "randaugment", "jitter", "staged+jitter"),
            *("pgd-1", "pgd-2", "pgd-4", "pgd-8", "ueraser", "early-stopping"),
        ],
    ),
}
"""`quick` for a first test on a laptop; `paper` as published (tables 1 and 2); `full` for a claim, on a GPU."""


def find_preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        SettingError: there is no such preset.
    """
    if name not in PRESETS:
        raise SettingError(f"preset {name!r} is not known. Write one of {', '.join(PRESETS)}.")
    return PRESETS[name]


def score_sets(
    protected: str,
    clean: str,
    *,
    test: str | None,
    protector: str | None,
    preset: Preset,
    image_column: str | None,
    label_column: str | None,
    out: Path | None,
) -> Scorecard:
    """Score a protected set against its originals.

    Args:
        protected: what `uc_hf.data.sources.open_dataset` takes.
        clean: the originals, the same.
        test: a split of the clean set, or another dataset; None for the clean set's test split.
        protector: adds the controls on the same clusters, and encodes the clean set in the same way.
        preset: the trainings.
        image_column: None for the only one.
        label_column: None for the only ClassLabel, or a usual name.
        out: a folder for `SCORECARD` and `REPORT`; trainings that it holds are not repeated.

    Raises:
        UCError: of any kind, with the remedy.
    """
    check_report(out, {"protected": protected, "--clean": clean, "--test": test})
    check_apart({"the protected set": protected, "--clean": clean})
    check_clean("--clean", clean, protector)
    with nullcontext() if out is None else only_run_in(out, SCORECARD, REPORT):
        originals, copies = open_dataset(clean), open_dataset(protected)
        train_sets = {
            "clean": originals[_train_name(originals, clean)],
            "protected": copies[_train_name(copies, protected)],
        }
        tested = _test_set(originals, clean, test, protected, protector)
        key = None if protector is None else open_protector(protector)
        if key is not None:
            train_sets = with_controls(key, train_sets["clean"], train_sets["protected"])
        card = score(
            train_sets,
            tested,
            targets=preset.targets,
            protocols=preset.protocols,
            counter_measures=preset.counter_measures,
            seeds=range(preset.seeds),
            recipe=preset.recipe,
            choose=preset.choose,
            image_column=image_column,
            label_column=label_column,
            resume=None if out is None else out / SCORECARD,
        )
        if out is not None:
            sections = [*accuracy_sections(card), *picture_sections(train_sets, image_column)]
            if key is not None:
                gallery = figures.noise_gallery(key.canvases(), key.settings.epsilon)
                sections.append(Section("The noise", "One pattern for each cluster of images.", gallery))
            title = f"{protected}: how unlearnable?"
            write_report(out / REPORT, title=title, headline=card.headline(), sections=sections, verdict=banner(card))
        return card


def facts(card: Scorecard) -> dict[str, Any]:
    """A scorecard and its verdict as JSON values."""
    verdict = judge(card)
    return card.to_dict() | {"verdict": None if verdict is None else verdict.to_dict()}


def say(card: Scorecard) -> None:
    """Print a scorecard for a person, without columns that are equal in every row."""
    rows = card.table()
    shown = [name for name in rows[0] if name not in SHARED or len({row[name] for row in rows}) > 1]
    table = Table(box=None, pad_edge=False)
    for name in shown:
        table.add_column(name, justify="left" if name in SHARED else "right")
    for row in rows:
        table.add_row(*(cell(row[name]) for name in shown))
    console = Console()
    # A file or a pipe has no width.
    (console if console.is_terminal else Console(width=WIDE)).print(table)
    say_text(f"\nguessing: {percent(card.chance)}\n")
    verdict = judge(card)
    if verdict is not None:
        say_text(verdict.word, fg=COLOURS.get(verdict.word), bold=True)
        say_text(f"{verdict.why}\n")
    say_text(card.headline())
    for note in card.notes:
        say_text(note)
    if card.detection is not None:
        say_text(describe_detection(card.detection))


def _train_name(splits: datasets.DatasetDict, source: str) -> str:
    names = [name for name in splits if name not in TEST_SPLITS] or list(splits)
    if "train" not in splits and len(names) > 1:
        raise DatasetError(
            f"{source} has no split 'train' but {', '.join(map(repr, names))}. Name a dataset with one."
        )
    return "train" if "train" in splits else names[0]


def _test_set(
    clean: datasets.DatasetDict, source: str, test: str | None, protected: str, protector: str | None
) -> datasets.Dataset:
    if test is not None and test not in clean:
        other = open_dataset(test)
        kept_back = next((name for name in TEST_SPLITS if name in other), None)
        if kept_back is None:
            check_apart({"--clean": source, "the protected set": protected, "--test": test})
        check_clean("--test", test, protector, kept_back)
        return other[kept_back or next(iter(other))]
    name = test or next((name for name in TEST_SPLITS if name in clean), None)
    if name is None:
        raise DatasetError(
            f"{source} has no test split (it has {', '.join(map(repr, clean))}). "
            "Write --test with a folder or dataset of clean, labelled images that were kept back."
        )
    if name == _train_name(clean, source):
        raise DatasetError(
            f"--test {name}: networks are trained on it, so it cannot test them. Name images that were kept back."
        )
    return clean[name]


def banner(card: Scorecard) -> tuple[str, str] | None:
    """The verdict as a report shows it: the word and the rule."""
    verdict = judge(card)
    return None if verdict is None else (verdict.word, verdict.why)


def accuracy_sections(card: Scorecard) -> list[Section]:
    """The table of accuracies, and the curves of each target, protocol and counter-measure."""
    text = (
        "Accuracy on clean pictures after the last epoch, mean and standard deviation over the seeds. The row that is "
        "best for a scraper comes first. The drop compares the protected set with the originals under the same "
        "counter-measure; the best epoch is the most that early stopping could reach. "
        f"Guessing gives {percent(card.chance)}."
    )
    for note in card.notes:
        text += f"\n\n{note}"
    if card.detection is not None:
        text += f"\n\n{describe_detection(card.detection)}"
    curves: dict[tuple[str, str, str | None], dict[str, list[list[float]]]] = {}
    for row in card.rows:
        if row.curve:
            measured = curves.setdefault((row.target, row.protocol, row.counter_measure), {})
            measured.setdefault(row.train_set, []).append(row.curve)
    sections = [Section("Accuracy", text, table=card.table())]
    for (target, protocol, counter_measure), of in curves.items():
        name = ", ".join(filter(None, (target, protocol, counter_measure)))
        arrays = {train_set: np.array(values) for train_set, values in of.items()}
        sections.append(Section(name, figure=figures.accuracy_curves(arrays, card.chance, f"{name}, while training")))
    return sections


def picture_sections(train_sets: dict[str, datasets.Dataset], column: str | None) -> list[Section]:
    """The report's pictures, clean and protected side by side; or the reason why the sets do not pair up."""
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
        f"PSNR {measured.psnr:.1f} dB, SSIM {measured.ssim:.3f}, FLIP {measured.flip:.3f}, largest change "
        f"{measured.max_difference}/255 over the {measured.images} pictures shown."
    )
    return [Section("Pictures", text, figures.contact_sheet(before, after))]


def _pictures(dataset: datasets.Dataset, rows: list[int], column: str | None) -> list[Image]:
    name = find_image_column(dataset.features, column)
    return [images.open_image(value) for value in undecoded(dataset, name).select(rows)[name]]
