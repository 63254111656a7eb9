"""Speed of the scorecard's training loop beside transformers.Trainer.

    python -m benchmarks.training --size 32 --images 2048 --batch-size 64 --epochs 2 --out training.json

All train the same target with the same optimiser on the same images in batches of the same size; none tests, saves or
logs. "transformers.Trainer" is Trainer with its defaults: full precision, PNG files decoded and augmented one by one
in every epoch, without worker processes. With "same precision" it trains in the precision that this loop chooses on
the device. With "from memory, same precision" it also gets decoded images that are augmented by the batch, like this
loop. Each runs once to warm up and then `--repeats` times in turn; images per second are medians over these runs, and
the ratio is the median over the turns.
"""

import argparse
import json
import logging
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from benchmarks.machine import device_name, median_ratio, time_in_turn
from uc_hf.data.container import Container
from uc_hf.data.images import Picture, encode
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.trainer import augment, train_target
from uc_hf.training.devices import mixed_precision
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import Target, build_target


logger = logging.getLogger(__name__)

CLASSES = 10


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """The images in memory, one at a time, for Trainer's loader."""

    def __init__(self, images: LabelledImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.images.pixels[row], self.images.labels[row]


class WithLoss(nn.Module):
    """A target for Trainer: it returns its own loss."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss of images float [N, 3, S, S] in [0, 1]."""
        return {"loss": F.cross_entropy(self.target(pixels), labels)}


class Files(Dataset[tuple[Tensor, Tensor]]):
    """The images as PNG files, decoded and augmented one by one in every epoch: the usual input of Trainer."""

    def __init__(self, images: LabelledImages, recipe: Recipe) -> None:
        self.files, self.labels, self.recipe = png_files(images), images.labels, recipe
        self.random = random.Random(0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        image = Image.open(BytesIO(self.files[row]))
        side = image.width * self.random.uniform(self.recipe.crop_scale, 1) ** 0.5
        left, top = (self.random.uniform(0, image.width - side) for _ in range(2))
        size = (self.recipe.image_size, self.recipe.image_size)
        view = image.resize(size, Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        if self.random.random() < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return torch.from_numpy(np.array(view)).permute(2, 0, 1).float() / 255, self.labels[row]


@cache
def png_files(images: LabelledImages) -> list[bytes]:
    """The encoded images; made once, in the round that does not count."""
    pictures = (chw.permute(1, 2, 0).contiguous().numpy() for chw in images.pixels)
    return [encode(Picture(pixels, "RGB"), Container("png")) for pixels in pictures]


def with_trainer_from_memory(target: Target, images: LabelledImages, recipe: Recipe) -> None:
    """Train a target by transformers.Trainer with this loop's input: images in memory, augmented by the batch."""
    generator = Generator().manual_seed(0)

    def collate(rows: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        pixels, labels = zip(*rows, strict=True)
        views = augment(torch.stack(pixels).float() / 255, recipe, generator)
        return {"pixels": views.contiguous(memory_format=torch.channels_last), "labels": torch.stack(labels)}

    target = convert_conv2d_weight_memory_format(target, torch.channels_last)
    _run_trainer(target, Rows(images), collate, recipe, mixed_precision(Accelerator()))


def with_trainer(target: Target, images: LabelledImages, recipe: Recipe, precision: str = "no") -> None:
    """Train a target by transformers.Trainer with its usual input and memory format."""

    def collate(rows: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        pixels, labels = zip(*rows, strict=True)
        return {"pixels": torch.stack(pixels), "labels": torch.stack(labels)}

    _run_trainer(target, Files(images, recipe), collate, recipe, precision)


def with_trainer_in_this_precision(target: Target, images: LabelledImages, recipe: Recipe) -> None:
    """The same, in the precision of this loop."""
    with_trainer(target, images, recipe, mixed_precision(Accelerator()))


def _run_trainer(
    target: Target,
    dataset: Dataset[tuple[Tensor, Tensor]],
    collate: Callable[[Sequence[tuple[Tensor, Tensor]]], dict[str, Tensor]],
    recipe: Recipe,
    precision: str,
) -> None:
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
            bf16=precision == "bf16",
        )
        optimizer = torch.optim.SGD(
            target.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        Trainer(
            model=WithLoss(target),
            args=arguments,
            train_dataset=dataset,
            data_collator=collate,
            optimizers=(optimizer, None),
        ).train()
    AcceleratorState._reset_state(reset_partial_state=True)  # Trainer leaves its precision to all that follow


def with_this_loop(target: Target, images: LabelledImages, recipe: Recipe) -> None:
    """Train a target by `uc_hf.scoring.trainer`."""
    train_target(target, images, {}, recipe, seed=0, title="this loop")


LOOPS: dict[str, Callable[[Target, LabelledImages, Recipe], None]] = {
    "uc_hf": with_this_loop,
    "transformers.Trainer": with_trainer,
    "transformers.Trainer, same precision": with_trainer_in_this_precision,
    "transformers.Trainer, from memory, same precision": with_trainer_from_memory,
}


def compare(images: LabelledImages, target: str, recipe: Recipe, repeats: int) -> dict[str, Any]:
    """Time the loops in turn.

    Returns:
        images per second of each loop, and how many times as many as each other one this one does.
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
        "precision": mixed_precision(Accelerator()),
        "images_per_second": {name: shown / statistics.median(times) for name, times in seconds.items()},
        "ratio": {name: median_ratio(times, seconds["uc_hf"]) for name, times in seconds.items() if name != "uc_hf"},
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
    """Compare the loops, write the result and log it."""
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
