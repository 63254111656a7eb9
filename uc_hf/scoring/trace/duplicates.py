"""Near-duplicates: several pictures of one scene are one witness, not several."""

import numpy as np
import torch

from uc_hf.data.images import LUMA, Picture, resize


SIDE = 8

NEAR = 4
"""Largest number of bits, of 64, in which pictures of one scene differ; unrelated pictures differ in about 32."""


def fingerprint(picture: Picture) -> int:
    """64 bits: where the picture, shrunk to a few pixels, gets brighter from left to right (dHash, Krawetz 2013)."""
    pixels = torch.from_numpy(picture.pixels).permute(2, 0, 1)
    luma = np.array(LUMA) @ resize(pixels, (SIDE, SIDE + 1)).numpy().reshape(3, -1)
    luma = luma.reshape(SIDE, SIDE + 1)
    return int.from_bytes(np.packbits(luma[:, 1:] > luma[:, :-1]).tobytes())


class Scenes:
    """The scenes seen so far."""

    def __init__(self) -> None:
        self._known: list[int] = []

    def is_new(self, picture: Picture) -> bool:
        """Whether no earlier picture shows the same; from then on this one counts as seen."""
        code = fingerprint(picture)
        if any((code ^ other).bit_count() <= NEAR for other in self._known):
            return False
        self._known.append(code)
        return True
