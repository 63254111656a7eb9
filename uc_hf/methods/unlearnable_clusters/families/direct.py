"""The family of noise whose pixels are learnt, each by its own gradient."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.gradient import GradientFamily, LearntNoise


class SignMomentum(torch.optim.Optimizer):
    """Signed steps along a momentum of gradients that are L1-normalised per noise (Dong et al. 2018, MI-FGSM)."""

    def __init__(self, params: list[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every parameter by the learning rate, against the sign of its momentum; takes no closure."""
        for group in self.param_groups:
            for param in group["params"]:
                scale = param.grad.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
                momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
                momentum.mul_(group["momentum"]).add_(param.grad / scale)
                param.sub_(group["lr"] * momentum.sign())


class DirectNoise(LearntNoise):
    """The pixels of each cluster's noise are the parameters; each batch is shared by all clusters."""

    default_learning_rate = 0.1

    def __init__(self, n_clusters: int, size: int, epsilon: float, generator: Generator) -> None:
        super().__init__(n_clusters, size, epsilon, generator)
        start = torch.rand(n_clusters, 3, size, size, generator=generator) * 2 - 1
        self.pixels = nn.Parameter(start * epsilon)

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Signed momentum; `learning_rate` is the first step as a share of epsilon."""
        return SignMomentum([self.pixels], lr=learning_rate * self.epsilon)

    def clusters(self, step: int, batch_size: int) -> Tensor:
        """The cluster whose noise each image of the batch receives, int64 [batch_size]."""
        return (torch.arange(batch_size) + step * batch_size) % len(self.pixels)

    def forward(self, clusters: Tensor) -> Tensor:
        """Noise of each cluster named, float [N, 3, S, S] in [-epsilon, epsilon]."""
        return self.pixels[clusters]

    @torch.no_grad()
    def project(self) -> None:
        """Bring the noise back into [-epsilon, epsilon]."""
        self.pixels.clamp_(-self.epsilon, self.epsilon)


class Direct(GradientFamily):
    """Pixels, learnt by gradient."""

    build = DirectNoise


FAMILIES["direct"] = Direct()
