"""The family of textures in which noise is chosen: gratings, the same wherever a scraper crops.

Noise that is tied to its place dies under random crops, and a network reads a regular texture before it reads
pictures. So the search tries many textures, measures where each one moves the embeddings of protected images, and
gives every cluster the one that moves them nearest to its goal: the objective of section 3.3, over a dictionary. Of
images larger than thumbnails it draws no more than there are clusters, and chooses who gets which.

Half of the clusters get green and blue opposed, for pictures hardly hold such colours and networks read them soonest.
The other half get red and green opposed, or on thumbnails a fine pattern of brightness, which JPEG and a conversion to
gray leave alone (docs/concepts/method.md, "Two kinds of texture").
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from uc_hf.data.progress import Bar
from uc_hf.errors import SettingError
from uc_hf.fitting.checkpoint import CHECKPOINTS, load_tensors, save_tensors
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.fitting.noise import CanvasNoise
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.family import ClusterLesson, Family
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, scraped
from uc_hf.methods.unlearnable_clusters.settings import THUMBNAIL, Settings


PERIODS = (3.0, 8.0)
"""Shortest and longest period of a grating, in pixels of the canvas: a 3 x 3 filter sees it, a resize keeps it."""

WIDE = (7.0, 14.0)
"""The same of opposed colours: more of them is left where JPEG halves the colours, or where a photograph is shrunk
again, and they are read as soon (docs/log/periods.md)."""

FINE, COARSE = (2.2, 3.3), (5.0, 9.0)
"""Of thumbnails' brightness, which is mistaken for what pictures show where it is coarser, and the blue beside it."""

OF_THUMBNAILS, OF_LARGER = 10, 1
"""Textures tried for each cluster. Of thumbnails one left four points more than ten behind JPEG. Of photographs more
than one do harm: those that move embeddings furthest look alike, and a network cannot tell the clusters by them
(docs/log/choosing.md)."""

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


@dataclass(frozen=True, kw_only=True)
class TextureSettings(Settings):
    """The attributes of `Settings`; `steps` is how many textures are tried."""

    def __post_init__(self) -> None:
        """As `Settings`: refuse what is out of range."""
        super().__post_init__()
        if self.steps is not None and self.steps < self.p:
            raise SettingError(
                f"steps={self.steps} tries fewer textures than the {self.p} clusters need. "
                f"Write steps={self.p} or more, or leave it out: enough are tried then."
            )


class Texture(Family[TextureSettings]):
    """Gratings; each cluster gets the one that moves its images nearest to their goal."""

    settings_type = TextureSettings

    def default_steps(self, settings: TextureSettings, size: int) -> int:
        """A number for each cluster, by the size of the pictures."""
        return settings.p * (OF_LARGER if size > THUMBNAIL else OF_THUMBNAILS)

    def n_steps(self, settings: TextureSettings, n_images: int, size: int) -> int:
        """As many as clusters at least."""
        return max(super().n_steps(settings, n_images, size), settings.p)

    def learn(self, lesson: ClusterLesson[TextureSettings]) -> CanvasNoise:
        """Of `n_steps` textures, the p that bring images nearest to the p goals; every value is at the bound.

        Every step tries one texture on `batch_size` images, seen as a scraper would (EOT). No cluster shares a texture
        with another one, and the kinds of texture go by turns over the clusters.
        """
        size = lesson.canvases.shape[-1]
        generator = secret_generator(lesson.settings.seed, lesson.centroids)
        tried = draw_textures(self.n_steps(lesson.settings, len(lesson.canvases), size), generator, size)
        chosen = _assigned(_distances(tried, lesson, generator))
        noise = lesson.settings.levels * render(tried[torch.from_numpy(chosen)], size)
        return CanvasNoise(noise.numpy().astype(np.int8))


FAMILIES["texture"] = Texture()


def _distances(tried: Tensor, lesson: ClusterLesson[TextureSettings], generator: Generator) -> Tensor:
    """How far each texture leaves images from each cluster's goal: float [n, p]."""
    canvases, settings = lesson.canvases, lesson.settings
    checkpoint, accelerator, surrogate = lesson.checkpoint, lesson.accelerator, lesson.surrogate
    size, device, total = canvases.shape[-1], accelerator.device, len(tried)
    pulls = lesson.pulls.to(device)
    scores = torch.zeros(total, len(pulls))
    done = _load(checkpoint, scores, generator)
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
            if (step + 1) % every == 0:
                state = {"scores": scores, "generator": generator.get_state()}
                save_tensors(checkpoint, state, {"step": str(step + 1)})
    return scores


def _assigned(distances: Tensor) -> np.ndarray:
    """The texture of each cluster, int64 [p]: the least sum of distances, each of the cluster's kind."""
    textures, clusters = (torch.arange(n) for n in distances.shape)
    of_another_kind = (textures[:, None] - clusters) % KINDS != 0
    chosen, cluster = linear_sum_assignment(distances.masked_fill(of_another_kind, math.inf).numpy())
    return chosen[cluster.argsort()]


def _load(checkpoint: Path, scores: Tensor, generator: Generator) -> int:
    """Take up an unfinished search, if there is one; returns how many textures it had tried."""
    saved = load_tensors(checkpoint)
    if saved is None:
        return 0
    tensors, metadata = saved
    scores.copy_(tensors["scores"])
    generator.set_state(tensors["generator"])
    return int(metadata["step"])
