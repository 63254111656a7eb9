"""CUDA: class-wise convolutions, which no bound on pixels holds (Sadasivan et al. 2023)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.data.images import Picture
from uc_hf.fitting.schema import Array
from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson


SMALL = 64
"""Side of a canvas in pixels up to which the kernel is that of CIFAR-10; beyond it that of ImageNet-100."""

CIFAR_KERNEL, IMAGENET_KERNEL = (3, 0.3), (9, 0.06)
"""Side k of the kernel and the largest random weight p_b; one weight is 1."""


@register
class CUDA(Baseline):
    """Filters all images of a label by one random kernel. **Unbounded**: epsilon has no effect."""

    method = "cuda"
    title = "Class-wise convolutions"
    reference = "[Sadasivan et al., CVPR 2023](https://arxiv.org/abs/2303.04278)"
    bounded = False
    learns: ClassVar = {"kernels": Array("float32", ("p", "k", "k"))}

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The kernels, float [C, k, k]: random weights of up to p_b, and a 1 at a random place."""
        side, blur = CIFAR_KERNEL if lesson.images.pixels.shape[-1] <= SMALL else IMAGENET_KERNEL
        generator = Generator().manual_seed(self.settings.seed)
        kernels = blur * torch.rand(lesson.n_classes, side**2, generator=generator)
        place = torch.randint(side**2, (lesson.n_classes, 1), generator=generator)
        return {"kernels": kernels.scatter(1, place, 1.0).view(-1, side, side)}

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
