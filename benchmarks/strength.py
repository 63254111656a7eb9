"""How well a noise protects a labelled set, beside the controls on the same clusters.

    python -m benchmarks.strength --dataset ../shared/data/cifar10 --train-images 5000 \
        --surrogate cifar-resnet:../shared/models/resnet20-cifar10 --surrogate uc_hf/tiny \
        --method default --method direct --out scorecard.json

Sets are named "clean" and, for each surrogate, "protected (NAME)", "control-random (NAME)", "control-blocky (NAME)",
"control-grating (NAME)", on the clusters of the first method; each further method adds "METHOD (NAME)". With --draws
each is made several times, by protectors with other seeds, and the names end in "draw 1", "draw 2"...: a single draw
may be a lucky one, which no number of trainings on it shows. The JSON holds finished trainings, and the same command
continues with it. A CSV of all trainings, a Markdown table and a picture are written beside it, with the same name.
"""

import argparse
import csv
import itertools
import logging
import re
import statistics
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import datasets
from matplotlib.figure import Figure

from benchmarks.recipes import PAPER_EPOCHS, RECIPES, RememberingSurrogate, build, open_surrogate
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.reports import markdown
from uc_hf.reports.figures import percent
from uc_hf.reports.page import CONTROLS, INK, MARGIN, MUTED, PAPER, PROTECTED, WIDTH, chart, new_figure, write
from uc_hf.scoring import controls
from uc_hf.scoring.recipes import PROTOCOLS, Recipe
from uc_hf.scoring.results import Scorecard, Summary, accuracy_text
from uc_hf.scoring.scorecard import score


logger = logging.getLogger(__name__)

DRAW = ", draw "
"""Text before a draw's number in the name of a set; the first draw has no number."""

LINE, NAMES = 0.32, 4.6
"""Height of a bar's row and width of the names beside the bars, in inches."""


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="Hub name or local folder with the splits train and test")
    parser.add_argument("--surrogate", action="append", required=True, help="repeat for several")
    parser.add_argument("--surrogate-size", type=int, action="append", help="side at which they look; may repeat")
    parser.add_argument("--canvas-size", type=int, help="side in pixels of the noise; default: chosen by the images")
    parser.add_argument("--epsilon", type=Fraction, default=Fraction(16, 255), help="N/255, of all noises")
    parser.add_argument("--container", default=Settings.container, help="png, webp or jpeg:QUALITY, of all sets")
    parser.add_argument("--method", action="append", choices=RECIPES, help="repeat for several; default: default")
    parser.add_argument("--n-clusters", type=int, default=Settings.n_clusters)
    parser.add_argument("--draws", type=int, default=1, help="protectors of each kind, with a seed of their own")
    parser.add_argument("--steps", type=int, help="of all methods but the paper's; default: their own")
    parser.add_argument("--paper-epochs", type=float, default=PAPER_EPOCHS)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--test-images", type=int, default=2000)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--augmentation", default="pad-crop", choices=["pad-crop", "resized-crop"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--judge",
        action="append",
        help="a target model, as MODEL=linear-probe or MODEL=finetune one with published weights; repeat for several; "
        "default: resnet-small",
    )
    parser.add_argument("--control", action="append", choices=controls.CONTROLS, help="repeat; default: all of them")
    parser.add_argument("--counter-measure", action="append", help="none, jpeg-75, ...; repeat; default: none")
    parser.add_argument("--out", type=Path, required=True, help="scorecard JSON; what it holds is not trained again")
    args = parser.parse_args(words)
    args.method, args.judge = args.method or ["default"], args.judge or ["resnet-small"]
    for judge in args.judge:
        if judge.partition("=")[2] not in ("", *PROTOCOLS):
            parser.error(f"--judge {judge}: write MODEL, or MODEL= and one of {', '.join(PROTOCOLS)}")
    return args


def training_sets(train: datasets.Dataset, args: argparse.Namespace) -> Iterator[tuple[str, datasets.Dataset]]:
    """Each training set and its name; a protector is fitted for each surrogate, draw and method."""
    settings = {name: getattr(args, name) for name in ("steps", "n_clusters", "canvas_size", "container")}
    settings["epsilon"] = float(args.epsilon)
    for name in args.surrogate:
        surrogate = open_surrogate(name, args.surrogate_size, RememberingSurrogate)
        for number, method in itertools.product(range(args.draws), args.method):
            short = Path(name).name + (f"{DRAW}{number}" if number else "")
            protector = build(method, surrogate, paper_epochs=args.paper_epochs, seed=number, **settings).fit(train)
            logger.info("%s, %s: %r", short, method, protector)
            if method == args.method[0]:
                made = controls.with_controls(protector, train, controls=args.control or controls.CONTROLS)
                yield from ((kind if kind == "clean" else f"{kind} ({short})", rows) for kind, rows in made.items())
            else:
                yield f"{method} ({short})", train.map(protector, batched=True, batch_size=64, desc=f"making {method}")


def measure(args: argparse.Namespace) -> Scorecard:
    """Make every set and train the targets on it; trainings in the scorecard at OUT are not repeated."""
    sizes = {"train_images": args.train_images, "test_images": args.test_images}
    train, test = train_and_test(open_dataset(args.dataset), args.dataset, **sizes)
    sets = dict(training_sets(train, args))
    recipe = Recipe(
        epochs=args.epochs, batch_size=args.batch_size, image_size=args.image_size, augmentation=args.augmentation
    )
    for judge in args.judge:
        target, _, protocol = judge.partition("=")
        card = score(
            sets,
            test,
            targets=[target],
            protocols=[protocol or "from-scratch"],
            counter_measures=args.counter_measure or ["none"],
            seeds=range(args.seeds),
            recipe=recipe,
            resume=args.out,
        )
    return card


