"""What a baseline takes for an image's label: the publisher's own, a classifier's guess, or a cluster.

The paper's label-agnostic setting (section 4.1) gives the baselines ImageNet predictions, since the scraper's labels
are not known to whoever publishes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from uc_hf.errors import DatasetError, SettingError
from uc_hf.fitting.clustering import find_clusters, nearest
from uc_hf.fitting.schema import Array


class LabelSource(ABC):
    """A source of labels.

    Attributes:
        embeds: whether a network sees the images; otherwise their own labels are read.
        key: what the array has to be that `learn` gives, for p groups.
    """

    embeds = True
    key: Array

    @abstractmethod
    def learn(self, evidence: np.ndarray, n_clusters: int, seed: int) -> tuple[list[str], np.ndarray]:
        """What tells the groups apart.

        Args:
            evidence: of the sample: embeddings float32 [N, d], logits float32 [N, C], or labels as text [N].
            n_clusters: number of groups, where it is a choice.
            seed: of k-means.

        Returns:
            the groups' names, and an array by which `read` finds the group of any image.
        """

    @abstractmethod
    def read(self, evidence: np.ndarray, names: Sequence[str], key: np.ndarray) -> np.ndarray:
        """The group of each image, int64 [N]; `names` and `key` are what `learn` gave."""


class Own(LabelSource):
    """The labels of the dataset, each distinct value a group."""

    embeds = False
    key = Array("int64", (0,))

    def learn(self, evidence: np.ndarray, n_clusters: int, seed: int) -> tuple[list[str], np.ndarray]:
        """The different labels, sorted."""
        names = np.unique(evidence).tolist()
        if len(names) < 2:
            raise DatasetError(f"the sample has only the label {names[0]!r}: a method for labels needs two or more.")
        return names, np.empty(0, dtype=np.int64)

    def read(self, evidence: np.ndarray, names: Sequence[str], key: np.ndarray) -> np.ndarray:
        """The number of each label's name."""
        number = {name: index for index, name in enumerate(names)}
        if unknown := sorted(set(evidence.tolist()) - number.keys()):
            raise DatasetError(
                f"label {unknown[0]!r} was not among the {len(names)} that were fitted on ({', '.join(names[:10])}"
                f"{', ...' if len(names) > 10 else ''}). Fit on a dataset that has it, or write labels='clusters'."
            )
        return np.array([number[text] for text in evidence.tolist()], dtype=np.int64)


class Predicted(LabelSource):
    """The class that a pretrained classifier finds most likely, among those that it found in the sample."""

    key = Array("int64", ("p",))

    def learn(self, evidence: np.ndarray, n_clusters: int, seed: int) -> tuple[list[str], np.ndarray]:
        """The classes that were found."""
        seen = np.unique(evidence.argmax(axis=1))
        if len(seen) < 2:
            raise DatasetError(
                f"the classifier finds class {seen[0]} in every image: name another one, or write labels='clusters'."
            )
        return [str(number) for number in seen], seen

    def read(self, evidence: np.ndarray, names: Sequence[str], key: np.ndarray) -> np.ndarray:
        """The most likely of them."""
        if not 0 <= key.min() <= key.max() < evidence.shape[1]:
            raise SettingError(f"the classifier has {evidence.shape[1]} classes, not those of this protector's key.")
        return evidence[:, key].argmax(axis=1)


class Clusters(LabelSource):
    """k-means clusters of a surrogate's embeddings: those of Unlearnable Clusters with `clustering="kmeans"`."""

    key = Array("float32", ("p", "d"))

    def learn(self, evidence: np.ndarray, n_clusters: int, seed: int) -> tuple[list[str], np.ndarray]:
        """The centroids."""
        clusters = find_clusters(evidence, n_clusters, seed)
        return [str(number) for number in range(n_clusters)], clusters.centroids

    def read(self, evidence: np.ndarray, names: Sequence[str], key: np.ndarray) -> np.ndarray:
        """The nearest one."""
        return nearest(evidence, key)


LABEL_SOURCES: dict[str, LabelSource] = {"own": Own(), "predicted": Predicted(), "clusters": Clusters()}


def as_text(labels: Sequence[Any]) -> np.ndarray:
    """Labels as a column or a batch holds them, int, str or a tensor of one number, as text [N]."""
    return np.array([str(label.item() if hasattr(label, "item") else label) for label in labels])
