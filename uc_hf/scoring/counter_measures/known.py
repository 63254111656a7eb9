"""Counter-measures are registered where they are defined, with what the number in their name means."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from torch import Generator, Tensor, nn

from uc_hf.registry import Registry
from uc_hf.training.labelled import LabelledImages


File = Callable[[np.ndarray], np.ndarray]
"""A published image at its own size, uint8 [H, W, 3] -> the same."""

Stored = Callable[[LabelledImages, LabelledImages], Tensor]
"""The published set and its originals -> uint8 [N, 3, S, S]. Only `leaked` uses originals, a few of them."""

Batch = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""Images and label weights -> the same (see `batch`)."""

Step = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
"""The model, images and labels -> images (see `steps`)."""

Rate = Callable[[float, float], float]
"""The depth of a layer and the share of the training that is done, both in [0, 1) -> a factor (see `rates`)."""

Kind = Literal["files", "stored", "batch", "step", "rate"]
"""When a counter-measure acts."""


@dataclass(frozen=True)
class Known:
    """A counter-measure whose parameter is not chosen yet.

    Attributes:
        kind: when it acts.
        apply: takes the arguments of its kind, followed by the parameter.
        parameter: meaning of the number in the name; None if there is no number.
        default: the number if the name has none.
        allowed: whole numbers, or the ends of a range.
        needs_originals: whether it uses originals of the published rows.
        in_use: whether the model is shown such images in use, too, and so in the test.
        counts_groups: whether the number is one of groups of images, none of which may be empty.
    """

    kind: Kind
    apply: Callable[..., Any]
    parameter: str | None = None
    default: float = 0
    allowed: range | tuple[float, float] = (0, 0)
    needs_originals: bool = False
    in_use: bool = False
    counts_groups: bool = False


def _on_pixels(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A filter of pixels as a counter-measure on a published set."""
    return lambda published, originals, *parameter: transform(published.pixels, *parameter)


KNOWN = Registry[Known]("counter-measure")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def counter_measure(
    name: str,
    kind: Kind | Literal["pixels"],
    parameter: str | None = None,
    default: float = 0,
    allowed: range | tuple[float, float] = (0, 0),
    *,
    needs_originals: bool = False,
    in_use: bool = False,
    counts_groups: bool = False,
) -> Callable[[_Function], _Function]:
    """A decorator that makes a function a counter-measure.

    Args:
        name: without the number; letters alone.
        kind: when it acts; "pixels" is "stored" for a function that needs the published pixels alone.
        parameter: see `Known`, as all that follow.
        default: see `Known`.
        allowed: see `Known`.
        needs_originals: see `Known`.
        in_use: see `Known`.
        counts_groups: see `Known`.
    """

    def add(function: _Function) -> _Function:
        apply = _on_pixels(function) if kind == "pixels" else function
        acts: Kind = "stored" if kind == "pixels" else kind
        KNOWN[name] = Known(acts, apply, parameter, default, allowed, needs_originals, in_use, counts_groups)
        return function

    return add
