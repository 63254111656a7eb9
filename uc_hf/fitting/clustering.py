"""Embeddings -> clusters: spectral clustering or k-means, assignment, and which cluster each one is pushed to."""

import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import laplacian
from scipy.spatial.distance import cdist

from uc_hf.errors import ClusterError


logger = logging.getLogger(__name__)

ITERATIONS = 50
RESTARTS = 10
"""One random start left a cluster of 4 points among 20,000 in ten blobs; ten starts found all ten blobs. Seeding
by k-means++ raised the clusters' information about the generated set's labels from 0.86 to 0.91 of log 10."""

NEIGHBOURS = 10
"""Of each image, in the graph that spectral clustering cuts; 5 and 20 gave as good clusters, 40 worse ones."""

EIGENVECTOR_STEPS = 300
"""Of orthogonal iteration. With 100 one start in four gave worse clusters; more changed next to nothing."""


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


def find_clusters(embeddings: np.ndarray, n_clusters: int, seed: int) -> Clusters:
    """K-means over embeddings (paper, section 3.2): no labels are used.

    Args:
        embeddings: float32 [N, d].
        n_clusters: p, at most N.
        seed: of the starts of k-means; the same embeddings and seed give the same centroids.

    Raises:
        ClusterError: p > N, embeddings that are not finite, or a cluster that stays empty (images repeated exactly).
    """
    _check(embeddings, n_clusters)
    return _complete(embeddings, _k_means(embeddings, n_clusters, seed))


def spectral_clusters(embeddings: np.ndarray, n_clusters: int, seed: int) -> Clusters:
    """Normalised spectral clustering (Ng, Jordan and Weiss, 2001) of the graph of nearest neighbours, made centroids.

    Where k-means cuts through a dense group of images to make clusters of even extent, this cuts where few images are
    neighbours. Each cluster's mean then is its centroid, so that the cluster of an image depends on it alone.

    Args:
        embeddings: float32 [N, d].
        n_clusters: p, at most N.
        seed: of the first guess of the eigenvectors, and of k-means on them.

    Raises:
        ClusterError: as `find_clusters`.
    """
    n = len(embeddings)
    _check(embeddings, n_clusters)
    graph = _neighbour_graph(embeddings, min(NEIGHBOURS, n - 1))
    # Not ARPACK, which misses some eigenvectors where groups of images have no neighbour in common.
    vectors = np.random.default_rng(seed).normal(size=(n, n_clusters))
    for _ in range(EIGENVECTOR_STEPS):
        vectors, _ = np.linalg.qr(graph @ vectors)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = nearest(directions, _k_means(directions, n_clusters, seed))
    sizes = np.bincount(groups, minlength=n_clusters)
    _refuse_empty(embeddings, sizes)
    sums = np.zeros((n_clusters, embeddings.shape[1]))
    np.add.at(sums, groups, embeddings)
    return _complete(embeddings, (sums / sizes[:, None]).astype(np.float32))


def _k_means(points: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Centroids, float32 [p, d]."""
    # Imported here, after torch: on macOS each brings its own OpenMP, and the order decides whether they clash.
    import faiss

    kmeans = faiss.Kmeans(
        points.shape[1],
        n_clusters,
        niter=ITERATIONS,
        nredo=RESTARTS,
        seed=seed,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        max_points_per_centroid=10_000,
        min_points_per_centroid=1,
    )
    kmeans.train(np.ascontiguousarray(points, dtype=np.float32))
    return np.array(kmeans.centroids)


def _neighbour_graph(embeddings: np.ndarray, k: int) -> scipy.sparse.csr_matrix:
    """Who is among whose k nearest, normalised so that the largest of its eigenvalues, all in [0, 1], tell groups."""
    import faiss

    points = np.ascontiguousarray(embeddings, dtype=np.float32)
    n, dim = points.shape
    index = faiss.IndexFlatL2(dim)
    index.add(points)
    neighbours = index.search(points, k + 1)[1][:, 1:]
    edges = (np.ones(n * k), (np.repeat(np.arange(n), k), neighbours.ravel()))
    graph = scipy.sparse.csr_matrix(edges, shape=(n, n))
    return scipy.sparse.identity(n) - laplacian(graph + graph.T, normed=True) / 2


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


def _refuse_empty(embeddings: np.ndarray, sizes: np.ndarray) -> None:
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
    _refuse_empty(embeddings, sizes)
    if 2 * int((sizes == 1).sum()) > n_clusters:
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
    """
    return cdist(embeddings, centroids).argmin(axis=1)


def goals(centroids: np.ndarray, rule: str) -> np.ndarray:
    """The cluster that each one is pushed to: a permutation without fixed points.

    Examples:
        >>> goals(np.array([[0.0], [1.0], [2.0], [9.0]]), "next").tolist()
        [1, 2, 3, 0]

    Args:
        centroids: float [p, d], p >= 2.
        rule: "next" for g(i) = i + 1 mod p (the paper's code); "farthest" for the permutation with the largest total
            distance between a centroid and its goal.

    Returns:
        int64 [p].
    """
    p = len(centroids)
    if rule == "next":
        return np.roll(np.arange(p), -1)
    cost = -cdist(centroids, centroids)
    np.fill_diagonal(cost, np.inf)
    return linear_sum_assignment(cost)[1]
