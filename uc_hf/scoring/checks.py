"""Whether the counter-measures of a scorecard fit its sets, found out before the first training."""

from collections.abc import Mapping, Sequence

import torch

from uc_hf.errors import SettingError
from uc_hf.scoring.counter_measures.registry import CounterMeasure
from uc_hf.training.labelled import LabelledImages


def check_measures(train_sets: Mapping[str, LabelledImages], measures: Sequence[CounterMeasure]) -> None:
    """Refuse counter-measures that some set does not allow.

    Args:
        train_sets: by name; "clean" is required.
        measures: that are to be applied to each of them.

    Raises:
        SettingError: one needs originals that do not match a set row by row, or more different images than a set has.
    """
    others = [name for name, images in train_sets.items() if not pair_up(images, train_sets["clean"])]
    grouped = any(measure.groups for measure in measures)
    different = {name: _different(images) for name, images in train_sets.items()} if grouped else {}
    for measure in measures:
        if measure.needs_originals and others:
            raise SettingError(
                f"counter-measure {measure.name!r} compares every training set with the clean one row by row, but "
                f"{others[0]!r} has other labels or another number of rows. Leave one of the two out."
            )
        for name, number in different.items():
            if measure.groups > number:
                raise SettingError(
                    f"counter-measure {measure.name!r} divides the images into {measure.groups} groups, but {name!r} "
                    f"has only {number} different ones. Write a number of at most {number} there, or leave it out."
                )


def pair_up(images: LabelledImages, clean: LabelledImages) -> bool:
    """Whether two sets have the same labels, row by row."""
    return torch.equal(images.labels, clean.labels)


def _different(images: LabelledImages) -> int:
    return len({hash(picture.numpy().tobytes()) for picture in images.pixels})
