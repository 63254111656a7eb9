"""PIL: perturbation-induced linearization, noise that a linear classifier reads (Liu et al. 2026)."""

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from uc_hf.errors import SettingError
from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson, image_seeds
from uc_hf.methods.source_model import SearchSettings, train
from uc_hf.training.pgd import descend


@dataclass(frozen=True, kw_only=True)
class PILSettings(SearchSettings):
    """The attributes of `SearchSettings`, too; the model is a linear classifier.

    Attributes:
        shortcut: weight of the noise's own label, in [0, 1]; the rest is that of hiding what the image shows.
    """

    pgd_steps: int = 30
    shortcut: float = 0.9

    def __post_init__(self) -> None:
        """As `SearchSettings`: refuse what is out of range."""
        super().__post_init__()
        if not 0 <= self.shortcut <= 1:
            raise SettingError(f"shortcut={self.shortcut!r} is not a weight from 0 to 1.")


@register
class PIL(Baseline):
    """Subtracts what a linear classifier takes for the label, so that it sees the label nowhere in what is left.

    A network that trains on the result is led to the linear shortcut in the noise.
    """

    method = "pil"
    title = "Perturbation-induced linearization"
    reference = "[Liu et al., ICLR 2026](https://arxiv.org/abs/2601.19967)"
    settings_type = PILSettings
    settings: PILSettings

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weights of a linear classifier without bias, trained on clean images."""
        model = Linear(lesson.n_classes, lesson.images.pixels.shape[-1])
        train(
            model,
            lesson.images,
            epochs=self.settings.epochs,
            batch_size=self.settings.batch_size,
            seed=self.settings.seed,
            accelerator=lesson.accelerator,
            checkpoint=lesson.checkpoint,
        )
        return model.state_dict()

    def build_network(self) -> nn.Module:
        """The linear classifier, without its weights."""
        return Linear(len(self.fitted.names), self.fitted.canvas_size)

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """What lowers the paper's loss, in 8-bit levels: PGD from a random start, which the image decides."""
        model, settings = self._ready_network(), self.settings
        device = next(model.parameters()).device
        bound = settings.levels / 255
        starts = [
            torch.rand(3, *canvases.shape[-2:], generator=Generator().manual_seed(s)) for s in image_seeds(canvases)
        ]
        pixels, labels = canvases.to(device).float() / 255, labels.to(device)

        def loss(published: Tensor) -> Tensor:
            hidden = F.cross_entropy(model(pixels - published), labels)
            guesses = F.log_softmax(model(published), dim=1)
            undecided = -guesses.mean(dim=1) - math.log(guesses.shape[1])  # KL divergence from even odds
            return settings.shortcut * hidden + (1 - settings.shortcut) * undecided.mean()

        with torch.enable_grad():
            change = descend(
                loss,
                pixels,
                bound * (2 * torch.stack(starts).to(device) - 1),
                bound=bound,
                step=settings.pgd_step * bound,
                steps=settings.pgd_steps,
            )
        return 255 * change


class Linear(nn.Module):
    """A linear classifier without bias, its weights zero at first.

    Args:
        n_classes: number of labels.
        size: side of the images in pixels.
    """

    def __init__(self, n_classes: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_classes, 3 * size * size))
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Class scores float [n, C] of images float [n, 3, S, S], scaled so that training is stable at any size."""
        return images.flatten(1) @ self.weight.T / math.sqrt(self.size)
