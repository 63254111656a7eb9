"""The owner's undo: a protected picture and the key -> the original."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from uc_hf.data import images
from uc_hf.data.images import ImageValue, Picture
from uc_hf.errors import ImageError, SettingError
from uc_hf.protecting.noise import add_levels, as_added


if TYPE_CHECKING:
    from uc_hf.protecting.protector import Protector


LEAST = 0.5
"""A noise that is there is found at its full strength, 0.93 to 1.04 on tiles and photographs; others at up to 0.12."""


def original_of(protector: "Protector[Any]", protected: ImageValue) -> Picture:
    """The original of a protected picture: less the one of the key's noises that it carries.

    Which one that is shows in the picture itself; the surrogate, which the noise was made to mislead, is not asked,
    unless the noise is one colour all over, which no picture shows.

    Args:
        protector: that made it.
        protected: as it was published.

    Raises:
        SettingError: the method's noise cannot be taken off.
        ImageError: it carries none of the protector's noises, or it cannot be said which.
    """
    if not protector.removable:
        raise SettingError(
            f"the noise of {protector.method!r} cannot be taken off again: it depends on the original of each image. "
            "Keep the originals."
        )
    picture = images.decode(protected)
    fit, levels = protector.fitted, protector.settings.levels
    added = [as_added(picture, fit.noise.carried(picture, group), levels) for group in range(len(fit.sizes))]
    if all((noise == noise[0, 0]).all() for noise in added) and any(noise.any() for noise in added):
        return _without_tint(protector, picture, added)
    strengths = [_strength(picture.pixels, noise) for noise in added]
    found = int(np.argmax(strengths))
    if strengths[found] < LEAST:
        raise ImageError(
            "it carries none of this key's noises: another key protected it, or none; or it was scaled or compressed "
            "too far. Take the file that was published first, and the key beside it."
        )
    return _less(picture, added[found])


def _without_tint(protector: "Protector[Any]", picture: Picture, added: list[np.ndarray]) -> Picture:
    """The one picture that becomes the protected one when the protector is asked for its tint and adds it.

    What a clipped pixel was nobody knows: where its guesses let the protector answer one thing and another, it cannot
    be said.
    """
    found: list[Picture] = []
    sure = True
    clipped = np.isin(picture.pixels, (0, 255))
    for tint in {noise.tobytes(): noise for noise in added}.values():  # groups may share one
        original = _less(picture, tint)
        again = add_levels(original.pixels, tint)
        if protector.settings.stored_as.lossless and not np.array_equal(again, picture.pixels):
            continue
        fills = [np.where(clipped, add_levels(original.pixels, tint // part), original.pixels) for part in (1, 2)]
        tried = [original, *(replace(original, pixels=fill) for fill in fills if clipped.any())]
        answers = [np.array_equal(added[group], tint) for group in protector.assign(tried)]
        if any(answers):
            found.append(original)
            sure = sure and all(answers)
    if len(found) != 1 or not sure:
        said = f"any of {len(found)}" if len(found) > 1 else "one or none" if found else "none"
        raise ImageError(
            f"it could carry {said} of this key's tints, which no picture shows. Take the file that was published "
            "first, and the key beside it; a tint cannot be told in a picture that was compressed, scaled or cropped "
            "since, or much of which is black or white."
        )
    return found[0]


def _less(picture: Picture, noise: np.ndarray) -> Picture:
    return replace(picture, pixels=add_levels(picture.pixels, -noise))


def _strength(pixels: np.ndarray, noise: np.ndarray) -> float:
    """How much of a noise a picture holds, by the steps between neighbouring pixels, in which pictures have little.

    Args:
        pixels: uint8 [H, W, 3].
        noise: int8 [H, W, 3] or [H, W, 1].

    Returns:
        about 1 where the noise is there, about 0 where it is not.
    """
    found = there = 0.0
    for axis in (0, 1):
        steps = np.diff(noise.astype(np.float32), axis=axis)
        found += float((np.diff(pixels.astype(np.float32), axis=axis) * steps).sum())
        there += float(np.square(np.broadcast_to(steps, (*steps.shape[:2], 3))).sum())
    return found / there if there else 0.0
