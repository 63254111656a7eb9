"""The operations of RandAugment in batches: images float [N, 3, H, W] in [0, 1], a signed amount in [-1, 1] for each.

Ranges are those of RandAugment (Cubuk et al. 2020): at amount 1 a rotation of 30 degrees, a shear of 0.3, a shift of
45 % of the side, a factor of 1.9, 4 bits, a threshold of 0. Areas that become empty are filled with mid-gray.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.data.images import LUMA


def identity(images: Tensor, amount: Tensor) -> Tensor:
    """Leave images as they are."""
    return images


def rotate(images: Tensor, amount: Tensor) -> Tensor:
    """Rotate by up to 30 degrees."""
    angle = amount * math.radians(30)
    return _warp(images, angle.cos(), -angle.sin(), angle.sin(), angle.cos())


def shear_x(images: Tensor, amount: Tensor) -> Tensor:
    """Shift rows in proportion to their height."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warp(images, one, 0.3 * amount, zero, one)


def shear_y(images: Tensor, amount: Tensor) -> Tensor:
    """Shift columns in proportion to their position."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warp(images, one, zero, 0.3 * amount, one)


def translate_x(images: Tensor, amount: Tensor) -> Tensor:
    """Shift sideways."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warp(images, one, zero, zero, one, shift_x=0.9 * amount)  # of half the side


def translate_y(images: Tensor, amount: Tensor) -> Tensor:
    """Shift up or down."""
    one, zero = torch.ones_like(amount), torch.zeros_like(amount)
    return _warp(images, one, zero, zero, one, shift_y=0.9 * amount)


def brightness(images: Tensor, amount: Tensor) -> Tensor:
    """Change brightness, from almost black to almost twice as bright."""
    return _blend(torch.zeros_like(images), images, amount)


def contrast(images: Tensor, amount: Tensor) -> Tensor:
    """Move away from, or towards, the image's mean gray."""
    return _blend(luma(images).mean(dim=(2, 3), keepdim=True).expand_as(images), images, amount)


def colour(images: Tensor, amount: Tensor) -> Tensor:
    """Move away from, or towards, the image in gray."""
    return _blend(luma(images).expand_as(images), images, amount)


def sharpness(images: Tensor, amount: Tensor) -> Tensor:
    """Move away from, or towards, the image smoothed over 3 x 3 pixels."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device, dtype=images.dtype)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(images, kernel / 13, groups=3)
    return _blend(smooth, images, amount)


def posterize(images: Tensor, amount: Tensor) -> Tensor:
    """Drop up to four of the eight bits."""
    step = 2 ** (4 * amount.abs()).round()[:, None, None, None]
    return ((images * 255).round() / step).floor() * step / 255


def solarize(images: Tensor, amount: Tensor) -> Tensor:
    """Invert pixels that are brighter than a threshold."""
    threshold = 1 - amount.abs()[:, None, None, None]
    return torch.where(images >= threshold, 1 - images, images)


def autocontrast(images: Tensor, amount: Tensor) -> Tensor:
    """Stretch each channel from black to white."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return torch.where(high > low, (images - low) / (high - low).clamp(min=1e-6), images)


def equalize(images: Tensor, amount: Tensor) -> Tensor:
    """Spread each channel's histogram evenly, in 8 bits and with Pillow's rounding."""
    values = (images * 255).round().long().flatten(2).flatten(0, 1)  # [N * 3, H * W]
    counts = torch.zeros(len(values), 256, dtype=torch.long, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    step = (counts.sum(dim=1) - counts.gather(1, values.amax(dim=1, keepdim=True)).squeeze(1))[:, None] // 255
    before = counts.cumsum(dim=1) - counts
    table = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=images.device))
    return (table.gather(1, values).view(images.shape) / 255).to(images.dtype)


OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    identity,
    autocontrast,
    equalize,
    rotate,
    solarize,
    colour,
    posterize,
    contrast,
    brightness,
    sharpness,
    shear_x,
    shear_y,
    translate_x,
    translate_y,
)


JITTERED, GRAY = 0.8, 0.2
"""Shares of the images whose colours are changed, and that are turned to gray, by `recoloured`."""


def recoloured(images: Tensor, generator: Generator) -> Tensor:
    """Change brightness, contrast and colour of most images, and turn some to gray (Chen et al. 2020, no hue shift).

    Args:
        images: float [N, 3, H, W] in [0, 1].
        generator: a CPU generator.

    Returns:
        float [N, 3, H, W] in [0, 1].
    """
    jittered = images
    for change in (brightness, contrast, colour):
        amount = (2 * torch.rand(len(images), generator=generator) - 1).to(images.device, images.dtype)
        jittered = change(jittered, amount)
    chosen, gray = (
        (torch.rand(len(images), generator=generator) < share).to(images.device)[:, None, None, None]
        for share in (JITTERED, GRAY)
    )
    images = torch.where(chosen, jittered, images)
    return torch.where(gray, luma(images).expand_as(images), images)


def one_operation_each(images: Tensor, amount: Tensor, generator: Generator) -> Tensor:
    """Apply one random operation to each image.

    Args:
        images: float [N, 3, H, W] in [0, 1].
        amount: float [N] in [0, 1], on the CPU; the sign is drawn here.
        generator: a CPU generator.

    Returns:
        float [N, 3, H, W] in [0, 1].
    """
    n = len(images)
    choice = torch.randint(len(OPERATIONS), (n,), generator=generator)
    amount = amount * (1 - 2 * torch.randint(2, (n,), generator=generator))
    changed = images.clone()
    for index, operation in enumerate(OPERATIONS):
        rows = (choice == index).nonzero().squeeze(1)
        if len(rows):
            there = rows.to(images.device)
            changed[there] = operation(images[there], amount[rows].to(images.device, images.dtype)).clamp(0, 1)
    return changed


def luma(images: Tensor) -> Tensor:
    """Brightness float [N, 1, H, W] of images (ITU-R 601)."""
    weights = torch.tensor(LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _blend(plain: Tensor, images: Tensor, amount: Tensor) -> Tensor:
    factor = (1 + 0.9 * amount)[:, None, None, None]
    return (plain + factor * (images - plain)).clamp(0, 1)


def _warp(
    images: Tensor,
    xx: Tensor,
    xy: Tensor,
    yx: Tensor,
    yy: Tensor,
    shift_x: Tensor | float = 0.0,
    shift_y: Tensor | float = 0.0,
) -> Tensor:
    """Sample each pixel where a 2 x 3 matrix maps it, in units of half the side; mid-gray outside."""
    rows = torch.stack([xx, xy, shift_x + 0 * xx, yx, yy, shift_y + 0 * xx], dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images - 0.5, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + 0.5
