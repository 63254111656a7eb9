"""Counter-measures by name, which includes the parameter: "jpeg-75", "pgd-2". "+" combines several."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from torch import Generator, Tensor, nn

from uc_hf.errors import SettingError
from uc_hf.scoring.counter_measures import adaptive, batch, restoration, spectral, steps, stored
from uc_hf.training.labelled import LabelledImages


File = Callable[[np.ndarray], np.ndarray]
"""A published image at its own size, uint8 [H, W, 3] -> the same."""

Stored = Callable[[LabelledImages, LabelledImages], Tensor]
"""The published set and its originals -> uint8 [N, 3, S, S]. Only `leaked` uses originals, a few of them."""

Batch = Callable[[Tensor, Tensor, Generator], tuple[Tensor, Tensor]]
"""Images and label weights -> the same (see `batch`)."""

Step = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
"""The model, images and labels -> images (see `steps`)."""

Kind = Literal["files", "stored", "batch", "step"]
"""When a counter-measure acts."""


@dataclass(frozen=True, kw_only=True)
class CounterMeasure:
    """What a scraper does against the noise.

    Attributes:
        name: as the user wrote it; None for doing nothing.
        files: applied in this order to every image at its own size, once, before it is resized.
        stored: applied in this order to the images at the training size, once, before training.
        batch: applied in this order to every batch, after the recipe's augmentation.
        step: applied in the training step, after all others.
        early_stopping: whether training stops at the epoch that is best on a held-out tenth of the clean set.
        needs_originals: whether it uses the originals of the published rows.
    """

    name: str | None = None
    files: tuple[File, ...] = ()
    stored: tuple[Stored, ...] = ()
    batch: tuple[Batch, ...] = ()
    step: Step | None = None
    early_stopping: bool = False
    needs_originals: bool = False

    def clean(self, published: LabelledImages, originals: LabelledImages) -> LabelledImages:
        """The published set, which was read with `files` applied, after the measures on stored images."""
        for measure in self.stored:
            published = LabelledImages(measure(published, originals), published.labels)
        return published


NONE = CounterMeasure()


@dataclass(frozen=True)
class _Known:
    """A counter-measure whose parameter is not chosen yet.

    Attributes:
        kind: when it acts.
        apply: takes the arguments of its kind, followed by the parameter.
        parameter: meaning of the number in the name; None if there is no number.
        default: the number if the name has none.
        allowed: whole numbers, or the ends of a range.
        needs_originals: whether it uses originals of the published rows.
    """

    kind: Kind
    apply: Callable[..., Any]
    parameter: str | None = None
    default: float = 0
    allowed: range | tuple[float, float] = (0, 0)
    needs_originals: bool = False


def _on_pixels(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A filter of pixels as a counter-measure on a published set."""
    return lambda published, originals, *parameter: transform(published.pixels, *parameter)


def _project(published: LabelledImages, originals: LabelledImages) -> Tensor:
    return adaptive.projection(published.pixels, published.labels)


