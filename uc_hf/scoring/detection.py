"""Can a linear model on residuals tell protected images from clean ones, and name their noise pattern?"""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.scoring.counter_measures.adaptive import noise_patterns, residuals
from uc_hf.training.augmentations import centre_crop


MOST_IMAGES = 2000
"""Enough pairs to measure an accuracy to within two points."""

WINDOW = 64
"""Side in pixels of the central part that the detector sees."""

MARGIN = 16
"""Extra pixels around the window, so that smoothing does not meet its border."""

RIDGE = 0.1
"""Penalty of the regression, as a share of the mean squared norm of an image's residual."""


@dataclass(frozen=True)
class Detection:
    """Accuracies of a linear model on high-pass residuals of images that it was not fitted on.

    Attributes:
        accuracy: of answering "protected or clean", in [0, 1].
        chance: of the same answer by guessing.
        cluster_accuracy: of answering "which noise pattern"; None if fewer than two patterns are on both halves, the
            one that the model is fitted on and the one that it is tested on.
        cluster_chance: of always answering the most common pattern.
    """

    accuracy: float
    chance: float
    cluster_accuracy: float | None
    cluster_chance: float | None


def detect(clean: Tensor, published: Tensor) -> Detection | None:
    """Fit detectors on one half of the rows and test them on the other.

    Args:
        clean: uint8 [N, 3, S, S].
        published: uint8 [N, 3, S, S], row by row.

    Returns:
        the accuracies; equal sets give chance. None for a single row, which cannot be halved.
    """
    if len(clean) < 2:
        return None
    rows = torch.randperm(len(clean), generator=Generator().manual_seed(0))[:MOST_IMAGES]
    patterns = noise_patterns(clean[rows], published[rows])
    before, after = _features(clean[rows]), _features(published[rows])
    half = len(rows) // 2
    truth = torch.tensor([0, 1])
    seen = torch.cat([before[:half], after[:half]]), truth.repeat_interleave(half)
    unseen = torch.cat([before[half:], after[half:]]), truth.repeat_interleave(len(rows) - half)
    accuracy = _accuracy(*seen, *unseen)
    if len(set(patterns[:half].tolist()) & set(patterns[half:].tolist()) - {-1}) < 2:
        return Detection(accuracy, 0.5, None, None)
    changed = patterns >= 0
    fitted, tested = changed.clone(), changed.clone()
    fitted[half:], tested[:half] = False, False
    return Detection(
        accuracy=accuracy,
        chance=0.5,
        cluster_accuracy=_accuracy(after[fitted], patterns[fitted], after[tested], patterns[tested]),
        cluster_chance=int(torch.bincount(patterns[tested]).max()) / int(tested.sum()),
    )


def _features(pixels: Tensor) -> Tensor:
    size = pixels.shape[-1]
    around = centre_crop(pixels, size=min(size, WINDOW + MARGIN))
    return centre_crop(residuals(around), size=min(size, WINDOW)).flatten(1)


def _accuracy(features: Tensor, classes: Tensor, test_features: Tensor, test_classes: Tensor) -> float:
    """Ridge regression on one-hot classes in its dual form, since pixels outnumber images."""
    mean = features.mean(dim=0)
    features, test_features = features - mean, test_features - mean
    products = features @ features.T
    penalty = RIDGE * products.diagonal().mean().clamp(min=1e-6)
    targets = F.one_hot(classes, int(classes.max()) + 1).float()
    duals = torch.linalg.solve(products + penalty * torch.eye(len(features)), targets - targets.mean(dim=0))
    guesses = (test_features @ features.T @ duals).argmax(dim=1)
    return float((guesses == test_classes).float().mean())
