"""The objective of section 3.3: the distance to the goal, expected over a scraper's transformations."""

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.data.container import Container
from uc_hf.data.images import Picture, decode, encode
from uc_hf.training.augmentations import random_resized_crop


def add_noise(pixels: Tensor, noise: Tensor) -> Tensor:
    """The protected image x' = clip(x + delta) (equation 5).

    Args:
        pixels: float [N, 3, H, W] in [0, 1].
        noise: float [N, 3, H, W] in [-epsilon, epsilon].

    Returns:
        float [N, 3, H, W] in [0, 1], within epsilon of `pixels`.
    """
    return (pixels + noise).clamp(0, 1)


def distance(embeddings: Tensor, goals: Tensor, kind: str) -> Tensor:
    """How far embeddings are from the centroids they are pulled to.

    Args:
        embeddings: float [N, d].
        goals: float [N, d].
        kind: "l2" (squared), or "kl" (from softmax(goal) to softmax(embedding), equation 4).

    Returns:
        float [N].
    """
    if kind == "l2":
        return (embeddings - goals).square().sum(dim=1)
    return F.kl_div(embeddings.log_softmax(dim=1), goals.softmax(dim=1), reduction="none").sum(dim=1)


def scraped(
    protected: Tensor, container: Container, eot_scale: tuple[float, float] | None, generator: Generator
) -> Tensor:
    """The protected image as a scraper's training sees it: stored, then cropped and flipped at random.

    Args:
        protected: float [N, 3, S, S] in [0, 1].
        container: how it is stored.
        eot_scale: share of the area that the crop keeps, (least, largest); None for no crop.
        generator: of the crops and flips.

    Returns:
        float [N, 3, S, S] in [0, 1], differentiable.
    """
    if not container.lossless:
        stored = _round_trip(protected.detach(), container)
        protected = protected + (stored - protected).detach()  # the gradient passes straight through
    if eot_scale is None:
        return protected
    return random_resized_crop(protected, generator, scale=eot_scale)


def _round_trip(pixels: Tensor, container: Container) -> Tensor:
    """Pixels as they come back from storage, float [N, 3, H, W] in [0, 1]."""
    arrays = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    stored = [decode(encode(Picture(array, "RGB"), container)).pixels for array in arrays]
    return torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2).to(pixels.device).float() / 255
