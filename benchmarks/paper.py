"""The paper's experiments as commands, its numbers (arXiv 2301.01217) beside ours.

    python -m benchmarks.paper table1 --data timm/oxford-iiit-pet --paper-data pets --out pets \
        --surrogate microsoft/resnet-50 --recipe paper
    python -m benchmarks.paper table2 --data ../shared/data/flowers17 --paper-data flowers --out flowers \
        --surrogate uc_hf/tiny --target resnet-small --image-size 64 --epochs 20 --batch-size 64 --seeds 1

table1: three targets, and with --small what `benchmarks.small` says; table2: ResNet-18 with augmentations; at: with
adversarial training; relabel: other labels; mixed: partly clean data; simclr: without labels. OUT holds the protector
and a JSON and a Markdown file for each; the same command continues where it stopped. Recipe, sizes and seeds differ
from the paper's unless you set them: compare the drops, not the figures.
"""

import argparse
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import small
from benchmarks.published import TABLE_1, TARGETS
from uc_hf import UCProtector
from uc_hf.data.columns import class_names
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.errors import SettingError
from uc_hf.reports import figures, markdown
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import RECIPES, Recipe
from uc_hf.scoring.results import Scorecard, Summary
from uc_hf.scoring.scenarios import mixed, relabelled, super_classes
from uc_hf.scoring.scorecard import score_images
from uc_hf.scoring.simclr import pretrain
from uc_hf.scoring.trainer import train_target
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target


logger = logging.getLogger(__name__)

SETS = ("clean", "UC", "UC-CLIP")
MEASURES: dict[str, dict[str, tuple[float, ...] | None]] = {
    "table2": {
        "none": (12.21, 4.69),
        "mixup": (14.34, 11.96),
        "gaussian": (24.26, 18.59),
        "cutmix": (14.50, 6.21),
        "cutout": (12.35, 12.29),
    },
    "at": {"none": (12.21, 4.69), "pgd-1": (22.23, 14.04), "pgd-2": (22.58, 16.84), "pgd-4": None, "pgd-8": None},
}
"""ResNet-18 on Pets, UC and UC-CLIP, in per cent; under adversarial training the clean set gives 58.80 and 58.01."""

NOT_IN_SMALL = ("surrogate_size", "steps", "target", "recipe", "batch_size", "paper_data")
ONLY_IN_SMALL = ("classifier", "pretrained")

SUPER_CLASSES = range(5, 36, 5)
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Setup:
    """The sets and settings that all experiments of a command line share."""

    sets: Mapping[str, LabelledImages]
    test: LabelledImages
    classes: list[str]
    surrogate: Surrogate
    recipe: Recipe
    targets: tuple[str, ...]
    seeds: int
    paper_data: str | None
    out: Path

    @property
    def n_classes(self) -> int:
        """Number of the publisher's labels."""
        return len(self.classes)

    def score(self, name: str, sets: Mapping[str, LabelledImages], **options: Any) -> Scorecard:
        """A scorecard of these sets from scratch, kept in OUT under a name."""
        given: dict[str, Any] = {
            "test": self.test,
            "n_classes": self.n_classes,
            "targets": self.targets,
            "protocols": ["from-scratch"],
            "counter_measures": ["none"],
            "seeds": range(self.seeds),
            "recipe": self.recipe,
            "resume": self.out / f"{name}.json",
        }
        return score_images(sets, **(given | options))


def table1(setup: Setup) -> list[dict[str, str]]:
    """Three targets on the clean, the protected and the control sets."""
    card = setup.score("table1", setup.sets)
    published = dict(zip(TARGETS, TABLE_1[setup.paper_data], strict=True)) if setup.paper_data else {}
    return [row | _published(published.get(row["target"]), SETS) for row in card.table()]


def table2(setup: Setup) -> list[dict[str, str]]:
    """One target under the augmentations of the paper's table."""
    return _under(setup, "table2")


def at(setup: Setup) -> list[dict[str, str]]:
    """One target under adversarial training of growing strength."""
    return _under(setup, "at")


