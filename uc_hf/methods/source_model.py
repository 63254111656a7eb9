"""The source model: like the targets of the scorecard, but trained by whoever protects, to make noise on it."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from uc_hf.errors import SettingError
from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.settings import at_least
from uc_hf.methods.labelwise import Baseline, BaselineSettings, Lesson
from uc_hf.training.augmentations import random_pad_crop
from uc_hf.training.descent import evaluating, take_step
from uc_hf.training.devices import seeded
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target
from uc_hf.training.pgd import descend


LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 5e-4

Perturb = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""The model, pixels float [n, 3, S, S] in [0, 1] and labels int64 [n] -> the change of these pixels."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings(BaselineSettings):
    """Of the methods that train a model and search an image's noise on it by PGD.

    Attributes:
        epochs: of the model's training from scratch, on the images to protect and their labels.
        pgd_steps: of the search for an image's noise, each of `pgd_step` times epsilon.
        pgd_step: in epsilons.
    """

    epochs: int = 30
    pgd_steps: int = 40
    pgd_step: float = 0.1

    def __post_init__(self) -> None:
        """As `BaselineSettings`: refuse what is out of range."""
        super().__post_init__()
        at_least("epochs", self.epochs, 1)
        at_least("pgd_steps", self.pgd_steps, 1)
        if not 0 < self.pgd_step <= 2:
            raise SettingError(f"pgd_step={self.pgd_step!r} is not a share of epsilon above 0 and up to 2.")


@dataclass(frozen=True, kw_only=True)
class SourceSettings(SearchSettings):
    """Of the methods that attack a network of their own; the attributes of `SearchSettings`, too.

    Attributes:
        source_model: as a target of the scorecard: a preset such as "resnet-18", a name on the Hub or a folder.
    """

    source_model: str = "resnet-small"


class SourceBaseline(Baseline):
    """A method whose noise is searched by PGD on a source model; a subclass says down which loss."""

    settings_type = SourceSettings
    settings: SourceSettings

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """What the noise is to lower.

        Args:
            scores: float [n, C], of the source model.
            labels: int64 [n].
        """

    def perturb(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
        """The change of each image, float [n, 3, S, S]: PGD from zero, with the model in eval mode.

        Each step sees another crop and flip (EOT), the same for all images, so that none depends on its batch.
        """
        settings = self.settings
        generator = Generator().manual_seed(settings.seed)
        with evaluating(model):
            return descend(
                lambda changed: self.loss(model(one_view(changed, generator)).float(), labels),
                pixels,
                torch.zeros_like(pixels),
                bound=settings.levels / 255,
                step=settings.pgd_step * settings.levels / 255,
                steps=settings.pgd_steps,
            )

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weights of a source model that was trained on clean images."""
        return self.train_source(lesson).state_dict()

    def train_source(self, lesson: Lesson, perturb: Perturb | None = None) -> nn.Module:
        """A source model, trained from scratch; `perturb` changes every batch first, as in equation 1 of EMinN."""
        settings = self.settings
        model = build_target(settings.source_model, lesson.n_classes, lesson.images.pixels.shape[-1], settings.seed)
        train(
            model,
            lesson.images,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            accelerator=lesson.accelerator,
            checkpoint=lesson.checkpoint,
            perturb=perturb,
        )
        return model

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """The change that lowers the loss most, in 8-bit levels."""
        model = self._ready_network()
        device = next(model.parameters()).device
        with torch.enable_grad():
            return 255 * self.perturb(model, canvases.to(device).float() / 255, labels.to(device))

    def build_network(self) -> nn.Module:
        """The source model, with fresh weights."""
        return build_target(self.settings.source_model, len(self.fitted.names), self.fitted.canvas_size, seed=0)


def one_view(images: Tensor, generator: Generator) -> Tensor:
    """A random shift by up to an eighth of the side over black and a random flip, one draw for all images.

    Args:
        images: float [n, 3, S, S].
        generator: a CPU generator.
    """
    size = images.shape[-1]
    top, left = torch.randint(size // 8 * 2 + 1, (2,), generator=generator).tolist()
    view = F.pad(images, [size // 8] * 4)[:, :, top : top + size, left : left + size]
    return view.flip(3) if torch.randint(2, (), generator=generator) else view


def train(
    model: nn.Module,
    images: LabelledImages,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    accelerator: Accelerator,
    checkpoint: Path,
    perturb: Perturb | None = None,
) -> None:
    """Train a classifier with SGD, a cosine and the CIFAR augmentation; an interrupted training goes on.

    Args:
        model: trained in place, on the accelerator's device.
        images: uint8 [N, 3, S, S] and labels.
        epochs: passes over them, batches drawn with replacement.
        batch_size: images in a step.
        seed: of the batches and augmentations.
        accelerator: its device and mixed precision are used.
        checkpoint: a file to go on from when it exists, and to write to.
        perturb: the change of each batch before the augmentation; None for none. What a module has learnt so far is
            part of the checkpoint.
    """
    generator = Generator().manual_seed(seed)
    model.to(accelerator.device).train()
    total = epochs * math.ceil(len(images) / batch_size)
    sgd = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    optimizer = accelerator.prepare_optimizer(sgd)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    learnt = nn.ModuleList([model, *([perturb] if isinstance(perturb, nn.Module) else [])])
    state = FitState(learnt, optimizer, schedule, generator)
    for step in state.steps(total, checkpoint, "training the source model"):
        rows = torch.randint(len(images), (batch_size,), generator=generator)
        pixels = images.pixels[rows].to(accelerator.device).float() / 255
        labels = images.labels[rows].to(accelerator.device)
        with accelerator.autocast(), seeded(seed + step, accelerator.device):
            if perturb is not None:
                pixels = (pixels + perturb(model, pixels, labels)).clamp(0, 1)
            scores = model(random_pad_crop(pixels, generator, padding=pixels.shape[-1] // 8))
        loss = F.cross_entropy(scores.float(), labels)
        take_step(loss, optimizer, schedule, accelerator)
        state.shown = {"loss": loss.detach()}
    model.eval()
