"""What a fit costs and how well it protects: recipes on the same data, surrogate, device and precision.

    python -m benchmarks.fit --dataset ../shared/data/cifar10 --train-images 2000 --surrogate uc_hf/tiny \
        --paper-epochs 1 --out fit-cifar10

A recipe is "default", "paper" (UCProtector.paper()), or a look or parametrisation with all else at its default. Each
is fitted in its own process, so that peak memory is measured separately. Then a small target is trained from scratch
on each protected set, on the originals, and on random gratings with the first recipe's clusters. OUT holds the
protectors, fit.json, scorecard.json and table.md; the same command continues where it stopped.

The paper's 50 epochs take long on a CPU: --paper-epochs reduces them. The protected accuracy is then that of the
reduced recipe, and the time of 50 epochs is extrapolated in proportion to the surrogate passes.
"""

import argparse
import json
import logging
import multiprocessing
import resource
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from benchmarks.machine import device_name, seconds_of
from benchmarks.recipes import PAPER_EPOCHS, RECIPES, build, open_surrogate
from uc_hf import UCProtector
from uc_hf.data.sources import open_dataset, train_and_test
from uc_hf.errors import SettingError
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.reports import markdown
from uc_hf.scoring.controls import with_controls
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard, Summary, accuracy_text
from uc_hf.scoring.scorecard import score


logger = logging.getLogger(__name__)

CONTROL = "control-grating"


def open_data(args: argparse.Namespace) -> tuple[datasets.Dataset, datasets.Dataset]:
    """The sets to fit on and to test on."""
    sizes = {"train_images": args.train_images, "test_images": args.test_images}
    return train_and_test(open_dataset(args.dataset), args.dataset, **sizes)


