"""The family of the paper: noise that generators make, one for each cluster, whose weights are learnt."""

import torch
from torch import Generator, Tensor, nn

from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.gradient import GradientFamily, LearntNoise
from uc_hf.training.devices import seeded


class GeneratedNoise(LearntNoise):
    """One ResNet generator per cluster, fed with one fixed uniform image (paper, section 3.3 and appendix A).

    The output is epsilon * tanh: clamping tanh to epsilon, as the published recipe does, leaves most pixels without a
    gradient at the start.
    """

    default_learning_rate = 1e-4

    def __init__(self, n_clusters: int, size: int, epsilon: float, generator: Generator) -> None:
        super().__init__(n_clusters, size, epsilon, generator)
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


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _resnet_generator() -> nn.Sequential:
    """Three channels in, three out: down twice, six residual blocks, up twice (Johnson et al. 2016)."""
    channels, blocks = 64, 6
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, channels, 7), nn.BatchNorm2d(channels), nn.ReLU()]
    for width in (channels, 2 * channels):
        down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        layers += [down, nn.BatchNorm2d(2 * width), nn.ReLU()]
    layers += [_ResidualBlock(4 * channels) for _ in range(blocks)]
    for width in (4 * channels, 2 * channels):
        up = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1)
        layers += [up, nn.BatchNorm2d(width // 2), nn.ReLU()]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(channels, 3, 7))


class Generated(GradientFamily):
    """What one ResNet per cluster makes, learnt by gradient (section 3.3)."""

    build = GeneratedNoise


FAMILIES["generator"] = Generated()
