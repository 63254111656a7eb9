"""Counter-measures in the training step: which images the model sees depends on the model.

Each takes the model, images float [N, 3, H, W] in [0, 1], labels (int64 [N] or float [N, C]), a CPU generator and its
parameter, and returns the images that the model is trained on instead.
"""

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from uc_hf.scoring.counter_measures.known import counter_measure
from uc_hf.scoring.counter_measures.operations import one_operation_each
from uc_hf.training.augmentations import on_device
from uc_hf.training.descent import evaluating
from uc_hf.training.pgd import descend


PGD_STEPS = 7
"""Steps of a quarter of the bound; at 8/255 these are the 7 steps of 2/255 of Madry et al. 2018."""

OCTAVES = 4


@counter_measure("pgd", "step", "rho in 8-bit levels", 4, (0.1, 255))
def pgd(model: nn.Module, images: Tensor, labels: Tensor, generator: Generator, levels: float) -> Tensor:
    """Adversarial training: the images with the largest loss in an L-infinity ball (Madry et al. 2018).

    Projected gradient ascent from a random start, with the model in eval mode.

    Args:
        model: images to class scores.
        images: float [N, 3, H, W] in [0, 1].
        labels: int64 [N] or float [N, C].
        generator: a CPU generator.
        levels: radius rho of the ball, in 8-bit levels.

    Returns:
        float [N, 3, H, W] in [0, 1], within the bound of `images`.
    """
    bound = levels / 255
    start = torch.rand(images.shape, generator=on_device(generator, images.device), device=images.device)
    change = bound * (2 * start - 1)
    with evaluating(model):
        change = descend(
            lambda attacked: -F.cross_entropy(model(attacked).float(), labels),
            images,
            change,
            bound=bound,
            step=bound / 4,
            steps=PGD_STEPS,
        )
    return (images + change).clamp(0, 1)


@torch.no_grad()
@counter_measure("ueraser", "step", "views", 5, range(1, 101))
def ueraser(model: nn.Module, images: Tensor, labels: Tensor, generator: Generator, views: int) -> Tensor:
    """Replace each image by its strongly augmented view with the largest loss (Qin et al. 2023, UEraser-Max).

    A view has a smooth random change of brightness and one of contrast, shuffled channels in half of the images, and
    one random operation of random strength. Sums of octaves replace the published plasma fractals.
    """
    worst, highest = images, torch.full((len(images),), -torch.inf, device=images.device)
    with evaluating(model):
        for _ in range(views):
            view = _strong_view(images, generator)
            loss = F.cross_entropy(model(view).float(), labels, reduction="none")
            worse = loss > highest
            worst = torch.where(worse[:, None, None, None], view, worst)
            highest = torch.where(worse, loss, highest)
    return worst


def _strong_view(images: Tensor, generator: Generator) -> Tensor:
    n = len(images)
    view = (images + _plasma(images, generator) - 0.5).clamp(0, 1)
    view = (0.5 + 2 * _plasma(images, generator) * (view - 0.5)).clamp(0, 1)
    order = torch.rand(n, 3, generator=generator).argsort(dim=1)
    shuffled = torch.rand(n, 1, generator=generator) < 0.5
    order = torch.where(shuffled, order, torch.arange(3)).to(images.device)
    view = view.gather(1, order[:, :, None, None].expand_as(view))
    return one_operation_each(view, torch.rand(n, generator=generator), generator)


def _plasma(images: Tensor, generator: Generator) -> Tensor:
    """A smooth random field for each image, float [N, 1, H, W] from 0 to 1: a sum of octaves."""
    n, size = len(images), images.shape[2:]
    field = torch.zeros(n, 1, *size, device=images.device)
    for octave in range(OCTAVES):
        coarse = torch.rand(n, 1, 2 ** (octave + 1), 2 ** (octave + 1), generator=generator).to(images.device)
        field += F.interpolate(coarse, size, mode="bilinear", align_corners=False) / 2**octave
    low, high = field.amin(dim=(2, 3), keepdim=True), field.amax(dim=(2, 3), keepdim=True)
    return ((field - low) / (high - low).clamp(min=1e-6)).to(images.dtype)
