"""The family of textures in which noise is chosen: gratings, the same wherever a scraper crops.

Noise that is tied to its place dies under random crops, and a network reads a regular texture before it reads
pictures. So the search tries many textures, measures where each one moves the embeddings of protected images, and
gives every cluster the one that moves them nearest to its goal: the objective of section 3.3, over a dictionary. Of
images larger than thumbnails it draws no more than there are clusters, and chooses who gets which.

Half of the clusters get green and blue opposed, for pictures hardly hold such colours and networks read them soonest.
The other half get red and green opposed, or on thumbnails a fine pattern of brightness, which JPEG and a conversion to
gray leave alone (docs/method.md, "Two kinds of texture").
"""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from uc_hf.data.progress import Bar
from uc_hf.fitting.checkpoint import CHECKPOINTS, load_tensors, save_tensors
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, n_steps, scraped
from uc_hf.methods.unlearnable_clusters.settings import THUMBNAIL, Settings
from uc_hf.surrogates.surrogate import Surrogate, SurrogateEnsemble


PERIODS = (3.0, 8.0)
"""Shortest and longest period of a grating, in pixels of the canvas: a 3 x 3 filter sees it, a resize keeps it."""

WIDE = (7.0, 14.0)
"""The same of opposed colours: more of them is left where JPEG halves the colours, or where a photograph is shrunk
again, and they are read as soon (docs/experiments.md)."""

FINE, COARSE = (2.2, 3.3), (5.0, 9.0)
"""Of thumbnails' brightness, which is mistaken for what pictures show where it is coarser, and the blue beside it."""

KINDS = 2

RED, GREEN, BLUE = range(3)
ANGLE, PERIOD, PHASE = range(3)


def draw_gratings(n: int, generator: Generator, periods: tuple[float, float] = PERIODS) -> Tensor:
    """Gratings at random, each channel on its own.

    Args:
        n: how many.
        generator: to draw from.
        periods: the shortest and the longest, in pixels.

    Returns:
        float [n, 3, 3]: for each channel of each grating its angle in half turns, period in pixels and phase in turns.
    """
    gratings = torch.rand(n, 3, 3, generator=generator)
    shortest, longest = periods
    gratings[..., PERIOD] = shortest + (longest - shortest) * gratings[..., PERIOD]
    return gratings


def draw_textures(n: int, generator: Generator, size: int) -> Tensor:
    """Gratings of two kinds by turns: green and blue opposed, and what goes best with it on canvases of that size.

    Args:
        n: how many.
        generator: to draw from.
        size: side S of the canvas in pixels.

    Returns:
        float [n, 3, 3], as `draw_gratings`. Of those with even numbers blue is green's negative. Of the others green
        is red's negative; on canvases of at most `THUMBNAIL` pixels red and green, nearly all of the luma, are one
        `FINE` grating instead, and blue is a `COARSE` one of its own.
    """
    textures = draw_gratings(n, generator, WIDE)
    first, second = textures[0::KINDS], textures[1::KINDS]
    _oppose(first, GREEN, BLUE)
    if size > THUMBNAIL:
        _oppose(second, RED, GREEN)
        return textures
    second[:, RED, PERIOD].uniform_(*FINE, generator=generator)
    second[:, BLUE, PERIOD].uniform_(*COARSE, generator=generator)
    second[:, GREEN] = second[:, RED]
    return textures


def _oppose(gratings: Tensor, channel: int, other: int) -> None:
    """Make one channel the negative of another."""
    gratings[:, other] = gratings[:, channel]
    gratings[:, other, PHASE] += 0.5


