"""Images in batches that fit into memory, whatever their size."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from uc_hf.data.images import ImageValue, n_pixels


IMAGES, PIXELS = 64, 2**24
"""A batch ends with the image that reaches either."""

Item = TypeVar("Item")


def in_batches(items: Iterable[Item], image: Callable[[Item], ImageValue]) -> Iterator[list[Item]]:
    """Items in lists of at most `IMAGES`, fewer where their images are large.

    Args:
        items: whatever holds an image.
        image: finds it.
    """
    batch, pixels = [], 0
    for item in items:
        batch.append(item)
        pixels += n_pixels(image(item))
        if len(batch) >= IMAGES or pixels >= PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
