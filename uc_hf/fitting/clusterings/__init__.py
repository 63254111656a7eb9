"""Ways to find clusters: a file each, whose name is what `clustering` takes.

Each is a function of embeddings float32 [N, d], a number of clusters p <= N and a seed, and gives centroids float32
[p, d].
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from uc_hf.registry import Registry


if TYPE_CHECKING:
    import numpy as np

CLUSTERINGS: "Registry[Callable[[np.ndarray, int, int], np.ndarray]]" = Registry("clustering", __name__)
