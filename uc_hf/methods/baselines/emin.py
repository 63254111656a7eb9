"""EMinN: error-minimising noise, which leaves a model nothing to learn (Huang et al. 2021)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uc_hf.fitting.settings import one_of
from uc_hf.methods import register
from uc_hf.methods.labelwise import Lesson
from uc_hf.methods.source_model import SourceBaseline, SourceSettings
from uc_hf.training.descent import evaluating


KINDS = ("sample", "class")


@dataclass(frozen=True, kw_only=True)
class EMinNSettings(SourceSettings):
    """The attributes of `SourceSettings`, too.

    Attributes:
        kind: "sample" for a noise of each image's own, "class" for one that all images of a label share.
    """

    kind: str = "sample"
    epochs: int = 10
    pgd_steps: int = 10
    pgd_step: float = 0.2

    def __post_init__(self) -> None:
        """As `SourceSettings`: refuse what is out of range."""
        super().__post_init__()
        one_of("kind", self.kind, KINDS)


@register
class EMinN(SourceBaseline):
    """The min-min problem of equation 2: a model is trained on images that are changed to lower its own loss.

    Published, the noise of every image is kept and improved in turn with some steps of training. Here each batch's is
    searched anew on the model of the moment, so that nothing is kept for each image and the noise of any image, one
    that was not fitted on as well, is that of the last model.
    """

    method = "emin"
    title = "Error-minimising noise"
    reference = "[Huang et al., ICLR 2021](https://arxiv.org/abs/2101.04898)"
    settings_type = EMinNSettings
    settings: EMinNSettings

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The cross entropy itself."""
        return F.cross_entropy(scores, labels)

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weights of the last model; with kind="class", each label's noise instead."""
        if self.settings.kind == "sample":
            return self.train_source(lesson, self.perturb).state_dict()
        shared = ClassNoise(lesson, self.settings.levels / 255, self.settings.pgd_step)
        self.train_source(lesson, shared)
        return {"noise": 255 * shared.noise}

    @property
    def removable(self) -> bool:
        """As `Shared.removable`: with kind="class"."""
        return self.settings.kind == "class"

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """Each image's own, or that of its label."""
        if self.settings.kind == "sample":
            return super().noise(canvases, labels)
        return torch.from_numpy(self.fitted.tensors["noise"])[labels]


class ClassNoise(nn.Module):
    """One noise for each label, improved a step with every batch."""

    noise: Tensor

    def __init__(self, lesson: Lesson, bound: float, step: float) -> None:
        super().__init__()
        size = lesson.images.pixels.shape[-1]
        self.register_buffer("noise", torch.zeros(lesson.n_classes, 3, size, size))
        self.to(lesson.accelerator.device)
        self.bound, self.step = bound, step * bound

    def forward(self, model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensor:
        """The change of each image of the batch, after one step of all its labels' noises."""
        noise = self.noise.clone().requires_grad_()
        with evaluating(model):
            loss = F.cross_entropy(model((pixels + noise[labels]).clamp(0, 1)).float(), labels)
            (gradient,) = torch.autograd.grad(loss, noise)
        self.noise = (self.noise - self.step * gradient.sign()).clamp(-self.bound, self.bound)
        return self.noise[labels]
