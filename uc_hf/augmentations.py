"""Batched random crops and flips, differentiable, drawn from an explicit generator.

The same transforms serve twice: as the expectation over transformations (EOT) under which the noise is learnt, and
as the augmentation of the target models that score it.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


RATIO = (3 / 4, 4 / 3)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def random_resized_crop(images: Tensor, generator: Generator, *, scale: tuple[float, float]) -> Tensor:
    """Cut a random box out of each image, stretch it to the full size and flip half of them.

    The field's standard training augmentation (Szegedy et al. 2015), with the aspect ratio drawn log-uniformly from
    3/4 to 4/3. A box is never larger than the image, so that resampling only magnifies and needs no antialiasing.

    Args:
        images: float [N, C, H, W].
        generator: a CPU generator, so that the draw does not depend on the device.
        scale: the least and the largest share of the area that a box covers, in (0, 1].

    Returns:
        float [N, C, H, W], differentiable with respect to `images`.
    """
    n = len(images)
    area = _uniform(n, *scale, generator)
    ratio = torch.exp(_uniform(n, math.log(RATIO[0]), math.log(RATIO[1]), generator))
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    centre_x = (2 * torch.rand(n, generator=generator) - 1) * (1 - width)
    centre_y = (2 * torch.rand(n, generator=generator) - 1) * (1 - height)
    mirror = 1 - 2 * torch.randint(2, (n,), generator=generator)
    zero = torch.zeros(n)
    rows_x = torch.stack([width * mirror, zero, centre_x], dim=1)
    rows_y = torch.stack([zero, height, centre_y], dim=1)
    theta = torch.stack([rows_x, rows_y], dim=1).to(images.device, images.dtype)  # [N, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_pad_crop(images: Tensor, generator: Generator, *, padding: int) -> Tensor:
    """Shift each image by up to `padding` pixels over a black border and flip half of them (the CIFAR augmentation).

    Args:
        images: float [N, C, H, W].
        generator: a CPU generator.
        padding: the largest shift in pixels, 0 or more.

    Returns:
        float [N, C, H, W].
    """
    n, _, height, width = images.shape
    padded = F.pad(images, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, n), generator=generator)
    mirror = torch.randint(2, (n, 1), generator=generator).bool()
    columns = torch.arange(width)
    rows = (top[:, None] + torch.arange(height)).to(images.device)  # [N, H]
    columns = (left[:, None] + torch.where(mirror, columns.flip(0), columns)).to(images.device)  # [N, W]
    index = torch.arange(n, device=images.device)[:, None, None]
    crops = padded.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]  # [N, H, W, C]
    return crops.permute(0, 3, 1, 2)