KNOWN = {
    "reencode": _Known("files", stored.reencode, "quality", 75, range(1, 101)),
    "jpeg": _Known("stored", _on_pixels(stored.jpeg), "quality", 75, range(1, 101)),
    "gray": _Known("stored", _on_pixels(stored.gray)),
    "bits": _Known("stored", _on_pixels(stored.bits), "bits", 3, range(1, 9)),
    "resize": _Known("stored", _on_pixels(stored.resize), "factor", 2, (1, 16)),
    "gaussian": _Known("stored", _on_pixels(stored.gaussian), "sigma in pixels", 1, (0.1, 10)),
    "median": _Known("stored", _on_pixels(stored.median), "side in pixels", 3, range(3, 16, 2)),
    "lowpass": _Known("stored", _on_pixels(stored.lowpass), "share of the highest frequency", 0.5, (0.01, 1)),
    "notch": _Known("stored", _on_pixels(stored.notch), "times the median around", 3, (1.1, 100)),
    "averaging": _Known("stored", _on_pixels(adaptive.averaging), "clusters", 10, range(1, 1001)),
    "leaked": _Known("stored", adaptive.leaked, "pairs of each cluster", 1, range(1, 101), needs_originals=True),
    "projection": _Known("stored", _project),
    "spectral": _Known("stored", _on_pixels(spectral.spectral), "groups", 10, range(2, 1001)),
    "restore": _Known("stored", restoration.restore, "leaked pairs", 50, range(1, 10_001), needs_originals=True),
    "tv": _Known("stored", _on_pixels(stored.total_variation), "weight in percent", 10, (0.1, 100)),
    "mixup": _Known("batch", batch.mixup, "alpha", 1, (0.01, 100)),
    "cutmix": _Known("batch", batch.cutmix, "alpha", 1, (0.01, 100)),
    "cutout": _Known("batch", batch.cutout, "share of the side", 0.5, (0.01, 1)),
    "erasing": _Known("batch", batch.erasing, "probability", 0.5, (0.01, 1)),
    "noise": _Known("batch", batch.noise, "standard deviation in 8-bit levels", 8, (0.1, 255)),
    "randaugment": _Known("batch", batch.randaugment, "magnitude of 30", 9, (0.1, 30)),
    "pgd": _Known("step", steps.pgd, "rho in 8-bit levels", 4, (0.1, 255)),
    "ueraser": _Known("step", steps.ueraser, "views", 5, range(1, 101)),
}
EARLY_STOPPING = "early-stopping"


def find_counter_measure(name: str) -> CounterMeasure:
    """A counter-measure by its name.

    Args:
        name: "none", "early-stopping" or a name in `KNOWN`, with or without "-PARAMETER": "jpeg-75", "pgd-2".
            "+" combines several: "gray+mixup".

    Raises:
        SettingError: the name is unknown, the parameter is out of range, or two of them change the training step.
    """
    if name == "none":
        return NONE
    parts = name.split("+")
    chosen = [_parse(part) for part in parts if part != EARLY_STOPPING]
    applied = {kind: tuple(apply for of, apply in chosen if of == kind) for kind in get_args(Kind)}
    if len(applied["step"]) > 1:
        raise SettingError(f"counter-measure {name!r} changes the training step twice. Write one of the two.")
    return CounterMeasure(
        name=name,
        files=applied["files"],
        stored=applied["stored"],
        batch=applied["batch"],
        step=applied["step"][0] if applied["step"] else None,
        early_stopping=EARLY_STOPPING in parts,
        needs_originals=any(part == EARLY_STOPPING or KNOWN[part.split("-")[0]].needs_originals for part in parts),
    )


def _parse(text: str) -> tuple[str, Callable[..., Any]]:
    """The kind of one counter-measure, and its function with the parameter filled in."""
    match = re.fullmatch(r"([a-z]+)(?:-([0-9]+(?:\.[0-9]+)?))?", text)
    if match is None or match[1] not in KNOWN:
        names = ", ".join((*KNOWN, EARLY_STOPPING))
        raise SettingError(f"counter-measure {text!r} is not known. Write 'none' or one of: {names}.")
    known = KNOWN[match[1]]
    if known.parameter is None:
        if match[2] is not None:
            raise SettingError(f"counter-measure {text!r} takes no number. Write {match[1]!r}.")
        return known.kind, known.apply
    value = float(match[2] or known.default)
    if isinstance(known.allowed, range):
        valid, value = value in known.allowed, int(value)
        limits = f"a whole number from {known.allowed.start} to {known.allowed[-1]}"
        limits += f" in steps of {known.allowed.step}" if known.allowed.step > 1 else ""
    else:
        low, high = known.allowed
        valid, limits = low <= value <= high, f"from {low:g} to {high:g}"
    if not valid:
        raise SettingError(f"counter-measure {text!r}: {known.parameter} has to be {limits}.")
    return known.kind, lambda *arguments: known.apply(*arguments, value)
