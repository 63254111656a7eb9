"""Embeddings -> clusters, each image's cluster, and which cluster each one is pushed to."""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from uc_hf.errors import ClusterError, SettingError
from uc_hf.fitting.clusterings import CLUSTERINGS


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clusters:
    """The outcome of clustering.

    Attributes:
        centroids: float32 [p, d].
        assignment: int64 [N], the nearest centroid of each embedding.
        sizes: int64 [p], images per cluster, none of them 0.
    """

    centroids: np.ndarray
    assignment: np.ndarray
    sizes: np.ndarray


def find_clusters(embeddings: np.ndarray, n_clusters: int, seed: int, clustering: str = "kmeans") -> Clusters:
    """Clusters of embeddings: no labels are used (paper, section 3.2).

    Args:
        embeddings: float32 [N, d].
        n_clusters: p, at most N.
        seed: the same embeddings and seed give the same centroids.
        clustering: a name in `CLUSTERINGS`.

    Raises:
        ClusterError: p > N, embeddings that are not finite, or a cluster that stays empty (images repeated exactly).
        SettingError: no such clustering.
    """
    _check(embeddings, n_clusters)
    return _complete(embeddings, CLUSTERINGS.find(clustering)(embeddings, n_clusters, seed))


def _check(embeddings: np.ndarray, n_clusters: int) -> None:
    n = len(embeddings)
    if n_clusters > n:
        raise ClusterError(
            f"n_clusters={n_clusters} is more than the {n} images to fit on. "
            f"Write n_clusters={max(2, n // 10)} or less, or fit on more images."
        )
    if not np.isfinite(embeddings).all():
        row = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise ClusterError(f"the embedding of fitted image {row} is not finite. Check the surrogate's weights.")


def refuse_empty(embeddings: np.ndarray, sizes: np.ndarray) -> None:
    """Refuse clusters without images.

    Args:
        embeddings: float32 [N, d].
        sizes: int64 [p], images per cluster.

    Raises:
        ClusterError: one is 0.
    """
    if not sizes.all():
        raise ClusterError(
            f"{int((sizes == 0).sum())} of {len(sizes)} clusters are empty (sizes {sizes.tolist()}): the images have "
            f"only {len(np.unique(embeddings, axis=0))} different embeddings. Write a smaller n_clusters."
        )


def _complete(embeddings: np.ndarray, centroids: np.ndarray) -> Clusters:
    """The images of each centroid, where each has some."""
    n, n_clusters = len(embeddings), len(centroids)
    assignment = nearest(embeddings, centroids)
    sizes = np.bincount(assignment, minlength=n_clusters)
    logger.info("clusters of %s images", ", ".join(map(str, sizes)))
    refuse_empty(embeddings, sizes)
    if n > 1 and 2 * int((sizes == 1).sum()) > n_clusters:
        logger.warning(
            "%d of %d clusters hold a single image: their noise marks that image alone, and protects little. Fit on "
            "more images, or write a smaller n_clusters (%d or less for %d images).",
            int((sizes == 1).sum()),
            n_clusters,
            max(2, n // 10),
            n,
        )
    return Clusters(centroids=centroids, assignment=assignment, sizes=sizes)


def tightest(embeddings: np.ndarray, clusters: Clusters) -> int:
    """The cluster whose images lie nearest to their centroid, among those of at least three quarters of the mean size.

    Args:
        embeddings: float32 [N, d], those that were clustered.
        clusters: their clusters.
    """
    squares = ((embeddings - clusters.centroids[clusters.assignment]) ** 2).sum(axis=1)
    spread = np.bincount(clusters.assignment, squares) / clusters.sizes
    spread[clusters.sizes < 0.75 * clusters.sizes.mean()] = np.inf
    return int(spread.argmin())


def nearest(embeddings: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Nearest centroid of each embedding, by Euclidean distance.

    Args:
        embeddings: float [N, d].
        centroids: float [p, d].

    Returns:
        int64 [N], values in [0, p); the lowest index where two are equally near.

    Raises:
        SettingError: the centroids are not those of embeddings as long.
    """
    if embeddings.shape[1] != centroids.shape[1]:
        raise SettingError(f"embeddings of {embeddings.shape[1]} numbers have no centroids of {centroids.shape[1]}.")
    return cdist(embeddings, centroids).argmin(axis=1)


def goals(centroids: np.ndarray, rule: str) -> np.ndarray:
    """The cluster that each one is pushed to: a permutation without fixed points.

    Examples:
        >>> goals(np.array([[0.0], [1.0], [2.0], [9.0]]), "next").tolist()
        [1, 2, 3, 0]

    Args:
        centroids: float [p, d]; a single one has no other to be pushed to, and is its own goal.
        rule: "next" for g(i) = i + 1 mod p (the paper's code); "farthest" for the permutation with the largest total
            distance between a centroid and its goal.

    Returns:
        int64 [p].
    """
    p = len(centroids)
    if rule == "next" or p == 1:
        return np.roll(np.arange(p), -1)
    cost = -cdist(centroids, centroids)
    np.fill_diagonal(cost, np.inf)
    return linear_sum_assignment(cost)[1]
