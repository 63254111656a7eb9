"""Class-wise gratings: a random texture for each label, for whoever knows the labels that will be trained on."""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uc_hf.fitting.schema import Array
from uc_hf.fitting.secrets import secret_of, secret_stream
from uc_hf.methods import register
from uc_hf.methods.labelwise import Baseline, Lesson


PERIODS = (3.0, 8.0)
"""Shortest and longest period of a grating, in pixels of the canvas: a 3 x 3 filter sees it, a resize keeps it."""

ANGLE, PERIOD, PHASE = range(3)


def draw_gratings(n: int, stream: np.random.Generator) -> Tensor:
    """Gratings at random, each channel on its own.

    Args:
        n: how many.
        stream: to draw from.

    Returns:
        float32 [n, 3, 3]: for each channel of each grating its angle in half turns, period in pixels and phase in
        turns.
    """
    gratings = stream.random((n, 3, 3), dtype=np.float32)
    shortest, longest = PERIODS
    gratings[..., PERIOD] = shortest + (longest - shortest) * gratings[..., PERIOD]
    return torch.from_numpy(gratings)


def render(gratings: Tensor, size: int) -> Tensor:
    """Oriented square waves.

    Args:
        gratings: float [n, 3, 3], from `draw_gratings`.
        size: side S of the canvas in pixels.

    Returns:
        float [n, 3, S, S], every value -1 or 1.
    """
    angle, period, phase = gratings[..., None, None].unbind(dim=2)  # [n, 3, 1, 1] each
    frequency = 2 * math.pi / period
    x = torch.arange(size, dtype=torch.float32)
    across = x * (math.pi * angle).cos() + x[:, None] * (math.pi * angle).sin()  # [n, 3, S, S]
    return torch.where((frequency * across + 2 * math.pi * phase).sin() >= 0, 1.0, -1.0)


@register
class Grating(Baseline):
    """One random grating for each label. With labels="own" it tells what perfect clusters would give."""

    method = "grating"
    title = "Class-wise gratings"
    reference = "[uc_hf](https://github.com/uc-hf/uc_hf)"
    learns: ClassVar = {"gratings": Array("float32", ("p", 3, 3))}

    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """Angle, period and phase of each channel of each label's grating: float [C, 3, 3]."""
        secret = secret_of("gratings", self.settings.seed, lesson.images.pixels.numpy())
        return {"gratings": draw_gratings(lesson.n_classes, secret_stream(secret))}

    @property
    def removable(self) -> bool:
        """As `Shared.removable`: all images of a label share a grating."""
        return True

    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """The label's grating, every value at epsilon."""
        present, which = labels.unique(return_inverse=True)
        gratings = torch.from_numpy(self.fitted.tensors["gratings"])[present]
        return self.settings.levels * render(gratings, canvases.shape[-1])[which]
