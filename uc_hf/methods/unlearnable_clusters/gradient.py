"""Noise that is learnt by gradient (paper, section 3.3), for all clusters together: what two families share.

Every step draws images from the whole sample, adds a cluster's noise to each, takes a random view of the *protected*
image as a scraper would (EOT) and pulls its embedding to the centroid of the cluster's goal.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn

from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.fitting.noise import CanvasNoise
from uc_hf.fitting.settings import above_zero
from uc_hf.methods.unlearnable_clusters.family import ClusterLesson, Family
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, scraped
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.training.descent import take_step


OPTIMISER_STEPS = 400


@dataclass(frozen=True, kw_only=True)
class GradientSettings(Settings):
    """The attributes of `Settings`, too.

    Attributes:
        learning_rate: None for the family's own: direct, the first step as a share of epsilon; generator, Adam's.
    """

    learning_rate: float | None = None

    def __post_init__(self) -> None:
        """As `Settings`: refuse what is out of range."""
        super().__post_init__()
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

    def default_steps(self, settings: GradientSettings, size: int) -> int:
        """The same for all sizes."""
        return OPTIMISER_STEPS

    def learn(self, lesson: ClusterLesson[GradientSettings]) -> CanvasNoise:
        """The cluster-wise perturbations."""
        settings, canvases, device = lesson.settings, lesson.canvases, lesson.accelerator.device
        generator = torch.Generator().manual_seed(settings.seed)
        size = canvases.shape[-1]
        noise = self.build(settings.p, size, settings.epsilon, generator).to(device)
        optimizer = lesson.accelerator.prepare_optimizer(
            noise.optimizer(settings.learning_rate or noise.default_learning_rate)
        )
        total = self.n_steps(settings, len(canvases), size)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, total, eta_min=0.01 * optimizer.defaults["lr"]
        )
        state = FitState(noise, optimizer, schedule, generator)
        pulls = lesson.pulls.to(device)
        for step in state.steps(total, lesson.checkpoint, "learning noise"):
            index = torch.randint(len(canvases), (settings.batch_size,), generator=generator)
            clusters = noise.clusters(step, settings.batch_size)
            pixels = canvases[index].to(device).float() / 255
            view = scraped(add_noise(pixels, noise(clusters)), settings, generator)
            with lesson.accelerator.autocast():
                embeddings = embed_canvases(view, lesson.surrogate, settings.normalise)
            loss = distance(embeddings.float(), pulls[clusters], settings.distance).mean()
            take_step(loss, optimizer, schedule, lesson.accelerator)
            noise.project()
            state.shown = {"distance": loss.detach()}
        return CanvasNoise(_rounded(noise, settings))


@torch.no_grad()
def _rounded(noise: LearntNoise, settings: Settings) -> np.ndarray:
    """In whole 8-bit levels, int8 [p, 3, S, S]."""
    learnt = torch.cat([noise(torch.tensor([cluster])) for cluster in range(settings.p)])
    levels = (learnt * 255).round().clamp(-settings.levels, settings.levels)
    return levels.cpu().numpy().astype(np.int8)
