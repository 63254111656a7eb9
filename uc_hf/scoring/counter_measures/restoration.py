"""A small network that learns from a few leaked pairs to remove the noise, whatever its phase.

Purifiers of unlearnable examples learn from leaked pairs to map protected images to clean ones (BridgePure, Wang et
al. 2024, by diffusion). This one is a plain residual network (DnCNN, Zhang et al. 2017) that trains in a minute on a
CPU: a lower bound on what such an attacker can do.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from uc_hf.scoring.counter_measures.known import counter_measure
from uc_hf.training.devices import seeded
from uc_hf.training.labelled import LabelledImages


AT_ONCE = 256
LAYERS, WIDTH = 6, 32
STEPS, BATCH, LEARNING_RATE = 400, 16, 2e-3
CROP = 64
"""Side in pixels of the random crops for training; the image's side if that is smaller."""


@counter_measure("restore", "stored", "leaked pairs", 50, range(1, 10_001), needs_originals=True)
def restore(published: LabelledImages, clean: LabelledImages, pairs: int) -> Tensor:
    """Learn from leaked pairs to undo the noise, and undo it on all images.

    Args:
        published: the set as published.
        clean: its originals, row by row; only `pairs` of them are looked at.
        pairs: originals that leak, evenly spread over the rows.

    Returns:
        uint8 [N, 3, S, S].
    """
    rows = torch.linspace(0, len(clean) - 1, min(pairs, len(clean))).round().long()
    network = _learn(published.pixels[rows], clean.pixels[rows])
    with torch.inference_mode():
        parts = [_restored(network, part) for part in published.pixels.split(AT_ONCE)]
    return torch.cat(parts)


def _network() -> nn.Sequential:
    """From images float [N, 3, H, W] in [0, 1] to the noise in them."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1, padding_mode="reflect"), nn.ReLU()]
    for _ in range(LAYERS - 2):
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1, padding_mode="reflect", bias=False)]
        layers += [nn.BatchNorm2d(WIDTH), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, 3, 3, padding=1, padding_mode="reflect"))


def _learn(published: Tensor, clean: Tensor) -> nn.Module:
    generator = Generator().manual_seed(0)
    with seeded(0):
        network = _network()
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    side = min(CROP, published.shape[-1])
    for _ in range(STEPS):
        rows = torch.randint(len(published), (BATCH,), generator=generator)
        top, left = torch.randint(published.shape[-1] - side + 1, (2,), generator=generator).tolist()
        crop = (rows, slice(None), slice(top, top + side), slice(left, left + side))
        noisy, true = published[crop].float() / 255, clean[crop].float() / 255
        loss = F.mse_loss(noisy - network(noisy), true)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def _restored(network: nn.Module, pixels: Tensor) -> Tensor:
    noisy = pixels.float() / 255
    return ((noisy - network(noisy)).clamp(0, 1) * 255).round().byte()
