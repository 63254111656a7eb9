"""Choose a recipe for the pictures: the size by their short sides, the length by when accuracy stops rising."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import datasets
import numpy as np
import torch

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import image_column as find_image_column
from uc_hf.scoring.recipes import Recipe


logger = logging.getLogger(__name__)

SIZES = {"cpu": 128, "cuda": 224}
"""The largest training size in pixels that is chosen, by kind of device."""

SCRAPER = 224
"""The size in pixels at which a scraper trains on photographs."""

LOOKED_AT = 256
"""Largest number of pictures whose size is read, evenly spread over the set."""

LENGTHS = {"cpu": (10, 20, 40), "cuda": (15, 30, 60, 120)}
"""Numbers of epochs that are tried on the originals, about doubling each time; the last is the largest."""

SETTLED = 0.02
"""Accuracy has settled if training twice as long adds at most this much."""


@dataclass(frozen=True)
class Chosen:
    """A recipe, and warnings about the choice.

    Attributes:
        recipe: complete.
        notes: warnings for the reader of the scorecard; often none.
    """

    recipe: Recipe
    notes: tuple[str, ...] = ()


def device_kind() -> str:
    """The kind of device that targets are trained on: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def median_short_side(dataset: datasets.Dataset, image_column: str | None) -> int:
    """The median short side in pixels of a set's pictures, from the headers of `LOOKED_AT` of them."""
    column = find_image_column(dataset.features, image_column)
    rows = np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))).astype(int).tolist()
    values = undecoded(dataset, column).select(rows)[column]
    return round(float(np.median([min(images.open_image(value).size) for value in values])))


def choose_size(recipe: Recipe, short_side: int) -> Chosen:
    """The recipe at the size of the pictures, up to what the device can train on in reasonable time.

    Args:
        recipe: any; its image size is replaced.
        short_side: median of the set in pixels.
    """
    size = max(images.MIN_SIDE, min(short_side, SIZES[device_kind()]))
    return Chosen(replace(recipe, image_size=size), _too_small(size, short_side))


def _too_small(size: int, short_side: int) -> tuple[str, ...]:
    scraper = min(short_side, SCRAPER)
    if 2 * size >= scraper:
        return ()
    note = (
        f"Targets are trained at {size} px, and a scraper would train on these pictures at about {scraper} px. The "
        f"result may differ there. Write --image-size {scraper}."
    )
    logger.warning(note)
    return (note,)


def check_size(recipe: Recipe, short_side: int) -> Chosen:
    """A recipe whose size the user chose, with a warning if it is less than half of what a scraper would use."""
    return Chosen(recipe, _too_small(recipe.image_size, short_side))


def choose_length(recipe: Recipe, train_clean: Callable[[Recipe], float]) -> Chosen:
    """The recipe with as many epochs as the originals need until their accuracy settles.

    Args:
        recipe: any; its epochs are replaced.
        train_clean: trains one target on the originals by a recipe, and gives its accuracy on clean images in [0, 1].
    """
    lengths, before = LENGTHS[device_kind()], None
    for epochs in lengths:
        accuracy = train_clean(replace(recipe, epochs=epochs))
        logger.info("originals, %d epochs: accuracy %.3f", epochs, accuracy)
        if before is not None and accuracy - before <= SETTLED:
            return Chosen(replace(recipe, epochs=epochs // 2))
        before = accuracy
    note = (
        f"The accuracy on the originals still rose at {lengths[-1]} epochs, the largest number that is tried: a "
        "scraper who trains longer learns more from both sets. Write --epochs to train longer."
    )
    logger.warning(note)
    return Chosen(replace(recipe, epochs=lengths[-1]), (note,))
