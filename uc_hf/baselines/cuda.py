"""CUDA: class-wise convolutions, which no bound on pixels holds (Sadasivan et al. 2023)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.baselines.baseline import Baseline, Lesson
from uc_hf.baselines.registry import register
from uc_hf.images import Picture


BLUR = 0.3
"""Largest weight of a neighbour (p_b); the centre's is 1."""

SMALL, SMALL_KERNEL, LARGE_KERNEL = 64, 3, 9
"""Up to so many pixels the kernel is the small one, as published for CIFAR-10; beyond it the large one (ImageNet)."""


@register
class CUDA(Baseline):
    """Filters all images of a label by one random kernel. **Unbounded**: epsilon is not looked at."""

    method = "cuda"
    title = "Class-wise convolutions"
    reference = "[Sadasivan et al., CVPR 2023](https://arxiv.org/abs/2303.04278)"
    bounded = False

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The kernels, float [C, k, k]: random weights of up to 0.3 around a centre of 1."""
        side = SMALL_KERNEL if lesson.images.pixels.shape[-1] <= SMALL else LARGE_KERNEL
        generator = Generator().manual_seed(self.settings.seed)
        kernels = BLUR * torch.rand(lesson.n_classes, side, side, generator=generator)
        kernels[:, side // 2, side // 2] = 1
        return {"kernels": kernels}

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """What the filter changes, for the pictures of the noise: cut off at epsilon there, and nowhere else."""
        kernels = torch.from_numpy(self.fitted.tensors["kernels"])[labels]
        return torch.stack(
            [filtered(canvas.float(), kernel) - canvas for canvas, kernel in zip(canvases, kernels, strict=True)]
        )

    def perturbed(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[Picture]:
        """Each picture filtered by its label's kernel, at its own size."""
        for picture, kernel in zip(pictures, self.fitted.tensors["kernels"][groups], strict=True):
            pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1).float()
            after = filtered(pixels, torch.from_numpy(kernel)).round().byte()
            yield replace(picture, pixels=after.permute(1, 2, 0).contiguous().numpy())


def filtered(pixels: Tensor, kernel: Tensor) -> Tensor:
    """A picture float [3, H, W] in 8-bit levels under a kernel float [k, k], scaled so that its brightest is white."""
    reach = kernel.shape[-1] // 2
    padded = F.pad(pixels[None], [reach] * 4, mode="replicate")
    after = F.conv2d(padded, kernel.expand(3, 1, -1, -1), groups=3)[0]
    return 255 * after / after.max().clamp(min=1e-6)
