"""Noise is added to a picture, within its bound."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from uc_hf.data import images
from uc_hf.data.images import Picture
from uc_hf.errors import BoundError


def add(picture: Picture, noise: np.ndarray, levels: int) -> Picture:
    """A picture with its noise; one that is stored in gray gets the noise's luma.

    Args:
        picture: of any size.
        noise: int8 [3, H, W] in 8-bit levels; it is clipped to the bound.
        levels: the bound.
    """
    pixels = np.empty_like(picture.pixels)
    for rows in _strips(len(pixels)):
        pixels[rows] = add_levels(picture.pixels[rows], as_added(picture, noise[:, rows], levels))
    return replace(picture, pixels=pixels)


def as_added(picture: Picture, noise: np.ndarray, levels: int) -> np.ndarray:
    """What is added to the pixels of a picture: int8 [H, W, 3], or [H, W, 1] for all channels of a gray one.

    Args:
        picture: of any size.
        noise: int8 [3, H, W] in 8-bit levels.
        levels: the bound, to which it is clipped.
    """
    bounded = noise.clip(-levels, levels).transpose(1, 2, 0)
    if picture.mode in images.GRAY:
        return np.rint(bounded @ np.array(images.LUMA))[..., None].astype(np.int8)
    return bounded


def check_bound(picture: Picture, encoded: bytes, levels: int) -> None:
    """Compare a stored image with its original, pixel by pixel.

    Args:
        picture: the original.
        encoded: the protected image as it is saved.
        levels: the bound in 8-bit levels.

    Raises:
        BoundError: a pixel differs by more.
    """
    after, before = images.decode(encoded).pixels, picture.pixels
    difference = max(
        int((np.maximum(after[rows], before[rows]) - np.minimum(after[rows], before[rows])).max())
        for rows in _strips(len(before))
    )
    if difference > levels:
        raise BoundError(f"a saved pixel differs by {difference}/255 from its original; the bound is {levels}/255.")


def add_levels(pixels: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise added to the pixels of one picture, all in 8-bit levels.

    Args:
        pixels: uint8 [H, W, 3].
        noise: int8 [H, W, 3], or [H, W, 1] for all channels.

    Returns:
        uint8 [H, W, 3].
    """
    return np.add(pixels, noise, dtype=np.int16).clip(0, 255).astype(np.uint8)


def _strips(height: int) -> Iterator[slice]:
    return (slice(top, top + images.STRIP) for top in range(0, height, images.STRIP))
