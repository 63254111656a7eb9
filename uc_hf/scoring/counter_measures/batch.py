"""Counter-measures on every batch, after the recipe's own augmentation.

Each takes images float [N, 3, H, W] in [0, 1], labels float [N, C] whose rows sum to 1, a CPU generator and its
parameter, and returns new images and labels.
"""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from uc_hf.scoring.counter_measures.known import counter_measure
from uc_hf.scoring.counter_measures.operations import one_operation_each, recoloured
from uc_hf.training.augmentations import on_device


LAYERS = 2
"""Number of operations that RandAugment applies to an image (N of Cubuk et al. 2020)."""

LEAST_ERASED, MOST_ERASED = 0.02, 0.33
LONGEST_ERASED = 3.3


@counter_measure("mixup", "batch", "alpha", 1, (0.01, 100))
def mixup(images: Tensor, labels: Tensor, generator: Generator, alpha: float) -> tuple[Tensor, Tensor]:
    """Mix each image with another of the batch, with weights from Beta(alpha, alpha) (Zhang et al. 2018)."""
    weights = _beta(len(images), alpha, generator).to(images.device, images.dtype)
    other = torch.randperm(len(images), generator=generator).to(images.device)
    mixed = _mix(images, images[other], weights[:, None, None, None])
    return mixed, _mix(labels, labels[other], weights[:, None])


@counter_measure("cutmix", "batch", "alpha", 1, (0.01, 100))
def cutmix(images: Tensor, labels: Tensor, generator: Generator, alpha: float) -> tuple[Tensor, Tensor]:
    """Paste a box of another image of the batch; labels count as their share of the pixels (Yun et al. 2019)."""
    n, _, height, width = images.shape
    side = (1 - _beta(n, alpha, generator)).sqrt()
    box = _boxes(height, width, side * height, side * width, generator).to(images.device)
    other = torch.randperm(n, generator=generator).to(images.device)
    kept = 1 - box.to(labels.dtype).mean(dim=(1, 2, 3))
    return torch.where(box, images[other], images), _mix(labels, labels[other], kept[:, None])


@counter_measure("cutout", "batch", "share of the side", 0.5, (0.01, 1))
def cutout(images: Tensor, labels: Tensor, generator: Generator, share: float) -> tuple[Tensor, Tensor]:
    """Cover a square around a random pixel with mid-gray; `share` is its side relative to the image's.

    As published (DeVries and Taylor 2017), the centre lies anywhere in the image, so part of the square may lie
    outside.
    """
    n, _, height, width = images.shape
    box = _boxes(height, width, torch.full((n,), share * height), torch.full((n,), share * width), generator)
    return images.masked_fill(box.to(images.device), 0.5), labels


@counter_measure("erasing", "batch", "probability", 0.5, (0.01, 1))
def erasing(images: Tensor, labels: Tensor, generator: Generator, probability: float) -> tuple[Tensor, Tensor]:
    """Fill a box of 2 to 33 % of the area with random values, in a share of the images (Zhong et al. 2020)."""
    n, _, height, width = images.shape
    area = LEAST_ERASED + (MOST_ERASED - LEAST_ERASED) * torch.rand(n, generator=generator)
    stretch = torch.exp((2 * torch.rand(n, generator=generator) - 1) * 0.5 * math.log(LONGEST_ERASED))
    chosen = torch.rand(n, generator=generator) < probability
    box = _boxes(height, width, area.sqrt() * stretch * height, area.sqrt() / stretch * width, generator)
    box = (box & chosen[:, None, None, None]).to(images.device)
    values = torch.rand(images.shape, generator=on_device(generator, images.device), device=images.device)
    return torch.where(box, values.to(images.dtype), images), labels


@counter_measure("noise", "batch", "standard deviation in 8-bit levels", 8, (0.1, 255))
def noise(images: Tensor, labels: Tensor, generator: Generator, levels: float) -> tuple[Tensor, Tensor]:
    """Add fresh Gaussian noise, its standard deviation in 8-bit levels."""
    drawn = torch.randn(images.shape, generator=on_device(generator, images.device), device=images.device)
    return (images + drawn.to(images.dtype) * levels / 255).clamp(0, 1), labels


@counter_measure("randaugment", "batch", "magnitude of 30", 9, (0.1, 30))
def randaugment(images: Tensor, labels: Tensor, generator: Generator, magnitude: float) -> tuple[Tensor, Tensor]:
    """Apply two random operations in a row, with a magnitude of up to 30 (Cubuk et al. 2020)."""
    for _ in range(LAYERS):
        images = one_operation_each(images, torch.full((len(images),), magnitude / 30), generator)
    return images, labels


@counter_measure("jitter", "batch")
def jitter(images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Change brightness, contrast and colour at random, and turn a fifth of the images to gray (Chen et al. 2020)."""
    return recoloured(images, generator), labels


def _mix(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    return weight * first + (1 - weight) * second


def _beta(n: int, alpha: float, generator: Generator) -> Tensor:
    """Samples of Beta(alpha, alpha), by NumPy since torch's own takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n)).float()


def _boxes(height: int, width: int, tall: Tensor, wide: Tensor, generator: Generator) -> Tensor:
    """One box for each image, its centre uniform over the pixels, clipped at the borders.

    Args:
        height: height of the images.
        width: width of the images.
        tall: float [N], heights of the boxes in pixels.
        wide: float [N], widths of the boxes.
        generator: a CPU generator.

    Returns:
        bool [N, 1, height, width].
    """
    inside = []
    for side, length in ((height, tall), (width, wide)):
        length = length.round()
        start = torch.randint(side, (len(length),), generator=generator) - (length / 2).floor()
        along = torch.arange(side)
        inside.append((along >= start[:, None]) & (along < (start + length)[:, None]))
    rows, columns = inside
    return (rows[:, :, None] & columns[:, None, :])[:, None]
