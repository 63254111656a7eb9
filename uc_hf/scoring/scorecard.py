"""The scorecard: what target models learn from clean, protected and control sets, tested on clean images.

A cell is one training: a target, a protocol, a training set, a counter-measure and a seed.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from torch import Generator

from uc_hf.data.columns import class_names
from uc_hf.data.progress import Bar
from uc_hf.errors import DatasetError, SettingError
from uc_hf.files import set_aside
from uc_hf.scoring.checks import check_measures, pair_up
from uc_hf.scoring.choose import Chosen, check_size, choose_length, choose_size, median_short_side
from uc_hf.scoring.counter_measures.registry import NONE, CounterMeasure, find_counter_measure, find_each
from uc_hf.scoring.detection import detect
from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import Protocol, Recipe, find_protocol
from uc_hf.scoring.results import Row, Scorecard
from uc_hf.scoring.trainer import train_target
from uc_hf.training.devices import mixed_precision
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import BackboneTarget, Target, build_target, folder_digest, load_target


logger = logging.getLogger(__name__)

HELD_OUT = 0.1
"""Share of the clean set that chooses the epoch of early stopping; no model of that cell is trained on it."""

OF_OLD_FILES = {"mixed_precision": "no"}
"""The precision of files that were written before it was recorded."""

IN_USE = "tests_in_use"
"""Condition of a scorecard whose test images are shown as the model sees images in use: in gray, after a training in
gray. In older files they stayed in colour."""

REMEDY = {
    "mixed_precision": "; ACCELERATE_MIXED_PRECISION=no or =bf16 decides it",
    "threads": "; OMP_NUM_THREADS decides it",
}

CHOSEN = ("image_size", "epochs")
"""Fields of a recipe that the pictures can decide."""


def score(
    train_sets: Mapping[str, datasets.Dataset],
    test: datasets.Dataset,
    *,
    targets: Sequence[str] = ("resnet-small",),
    protocols: Sequence[str] = ("from-scratch",),
    counter_measures: Sequence[str] = ("none",),
    seeds: Sequence[int] = (0, 1, 2),
    recipe: Recipe | None = None,
    choose: Collection[str] | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    resume: Path | None = None,
) -> Scorecard:
    """Train target models on every set with the same pipeline, and test them on clean images.

    Args:
        train_sets: by name; "clean" is required, "protected" is usual. "clean" should be encoded in the same way as
            "protected", as `uc_hf.scoring.controls` does; lossless containers change nothing.
        test: clean, labelled images.
        targets: presets (`uc_hf.training.networks.PRESETS`), Hub names or local folders.
        protocols: "from-scratch" (fresh weights), "finetune" (published weights, new head) or "linear-probe"
            (published weights; only a new head is trained).
        counter_measures: names as `find_counter_measure` takes them; each is applied to the clean set too.
        seeds: one training each; three or more for a claim.
        recipe: optimiser, schedule and augmentation; None for the quick one, its size and length chosen.
        choose: fields of the recipe that the pictures decide: "image_size" (their median short side, up to 128 px on
            a CPU and 224 px on a GPU), "epochs" (as many as the originals need until their accuracy settles, up to a
            cap). By default both where no recipe is given, and none where one is.
        image_column: None for the only image column.
        label_column: None for the only ClassLabel column, or one with a usual name.
        resume: JSON file of a scorecard, written after each training; trainings that it holds are not repeated.

    Raises:
        SettingError: there are no seeds or targets, "clean" is missing, a name is unknown, or the file to resume
            belongs to another recipe, other sets or models that have changed since.
        DatasetError: a set is no Dataset, is one of the others, or has no rows, images or labels.
        ImageError: an image cannot be read; the message names its set and row.
    """
    _check_names(train_sets, targets, protocols, counter_measures, seeds)
    _check_sets({**train_sets, "test": test})
    if choose is None:
        choose = CHOSEN if recipe is None else ()
    classes = class_names(train_sets["clean"], label_column)
    sized, notes = _choose_size(recipe or Recipe(), "image_size" in choose, train_sets["clean"], image_column)

    def load(name: str, dataset: datasets.Dataset, measure: CounterMeasure = NONE) -> LabelledImages:
        return load_images(dataset, image_column, label_column, classes, sized.image_size, name, measure.files)

    tested = load("test", test)
    loaded = {name: load(name, dataset) for name, dataset in train_sets.items()}
    if "epochs" in choose:
        check_measures(loaded, [find_counter_measure(name) for name in counter_measures])
        cell = _Cell(targets[0], find_protocol(protocols[0]), "clean", NONE, seeds[0])
        chosen = _choose_length(sized, cell, loaded["clean"], tested, len(classes), resume)
        sized, notes = chosen.recipe, [*notes, *chosen.notes]
    return score_images(
        loaded,
        tested,
        len(classes),
        targets=targets,
        protocols=protocols,
        counter_measures=counter_measures,
        seeds=seeds,
        recipe=sized,
        resume=resume,
        read=lambda name, measure: load(name, train_sets[name], measure),
        notes=notes,
    )


def _choose_size(
    recipe: Recipe, chosen: bool, clean: datasets.Dataset, image_column: str | None
) -> tuple[Recipe, list[str]]:
    if len(clean) == 0:
        raise DatasetError("the 'clean' set is empty.")
    short_side = median_short_side(clean, image_column)
    made = choose_size(recipe, short_side) if chosen else check_size(recipe, short_side)
    return made.recipe, list(made.notes)


def _choose_length(
    recipe: Recipe, cell: "_Cell", clean: LabelledImages, test: LabelledImages, n_classes: int, resume: Path | None
) -> Chosen:
    """As long as the originals need, or as long as the trainings of a scorecard that is gone on with."""
    saved = _saved(resume)
    if saved is not None and "epochs" in saved.recipe:
        return Chosen(replace(recipe, epochs=saved.recipe["epochs"]), tuple(saved.notes))
    return choose_length(recipe, lambda tried: _train(cell, clean, clean, test, n_classes, tried).last)


def score_images(
    train_sets: Mapping[str, LabelledImages],
    test: LabelledImages,
    n_classes: int,
    *,
    targets: Sequence[str],
    protocols: Sequence[str],
    counter_measures: Sequence[str],
    seeds: Sequence[int],
    recipe: Recipe,
    resume: Path | None = None,
    read: Callable[[str, CounterMeasure], LabelledImages] | None = None,
    notes: Sequence[str] = (),
) -> Scorecard:
    """Do what `score` does on images in memory, for sets that were made there, such as mixtures.

    A cell that is named twice, also by "jpeg" and "jpeg-75", is trained once.

    Args:
        train_sets: by name; "clean" is required.
        test: clean images.
        n_classes: number of labels.
        targets: as in `score`, like all arguments below.
        protocols: names.
        counter_measures: names.
        seeds: one training each.
        recipe: optimiser, schedule and augmentation.
        resume: JSON file of a scorecard.
        read: reads a training set again, by name, with a counter-measure's `files` applied to its images.
        notes: what the reader of the scorecard has to know of its conditions.

    Raises:
        SettingError: as `score` and `check_measures`; also for a counter-measure that acts on files where there is no
            `read`.
    """
    _check_names(train_sets, targets, protocols, counter_measures, seeds)
    measures = [find_counter_measure(name) for name in counter_measures]
    check_measures(train_sets, measures)
    _check_files(measures, read)
    clean = train_sets["clean"]
    conditions = asdict(recipe) | {
        "mixed_precision": mixed_precision(Accelerator()),
        "threads": torch.get_num_threads(),
        IN_USE: True,
    }
    folders = {}
    for name, protocol in product(targets, protocols):
        target = _target(name, find_protocol(protocol), n_classes, recipe, seed=0)  # fails now if it cannot be loaded
        if digest := folder_digest(name, target):
            folders[f"{name}, {protocol}"] = digest
    card = replace(begin(train_sets, test, conditions, resume, folders), notes=list(dict.fromkeys(notes)))
    done = {row.cell for row in card.rows}
    cells = list(dict.fromkeys(product(targets, map(find_protocol, protocols), seeds)))
    measures = find_each(counter_measures, [row.counter_measure or "none" for row in card.rows])
    total = len(measures) * len(train_sets) * len(cells)
    with Bar(total=total, desc="trainings", unit="training", disable=total == 1) as bar:
        for measure, (name, published) in product(measures, train_sets.items()):
            missing = [cell for cell in (_Cell(t, p, name, measure, s) for t, p, s in cells) if cell.key not in done]
            bar.update(len(cells) - len(missing))
            if not missing:
                continue
            originals = clean
            if measure.files and read is not None:
                published = read(name, measure)
                originals = read("clean", measure) if measure.needs_originals else clean
            train, shown = measure.clean(published, originals), measure.as_shown(test)
            for cell in missing:
                row = _train(cell, train, clean, shown, n_classes, recipe)
                card.rows.append(row)
                logger.info("%s: last %.3f, peak %.3f", _title(cell), row.last, row.peak)
                if resume is not None:
                    card.save(resume)
                bar.update()
    return card


@dataclass(frozen=True)
class _Cell:
    target: str
    protocol: Protocol
    train_set: str
    measure: CounterMeasure
    seed: int

    @property
    def key(self) -> tuple[str, str, str, str | None, int]:
        """The same as `Row.cell`."""
        return self.target, self.protocol.name, self.train_set, self.measure.name, self.seed


def _train(
    cell: _Cell, train: LabelledImages, clean: LabelledImages, test: LabelledImages, n_classes: int, recipe: Recipe
) -> Row:
    watched = {"test": test}
    if cell.measure.early_stopping:
        order = torch.randperm(len(clean), generator=Generator().manual_seed(cell.seed))
        held, kept = order.tensor_split([max(1, round(HELD_OUT * len(clean)))])
        watched["held out"] = cell.measure.as_shown(clean.select(held))
        train = train.select(kept.sort().values)
    target = _target(cell.target, cell.protocol, n_classes, recipe, cell.seed)
    recipe = cell.protocol.adapt(recipe)
    curves = train_target(target, train, watched, recipe, cell.seed, _title(cell), cell.measure)
    curve, early = curves["test"], None
    if cell.measure.early_stopping:
        validation = curves["held out"]
        early = curve[validation.index(max(validation))]
    return Row(*cell.key, last=curve[-1], peak=max(curve), early=early, curve=curve)


def _title(cell: _Cell) -> str:
    return ", ".join(part for part in cell.key[:-1] if part) + f", seed {cell.seed}"


def _target(name: str, protocol: Protocol, n_classes: int, recipe: Recipe, seed: int) -> Target | BackboneTarget:
    if protocol.pretrained:
        return load_target(name, n_classes, recipe.input_size, seed, frozen=protocol.frozen)
    return build_target(name, n_classes, recipe.input_size, seed)


def begin(
    train_sets: Mapping[str, LabelledImages],
    test: LabelledImages,
    recipe: dict[str, Any],
    resume: Path | None,
    folders: Mapping[str, str] = MappingProxyType({}),
) -> Scorecard:
    """An empty scorecard, or the saved one to continue.

    Args:
        train_sets: by name; "clean" is required.
        test: clean images.
        recipe: settings that all rows share.
        resume: JSON file of a scorecard, which may not exist yet.
        folders: as `Scorecard.folders`.

    Raises:
        SettingError: the file is no scorecard, or belongs to another recipe, other sets or other models.
    """
    sets = {"test": test.fingerprint()} | {name: images.fingerprint() for name, images in train_sets.items()}
    detection = None
    if "protected" in train_sets and pair_up(train_sets["protected"], train_sets["clean"]):
        detection = detect(train_sets["clean"].pixels, train_sets["protected"].pixels)
    most_common = Counter(test.labels.tolist()).most_common(1)[0][1]
    fresh = Scorecard(most_common / len(test), [], recipe, sets, detection, folders=dict(folders))
    saved = _saved(resume)
    if saved is None:
        return fresh
    changed = [
        f"{name}={value!r} (saved: {saved.recipe.get(name)!r}{REMEDY.get(name, '')})"
        for name, value in fresh.recipe.items()
        if saved.recipe.get(name, OF_OLD_FILES.get(name, value)) != value
    ]
    changed += [f"the set {name!r}" for name, digest in sets.items() if saved.sets.get(name, digest) != digest]
    changed += [
        f"the model {name!r}, which has changed since"
        for name, digest in folders.items()
        if saved.folders.get(name, digest) != digest
    ]
    if changed:
        raise SettingError(
            f"{resume} was written with another recipe, other sets or models: {', '.join(changed)}. "
            "Name another file or folder, or remove it."
        )
    rows = saved.rows
    if IN_USE not in saved.recipe:
        rows = [row for row in rows if not find_counter_measure(row.counter_measure or "none").in_use]
        if len(rows) < len(saved.rows):
            logger.warning(
                "%d trainings of %s are run again: their test images had colours that the model does not see in use.",
                len(saved.rows) - len(rows),
                resume,
            )
    return replace(
        fresh,
        rows=rows,
        sets=saved.sets | sets,
        detection=detection or saved.detection,
        folders=saved.folders | fresh.folders,
    )


def _saved(path: Path | None) -> Scorecard | None:
    """The scorecard to go on with; a damaged file is set aside, and a warning says so.

    Raises:
        SettingError: the file is something else.
    """
    if path is None or not path.exists():
        return None
    try:
        return Scorecard.load(path)
    except (json.JSONDecodeError, UnicodeDecodeError):
        logger.warning("The scorecard is damaged, so that it is begun again. It is kept as %s.", set_aside(path))
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingError(
            f"{path} is not a scorecard: {error!r}. Name another file or folder, or remove it."
        ) from error


def _check_names(
    train_sets: Mapping[str, object],
    targets: Sequence[str],
    protocols: Sequence[str],
    counter_measures: Sequence[str],
    seeds: Sequence[int],
) -> None:
    if "clean" not in train_sets:
        raise SettingError(f"train_sets lacks 'clean', with which the others are compared: it has {list(train_sets)}.")
    if "test" in train_sets:
        raise SettingError("a training set is named 'test', which is the name of the test set. Rename it.")
    for what, names in (
        ("seeds", seeds),
        ("targets", targets),
        ("protocols", protocols),
        ("counter_measures", counter_measures),
    ):
        if not names:
            raise SettingError(f"{what}=[]: write at least one.")
    for name in protocols:
        find_protocol(name)
    for name in counter_measures:
        find_counter_measure(name)


def _check_sets(sets: Mapping[str, Any]) -> None:
    seen: dict[str, str] = {}
    for name, dataset in sets.items():
        if isinstance(dataset, dict):
            raise DatasetError(f"the {name!r} set is a {type(dataset).__name__} with {list(dataset)}: give one split.")
        if not isinstance(dataset, datasets.Dataset):
            raise DatasetError(
                f"the {name!r} set is no Dataset but of type {type(dataset).__name__}. Of a stream write "
                "Dataset.from_list(list(stream), features=stream.features)."
            )
        if (other := seen.setdefault(dataset._fingerprint, name)) != name:
            raise DatasetError(f"the sets {other!r} and {name!r} are the same dataset: nothing is compared. Give two.")


def _check_files(measures: Sequence[CounterMeasure], read: Callable[..., LabelledImages] | None) -> None:
    for measure in measures:
        if measure.files and read is None:
            raise SettingError(
                f"counter-measure {measure.name!r} acts on files, but these sets are images in memory. "
                "Write 'jpeg', which acts at the training size."
            )
