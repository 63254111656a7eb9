"""Batched random crops and flips, differentiable, drawn from an explicit generator.

The same transforms are used twice: for the expectation over transformations (EOT) under which noise is learnt, and to
augment the training images of the target models that score it.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F


RATIO = (3 / 4, 4 / 3)


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def on_device(generator: Generator, device: torch.device) -> Generator:
    """A generator for image-sized random tensors: `generator` on the CPU, on another device one that it seeds."""
    if device.type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def random_resized_crop(images: Tensor, generator: Generator, *, scale: tuple[float, float]) -> Tensor:
    """Cut a random box out of each image, stretch it to the full size and flip half of the images.

    The field's standard training augmentation (Szegedy et al. 2015), with the aspect ratio drawn log-uniformly from
    3/4 to 4/3. A box is never larger than the image, so that resampling only magnifies and needs no antialiasing.

    Args:
        images: float [N, C, H, W].
        generator: a CPU generator, so that the crops do not depend on the device.
        scale: the smallest and the largest share of the area that a box covers, in (0, 1].

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
    """Shift each image by up to `padding` pixels over a black border and flip half of the images, as for CIFAR.

    Args:
        images: float [N, C, S, S].
        generator: a CPU generator.
        padding: the largest shift in pixels, 0 or more.

    Returns:
        float [N, C, S, S].
    """
    return random_crop(F.pad(images, [padding] * 4), generator, size=images.shape[-1])


def random_crop(images: Tensor, generator: Generator, *, size: int) -> Tensor:
    """Cut a random square out of each square image and flip half of the images.

    Args:
        images: float [N, C, S, S].
        generator: a CPU generator.
        size: side of the square in pixels, at most S.

    Returns:
        float [N, C, size, size].
    """
    n = len(images)
    top, left = torch.randint(images.shape[-1] - size + 1, (2, n), generator=generator)
    mirror = torch.randint(2, (n, 1), generator=generator).bool()
    along = torch.arange(size)
    rows = (top[:, None] + along).to(images.device)  # [N, size]
    columns = (left[:, None] + torch.where(mirror, along.flip(0), along)).to(images.device)  # [N, size]
    index = torch.arange(n, device=images.device)[:, None, None]
    crops = images.permute(0, 2, 3, 1)[index, rows[:, :, None], columns[:, None, :]]  # [N, size, size, C]
    return crops.permute(0, 3, 1, 2)


def centre_crop(images: Tensor, *, size: int) -> Tensor:
    """The central square of side `size` of images [N, C, S, S]."""
    start = (images.shape[-1] - size) // 2
    return images[:, :, start : start + size, start : start + size]
