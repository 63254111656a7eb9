"""Clusters: seeded, complete, and honest about what cannot be clustered."""

import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from datasets import Dataset

from uc_hf import UCProtector
from uc_hf.data.images import decode
from uc_hf.errors import ClusterError, SettingError
from uc_hf.fitting.clustering import Clusters, find_clusters, goals, nearest, tightest
from uc_hf.fitting.clusterings import CLUSTERINGS


def blobs(n_blobs: int, n: int = 600, dim: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = 10 * rng.normal(size=(n_blobs, dim))
    labels = np.arange(n) % n_blobs
    return (centres[labels] + rng.normal(size=(n, dim))).astype(np.float32), labels


Clustering = Callable[[np.ndarray, int, int], Clusters]
k_means, spectral = (partial(find_clusters, clustering=name) for name in ("kmeans", "spectral"))
both = pytest.mark.parametrize("cluster", [k_means, spectral], ids=["kmeans", "spectral"])


@both
def test_well_separated_groups_are_found_exactly(cluster: Clustering):
    embeddings, labels = blobs(10)
    clusters = cluster(embeddings, 10, 0)
    assert clusters.sizes.tolist() == [60] * 10
    assert len({(cluster, label) for cluster, label in zip(clusters.assignment, labels, strict=True)}) == 10


@both
def test_a_seed_may_be_larger_than_faiss_takes(cluster: Clustering):
    embeddings, _ = blobs(3)
    assert cluster(embeddings, 3, 2**40 + 1).sizes.tolist() == [200] * 3


@both
def test_equal_seeds_give_equal_centroids(cluster: Clustering):
    embeddings = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    first, second, other = (cluster(embeddings, 7, seed).centroids for seed in (3, 3, 4))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_assignment_is_to_the_nearest_centroid():
    centroids = np.array([[0.0, 0.0], [10.0, 0.0]])
    assert nearest(np.array([[1.0, 1.0], [8.0, 0.0], [5.0, 0.0]]), centroids).tolist() == [0, 1, 0]


def test_groups_are_kept_whole_that_k_means_cuts():
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 2
    strips = np.stack([rng.uniform(0, 4, 600), 1.5 * labels + rng.normal(0, 0.2, 600)], axis=1).astype(np.float32)
    cut, whole = (cluster(strips, 2, 0).assignment for cluster in (k_means, spectral))
    assert abs((cut == labels).mean() - 0.5) < 0.1
    assert (whole == labels).mean() in (0, 1)


def test_the_cluster_of_an_image_depends_on_it_alone():
    embeddings = np.random.default_rng(1).normal(size=(300, 5)).astype(np.float32)
    clusters = spectral(embeddings, 7, seed=0)
    one_by_one = [nearest(embedding[None], clusters.centroids)[0] for embedding in embeddings]
    assert np.array_equal(one_by_one, clusters.assignment)


def test_a_clustering_registered_from_outside_is_one_function(tiles: Dataset, surrogate_folder: str):
    def by_order(embeddings: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
        return embeddings[:n_clusters]

    settings = {"surrogate": surrogate_folder, "n_clusters": 2, "batch_size": 8}
    with pytest.raises(SettingError, match=r"clustering='by-order' is not known\. Write 'kmeans' or 'spectral'"):
        UCProtector(**settings, clustering="by-order")
    CLUSTERINGS["by-order"] = by_order
    try:
        protector = UCProtector(**settings, clustering="by-order").fit(tiles)
    finally:
        del CLUSTERINGS["by-order"]
    embeddings = protector.embed([decode(value) for value in tiles["image"]])
    # Accelerate gathers in its own batches, hence not to the last bit.
    assert any(np.allclose(protector.fitted.centroids[0], embedding, atol=1e-5) for embedding in embeddings)


def test_the_tightest_cluster_is_none_of_the_smaller_ones():
    embeddings = np.array([[0], [2], [4], [10], [11], [12], [13], [30]], dtype=np.float32)
    assignment = np.array([0, 0, 0, 1, 1, 1, 1, 2])
    clusters = Clusters(np.array([[2], [11.5], [30]], dtype=np.float32), assignment, np.bincount(assignment))
    assert tightest(embeddings, clusters) == 1


@both
def test_more_clusters_than_images_are_refused(cluster: Clustering):
    with pytest.raises(ClusterError, match=r"n_clusters=20 is more than the 12 images.*n_clusters=2 or less"):
        cluster(np.zeros((12, 3), dtype=np.float32), 20, 0)


@both
def test_repeated_images_that_leave_clusters_empty_are_refused(cluster: Clustering):
    repeated = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    with pytest.raises(ClusterError, match=r"2 of 5 clusters are empty .* only 3 different embeddings"):
        cluster(repeated, 5, 0)


@both
def test_one_warning_tells_when_most_clusters_hold_one_image(cluster: Clustering, caplog: pytest.LogCaptureFixture):
    cluster(blobs(10)[0], 10, 0)
    assert not caplog.records
    cluster(np.eye(12, dtype=np.float32), 10, 0)
    assert len(caplog.records) == 1
    assert re.search(r"of 10 clusters hold a single image.* smaller n_clusters \(2 or less for 12 images", caplog.text)


@both
def test_embeddings_that_are_not_finite_are_refused(cluster: Clustering):
    broken = np.ones((5, 3), dtype=np.float32)
    broken[2, 1] = np.nan
    with pytest.raises(ClusterError, match="fitted image 2 is not finite"):
        cluster(broken, 2, 0)


@pytest.mark.parametrize("rule", ["next", "farthest"])
@pytest.mark.parametrize("p", [2, 3, 10])
def test_goals_are_a_permutation_that_leaves_none_where_it_is(rule: str, p: int):
    goal = goals(np.random.default_rng(p).normal(size=(p, 4)), rule)
    assert sorted(goal) == list(range(p)) and (goal != np.arange(p)).all()


def test_the_farthest_goals_are_farther_in_total_than_the_next():
    centroids = np.random.default_rng(0).normal(size=(10, 4))

    def total(goal: np.ndarray) -> float:
        return float(np.linalg.norm(centroids - centroids[goal], axis=1).sum())

    assert total(goals(centroids, "farthest")) > total(goals(centroids, "next"))
