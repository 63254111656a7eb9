"""Train one target model from scratch on one training set, and test it on clean images after every epoch."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from torch import Generator, Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from uc_hf import images
from uc_hf.augmentations import random_pad_crop, random_resized_crop
from uc_hf.errors import DatasetError, ImageError, SettingError
from uc_hf.scoring.targets import Target


logger = logging.getLogger(__name__)

WARM_UP = 0.15
"""Share of the training over which the learning rate rises; a cosine takes it down again."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a target model is trained: SGD with Nesterov momentum, warm-up and cosine, the field's usual recipe.

    Attributes:
        name: the protocol's name in the scorecard.
        epochs: passes over the training set.
        batch_size: images per step.
        learning_rate: the highest one.
        momentum: of SGD.
        weight_decay: of SGD.
        augmentation: "resized-crop" (random area of at least `crop_scale`, then flip) or "pad-crop" (shift by up to an
            eighth of the side, 4 px at 32 px, then flip).
        crop_scale: least share of the area that a resized crop keeps.
        image_size: side in pixels at which images are trained on and tested; whole images are resized to it.
    """

    name: str = "from-scratch"
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augmentation: str = "resized-crop"
    crop_scale: float = 0.35
    image_size: int = 32

    def __post_init__(self) -> None:
        if self.augmentation not in ("resized-crop", "pad-crop"):
            raise SettingError(f"augmentation={self.augmentation!r} is not 'resized-crop' or 'pad-crop'.")
        if self.epochs < 1 or self.batch_size < 2 or self.image_size < images.MIN_SIDE:
            raise SettingError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, image_size={self.image_size}: write at least 1 "
                f"epoch, 2 images per batch and {images.MIN_SIDE} pixels."
            )


@dataclass(frozen=True)
class LabelledImages:
    """A whole set in memory.

    Attributes:
        pixels: uint8 [N, 3, S, S].
        labels: int64 [N].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "LabelledImages":
        """The same set on a device."""
        return LabelledImages(self.pixels.to(device), self.labels.to(device))


def load_images(
    dataset: datasets.Dataset, image_column: str, label_column: str, classes: list[str], size: int, name: str
) -> LabelledImages:
    """Decode a dataset once.

    Args:
        dataset: rows of images and labels.
        image_column: its images.
        label_column: its labels: ClassLabel, or plain values that are among `classes` as text.
        classes: class names in label order.
        size: side in pixels to which whole images are resized.
        name: of the set, for messages.

    Raises:
        DatasetError: the set is empty or has a label that is not among the classes.
        ImageError: an image that cannot be read, named by row.
    """
    if len(dataset) == 0:
        raise DatasetError(f"the {name!r} set is empty.")
    feature = dataset.features[label_column]
    values = dataset.with_format(None).cast_column(image_column, datasets.Image(decode=False))
    number = {text: index for index, text in enumerate(classes)}
    pixels = torch.empty(len(values), 3, size, size, dtype=torch.uint8)
    labels = torch.empty(len(values), dtype=torch.int64)
    for row, example in enumerate(tqdm(values, desc=f"reading {name}", unit="image", leave=False)):
        text = class_name(feature, example[label_column])
        if text not in number:
            raise DatasetError(f"row {row} of the {name!r} set has the label {text!r}, which the clean set lacks.")
        try:
            canvas = images.canvas(images.decode(example[image_column]), size)
        except ImageError as error:
            raise ImageError(f"row {row} of the {name!r} set, column {image_column!r}: {error}") from error
        pixels[row] = torch.from_numpy(canvas).permute(2, 0, 1)
        labels[row] = number[text]
    return LabelledImages(pixels, labels)


def class_name(feature: Any, label: Any) -> str:
    """A label as text: ClassLabel numbers by name, so that sets whose classes are ordered differently still agree."""
    return feature.int2str(label) if isinstance(feature, datasets.ClassLabel) else str(label)


def train_target(
    target: Target, train: LabelledImages, test: LabelledImages, recipe: Recipe, seed: int, title: str
) -> list[float]:
    """Train a target and test it on clean images after every epoch.

    Args:
        target: with fresh weights; trained in place.
        train: clean, protected or control images.
        test: clean images.
        recipe: the protocol.
        seed: of the order of images and of the augmentations.
        title: shown beside the progress bar.

    Returns:
        test accuracy in [0, 1] after each epoch.
    """
    accelerator = Accelerator()
    device = accelerator.device
    target = target.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, test = train.to(device), test.to(device)
    generator = Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        target.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    batches = max(1, len(train) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_and_cosine(recipe.epochs * batches))
    accuracies: list[float] = []
    with tqdm(total=recipe.epochs, desc=title, unit="epoch", leave=False) as bar:
        for _ in range(recipe.epochs):
            target.train()
            order = torch.randperm(len(train), generator=generator)
            for batch in order.tensor_split(batches):
                batch = batch.to(device)
                pixels = _augment(train.pixels[batch].float() / 255, recipe, generator)
                with accelerator.autocast():
                    scores = target(pixels.contiguous(memory_format=torch.channels_last))
                loss = F.cross_entropy(scores.float(), train.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            accuracies.append(accuracy(target, test, recipe.batch_size))
            bar.update()
            bar.set_postfix(clean_test=f"{accuracies[-1]:.1%}")
    return accuracies


def _warm_up_and_cosine(steps: int) -> Callable[[int], float]:
    rise = max(1, round(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    return factor


def _augment(pixels: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    if recipe.augmentation == "pad-crop":
        return random_pad_crop(pixels, generator, padding=recipe.image_size // 8)
    return random_resized_crop(pixels, generator, scale=(recipe.crop_scale, 1.0))


@torch.inference_mode()
def accuracy(target: Target, test: LabelledImages, batch_size: int) -> float:
    """Share of images whose highest score is their label's."""
    target.eval()
    right = 0
    for pixels, labels in zip(test.pixels.split(4 * batch_size), test.labels.split(4 * batch_size), strict=True):
        scores = target((pixels.float() / 255).contiguous(memory_format=torch.channels_last))
        right += int((scores.argmax(dim=1) == labels).sum())
    return right / len(test)
