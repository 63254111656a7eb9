"""Cuts of the graph of nearest neighbours."""

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from scipy.sparse.csgraph import laplacian

from uc_hf.fitting.clustering import nearest, refuse_empty
from uc_hf.fitting.clusterings import CLUSTERINGS
from uc_hf.fitting.clusterings.kmeans import best_means


NEIGHBOURS = 10
"""Of each image, in the graph that is cut; 5 and 20 gave as good clusters, 40 worse ones."""

MORE = 2
"""Times as many eigenvectors are sought as are used: those sought beyond the last used one make it come sooner."""

TOLERANCE, STEPS = 1e-4, 500
"""Of the eigenvectors. Where they have not settled, each seed cuts elsewhere (docs/log/settled.md)."""

RESTARTS = 100
"""Of k-means in the few dimensions of the eigenvectors, where they cost little."""


@CLUSTERINGS.register("spectral")
def spectral(embeddings: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Normalised spectral clustering (Ng, Jordan and Weiss, 2001) of the graph of nearest neighbours.

    Where k-means cuts through a dense group of images to make clusters of even extent, this cuts where few images are
    neighbours. The mean of each group is its centroid, so that the cluster of an image depends on that image alone.

    Args:
        embeddings: float32 [N, d].
        n_clusters: p, at most N.
        seed: of the first guess of the eigenvectors, and of k-means on them; it changes the clusters of few images.

    Returns:
        float32 [p, d].

    Raises:
        ClusterError: a group is empty.
    """
    n = len(embeddings)
    graph = _neighbour_graph(embeddings, min(NEIGHBOURS, n - 1))
    vectors = _eigenvectors(graph, n_clusters, seed)
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    groups = nearest(directions, best_means(directions, n_clusters, seed, RESTARTS))
    sizes = np.bincount(groups, minlength=n_clusters)
    refuse_empty(embeddings, sizes)
    sums = np.zeros((n_clusters, embeddings.shape[1]))
    np.add.at(sums, groups, embeddings)
    return (sums / sizes[:, None]).astype(np.float32)


def _eigenvectors(graph: scipy.sparse.csr_matrix, count: int, seed: int) -> np.ndarray:
    """Those of the largest eigenvalues, float64 [N, count]."""
    n = graph.shape[0]
    sought = MORE * count
    if n < 5 * sought:  # too few images for the sparse method
        return scipy.linalg.eigh(graph.toarray(), subset_by_index=(n - count, n - 1))[1]
    # Not ARPACK, which misses some eigenvectors where groups of images have no neighbour in common.
    guess = np.random.default_rng(seed).normal(size=(n, sought))
    values, vectors = scipy.sparse.linalg.lobpcg(graph, guess, largest=True, tol=TOLERANCE, maxiter=STEPS)
    return vectors[:, np.argsort(-values)[:count]]


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
