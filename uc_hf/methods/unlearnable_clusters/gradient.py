"""Noise that is learnt by gradient (paper, section 3.3), for all clusters together: what two families share.

Every step draws images from the whole sample, adds a cluster's noise to each, takes a random view of the *protected*
image as a scraper would (EOT) and pulls its embedding to the centroid of the cluster's goal.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from uc_hf.errors import SettingError
from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.clustering import goals
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.fitting.noise import CanvasNoise
from uc_hf.fitting.settings import above_zero, at_least, one_of
from uc_hf.methods.unlearnable_clusters.family import ClusterLesson, Family
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, scraped
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.training.descent import take_step


OPTIMISER_STEPS = 400


@dataclass(frozen=True, kw_only=True)
class GradientSettings(Settings):
    """The attributes of `Settings`, too.

    Attributes:
        distance: from the embedding to the centroid of the cluster aimed at: "l2" (squared), or "kl" between
            softmaxes (equation 4).
        goal: which cluster each one is pushed to: the "next" (the paper) or the "farthest" derangement.
        steps: optimiser steps on `batch_size` images, where every cluster has its share of each batch; None for 400.
        epochs: instead of `steps`: how often each cluster's noise sees the whole sample (50 in the paper).
        eot_scale: share of the area that the random-resized-crop of the EOT keeps, (least, largest) in (0, 1]; None
            learns on uncropped images as the paper does.
        learning_rate: None for the family's own: direct, the first step as a share of epsilon; generator, Adam's.
    """

    distance: str = "l2"
    goal: str = "farthest"
    steps: int | None = None
    epochs: float | None = None
    eot_scale: tuple[float, float] | None = (0.35, 1.0)
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        """As `Settings`: refuse what is out of range."""
        super().__post_init__()
        if isinstance(self.eot_scale, list):
            object.__setattr__(self, "eot_scale", tuple(self.eot_scale))
        if self.steps is not None:
            at_least("steps", self.steps, 1)
            if self.epochs is not None:
                raise SettingError(
                    f"steps={self.steps} and epochs={self.epochs!r} both say how long the fit is. Leave one out "
                    "(with UCProtector.paper, which has 50 epochs, write epochs=None)."
                )
        if self.epochs is not None:
            above_zero("epochs", self.epochs)
        one_of("distance", self.distance, ("l2", "kl"))
        one_of("goal", self.goal, ("farthest", "next"))
        if self.eot_scale is not None and not _is_range(self.eot_scale):
            raise SettingError(
                f"eot_scale={self.eot_scale!r} is not a pair (least, largest) of shares in (0, 1]: "
                "write for example (0.35, 1.0), or None to learn without random crops."
            )
        if self.learning_rate is not None:
            above_zero("learning_rate", self.learning_rate)


class LearntNoise(nn.Module, ABC):
    """The noise of all clusters while it is learnt.

    Args:
        n_clusters: p.
        size: side S of the canvas in pixels.
        epsilon: the bound.
        generator: of the start.
    """

    default_learning_rate: ClassVar[float]

    def __init__(self, n_clusters: int, size: int, epsilon: float, generator: Generator) -> None:
        super().__init__()
        self.epsilon = epsilon

    @abstractmethod
    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """What takes the steps."""

    @abstractmethod
    def clusters(self, step: int, batch_size: int) -> Tensor:
        """The cluster whose noise each image of the batch receives, int64 [batch_size]."""

    @abstractmethod
    def forward(self, clusters: Tensor) -> Tensor:
        """Noise of each cluster named, float [N, 3, S, S] in [-epsilon, epsilon]."""

    def project(self) -> None:
        """Bring the noise back within epsilon after a step, where a step can leave it."""


class GradientFamily(Family[GradientSettings]):
    """Algorithm 1 of the paper, but for all clusters together.

    Attributes:
        build: makes the noise with which the fit begins.
    """

    settings_type = GradientSettings
    build: type[LearntNoise]

    def goals(self, centroids: np.ndarray, settings: GradientSettings) -> np.ndarray:
        """The next cluster or the farthest: int64 [p]."""
        return goals(centroids, settings.goal)

    def n_steps(self, settings: GradientSettings, n_images: int) -> int:
        """Optimiser steps: `steps`, what `epochs` passes of each noise over N images come to, or `OPTIMISER_STEPS`."""
        if settings.epochs is not None:
            return math.ceil(settings.p * settings.epochs * n_images / settings.batch_size)
        return settings.steps or OPTIMISER_STEPS

    def _pulls(self, centroids: Tensor, settings: GradientSettings) -> Tensor:
        """Where each cluster's noise pulls embeddings, float [p, d]: to its goal; a single cluster's, away from it."""
        if len(centroids) == 1:
            return -centroids
        return centroids[torch.from_numpy(self.goals(centroids.numpy(), settings))]

    def learn(self, lesson: ClusterLesson[GradientSettings]) -> CanvasNoise:
        """The cluster-wise perturbations."""
        settings, canvases, device = lesson.settings, lesson.canvases, lesson.accelerator.device
        generator = torch.Generator().manual_seed(settings.seed)
        size = canvases.shape[-1]
        noise = self.build(settings.p, size, settings.epsilon, generator).to(device)
        optimizer = lesson.accelerator.prepare_optimizer(
            noise.optimizer(settings.learning_rate or noise.default_learning_rate)
        )
        total = self.n_steps(settings, len(canvases))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, total, eta_min=0.01 * optimizer.defaults["lr"]
        )
        state = FitState(noise, optimizer, schedule, generator)
        pulls = self._pulls(lesson.centroids, settings).to(device)
        for step in state.steps(total, lesson.checkpoint, "learning noise"):
            index = torch.randint(len(canvases), (settings.batch_size,), generator=generator)
            clusters = noise.clusters(step, settings.batch_size)
            pixels = canvases[index].to(device).float() / 255
            protected = add_noise(pixels, noise(clusters))
            view = scraped(protected, settings.stored_as, settings.eot_scale, generator)
            with lesson.accelerator.autocast():
                embeddings = embed_canvases(view, lesson.surrogate, settings.normalise)
            loss = distance(embeddings.float(), pulls[clusters], settings.distance).mean()
            take_step(loss, optimizer, schedule, lesson.accelerator)
            noise.project()
            state.shown = {"distance": loss.detach()}
        return CanvasNoise(_rounded(noise, settings))


def _is_range(value: Any) -> bool:
    """Whether it is a pair (least, largest) of shares in (0, 1]."""
    numbers = isinstance(value, tuple) and len(value) == 2 and all(isinstance(share, (int, float)) for share in value)
    return numbers and 0 < value[0] <= value[1] <= 1


@torch.no_grad()
def _rounded(noise: LearntNoise, settings: Settings) -> np.ndarray:
    """In whole 8-bit levels, int8 [p, 3, S, S]."""
    learnt = torch.cat([noise(torch.tensor([cluster])) for cluster in range(settings.p)])
    levels = (learnt * 255).round().clamp(-settings.levels, settings.levels)
    return levels.cpu().numpy().astype(np.int8)
