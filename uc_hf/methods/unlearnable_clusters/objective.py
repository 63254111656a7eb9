"""The objective of section 3.3: the distance to the goal, expected over a scraper's transformations."""

import math

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.data.images import Container, Picture, decode, encode
from uc_hf.methods.unlearnable_clusters.settings import THUMBNAIL, Settings
from uc_hf.training.augmentations import random_resized_crop


OF_THUMBNAILS, OF_LARGER = 10, 1
"""Textures tried for each cluster. Of thumbnails one left four points more than ten behind JPEG. Of photographs more
than one do harm: those that move embeddings furthest look alike, and a network cannot tell the clusters by them
(docs/experiments.md)."""


OPTIMISER_STEPS, TILE_STEPS = 400, 450


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
        kind: "l2" (squared), "cosine" (1 - cosine), "kl" (from softmax(goal) to softmax(embedding), equation 4).

    Returns:
        float [N].
    """
    if kind == "l2":
        return (embeddings - goals).square().sum(dim=1)
    if kind == "cosine":
        return 1 - F.cosine_similarity(embeddings, goals, dim=1)
    return F.kl_div(embeddings.log_softmax(dim=1), goals.softmax(dim=1), reduction="none").sum(dim=1)


def n_steps(settings: Settings, n_images: int, size: int) -> int:
    """Steps of the search: `steps`, what `epochs` passes of each cluster's noise over the sample come to, or its own.

    Of textures there are as many as clusters at least.

    Args:
        settings: of the fit.
        n_images: N, of the sample.
        size: side S of the canvas in pixels.
    """
    if settings.epochs is not None:
        steps = math.ceil(settings.n_clusters * settings.epochs * n_images / settings.batch_size)
        return max(steps, settings.n_clusters) if settings.parametrisation == "texture" else steps
    if settings.steps is not None:
        return settings.steps
    if settings.parametrisation == "texture":
        return settings.n_clusters * (OF_LARGER if size > THUMBNAIL else OF_THUMBNAILS)
    return TILE_STEPS if settings.parametrisation == "tile" else OPTIMISER_STEPS


def scraped(protected: Tensor, settings: Settings, generator: Generator) -> Tensor:
    """The protected image as a scraper's training sees it: stored, then cropped and flipped at random.

    Args:
        protected: float [N, 3, S, S] in [0, 1].
        settings: container and eot_scale.
        generator: of the crops and flips.

    Returns:
        float [N, 3, S, S] in [0, 1], differentiable.
    """
    container = Container.parse(settings.container)
    if not container.lossless:
        stored = _round_trip(protected.detach(), container)
        protected = protected + (stored - protected).detach()  # the gradient passes straight through
    if settings.eot_scale is None:
        return protected
    return random_resized_crop(protected, generator, scale=settings.eot_scale)


def _round_trip(pixels: Tensor, container: Container) -> Tensor:
    """Pixels as they come back from storage, float [N, 3, H, W] in [0, 1]."""
    arrays = (pixels * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    stored = [decode(encode(Picture(array, "RGB"), container)).pixels for array in arrays]
    return torch.from_numpy(np.stack(stored)).permute(0, 3, 1, 2).to(pixels.device).float() / 255
