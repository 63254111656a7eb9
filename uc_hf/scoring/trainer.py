"""Train one target model on one training set, and test it on clean images after every epoch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from uc_hf.data.progress import Bar
from uc_hf.scoring.counter_measures.registry import NONE, CounterMeasure
from uc_hf.scoring.recipes import Recipe
from uc_hf.training.augmentations import centre_crop, random_crop, random_pad_crop, random_resized_crop
from uc_hf.training.descent import take_step
from uc_hf.training.devices import autocast, deterministic, seeded
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import BackboneTarget, Target


VIEWS = 4
"""Augmented views of each image on which the head of a frozen backbone is trained."""


@dataclass(frozen=True)
class _Course:
    """A model, the data that it learns from and the data that it is tested on.

    Attributes:
        model: inputs to class scores.
        draw: rows of the training set, int64 [n], to inputs and labels (int64 [n], or float [n, C] after mixing).
        tests: name -> inputs (uint8 images, or float features) and labels int64 [N].
    """

    model: nn.Module
    draw: Callable[[Tensor], tuple[Tensor, Tensor]]
    tests: dict[str, tuple[Tensor, Tensor]]


@deterministic()
def train_target(
    target: Target | BackboneTarget,
    train: LabelledImages,
    watched: Mapping[str, LabelledImages],
    recipe: Recipe,
    seed: int,
    title: str,
    measure: CounterMeasure = NONE,
) -> dict[str, list[float]]:
    """Train a target and test it on several sets after every epoch.

    Args:
        target: trained in place.
        train: clean, protected or control images.
        watched: sets to test on: "test" and any others.
        recipe: optimiser, schedule and augmentation.
        seed: of the order of images, the augmentations and the target's own randomness (dropout).
        title: shown beside the progress bar.
        measure: its changes to batches and to the training step; stored images are cleaned before
            (`CounterMeasure.clean`).

    Returns:
        name -> accuracy in [0, 1] after each epoch.
    """
    accelerator = Accelerator()
    generator = Generator().manual_seed(seed)
    target = convert_conv2d_weight_memory_format(target.to(accelerator.device), torch.channels_last)
    tests = {name: images.to(accelerator.device) for name, images in watched.items()}
    course = _course(target, train.to(accelerator.device), tests, recipe, measure, generator)
    batches = max(1, len(train) // recipe.batch_size)
    optimizer, schedule = _optimizer(course.model, recipe, recipe.epochs * batches, measure)
    model, optimizer = accelerator.prepare(course.model, optimizer)
    curves: dict[str, list[float]] = {name: [] for name in watched}
    with seeded(seed, accelerator.device), Bar(total=recipe.epochs, desc=title, unit="epoch", leave=False) as bar:
        for _ in range(recipe.epochs):
            model.train()
            order = torch.randperm(len(train), generator=generator)
            for rows in order.tensor_split(batches):
                inputs, labels = course.draw(rows.to(accelerator.device))
                with autocast(accelerator):
                    if measure.step is not None:
                        inputs = measure.step(model, inputs, labels, generator)
                    scores = model(inputs)
                loss = F.cross_entropy(scores.float(), labels)
                take_step(loss, optimizer, schedule, accelerator)
            with autocast(accelerator):
                for name, (inputs, labels) in course.tests.items():
                    curves[name].append(accuracy(model, inputs, labels, recipe))
            bar.update()
            bar.set_postfix({name: f"{curve[-1]:.1%}" for name, curve in curves.items()})
    return curves


@torch.no_grad()
def accuracy(model: nn.Module, inputs: Tensor, labels: Tensor, recipe: Recipe) -> float:
    """Share of images (uint8 [N, 3, S, S], or features float [N, d]) whose label has the highest score."""
    model.eval()
    right = 0
    at_once = 4 * recipe.batch_size
    for part, truth in zip(inputs.split(at_once), labels.split(at_once), strict=True):
        scores = model(part if part.is_floating_point() else still(part, recipe))
        right += int((scores.argmax(dim=1) == truth).sum())
    return right / len(labels)


def still(pixels: Tensor, recipe: Recipe) -> Tensor:
    """Test images of a model: uint8 [N, 3, S, S] to float in [0, 1] at the recipe's input size."""
    return _channels_last(centre_crop(pixels.float() / 255, size=recipe.input_size))


def augment(images: Tensor, recipe: Recipe, generator: Generator) -> Tensor:
    """Images float [N, 3, S, S] with the recipe's own augmentation."""
    if recipe.augmentation == "crop":
        return random_crop(images, generator, size=recipe.input_size)
    if recipe.augmentation == "pad-crop":
        return random_pad_crop(images, generator, padding=recipe.image_size // 8)
    return random_resized_crop(images, generator, scale=(recipe.crop_scale, 1.0))


def _course(
    target: Target | BackboneTarget,
    train: LabelledImages,
    tests: Mapping[str, LabelledImages],
    recipe: Recipe,
    measure: CounterMeasure,
    generator: Generator,
) -> _Course:
    def draw(rows: Tensor) -> tuple[Tensor, Tensor]:
        inputs, labels = augment(train.pixels[rows].float() / 255, recipe, generator), train.labels[rows]
        if measure.batch:
            labels = F.one_hot(labels, target.n_classes).float()
        for change in measure.batch:
            inputs, labels = change(inputs, labels, generator)
        return _channels_last(inputs), labels

    if isinstance(target, BackboneTarget) and target.frozen and measure.step is None:
        return _features(target, draw, len(train), tests, recipe, generator)
    return _Course(target, draw, {name: (images.pixels, images.labels) for name, images in tests.items()})


@torch.no_grad()
def _features(
    target: BackboneTarget,
    draw: Callable[[Tensor], tuple[Tensor, Tensor]],
    n: int,
    tests: Mapping[str, LabelledImages],
    recipe: Recipe,
    generator: Generator,
) -> _Course:
    """Embed a few views of each image once with the frozen backbone; the head learns from these features."""
    target.eval()
    device = next(target.parameters()).device
    features, labels = [], []
    for _ in Bar(range(VIEWS), desc="embedding views", leave=False):
        for rows in torch.arange(n, device=device).split(recipe.batch_size):
            inputs, truth = draw(rows)
            features.append(target.backbone(inputs))
            labels.append(truth)
    seen, weights = torch.cat(features), torch.cat(labels)  # [VIEWS * n, d], [VIEWS * n(, C)]
    looked_at = {
        name: (torch.cat([target.backbone(still(part, recipe)) for part in images.pixels.split(256)]), images.labels)
        for name, images in tests.items()
    }

    def draw_features(rows: Tensor) -> tuple[Tensor, Tensor]:
        view = torch.randint(VIEWS, (len(rows),), generator=generator).to(device)
        return seen[view * n + rows], weights[view * n + rows]

    return _Course(target.head, draw_features, looked_at)


def _optimizer(
    model: nn.Module, recipe: Recipe, steps: int, measure: CounterMeasure
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    depths = [index / len(learnt) for index in range(len(learnt))]
    optimizer = torch.optim.SGD(
        [{"params": [parameter]} for parameter in learnt] if measure.rate else learnt,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )
    rise = max(1, round(recipe.warm_up * steps))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))

    def at_depth(depth: float) -> Callable[[int], float]:
        return lambda step: factor(step) * math.prod(rate(depth, step / steps) for rate in measure.rate)

    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, [at_depth(depth) for depth in depths] if measure.rate else factor
    )


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)
