"""SynPer: linearly separable synthetic perturbations, made without using the images (Yu et al. 2022)."""

from typing import ClassVar

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from uc_hf.fitting.schema import Array
from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson, image_seeds


BLOCKS = 4
"""Along a side: of 8 x 8 pixels where the canvas has 32, as published, larger ones where it is larger."""

SEPARATION = 10
"""Of the labels' centres from zero, in standard deviations of the points around them."""


@register
class SynPer(Baseline):
    """A random corner of a hypercube for each label, and a point near it for each image, drawn as coloured blocks."""

    method = "synper"
    title = "Synthetic perturbations"
    reference = "[Yu et al., KDD 2022](https://arxiv.org/abs/2111.00898)"
    learns: ClassVar = {"corners": Array("float32", ("p", 3, BLOCKS, BLOCKS))}

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The corners, float [C, 3, 4, 4], every value -1 or 1."""
        generator = Generator().manual_seed(self.settings.seed)
        return {"corners": 2.0 * torch.randint(2, (lesson.n_classes, 3, BLOCKS, BLOCKS), generator=generator) - 1}

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """A point near the label's corner, in blocks; the corner itself is at epsilon."""
        drawn = [
            torch.randn(3, BLOCKS, BLOCKS, generator=Generator().manual_seed(seed)) for seed in image_seeds(canvases)
        ]
        corners = torch.from_numpy(self.fitted.tensors["corners"])[labels]
        points = corners + torch.stack(drawn) / SEPARATION
        size = canvases.shape[-2:]
        return self.settings.levels * F.interpolate(points, size, mode="nearest")
