"""DeepConfuse: an auto-encoder learns the noise that leaves a classifier which was trained on it most wrong.

Feng et al. 2019. The classifier takes one step on changed images; the auto-encoder is led up the loss that the
classifier has after that step on clean ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from uc_hf.data.images import Picture
from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.settings import at_least
from uc_hf.methods import register
from uc_hf.methods.label_sources import LABEL_SOURCES
from uc_hf.methods.labelwise import Baseline, BaselineSettings, Lesson
from uc_hf.training.descent import take_step
from uc_hf.training.devices import seeded
from uc_hf.training.networks import build_target


CLASSIFIER_RATE, NOISE_RATE = 0.05, 1e-3


@dataclass(frozen=True, kw_only=True)
class DeepConfuseSettings(BaselineSettings):
    """The attributes of `BaselineSettings`, too.

    Attributes:
        source_model: the classifier, as a target of the scorecard.
        trials: classifiers from fresh weights, one after the other.
        epochs: of each classifier.
    """

    source_model: str = "resnet-small"
    trials: int = 3
    epochs: int = 4

    def __post_init__(self) -> None:
        """As `BaselineSettings`: refuse what is out of range."""
        super().__post_init__()
        at_least("trials", self.trials, 1)
        at_least("epochs", self.epochs, 1)


@register
class DeepConfuse(Baseline):
    """The noise of an image is what one small network makes of it: no label is needed once that is learnt."""

    method = "deepconfuse"
    title = "DeepConfuse"
    reference = "[Feng et al., NeurIPS 2019](https://arxiv.org/abs/1905.09027)"
    settings_type = DeepConfuseSettings
    settings: DeepConfuseSettings

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The auto-encoder's weights (algorithm 1, with both updates in one loop)."""
        settings, device = self.settings, lesson.accelerator.device
        generator, size = Generator().manual_seed(settings.seed), lesson.images.pixels.shape[-1]
        encoder = auto_encoder(settings.seed).to(device)
        adam = torch.optim.Adam(encoder.parameters(), lr=NOISE_RATE)
        optimizer = lesson.accelerator.prepare_optimizer(adam)
        per_trial = settings.epochs * math.ceil(len(lesson.images) / settings.batch_size)
        total = settings.trials * per_trial
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        classifier = build_target(settings.source_model, lesson.n_classes, size, settings.seed)
        classifier.to(device).train()
        state = FitState(nn.ModuleList([encoder, classifier]), optimizer, schedule, generator)
        for step in state.steps(total, lesson.checkpoint, "learning the auto-encoder"):
            trial, within = divmod(step, per_trial)
            if within == 0:
                fresh = build_target(settings.source_model, lesson.n_classes, size, settings.seed + trial)
                classifier.load_state_dict(fresh.state_dict())
            rows = torch.randint(len(lesson.images), (settings.batch_size,), generator=generator)
            pixels = lesson.images.pixels[rows].to(device).float() / 255
            labels = lesson.images.labels[rows].to(device)
            with seeded(settings.seed + step, device):
                loss = confuse(classifier, partial(self._change, encoder), pixels, labels)
            take_step(-loss, optimizer, schedule, lesson.accelerator)
            state.shown = {"clean_loss": loss.detach()}
        return encoder.state_dict()

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """What the auto-encoder makes of the images, whatever their labels."""
        encoder = self._ready_network()
        device = next(encoder.parameters()).device
        with torch.inference_mode():
            return 255 * self._change(encoder, canvases.to(device).float() / 255)

    def assign(self, pictures: Sequence[Picture], labels: Sequence[Any] | None = None) -> np.ndarray:
        """The label of each picture where it has one; the noise does not depend on it, so that none is needed."""
        if labels is None and not LABEL_SOURCES[self.settings.labels].embeds:
            return np.zeros(len(pictures), dtype=np.int64)
        return super().assign(pictures, labels)

    def build_network(self) -> nn.Module:
        """The auto-encoder, with fresh weights."""
        return auto_encoder(seed=0)

    def _change(self, encoder: nn.Module, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        made = encoder(pixels - 0.5)[:, :, :height, :width]  # of a side that is no multiple of 4 it makes more
        return self.settings.levels / 255 * torch.tanh(made)


def confuse(classifier: nn.Module, change: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
    """One step of the classifier on changed images, and its loss on clean ones afterwards (equation 1).

    Args:
        classifier: its weights are replaced by those after the step.
        change: pixels to their change, differentiable.
        pixels: float [n, 3, S, S] in [0, 1], clean.
        labels: int64 [n].

    Returns:
        the mean loss, differentiable through the step with respect to what `change` is made of.
    """
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in classifier.named_parameters()}
    changed = (pixels + change(pixels)).clamp(0, 1)
    learnt = F.cross_entropy(functional_call(classifier, weights, (changed,)), labels)
    gradients = torch.autograd.grad(learnt, list(weights.values()), create_graph=True)
    after = {
        name: weight - CLASSIFIER_RATE * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    loss = F.cross_entropy(functional_call(classifier, after, (pixels,)), labels)
    with torch.no_grad():
        for name, weight in classifier.named_parameters():
            weight.copy_(after[name])
    return loss


def auto_encoder(seed: int) -> nn.Module:
    """Three channels in, three out: down twice, up twice, of a seed's fresh weights."""
    channels = 32
    with seeded(seed):
        layers: list[nn.Module] = []
        for before, width in ((3, channels), (channels, 2 * channels)):
            layers += [nn.Conv2d(before, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.Conv2d(2 * channels, 2 * channels, 3, padding=1), nn.BatchNorm2d(2 * channels), nn.ReLU()]
        for before, width in ((2 * channels, channels), (channels, channels)):
            up = nn.ConvTranspose2d(before, width, 4, stride=2, padding=1)
            layers += [up, nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(channels, 3, 3, padding=1))
