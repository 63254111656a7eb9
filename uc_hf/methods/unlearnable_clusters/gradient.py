"""Centroids + canvases -> one noise per cluster (paper, section 3.3), learnt for all clusters together.

Every step draws images from the whole sample, adds a cluster's noise to each, takes a random view of the *protected*
image as a scraper would (EOT) and pulls its embedding to the centroid of the cluster's goal.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn

from uc_hf.devices import seeded
from uc_hf.fitting.checkpoint import FitState
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.methods.unlearnable_clusters.objective import add_noise, distance, n_steps, scraped
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.surrogates.surrogate import Surrogate, SurrogateEnsemble


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


class DirectNoise(nn.Module):
    """The pixels of each cluster's noise are the parameters; each batch is shared by all clusters."""

    default_learning_rate = 0.1

    def __init__(self, n_clusters: int, size: int, epsilon: float, generator: Generator) -> None:
        super().__init__()
        self.epsilon = epsilon
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


class GeneratedNoise(nn.Module):
    """One ResNet generator per cluster, fed with one fixed uniform image (paper, section 3.3 and appendix A).

    The output is epsilon * tanh: clamping tanh to epsilon, as the published recipe does, leaves most pixels without a
    gradient at the start.
    """

    default_learning_rate = 1e-4

    def __init__(self, n_clusters: int, size: int, epsilon: float, generator: Generator) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.register_buffer("seed_image", torch.rand(1, 3, size, size, generator=generator))
        with seeded(int(torch.randint(2**31, (), generator=generator))):
            self.generators = nn.ModuleList(_resnet_generator() for _ in range(n_clusters))

    def optimizer(self, learning_rate: float) -> torch.optim.Optimizer:
        """Adam with the paper's weight decay."""
        return torch.optim.Adam(self.parameters(), lr=learning_rate, weight_decay=5e-4)

    def clusters(self, step: int, batch_size: int) -> Tensor:
        """One cluster per step: a generator's pass costs as much as a surrogate's."""
        return torch.full((batch_size,), step % len(self.generators))

    def forward(self, clusters: Tensor) -> Tensor:
        """Noise of each cluster named, float [N, 3, S, S] in (-epsilon, epsilon)."""
        noise = {
            int(cluster): self.epsilon * torch.tanh(self.generators[cluster](self.seed_image))[0]
            for cluster in clusters.unique()
        }
        return torch.stack([noise[int(cluster)] for cluster in clusters])

    def project(self) -> None:
        """Nothing to do: tanh keeps the bound."""


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _resnet_generator(channels: int = 64, blocks: int = 6) -> nn.Sequential:
    """Three channels in, three out: down twice, six residual blocks, up twice (Johnson et al. 2016)."""
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, channels, 7), nn.BatchNorm2d(channels), nn.ReLU()]
    for width in (channels, 2 * channels):
        down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        layers += [down, nn.BatchNorm2d(2 * width), nn.ReLU()]
    layers += [_ResidualBlock(4 * channels) for _ in range(blocks)]
    for width in (4 * channels, 2 * channels):
        up = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
        layers += [up, nn.BatchNorm2d(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(channels, 3, 7))


PARAMETRISATIONS: dict[str, type[DirectNoise] | type[GeneratedNoise]] = {
    "direct": DirectNoise,
    "generator": GeneratedNoise,
}
