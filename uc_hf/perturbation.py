"""Centroids + canvases -> one noise per cluster (paper, section 3.3), learnt for all clusters together.

Every step draws images from the whole sample, adds a cluster's noise to each, takes a random view of the *protected*
image as a scraper would (EOT) and pulls its embedding to the centroid of the cluster's goal.
"""

import math
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.augmentations import random_resized_crop
from uc_hf.data.images import Container, Picture, decode, encode, resize
from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.fitting.settings import THUMBNAIL, Settings
from uc_hf.parametrisation import PARAMETRISATIONS
from uc_hf.surrogates import Surrogate, SurrogateEnsemble


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


def resize_noise(noise: Tensor, size: tuple[int, int], levels: int) -> Tensor:
    """A cluster's noise stretched over an image, in whole 8-bit levels so that rounding cannot break the bound.

    A noise that is plus or minus the same everywhere, as textures are, stays so: an interpolated one has soft edges,
    and less is left of it where a scraper shrinks the image again.

    Args:
        noise: int8 [3, S, S].
        size: (H, W) in pixels.
        levels: the bound.

    Returns:
        int8 [3, H, W], within `levels` of 0.
    """
    if noise.shape[1:] == size:
        return noise
    shifted = (noise ^ -128).view(torch.uint8)  # n + 128: resized like pixels, and as fast
    stretched = resize(shifted.permute(1, 2, 0).contiguous().permute(2, 0, 1), size)
    stretched = (stretched.view(torch.int8) ^ -128).clamp(-levels, levels)
    least, strength = (int(bound) for bound in noise.abs().aminmax())
    if least < strength:
        return stretched
    negative = stretched >> 7  # -1 or 0; torch.where takes three times as long
    return negative.mul_(2 * strength).add_(strength)


def add_levels(pixels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """`add_noise` for one picture in 8-bit levels: the same result, in a quarter of the time.

    Args:
        pixels: uint8 [H, W, 3].
        noise: int8 [H, W, 3], or [H, W, 1] for all channels.

    Returns:
        uint8 [H, W, 3].
    """
    return np.add(pixels, noise, dtype=np.int16).clip(0, 255).astype(np.uint8)


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


def learn_noise(
    canvases: Tensor,
    centroids: Tensor,
    goals: Tensor,
    surrogate: Surrogate | SurrogateEnsemble,
    settings: Settings,
    *,
    accelerator: Accelerator,
    checkpoint: Path | None = None,
) -> np.ndarray:
    """Learn the cluster-wise perturbations (Algorithm 1), all clusters together.

    Args:
        canvases: uint8 [N, 3, S, S], images of the whole sample: each noise must work on any of them.
        centroids: float [p, d].
        goals: int64 [p], the cluster that each one is pushed to.
        surrogate: frozen, on the accelerator's device.
        settings: parametrisation, distance, steps, EOT, epsilon, seed.
        accelerator: its device and mixed precision are used.
        checkpoint: a file to go on from when it exists, and to write to while learning; the result has the same
            bytes as an uninterrupted fit.

    Returns:
        int8 [p, 3, S, S], noise in 8-bit levels, within settings.levels of 0.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    size = canvases.shape[-1]
    noise = PARAMETRISATIONS[settings.parametrisation](settings.n_clusters, size, settings.epsilon, generator)
    noise = noise.to(accelerator.device)
    optimizer = accelerator.prepare_optimizer(noise.optimizer(settings.learning_rate or noise.default_learning_rate))
    total = n_steps(settings, len(canvases), size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=0.01 * optimizer.defaults["lr"])
    state = FitState(noise, optimizer, schedule, generator)
    pulls = centroids[goals].to(accelerator.device)
    for step in state.steps(total, checkpoint, "learning noise"):
        index = torch.randint(len(canvases), (settings.batch_size,), generator=generator)
        clusters = noise.clusters(step, settings.batch_size)
        pixels = canvases[index].to(accelerator.device).float() / 255
        view = scraped(add_noise(pixels, noise(clusters)), settings, generator)
        with accelerator.autocast():
            embeddings = embed_canvases(view, surrogate, settings.normalise)
        loss = distance(embeddings.float(), pulls[clusters], settings.distance).mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        noise.project()
        schedule.step()
        state.shown = {"distance": loss.detach()}
    with torch.no_grad():
        learnt = torch.cat([noise(torch.tensor([cluster])) for cluster in range(settings.n_clusters)])
    levels = (learnt * 255).round().clamp(-settings.levels, settings.levels)
    return levels.cpu().numpy().astype(np.int8)


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