def relabel(setup: Setup) -> list[dict[str, str]]:
    """A scraper's coarser labels: 5 to 35 super-classes, by class names if the surrogate reads text."""
    if setup.n_classes < SUPER_CLASSES.start:
        raise SettingError(f"the data has {setup.n_classes} classes: too few for five super-classes.")
    rows = []
    for n in (n for n in SUPER_CLASSES if n <= setup.n_classes):
        classes = super_classes(setup.sets["clean"], setup.classes, n, setup.surrogate)
        sets = {name: relabelled(images, classes) for name, images in setup.sets.items()}
        card = setup.score(f"relabel-{n}", sets, test=relabelled(setup.test, classes), n_classes=n)
        rows += [{"super-classes": str(n)} | row | {"guessing": figures.percent(card.chance)} for row in card.table()]
    return rows


def mixed_data(setup: Setup) -> list[dict[str, str]]:
    """Partly clean data: what a mixture adds to its clean part, and which examples are learnt when."""
    clean, protected = setup.sets["clean"], setup.sets["protected"]
    sets = {"clean": clean, "protected": protected}
    for share in SHARES:
        whole, left = mixed(clean, protected, share, seed=0)
        sets |= {f"mixed {share:.0%}": whole, f"clean part of {share:.0%}": left}
    card = setup.score("mixed", sets)
    _draw_mixture(setup)
    of: dict[tuple[str, str], Summary] = {(s.target, s.train_set): s for s in card.summaries()}
    return [
        {
            "target": target,
            "protected share": f"{share:.0%}",
            "mixture": figures.percent(of[target, f"mixed {share:.0%}"].last),
            "its clean part alone": figures.percent(of[target, f"clean part of {share:.0%}"].last),
        }
        for target in setup.targets
        for share in SHARES
    ]


def simclr(setup: Setup) -> list[dict[str, str]]:
    """Features learnt without labels, then a linear probe on the same images."""
    rows = []
    path = setup.out / "simclr.json"
    done: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    for target in setup.targets:
        row = {"target": target}
        for name, images in setup.sets.items():
            for seed in range(setup.seeds):
                key = f"{target}, {name}, seed {seed}"
                if key not in done:
                    model = pretrain(images.pixels, target, setup.n_classes, setup.recipe, seed, f"SimCLR, {key}")
                    curves = train_target(model, images, {"test": setup.test}, setup.recipe, seed, key)
                    done[key] = curves["test"]
                    path.write_text(json.dumps(done, indent=2) + "\n")
            lasts = [done[f"{target}, {name}, seed {seed}"][-1] for seed in range(setup.seeds)]
            row[name] = figures.percent(float(np.mean(lasts)))
        rows.append(row)
    return rows


EXPERIMENTS: dict[str, Callable[[Setup], list[dict[str, str]]]] = {
    "table1": table1,
    "table2": table2,
    "at": at,
    "relabel": relabel,
    "mixed": mixed_data,
    "simclr": simclr,
}


def _under(setup: Setup, name: str) -> list[dict[str, str]]:
    card = setup.score(name, setup.sets, targets=setup.targets[:1], counter_measures=list(MEASURES[name]))
    return [row | _published(MEASURES[name][row["counter-measure"]], SETS[1:]) for row in card.table()]


def _published(numbers: tuple[float, ...] | None, names: tuple[str, ...]) -> dict[str, str]:
    cells = [f"{number:.1f} %" for number in numbers] if numbers else ["not given"] * len(names)
    return {f"paper: {name}": cell for name, cell in zip(names, cells, strict=True)}


