"""Every method with the same recipe: what a target learns from each, and the time of fitting and protecting.

    python -m benchmarks.baselines --dataset ../shared/data/cifar10 --train-images 5000 --epsilon 8/255 \
        --method synper --method emin --method advpoison --out own-labels
    python -m benchmarks.baselines --dataset ../shared/data/cifar10 --train-images 5000 --epsilon 16/255 \
        --labels clusters --surrogate uc_hf/tiny --method uc --method synper --method emin --out label-agnostic

OUT holds each protector, costs.json, pictures.png with the same few images by each method, and scorecard.json with a
CSV, a Markdown table and a picture of it; the same command continues where it stopped. "uc" takes the surrogate
whatever the labels, since it never uses labels.
"""

import argparse
import json
import logging
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from matplotlib.figure import Figure

from benchmarks.machine import device_name
from benchmarks.strength import draw, write_csv
from uc_hf import open_protector, protector_for
from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.errors import SettingError
from uc_hf.methods import METHODS
from uc_hf.methods.label_sources import LABEL_SOURCES
from uc_hf.reports import markdown
from uc_hf.reports.figures import percent
from uc_hf.reports.page import INK, MARGIN, PROTECTED, TIMES, new_figure, show, write
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard, accuracy_text
from uc_hf.scoring.scorecard import score


logger = logging.getLogger(__name__)

SHOWN, AMPLIFIED = 5, 8
"""Images of each set in the picture, and the factor for their changes."""

NAMES, LINE = 1.3, 0.32
"""Width of the methods' names and height of a heading, in inches."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="Hub name or local folder with the splits train and test")
    parser.add_argument("--method", action="append", choices=METHODS, required=True, help="repeat for several")
    parser.add_argument("--labels", choices=LABEL_SOURCES, default="own", help="of the baselines")
    parser.add_argument("--surrogate", default="uc_hf/tiny", help="for uc, and for labels that are not the set's own")
    parser.add_argument("--surrogate-size", type=int)
    parser.add_argument("--canvas-size", type=int, help="side in pixels of the noise; default: chosen by the images")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(16, 255), help="N/255")
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--augmentation", default="pad-crop", choices=["pad-crop", "resized-crop"])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", default="resnet-small")
    parser.add_argument("--control", action="append", help="control-random, ... on the first method's labels; repeat")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def protect(method: str, train: datasets.Dataset, args: argparse.Namespace, costs: dict[str, Any]) -> datasets.Dataset:
    """The set as a method protects it; its protector is fitted, or loaded where OUT holds it."""
    key, path = args.out / f"{method}.protector", args.out / "costs.json"
    options: dict[str, Any] = {name: getattr(args, name) for name in ("surrogate", "surrogate_size", "canvas_size")}
    options["epsilon"] = float(args.epsilon)
    asked = protector_for(method, **options, **({} if method == "uc" else {"labels": args.labels}))
    if not (key / "config.json").is_file():
        start = time.perf_counter()
        asked.fit(train).save_pretrained(key)
        costs[method] = {"fit": time.perf_counter() - start, "images": len(train)}
        path.write_text(json.dumps(costs, indent=2) + "\n")
    protector = open_protector(str(key))
    if protector.settings != asked.settings or costs[method]["images"] != len(train):
        raise SettingError(f"{key} was fitted with other settings or images. Name another --out, or remove it.")
    start = time.perf_counter()
    protected = train.map(protector, batched=True, batch_size=128, desc=f"protecting: {method}")
    costs[method].setdefault("map", time.perf_counter() - start)
    path.write_text(json.dumps(costs, indent=2) + "\n")
    return protected


def draw_pictures(sets: dict[str, datasets.Dataset]) -> Figure:
    """The first images of each set, and how they differ from the clean ones, `AMPLIFIED` times around mid-grey."""
    cell, gap = 0.66, 0.03
    figure = new_figure(2 * MARGIN + LINE + len(sets) * (cell + gap))
    shown = {name: _first_pixels(dataset) for name, dataset in sets.items()}
    changed = MARGIN + NAMES + SHOWN * (cell + gap) + 0.2
    write(figure, MARGIN + NAMES, MARGIN, "Pictures", weight="bold")
    write(figure, changed, MARGIN, f"Difference from the clean ones {TIMES}{AMPLIFIED}", weight="bold")
    for row, (name, pictures) in enumerate(shown.items()):
        top = MARGIN + LINE + row * (cell + gap)
        write(figure, MARGIN, top + cell / 2, name, colour=INK if name == "clean" else PROTECTED)
        for column, (picture, clean) in enumerate(zip(pictures, shown["clean"], strict=True)):
            show(figure, MARGIN + NAMES + column * (cell + gap), top, cell, cell, picture)
            difference = (128 + AMPLIFIED * (picture.astype(int) - clean)).clip(0, 255).astype(np.uint8)
            show(figure, changed + column * (cell + gap), top, cell, cell, difference)
    return figure


def _first_pixels(dataset: datasets.Dataset) -> list[np.ndarray]:
    values = undecoded(dataset, image_column(dataset.features)).select(range(SHOWN))
    return [images.decode(next(iter(row.values()))).pixels for row in values]


def measure(args: argparse.Namespace) -> tuple[Scorecard, dict[str, Any]]:
    """Make every set, and train the target on each."""
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = {"train_images": args.train_images, "test_images": args.test_images}
    train, test = train_and_test(open_dataset(args.dataset), args.dataset, **sizes)
    path = args.out / "costs.json"
    costs = json.loads(path.read_text()) if path.exists() else {"machine": device_name()}
    sets = {"clean": train} | {method: protect(method, train, args, costs) for method in args.method}
    if args.control:
        made = with_controls(
            open_protector(str(args.out / f"{args.method[0]}.protector")), train, sets[args.method[0]]
        )
        sets |= {name: made[name] for name in args.control}
    draw_pictures(sets).savefig(args.out / "pictures.png", metadata={"Software": None})
    recipe = Recipe(
        epochs=args.epochs, batch_size=args.batch_size, image_size=args.image_size, augmentation=args.augmentation
    )
    resume = args.out / "scorecard.json"
    return score(sets, test, targets=[args.target], seeds=range(args.seeds), recipe=recipe, resume=resume), costs


def table(card: Scorecard, costs: dict[str, Any]) -> str:
    """Accuracy and cost of each method as Markdown, and chance."""
    rows = []
    for of in card.summaries():
        cost = costs.get(of.train_set, {})
        rows.append(
            {
                "trained on": of.train_set,
                "last epoch": accuracy_text(of),
                "best epoch": percent(of.peak),
                "drop": percent(of.drop),
                "seconds of the fit": f"{cost['fit']:.0f}" if cost else "",
                "of the map": f"{cost['map']:.0f}" if cost else "",
            }
        )
    return f"{markdown.table(rows)}\n\nGuessing gives {percent(card.chance)}. Fits and maps: {costs['machine']}.\n"


def main() -> None:
    """Measure, write the files and log the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    args = arguments()
    card, costs = measure(args)
    text = table(card, costs)
    (args.out / "scorecard.md").write_text(text)
    write_csv(card, args.out / "scorecard.csv")
    draw(card).savefig(args.out / "scorecard.png", dpi=120, metadata={"Software": None})
    logger.info("\n%s", text)


if __name__ == "__main__":
    main()
