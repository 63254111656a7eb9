"""AR: autoregressive perturbations, made without a look at the images (Sandoval-Segura et al. 2022)."""

import torch
from torch import Generator, Tensor

from uc_hf.baselines.baseline import Baseline, Lesson, image_seeds
from uc_hf.baselines.registry import register


WINDOW = 3
"""Side in pixels of the square whose last pixel is the weighted sum of the others."""

BURN_IN = 4
"""Rows and columns that are cut off at the start, where the process has not settled."""

ENERGY = 4.6 / 8
"""Root mean square of the noise, in epsilons, before it is cut off."""

CALM, SIZE_TRIED = 4.0, 48
"""A process is taken whose values stay below so many standard deviations of its start, on a square of that side."""


@register
class AR(Baseline):
    """Each label's process makes every pixel a fixed weighted sum of eight neighbours; each image has its own start.

    Published, the noise has an L2 norm of 1 at 32 pixels: a root mean square of 4.6/255, next to methods that are
    bounded by 8/255. Here that ratio is kept, and what is beyond epsilon is cut off.
    """

    method = "ar"
    title = "Autoregressive perturbations"
    reference = "[Sandoval-Segura et al., NeurIPS 2022](https://arxiv.org/abs/2206.03693)"

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """The weights, float [C, 3, 8]: for each label and channel of the eight neighbours, in reading order."""
        generator = Generator().manual_seed(self.settings.seed)
        chosen = [draw_process(generator) for _ in range(3 * lesson.n_classes)]
        return {"weights": torch.stack(chosen).view(lesson.n_classes, 3, -1)}

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """A run of the label's process from a start of the image's own."""
        size = canvases.shape[-1] + BURN_IN
        starts = torch.stack(
            [torch.randn(3, size, size, generator=Generator().manual_seed(seed)) for seed in image_seeds(canvases)]
        )
        weights = torch.from_numpy(self.fitted.tensors["weights"])[labels]
        noise = run(starts, weights)[:, :, BURN_IN:, BURN_IN:]
        return ENERGY * self.settings.levels * noise / noise.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


def draw_process(generator: Generator) -> Tensor:
    """Weights float [8] that sum to 1, of a process that neither dies out nor runs away."""
    while True:
        weights = torch.randn(WINDOW**2 - 1, generator=generator)
        weights = weights / weights.sum()
        start = torch.randn(1, 1, SIZE_TRIED, SIZE_TRIED, generator=generator)
        field = run(start, weights[None, None])
        settled = field[..., SIZE_TRIED // 2 :, SIZE_TRIED // 2 :]
        if field.abs().max() < CALM and settled.std() > 1 / CALM:
            return weights


def run(starts: Tensor, weights: Tensor) -> Tensor:
    """Autoregressive fields.

    Args:
        starts: float [n, c, S, S]; the first two rows and columns are the start.
        weights: float [n, c, 8].

    Returns:
        float [n, c, S, S], where every further pixel is the weighted sum of the eight before it in its 3 x 3 window.
    """
    field = starts.clone()
    size = field.shape[-1]
    for row in range(WINDOW - 1, size):
        for column in range(WINDOW - 1, size):
            window = field[:, :, row - WINDOW + 1 : row + 1, column - WINDOW + 1 : column + 1]
            field[:, :, row, column] = (window.flatten(2)[..., :-1] * weights).sum(dim=2)
    return field
