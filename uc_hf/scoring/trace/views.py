"""The ways in which one picture is shown to a suspect: flipped and shifted, as training pipelines do.

The mean of the answers to several views shows more than one answer, as augmented queries do in membership inference
(Carlini et al. 2022). Both pictures of a pair are shown in the same views, so the test stays exact.
"""

from dataclasses import dataclass

import numpy as np


REACH = 8
"""A shift is at most an eighth of the side, as in the usual padded crops."""


@dataclass(frozen=True)
class View:
    """One way of showing a picture.

    Attributes:
        flip: left to right.
        down: shift in the picture's height, as a share.
        right: shift in its width, as a share.
    """

    flip: bool = False
    down: float = 0.0
    right: float = 0.0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """The view of a picture: uint8 [H, W, 3] to the same; what is shifted in is black."""
        shown = pixels[:, ::-1] if self.flip else pixels
        height, width, _ = pixels.shape
        return _shift(_shift(shown, round(self.down * height), axis=0), round(self.right * width), axis=1)


def _shift(pixels: np.ndarray, by: int, axis: int) -> np.ndarray:
    if by == 0:
        return pixels
    moved = np.roll(pixels, by, axis)
    black = [slice(None)] * 3
    black[axis] = slice(0, by) if by > 0 else slice(by, None)
    moved[tuple(black)] = 0
    return moved


_NEAR, _FAR = 0.5 / REACH, 1 / REACH
_SHIFTS = (
    *((0.0, 0.0), (_NEAR, 0.0), (-_NEAR, 0.0), (0.0, _NEAR), (0.0, -_NEAR)),
    *((_FAR, _FAR), (-_FAR, -_FAR), (_FAR, -_FAR), (-_FAR, _FAR)),
)

VIEWS = tuple(View(flip, down, right) for down, right in _SHIFTS for flip in (False, True))
"""In the order in which they are asked; a larger budget gets further."""
