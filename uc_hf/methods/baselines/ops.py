"""OPS: one pixel of each image, the same for a label, which no bound on pixels holds (Wu et al. 2023)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uc_hf.data.images import Picture
from uc_hf.errors import SettingError
from uc_hf.fitting.schema import Array
from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson


COLOURS = torch.tensor([[red, green, blue] for red in (0, 255) for green in (0, 255) for blue in (0, 255)])
"""The corners of the cube of colours, among which the pixel's is chosen."""


@register
class OPS(Baseline):
    """Paints one pixel of the canvas in one colour. **Unbounded** there: epsilon has no effect."""

    method = "ops"
    title = "One-pixel shortcut"
    reference = "[Wu et al., ICLR 2023](https://arxiv.org/abs/2205.12141)"
    bounded = False
    learns: ClassVar = {"pixels": Array("int64", ("p", 5))}

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """Place and colour of each label's pixel, int64 [C, 5]: row, column, and three 8-bit levels (algorithm 1)."""
        chosen = [best_pixel(lesson.images.pixels[lesson.images.labels == label]) for label in range(lesson.n_classes)]
        return {"pixels": torch.stack(chosen)}

    def check_fitted(self) -> None:
        """As `Shared.check_fitted`: every pixel lies on the canvas and has a colour."""
        super().check_fitted()
        limits = np.array([self.fitted.canvas_size] * 2 + [256] * 3)
        if ((self.fitted.tensors["pixels"] < 0) | (self.fitted.tensors["pixels"] >= limits)).any():
            raise SettingError("learnt.pixels has a pixel that lies beside the canvas, or a colour beyond 255.")

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """What the pixel changes, for the pictures of the noise: cut off at epsilon there, and nowhere else."""
        change = torch.zeros(canvases.shape)
        for index, (row, column, *colour) in enumerate(self.fitted.tensors["pixels"][labels.numpy()].tolist()):
            change[index, :, row, column] = torch.tensor(colour) - canvases[index, :, row, column].float()
        return change

    def perturbed(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[Picture]:
        """Each picture with its label's pixel, as large as a pixel of the canvas is on it."""
        size = self.fitted.canvas_size
        for picture, (row, column, *colour) in zip(pictures, self.fitted.tensors["pixels"][groups], strict=True):
            pixels = picture.pixels.copy()
            height, width, _ = pixels.shape
            top, left = int(row) * height // size, int(column) * width // size
            bottom, right = -(-(int(row) + 1) * height // size), -(-(int(column) + 1) * width // size)
            pixels[top:bottom, left:right] = colour
            yield replace(picture, pixels=pixels)


def best_pixel(images: Tensor) -> Tensor:
    """Where and in which colour one pixel changes all images of a label most, and most evenly.

    Args:
        images: uint8 [n, 3, S, S].

    Returns:
        int64 [5]: row, column, red, green, blue; the largest mean change divided by its variance.
    """
    levels = images.double()
    scores = []
    for colour in COLOURS:
        change = (levels - colour[None, :, None, None]).abs().mean(dim=1) / 255  # [n, S, S]
        scores.append(change.mean(dim=0) / change.var(dim=0, correction=0).clamp(min=1e-6))
    best = int(torch.stack(scores).argmax())
    colour, place = divmod(best, images.shape[-1] ** 2)
    return torch.cat([torch.tensor(divmod(place, images.shape[-1])), COLOURS[colour]])
