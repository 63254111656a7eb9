"""A tile for each cluster, learnt so that networks read it as early in their training as can be.

What a network learns first decides what it learns at all, and on photographs it sees colours and shapes before it
reads the gratings of `textures`. So a network is trained from scratch to tell the noises apart, whatever picture they
lie on, while each noise follows the gradient towards being told apart sooner; then the next network begins anew.
That is the loss of error-minimising noise (Huang et al. 2021, equation 1) with clusters in place of labels, and
networks in the first steps of their training in place of a trained one.
"""

import math
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv2d_weight_memory_format

from uc_hf.devices import autocast
from uc_hf.fitting.checkpoint import FitState
from uc_hf.methods.unlearnable_clusters.objective import add_noise, n_steps, scraped
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.methods.unlearnable_clusters.textures import secret_generator
from uc_hf.training.augmentations import random_crop
from uc_hf.training.networks import build_target


TILE = 32
"""Side in pixels of the canvas of what is repeated over it, so that the noise is the same wherever a scraper crops."""

PERIODS = (2.8, 9.0)
"""Of the waves in a tile, in pixels: a 3 x 3 filter sees them, a resize keeps them."""

STEEPNESS = 3.0
"""Of the tanh that takes nearly every value of a tile to -1 or 1, where it ends."""

READER, READERS = "resnet-small", 3
"""The network that learns to read, and how many of them, one after the other."""

VIEW = 128
"""Readers look at windows of at most so many pixels: a tile is the same in all of them."""

LEARNING_RATE, READER_LEARNING_RATE = 0.1, 3e-3


class Tiles(nn.Module):
    """The tiles of all clusters, and the reader that learns to tell them apart.

    Args:
        n_clusters: p.
        side: of the windows that the reader looks at, in pixels.
        generator: of the start: a random grating for each channel of each tile.
    """

    band: Tensor

    def __init__(self, n_clusters: int, side: int, generator: Generator) -> None:
        super().__init__()
        frequency = torch.fft.fftfreq(TILE)
        radius = (frequency[:, None].square() + frequency.square()).sqrt()
        inside = (radius <= 1 / PERIODS[0]) & (radius >= 1 / PERIODS[1])
        self.register_buffer("band", inside.float())
        start = torch.zeros(n_clusters * 3, TILE, TILE, dtype=torch.complex64)
        chosen = inside.nonzero()[torch.randint(int(inside.sum()), (len(start),), generator=generator)]
        phase = 2 * math.pi * torch.rand(len(start), generator=generator)
        start[torch.arange(len(start)), chosen[:, 0], chosen[:, 1]] = torch.polar(torch.ones(len(start)), phase)
        waves = math.sqrt(2) * TILE**2 * torch.fft.ifft2(start).real
        self.waves = nn.Parameter(waves.view(n_clusters, 3, TILE, TILE))
        self.waves.register_hook(_of_one_scale)
        reader = build_target(READER, n_clusters, side, seed=0)
        self.reader = convert_conv2d_weight_memory_format(reader, torch.channels_last)
        self.side = side

    def optimizer(self, learning_rate: float | None) -> torch.optim.Optimizer:
        """Adam for the tiles and for the reader."""
        tiles = {"params": [self.waves], "lr": learning_rate or LEARNING_RATE, "betas": (0.9, 0.99)}
        return torch.optim.Adam([tiles, {"params": list(self.reader.parameters()), "lr": READER_LEARNING_RATE}])

    def forward(self, clusters: Tensor) -> Tensor:
        """The tile of each cluster named: float [N, 3, TILE, TILE] in (-1, 1), before tanh waves of the band alone."""
        waves = torch.fft.ifft2(torch.fft.fft2(self.waves) * self.band).real
        scale = waves.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return torch.tanh(STEEPNESS * waves / scale)[clusters]

    def begin_reader(self, optimizer: torch.optim.Optimizer, generator: Generator) -> None:
        """Put a network without training in the reader's place."""
        seed = int(torch.randint(2**31, (), generator=generator))
        self.reader.load_state_dict(build_target(READER, len(self.waves), self.side, seed).state_dict())
        for parameter in self.reader.parameters():
            optimizer.state.pop(parameter, None)


def learn_tiles(
    canvases: Tensor,
    centroids: Tensor,
    settings: Settings,
    *,
    accelerator: Accelerator,
    checkpoint: Path | None = None,
) -> np.ndarray:
    """Learn the cluster-wise perturbations as tiles.

    Args:
        canvases: uint8 [N, 3, S, S], images of the whole sample: each noise must be read on any of them.
        centroids: float [p, d]; they seed the start.
        settings: steps, batch size, EOT, epsilon, seed.
        accelerator: its device is used, and the precision in which targets are trained there.
        checkpoint: a file to go on from when it exists, and to write to; on the CPU the result has the same bytes
            either way.

    Returns:
        int8 [p, 3, S, S], noise in 8-bit levels, every value +levels or -levels.
    """
    generator = secret_generator(settings.seed, centroids)
    device, size = accelerator.device, canvases.shape[-1]
    tiles = Tiles(settings.n_clusters, min(VIEW, size), generator).to(device)
    optimizer = tiles.optimizer(settings.learning_rate)
    total = n_steps(settings, len(canvases), size)
    state = FitState(tiles, optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1), generator)
    for step in state.steps(total, checkpoint, "learning tiles"):
        if step % math.ceil(total / READERS) == 0:
            tiles.begin_reader(optimizer, generator)
        index = torch.randint(len(canvases), (settings.batch_size,), generator=generator)
        clusters = torch.randint(settings.n_clusters, (settings.batch_size,), generator=generator).to(device)
        pixels = random_crop(canvases[index].to(device).float() / 255, generator, size=tiles.side)
        protected = add_noise(pixels, settings.levels / 255 * _anywhere(tiles(clusters), tiles.side, generator))
        view = scraped(protected, settings, generator).contiguous(memory_format=torch.channels_last)
        with autocast(accelerator):
            scores = tiles.reader(view)
        loss = F.cross_entropy(scores.float(), clusters)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state.shown = {"read": (scores.argmax(dim=1) == clusters).float().mean()}
    with torch.no_grad():
        learnt = tiles(torch.arange(settings.n_clusters, device=device)).cpu()
    repeats = math.ceil(size / TILE)
    signs = torch.where(learnt >= 0, settings.levels, -settings.levels).repeat(1, 1, repeats, repeats)
    return signs[..., :size, :size].contiguous().numpy().astype(np.int8)


def _anywhere(tiles: Tensor, side: int, generator: Generator) -> Tensor:
    """Tiles repeated over squares of a side, from a random place on: float [N, 3, side, side]."""
    top, left = (int(place) for place in torch.randint(TILE, (2,), generator=generator))
    repeats = math.ceil(side / TILE) + 1
    return tiles.repeat(1, 1, repeats, repeats)[..., top : top + side, left : left + side]


def _of_one_scale(gradient: Tensor) -> Tensor:
    """The gradient of each tile, brought to one scale: a tile that is read well already has a hundredth of it."""
    return gradient / gradient.square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
