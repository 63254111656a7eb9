"""Counter-measures by name, which includes the parameter: "jpeg-75", "pgd-2". "+" combines several."""

import pkgutil
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, get_args

from uc_hf.errors import SettingError
from uc_hf.scoring import counter_measures
from uc_hf.scoring.counter_measures.known import KNOWN, Batch, File, Kind, Known, Rate, Step, Stored
from uc_hf.training.labelled import LabelledImages


@dataclass(frozen=True, kw_only=True)
class CounterMeasure:
    """What a scraper does against the noise.

    Attributes:
        name: as the user wrote it; None for doing nothing.
        meaning: equal for all names that do the same: "jpeg", "jpeg-75" and "jpeg-75.0".
        files: applied in this order to every image at its own size, once, before resizing.
        stored: applied in this order to the images at the training size, once, before training.
        in_use: those of them that are applied to every image that the model is shown afterwards.
        batch: applied in this order to every batch, after the recipe's augmentation.
        step: applied in the training step, after all others.
        rate: factors for the learning rates of layers, multiplied.
        early_stopping: whether training stops at the epoch that is best on a held-out tenth of the clean set.
        needs_originals: whether it uses the originals of the published rows.
        groups: into how many groups it divides the images; 0 if into none.
    """

    name: str | None = None
    meaning: tuple[Hashable, ...] = ()
    files: tuple[File, ...] = ()
    stored: tuple[Stored, ...] = ()
    in_use: tuple[Stored, ...] = ()
    batch: tuple[Batch, ...] = ()
    step: Step | None = None
    rate: tuple[Rate, ...] = ()
    early_stopping: bool = False
    needs_originals: bool = False
    groups: int = 0

    def clean(self, published: LabelledImages, originals: LabelledImages) -> LabelledImages:
        """The published set after the measures on stored images; both sets were read with `files` applied.

        Originals that leak are changed by all earlier measures, too, so that a leak shows the noise and nothing else.
        """
        for number, measure in enumerate(self.stored, start=1):
            changed = LabelledImages(measure(published, originals), published.labels)
            if self.needs_originals and number < len(self.stored):
                originals = LabelledImages(measure(originals, originals), originals.labels)
            published = changed
        return published

    def as_shown(self, images: LabelledImages) -> LabelledImages:
        """Images that the model is tested on: whoever trains in gray asks in gray."""
        for measure in self.in_use:
            images = LabelledImages(measure(images, images), images.labels)
        return images


NONE = CounterMeasure()


EARLY_STOPPING = "early-stopping"

for _file in pkgutil.iter_modules(counter_measures.__path__, f"{counter_measures.__name__}."):
    if _file.name != __name__:
        import_module(_file.name)  # registers what it defines


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
    applied = {kind: tuple(apply for known, _, apply in chosen if known.kind == kind) for kind in get_args(Kind)}
    if len(applied["step"]) > 1:
        raise SettingError(f"counter-measure {name!r} changes the training step twice. Write one of the two.")
    stopped = [EARLY_STOPPING] if EARLY_STOPPING in parts else []
    in_order = sorted(chosen, key=lambda part: get_args(Kind).index(part[0].kind))
    return CounterMeasure(
        name=name,
        meaning=(*((known, number) for known, number, _ in in_order), *stopped),
        files=applied["files"],
        stored=applied["stored"],
        in_use=tuple(apply for known, _, apply in chosen if known.in_use),
        batch=applied["batch"],
        step=applied["step"][0] if applied["step"] else None,
        rate=applied["rate"],
        early_stopping=bool(stopped),
        needs_originals=bool(stopped) or any(known.needs_originals for known, *_ in chosen),
        groups=max((int(number) for known, number, _ in chosen if known.counts_groups), default=0),
    )


def find_each(names: Sequence[str], saved: Iterable[str]) -> list[CounterMeasure]:
    """Counter-measures by their names, each once however often and in whatever way it is written.

    Args:
        names: as `find_counter_measure` takes them.
        saved: names in a scorecard to go on with: what it holds under one of them keeps that name. Such a name may
            be unknown by now.
    """
    known = dict.fromkeys(saved)
    found: dict[Hashable, CounterMeasure] = {}
    for name in (*(name for name in names if name in known), *known, *names):
        with suppress(SettingError):
            measure = find_counter_measure(name)
            found.setdefault(measure.meaning, measure)
    return [found[meaning] for meaning in dict.fromkeys(find_counter_measure(name).meaning for name in names)]


def _parse(text: str) -> tuple[Known, float, Callable[..., Any]]:
    """One counter-measure, its parameter, and its function with the parameter filled in."""
    match = re.fullmatch(r"([a-z]+)(?:-([0-9]+(?:\.[0-9]+)?))?", text)
    if match is None or match[1] not in KNOWN:
        names = ", ".join((*KNOWN, EARLY_STOPPING))
        raise SettingError(f"counter-measure {text!r} is not known. Write 'none' or one of: {names}.")
    known = KNOWN[match[1]]
    if known.parameter is None:
        if match[2] is not None:
            raise SettingError(f"counter-measure {text!r} takes no number. Write {match[1]!r}.")
        return known, 0, known.apply
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
    return known, value, lambda *arguments: known.apply(*arguments, value)