def render(gratings: Tensor, size: int) -> Tensor:
    """Oriented square waves.

    Args:
        gratings: float [n, 3, 3], from `draw_gratings` or `draw_textures`.
        size: side S of the canvas in pixels.

    Returns:
        float [n, 3, S, S], every value -1 or 1.
    """
    angle, period, phase = gratings[..., None, None].unbind(dim=2)  # [n, 3, 1, 1] each
    frequency = 2 * math.pi / period
    x = torch.arange(size, dtype=torch.float32)
    across = x * (math.pi * angle).cos() + x[:, None] * (math.pi * angle).sin()  # [n, 3, S, S]
    return torch.where((frequency * across + 2 * math.pi * phase).sin() >= 0, 1.0, -1.0)


def secret_generator(seed: int, originals: Tensor) -> Generator:
    """Seeded by the originals too: from the seed alone, which is 0 for most, anyone could draw the same gratings.

    Args:
        seed: the protector's.
        originals: whatever cannot be computed without them, on the CPU.
    """
    digest = hashlib.sha256(str(seed).encode() + originals.numpy().tobytes()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], signed=True))


def search_textures(
    canvases: Tensor,
    centroids: Tensor,
    goals: Tensor,
    surrogate: Surrogate | SurrogateEnsemble,
    settings: Settings,
    *,
    accelerator: Accelerator,
    checkpoint: Path | None = None,
) -> np.ndarray:
    """Choose the cluster-wise perturbations: of `n_steps` textures, the p that bring images nearest to the p goals.

    Every step tries one texture on `batch_size` images, seen as a scraper would (EOT). No cluster shares a texture
    with another one, and the kinds of texture go by turns over the clusters.

    Args:
        canvases: uint8 [N, 3, S, S], images of the whole sample.
        centroids: float [p, d].
        goals: int64 [p], the cluster that each one is pushed to.
        surrogate: frozen, on the accelerator's device.
        settings: distance, steps, EOT, epsilon, seed.
        accelerator: its device and mixed precision are used.
        checkpoint: a file to go on from when it exists, and to write to; the result has the same bytes either way.

    Returns:
        int8 [p, 3, S, S], noise in 8-bit levels, every value +levels or -levels.
    """
    generator = secret_generator(settings.seed, centroids)
    size, device = canvases.shape[-1], accelerator.device
    total = n_steps(settings, len(canvases), size)
    tried = draw_textures(total, generator, size)
    pulls = centroids[goals].to(device)
    scores = torch.zeros(total, len(goals))
    done = 0 if checkpoint is None else _load(checkpoint, scores, generator)
    every = math.ceil(total / CHECKPOINTS)
    with torch.inference_mode(), Bar(total=total, initial=done, desc="trying textures", unit="texture") as bar:
        for step in range(done, total):
            index = torch.randint(len(canvases), (settings.batch_size,), generator=generator)
            pixels = canvases[index].to(device).float() / 255
            noise = settings.levels / 255 * render(tried[step : step + 1], size).to(device).expand_as(pixels)
            view = scraped(add_noise(pixels, noise), settings, generator)
            with accelerator.autocast():
                embeddings = embed_canvases(view, surrogate, settings.normalise).float()
            away = [distance(embeddings, pull.expand_as(embeddings), settings.distance).mean() for pull in pulls]
            scores[step] = torch.stack(away)
            bar.update()
            if checkpoint is not None and (step + 1) % every == 0:
                state = {"scores": scores, "generator": generator.get_state()}
                save_tensors(checkpoint, state, {"step": str(step + 1)})
    of_another_kind = (torch.arange(total)[:, None] - torch.arange(len(goals))) % KINDS != 0
    scores[of_another_kind] = math.inf
    chosen, cluster = linear_sum_assignment(scores.numpy())
    noise = settings.levels * render(tried[torch.from_numpy(chosen[cluster.argsort()])], size)
    return noise.numpy().astype(np.int8)


def _load(checkpoint: Path, scores: Tensor, generator: Generator) -> int:
    """Take up an unfinished search, if there is one; returns how many textures it had tried."""
    saved = load_tensors(checkpoint)
    if saved is None:
        return 0
    tensors, metadata = saved
    scores.copy_(tensors["scores"])
    generator.set_state(tensors["generator"])
    return int(metadata["step"])