def measure_fit(recipe: str, args: argparse.Namespace) -> dict[str, Any]:
    """Fit a recipe, save its protector, and measure the cost.

    Peak memory is that of the GPU if there is one (allocated by torch), otherwise of the whole process.
    """
    train, surrogate = open_data(args)[0], open_surrogate(args.surrogate, args.surrogate_size)
    accelerator = Accelerator(mixed_precision=args.mixed_precision)
    protector = build(
        recipe, surrogate, steps=args.steps, n_clusters=Settings.n_clusters, paper_epochs=args.paper_epochs
    )
    passes: Counter[str] = Counter()

    def count(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes["with gradient" if torch.is_grad_enabled() else "forward only"] += len(inputs[0])

    hook = surrogate.register_forward_pre_hook(count)
    seconds = seconds_of(lambda: protector.fit(train, accelerator=accelerator, checkpoint_dir=args.out / "unfinished"))
    hook.remove()
    protector.save_pretrained(args.out / f"{recipe}.protector")
    return {
        "settings": protector.settings.plain(),
        "passes": dict(passes),
        "seconds": seconds,
        "peak_memory_mb": _peak_memory_mb(),
        "moved": protector.fitted.moved,
        "device": device_name(),
    }


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def fit_all(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The cost of each recipe; recipes in OUT are not fitted again.

    Raises:
        SettingError: OUT holds fits of other data, another surrogate, precision or number of epochs.
    """
    path = args.out / "fit.json"
    names = ("dataset", "train_images", "surrogate", "surrogate_size", "mixed_precision", "paper_epochs", "steps")
    setup = {name: getattr(args, name) for name in names}
    saved = json.loads(path.read_text()) if path.exists() else {"setup": setup, "fits": {}}
    if saved["setup"] != setup:
        raise SettingError(f"{path} was written with {saved['setup']}. Name another --out, or remove it.")
    fits = saved["fits"]
    for recipe in args.recipe:
        if recipe not in fits:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                fits[recipe] = alone.submit(measure_fit, recipe, args).result()
            path.write_text(json.dumps(saved, indent=2) + "\n")
        logger.info("%s: %.1f s", recipe, fits[recipe]["seconds"])
    return {recipe: fits[recipe] for recipe in args.recipe}


def score_all(args: argparse.Namespace) -> Scorecard:
    """Train the target on the originals, the control and each recipe's protected set."""
    (train, test), surrogate = open_data(args), open_surrogate(args.surrogate, args.surrogate_size)
    sets: dict[str, datasets.Dataset] = {}
    for recipe in args.recipe:
        protector = UCProtector.from_pretrained(args.out / f"{recipe}.protector", surrogate=surrogate)
        if not sets:
            made = with_controls(protector, train)
            sets = {"clean": made["clean"], CONTROL: made[CONTROL], recipe: made["protected"]}
        else:
            sets[recipe] = train.map(protector, batched=True, batch_size=64, desc=f"making {recipe}")
    return score(
        sets,
        test,
        targets=[args.target],
        seeds=range(args.seeds),
        recipe=Recipe(epochs=args.epochs, batch_size=args.batch_size, image_size=args.image_size),
        resume=args.out / "scorecard.json",
    )


def table(fits: dict[str, dict[str, Any]], card: Scorecard, paper_epochs: float) -> list[dict[str, str]]:
    """One row for each training set: the cost of its fit, and the accuracy on clean images after training on it."""
    return [_row(summary, fits.get(summary.train_set), paper_epochs) for summary in card.summaries()]


def _row(summary: Summary, fit: dict[str, Any] | None, paper_epochs: float) -> dict[str, str]:
    row = {"trained on": summary.train_set} | dict.fromkeys(
        ("surrogate passes", "with gradient", "seconds", "seconds at 50 epochs (extrapolated)", "peak memory"), ""
    )
    if fit is not None:
        learning = fit["passes"].get("with gradient", 0)
        row |= {
            "surrogate passes": f"{sum(fit['passes'].values()):,}",
            "with gradient": f"{learning:,}",
            "seconds": f"{fit['seconds']:.1f}",
            "peak memory": f"{fit['peak_memory_mb']:,.0f} MB",
        }
        if summary.train_set == "paper" and paper_epochs < PAPER_EPOCHS:
            row["seconds at 50 epochs (extrapolated)"] = f"{_at_50_epochs(fit, paper_epochs):,.0f}"
    return row | {"last epoch": accuracy_text(summary), "best epoch": f"{100 * summary.peak:.1f} %"}


def _at_50_epochs(fit: dict[str, Any], epochs: float) -> float:
    learning = fit["passes"]["with gradient"]
    share = learning * (PAPER_EPOCHS / epochs - 1) / sum(fit["passes"].values())
    return fit["seconds"] * (1 + share)


def report(args: argparse.Namespace) -> str:
    """Fit, score, and the table as Markdown."""
    args.out.mkdir(parents=True, exist_ok=True)
    fits = fit_all(args)
    card = score_all(args)
    device = next(iter(fits.values()))["device"]
    seeds = f"{args.seeds} seeds" if args.seeds > 1 else "one seed"
    precision = f"fitted in precision {args.mixed_precision}, trained on in {card.recipe['mixed_precision']}"
    text = f"{device}, {precision}, {seeds}; guessing gives {100 * card.chance:.1f} %.\n\n"
    text += markdown.table(table(fits, card, args.paper_epochs)) + "\n"
    (args.out / "table.md").write_text(text)
    return text


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True, help="Hub name or local path with the splits train and test")
    parser.add_argument("--recipe", action="append", choices=RECIPES, help="repeat; default: default and paper")
    parser.add_argument("--paper-epochs", type=float, default=PAPER_EPOCHS)
    parser.add_argument("--steps", type=int, help="of all recipes but the paper's; default: their own")
    parser.add_argument("--surrogate", default="uc_hf/tiny", help="a name, a folder, or cifar-resnet:FOLDER")
    parser.add_argument("--surrogate-size", type=int)
    parser.add_argument("--mixed-precision", default="no", choices=["no", "bf16", "fp16"], help="of the fits")
    parser.add_argument("--train-images", type=int, default=2000)
    parser.add_argument("--test-images", type=int, default=1000)
    parser.add_argument("--target", default="resnet-small")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(words)
    args.recipe = args.recipe or ["default", "paper"]
    return args


def main() -> None:
    """Fit every recipe, train on every set, write and log the table."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logger.info("\n%s", report(parse()))


if __name__ == "__main__":
    main()
