"""The paper's Table 1 in small: what `python -m benchmarks.paper table1 --small` does.

    python -m benchmarks.paper table1 --small --data flowers=../shared/data/flowers17 --data ../shared/data/cats-dogs \
        --surrogate ../shared/models/efficientnet_lite0-imagenet \
        --classifier ../shared/models/mobilenet_v2_1.0_224-imagenet \
        --pretrained ../shared/models/mobilenet_v2_1.0_224-gluon-backbone --out small

Each set of data is protected by the paper's five baselines, for clusters and for the labels that a classifier
predicts, by Unlearnable Clusters as published, but for fewer epochs at a smaller size, and by each look. Three judges
learn from each: two networks from scratch and a linear probe. A name before "=" is the paper's own for the data, whose
figures for ResNet-18 then stand beside ours: compare the drops, since sizes and recipes differ.

OUT holds a folder for each data with protectors, protected sets, scorecard.json and scorecard.csv, and table1.md. The
same command goes on where it stopped.
"""

import argparse
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import datasets

from benchmarks.published import STRONGEST_BASELINE, TABLE_1
from benchmarks.strength import write_csv
from uc_hf import UCProtector, open_protector, protector_for
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.errors import SettingError
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.protecting.protector import Protector
from uc_hf.reports import markdown
from uc_hf.reports.figures import percent
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard
from uc_hf.scoring.scorecard import score


logger = logging.getLogger(__name__)

BASELINES = ("synper", "emaxn", "emin", "advpoison", "deepconfuse")
SCRATCH, PROBE = "from-scratch", "linear-probe"
AS_PUBLISHED = "UC, the paper's recipe"
DEFAULT = "balanced"
"""The look whose control is shown: the same family drawn at random on the same clusters."""

SIZE, EPOCHS, PAPER_EPOCHS = 64, 20, 5.0
"""Side in pixels at which networks train, and at which baselines and the paper's recipe learn their noise; epochs of
the trainings, and of that recipe's fit."""

BATCH = 64


@dataclass(frozen=True)
class Row:
    """One way to publish the data.

    Attributes:
        name: of the set in the scorecard and of its folder.
        protector: not fitted; None for the originals.
    """

    name: str
    protector: Protector | None


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """What the table compares, from the originals to our looks."""
    yield Row("clean", None)
    for labels, surrogate in (("clusters", args.surrogate), ("predicted", args.classifier)):
        for method in BASELINES:
            protector = protector_for(method, labels=labels, surrogate=surrogate, canvas_size=SIZE, seed=0)
            yield Row(f"{method}, {labels}", protector)
    paper = UCProtector.paper(surrogate=args.surrogate, surrogate_size=SIZE, epochs=PAPER_EPOCHS, canvas_size=SIZE)
    yield Row(AS_PUBLISHED, paper)
    for look in LOOKS:
        yield Row(f"UC, {look}", UCProtector(args.surrogate, look=look))


def fitted(row: Row, train: datasets.Dataset, folder: Path) -> Protector:
    """The protector of a row, fitted or loaded.

    Raises:
        SettingError: the folder has one of other settings.
    """
    assert row.protector is not None
    key = folder / f"{row.name}.protector"
    if not (key / "config.json").is_file():
        row.protector.fit(train).save_pretrained(key)
    protector = open_protector(str(key))
    if protector.settings != row.protector.settings:
        raise SettingError(f"{key} was fitted with other settings. Name another --out, or remove it.")
    return protector


def training_sets(
    train: datasets.Dataset, args: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, datasets.Dataset]]:
    """Each set and its name; those that were made before are loaded."""
    for row in rows(args):
        if row.protector is None:
            yield row.name, train
            continue
        control = f"the same at random, {DEFAULT}" if row.name == f"UC, {DEFAULT}" else None
        names = [row.name, *filter(None, [control])]
        if not all((folder / name / "dataset_info.json").is_file() for name in names):
            protector = fitted(row, train, folder)
            made = with_controls(protector, train, controls=["family"] if control else [])
            for name, kind in zip(names, ("protected", "control-family"), strict=False):
                made[kind].save_to_disk(folder / name)
        for name in names:
            yield name, datasets.load_from_disk(folder / name)


def measure(data: str, args: argparse.Namespace, folder: Path) -> Scorecard:
    """Protect the data in every way, and have each judge learn from each."""
    train, test = train_and_test(
        open_dataset(data), data, train_images=args.train_images, test_images=args.test_images
    )
    sets = dict(training_sets(train, args, folder))
    recipe = Recipe(epochs=args.epochs or EPOCHS, batch_size=BATCH, image_size=args.image_size or SIZE)
    card = folder / "scorecard.json"
    for targets, protocol in ((["resnet-small", "resnet-18"], SCRATCH), ([args.pretrained], PROBE)):
        found = score(
            sets, test, targets=targets, protocols=[protocol], seeds=range(args.seeds), recipe=recipe, resume=card
        )
    write_csv(found, folder / "scorecard.csv")
    return found


def table(name: str, card: Scorecard) -> str:
    """One row for each way to publish, a column for each judge and the worst of them, and the paper's figure.

    Args:
        name: the paper's own for the data; of other data it has no figures.
        card: what was measured.
    """
    of = {(s.train_set, s.target, s.protocol): s.last for s in card.summaries()}
    judges = list(dict.fromkeys((target, protocol) for _, target, protocol in of))
    lines = []
    for train_set in dict.fromkeys(train_set for train_set, *_ in of):
        lasts = [of[train_set, target, protocol] for target, protocol in judges]
        headings = [f"{Path(target).name}, {protocol}" for target, protocol in judges]
        figure = published(name, train_set)
        lines.append(
            {"published": train_set}
            | dict(zip(headings, map(percent, lasts), strict=True))
            | {"the worst judge": percent(max(lasts)), "the paper's ResNet-18": f"{figure:.1f} %" if figure else "-"}
        )
    return f"{markdown.table(lines)}\n\nGuessing gives {percent(card.chance)}.\n"


def published(name: str, train_set: str) -> float | None:
    """The paper's accuracy of ResNet-18 in per cent, of baselines the strongest's; None where it has none."""
    if name not in TABLE_1:
        return None
    clean, uc, _ = TABLE_1[name][0]
    if train_set.partition(",")[0] in BASELINES:
        return STRONGEST_BASELINE[name]
    return {"clean": clean, AS_PUBLISHED: uc}.get(train_set)


def table1(args: argparse.Namespace) -> None:
    """Measure all data, and write and log the tables."""
    tables = []
    for each in args.data:
        name, _, data = each.rpartition("=")
        name = name or Path(data).name
        folder = args.out / name
        folder.mkdir(parents=True, exist_ok=True)
        tables.append(f"## {name}\n\n{table(name, measure(data, args, folder))}")
        (args.out / "table1.md").write_text("\n".join(tables))
    logger.info("\n%s", "\n".join(tables))