def _draw_mixture(setup: Setup) -> None:
    """One training on half protected data: accuracy on its clean and its protected examples over the epochs."""
    path = setup.out / "mixed-curves.json"
    if path.exists():
        return
    clean, protected = setup.sets["clean"], setup.sets["protected"]
    whole, left = mixed(clean, protected, 0.5, seed=0)
    changed = (whole.pixels != clean.pixels).flatten(1).any(dim=1)
    watched = {"clean examples": left, "protected examples": whole.select(changed), "test": setup.test}
    target = build_target(setup.targets[0], setup.n_classes, setup.recipe.input_size, seed=0)
    curves = train_target(target, whole, watched, setup.recipe, 0, "half protected")
    arrays = {name: np.array([curve]) for name, curve in curves.items()}
    title = f"{setup.targets[0]}, half of the images protected"
    figures.accuracy_curves(arrays, 1 / setup.n_classes, title).savefig(setup.out / "mixed-curves.png")
    path.write_text(json.dumps(curves, indent=2) + "\n")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--data", action="append", required=True, help="Hub name or folder with train and test")
    parser.add_argument("--small", action="store_true", help="table1 in hours on a CPU, see benchmarks.small")
    parser.add_argument(
        "--classifier", default="microsoft/resnet-50", help="predicts the baselines' labels in --small"
    )
    parser.add_argument("--pretrained", default="google/mobilenet_v2_1.0_224", help="the probe of --small")
    parser.add_argument("--paper-data", choices=TABLE_1, help="the paper's data to show beside, in table1")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--surrogate", default="microsoft/resnet-50")
    parser.add_argument("--surrogate-size", type=int)
    parser.add_argument("--steps", type=int, help="of learning the noise; without it, the published 50 epochs")
    parser.add_argument("--train-images", type=int, default=1_000_000)
    parser.add_argument("--test-images", type=int, default=1_000_000)
    parser.add_argument("--target", action="append", help="default: the paper's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", choices=RECIPES, default="quick")
    for name in ("image-size", "epochs", "batch-size"):
        parser.add_argument(f"--{name}", type=int, help="instead of the recipe's")
    args = parser.parse_args(words)
    if (args.small and args.experiment != "table1") or (len(args.data) > 1 and not args.small):
        parser.error("--small belongs to table1, and only there --data may repeat")
    unused = NOT_IN_SMALL if args.small else ONLY_IN_SMALL
    if given := [name for name in unused if getattr(args, name) != parser.get_default(name)]:
        parser.error(f"{'not with' if args.small else 'only with'} --small: --{given[0].replace('_', '-')}")
    return args


def prepare(args: argparse.Namespace) -> Setup:
    """Fit the protector, or load the one in OUT, and make the sets."""
    [data] = args.data
    train, test = train_and_test(
        open_dataset(data), data, train_images=args.train_images, test_images=args.test_images
    )
    folder = args.out / "protector"
    settings = {"surrogate": args.surrogate, "surrogate_size": args.surrogate_size}
    asked = (
        UCProtector(**settings, parametrisation="direct", steps=args.steps)
        if args.steps
        else UCProtector.paper(**settings)
    )
    if (folder / "config.json").is_file():
        protector = UCProtector.from_pretrained(folder)
        if protector.settings != asked.settings:
            raise SettingError(f"{folder} was fitted with other settings. Name another --out, or remove it.")
    else:
        protector = asked.fit(train)
        protector.save_pretrained(folder)
    logger.info("%r", protector)
    given = {name: getattr(args, name) for name in ("image_size", "epochs", "batch_size")}
    recipe = replace(RECIPES[args.recipe], **{name: value for name, value in given.items() if value is not None})
    classes = class_names(train)

    def load(name: str, dataset: Any) -> LabelledImages:
        return load_images(dataset, None, None, classes, recipe.image_size, name)

    sets = {name: load(name, dataset) for name, dataset in with_controls(protector, train).items()}
    return Setup(
        sets=sets,
        test=load("test", test),
        classes=classes,
        surrogate=Surrogate.from_pretrained(args.surrogate, size=args.surrogate_size),
        recipe=recipe,
        targets=tuple(args.target or TARGETS),
        seeds=args.seeds,
        paper_data=args.paper_data,
        out=args.out,
    )


def main() -> None:
    """Run one experiment; write and log its table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.small:
        small.table1(args)
        return
    table = markdown.table(EXPERIMENTS[args.experiment](prepare(args)))
    (args.out / f"{args.experiment}.md").write_text(table + "\n")
    logger.info("\n%s", table)


if __name__ == "__main__":
    main()
