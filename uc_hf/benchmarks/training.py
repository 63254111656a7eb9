"""Speed of the scorecard's training loop beside transformers.Trainer on the same work.

    python -m uc_hf.benchmarks.training --size 32 --images 2048 --batch-size 64 --epochs 2 --out training.json

Both train the same target with the same optimiser on the same images in memory, in the same batches and with the same
batched augmentation (in Trainer's collator); neither tests, saves or logs. Each is run once to warm up and then
`--repeats` times in turn; images per second are medians over these, and the ratio is the median over the turns.
"""

import argparse
import json
import logging
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from uc_hf.benchmarks.machine import device_name, median_ratio, time_in_turn
from uc_hf.scoring.labelled import LabelledImages
from uc_hf.scoring.protocols import Recipe
from uc_hf.scoring.targets import Target, build_target
from uc_hf.scoring.training import augment, train_target


logger = logging.getLogger(__name__)

CLASSES = 10


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """The images in memory, one at a time, as Trainer's loader asks for them."""

    def __init__(self, images: LabelledImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.images.pixels[row], self.images.labels[row]


class WithLoss(nn.Module):
    """A target as Trainer wants it: it gives its own loss."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of images float [N, 3, S, S] in [0, 1]."""
        return {"loss": F.cross_entropy(self.target(pixels), labels)}


def with_trainer(target: Target, images: LabelledImages, recipe: Recipe) -> None:
    """Train a target by transformers.Trainer."""
    generator = Generator().manual_seed(0)

    def collate(rows: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        pixels, labels = zip(*rows, strict=True)
        views = augment(torch.stack(pixels).float() / 255, recipe, generator)
        return {"pixels": views.contiguous(memory_format=torch.channels_last), "labels": torch.stack(labels)}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            max_grad_norm=0,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
        )
        optimizer = torch.optim.SGD(
            target.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        model = WithLoss(convert_conv2d_weight_memory_format(target, torch.channels_last))
        Trainer(
            model=model,
            args=arguments,
            train_dataset=Rows(images),
            data_collator=collate,
            optimizers=(optimizer, None),
        ).train()


def with_this_loop(target: Target, images: LabelledImages, recipe: Recipe) -> None:
    """Train a target by `uc_hf.scoring.training`."""
    train_target(target, images, {}, recipe, seed=0, title="this loop")


LOOPS: dict[str, Callable[[Target, LabelledImages, Recipe], None]] = {
    "uc_hf": with_this_loop,
    "transformers.Trainer": with_trainer,
}


def compare(images: LabelledImages, target: str, recipe: Recipe, repeats: int) -> dict[str, Any]:
    """Time both loops in turn.

    Returns:
        images per second of each loop, and how many times as many this one does.
    """

    def job(train: Callable[[Target, LabelledImages, Recipe], None]) -> Callable[[], None]:
        return lambda: train(build_target(target, CLASSES, recipe.input_size, seed=0), images, recipe)

    seconds = time_in_turn({name: job(train) for name, train in LOOPS.items()}, repeats)
    shown = len(images) * recipe.epochs
    return {
        "target": target,
        "image_size": recipe.image_size,
        "batch_size": recipe.batch_size,
        "images": len(images),
        "epochs": recipe.epochs,
        "repeats": repeats,
        "device": device_name(),
        "images_per_second": {name: shown / statistics.median(times) for name, times in seconds.items()},
        "ratio": median_ratio(seconds["transformers.Trainer"], seconds["uc_hf"]),
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="resnet-small")
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file")
    return parser.parse_args()


def main() -> None:
    """Compare the two loops, write the result and log it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args = arguments()
    pixels = torch.randint(256, (args.images, 3, args.size, args.size), dtype=torch.uint8)
    images = LabelledImages(pixels, torch.randint(CLASSES, (args.images,)))
    recipe = Recipe(epochs=args.epochs, batch_size=args.batch_size, image_size=args.size)
    result = compare(images, args.target, recipe, args.repeats)
    text = json.dumps(result, indent=2)
    if args.out is not None:
        args.out.write_text(text + "\n")
    logger.info("%s", text)


if __name__ == "__main__":
    main()