def by_noise(card: Scorecard) -> list[tuple[str, list[Summary]]]:
    """The name of each set without its draw, and the summary over seeds of each draw."""
    noises: dict[tuple[str, str, str, str | None], list[Summary]] = {}
    for of in card.summaries():
        name = re.sub(DRAW + "[0-9]+", "", of.train_set)
        noises.setdefault((name, of.target, of.protocol, of.counter_measure), []).append(of)
    return [(name, draws) for (name, *_), draws in noises.items()]


def mean_and_deviation(draws: list[Summary]) -> tuple[float, float]:
    """Mean and standard deviation of the last accuracy, in [0, 1]: over the draws, or over the seeds of one draw."""
    lasts = [of.last for of in draws]
    return statistics.mean(lasts), statistics.stdev(lasts) if len(draws) > 1 else draws[0].last_std


def over_draws(card: Scorecard) -> list[dict[str, str]]:
    """One row for each noise with several draws: its accuracy over the draws, each a mean over seeds."""
    rows = []
    for name, draws in by_noise(card):
        if len(draws) == 1:
            continue
        mean, deviation = mean_and_deviation(draws)
        lasts = [of.last for of in draws]
        row = {
            "target": draws[0].target,
            "protocol": draws[0].protocol,
            "counter-measure": draws[0].counter_measure or "none",
            "trained on": name,
            "draws": str(len(draws)),
            "last epoch": f"{percent(mean)} ± {100 * deviation:.1f}",
            "best epoch": percent(statistics.mean(of.peak for of in draws)),
            "lowest and highest": f"{percent(min(lasts))}, {percent(max(lasts))}",
        }
        rows.append(row)
    return rows


def table(card: Scorecard) -> str:
    """Summaries over the seeds as Markdown, over the draws where there are several, and chance."""
    rows = [
        {
            "target": of.target,
            "protocol": of.protocol,
            "counter-measure": of.counter_measure or "none",
            "trained on": of.train_set,
            "last epoch": accuracy_text(of),
            "best epoch": percent(of.peak),
            "drop": percent(of.drop),
        }
        for of in card.summaries()
    ]
    tables = [markdown.table(each) for each in (rows, over_draws(card)) if each]
    return "\n\n".join([*tables, f"Guessing gives {percent(card.chance)}.\n"])


def write_csv(card: Scorecard, path: Path) -> None:
    """One line for each training, accuracies in [0, 1]."""
    names = ("target", "protocol", "counter_measure", "train_set", "seed", "last", "peak", "early")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in card.rows)


def draw(card: Scorecard) -> Figure:
    """A bar for each noise: the accuracy after the last epoch and its standard deviation over seeds; and chance.

    With several draws of a noise the bar shows their mean and standard deviation, and each draw is a dot.
    """
    noises = by_noise(card)
    figure = new_figure(2 * MARGIN + LINE * (len(noises) + 2))
    write(figure, MARGIN, MARGIN, "Accuracy on clean pictures after the last epoch, by training set", weight="bold")
    top, height = MARGIN + LINE, LINE * len(noises)
    axes = chart(figure, MARGIN + NAMES, top, WIDTH - NAMES - 3 * MARGIN, height)
    for line, (name, draws) in enumerate(noises):
        mean, deviation = mean_and_deviation(draws)
        colour = _colour(draws[0])
        axes.barh(line, mean, 0.6, xerr=deviation, color=colour, ecolor=INK, error_kw={"linewidth": 1})
        if len(draws) > 1:
            lasts = [of.last for of in draws]
            axes.plot(lasts, [line] * len(lasts), "o", color=PAPER, markeredgecolor=INK, markersize=3.5)
        write(figure, MARGIN, top + LINE * (line + 0.5), _title(name, draws), size=8)
    axes.axvline(card.chance, color=MUTED, linewidth=1, linestyle=":")
    axes.set(xlim=(0, 1), ylim=(len(noises) - 0.5, -0.5), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xticklabels(["0", "25 %", "50 %", "75 %", "100 %"])
    write(figure, MARGIN, top + height + LINE * 0.6, f"dotted: guessing, {percent(card.chance)}", size=8, colour=MUTED)
    return figure


def _colour(of: Summary) -> str:
    if of.train_set == "clean":
        return INK
    return CONTROLS[0] if of.train_set.startswith("control") else PROTECTED


def _title(name: str, draws: list[Summary]) -> str:
    of = draws[0]
    number = f"{len(draws)} draws" if len(draws) > 1 else None
    way = [of.counter_measure, of.protocol if of.protocol != "from-scratch" else None, number, Path(of.target).name]
    return ", ".join([name, *filter(None, way)])


def main() -> None:
    """Measure, write the four files and log the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    args = arguments()
    card = measure(args)
    text = table(card)
    args.out.with_suffix(".md").write_text(text)
    write_csv(card, args.out.with_suffix(".csv"))
    draw(card).savefig(args.out.with_suffix(".png"), dpi=120, metadata={"Software": None})
    logger.info("\n%s", text)


if __name__ == "__main__":
    main()
