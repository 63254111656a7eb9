"""Labelled images as a network is trained on them."""

import hashlib
import logging
import math
import tempfile
from dataclasses import dataclass

import numpy as np
import psutil
import torch
from torch import Tensor


logger = logging.getLogger(__name__)

LARGEST_SHARE = 1 / 8
"""Share of the machine's memory above which a set is kept in a temporary file. A scorecard holds up to six sets."""


@dataclass(frozen=True)
class LabelledImages:
    """A whole set in memory, or mapped into it from a temporary file.

    Attributes:
        pixels: uint8 [N, 3, S, S].
        labels: int64 [N].
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "LabelledImages":
        """The same set on a device."""
        return LabelledImages(self.pixels.to(device), self.labels.to(device))

    def select(self, rows: Tensor) -> "LabelledImages":
        """The set of some rows, int64 or bool."""
        if rows.dtype == torch.bool:
            rows = rows.nonzero().squeeze(1)
        pixels = room(len(rows), *self.pixels.shape[1:]).to(self.pixels.device)
        return LabelledImages(torch.index_select(self.pixels, 0, rows, out=pixels), self.labels[rows])

    def fingerprint(self) -> str:
        """Sixteen hex digits that differ where any pixel or label does."""
        digest = hashlib.sha256(f"{tuple(self.pixels.shape)}".encode())
        for tensor in (self.pixels, self.labels):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()[:16]


def room(*shape: int) -> Tensor:
    """An uninitialised uint8 tensor, in memory or, above `LARGEST_SHARE` of it, mapped from a temporary file.

    The file is in the system's temporary folder (TMPDIR), without a name where the system allows that, and is deleted
    with the tensor.
    """
    size = math.prod(shape)
    if size <= LARGEST_SHARE * psutil.virtual_memory().total:
        return torch.empty(shape, dtype=torch.uint8)
    logger.info("images of %.1f GB are kept in a temporary file in %s", size / 1e9, tempfile.gettempdir())
    with tempfile.TemporaryFile(prefix="uc_hf-") as file:
        return torch.from_numpy(np.memmap(file, np.uint8, "w+", shape=shape))
