"""The whole fit, top to bottom: sample -> embed -> cluster -> learn."""

import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import Annotated, Any

import datasets
import numpy as np
import torch
from torch import Tensor

from uc_hf.errors import SettingError, counted
from uc_hf.fitting.clustering import find_clusters, nearest, tightest
from uc_hf.fitting.embedding import embed, embed_canvases, load_canvases, native_size
from uc_hf.fitting.noise import CanvasNoise, Noise
from uc_hf.fitting.record import ALGORITHM, Fit, FitOptions
from uc_hf.fitting.sample import Sample, draw_sample
from uc_hf.fitting.schema import Array
from uc_hf.fitting.settings import LARGEST_SIZE
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.family import ClusterLesson
from uc_hf.methods.unlearnable_clusters.objective import add_noise
from uc_hf.methods.unlearnable_clusters.settings import PHOTOGRAPH, Settings
from uc_hf.surrogates.surrogate import Embedder, Surrogate


logger = logging.getLogger(__name__)

FEW = (
    "%s few: enough for %s, and all images of a cluster get the same texture. It marks them as a group, which a model "
    "that is trained on them may read in place of what they show. How much that protects so few was not measured."
)
"""Warning for small sets if the number of clusters is not set."""

SHORT_SIGHTED = (
    "the surrogate looks at squares of %d pixels, and these images have about %d: it puts photographs into clusters "
    "by their colours and large shapes. Name a larger one, such as openai/clip-vit-base-patch32, to have them in "
    "clusters by what they show."
)
"""Warning for photographs and a surrogate for small images."""

QUIETER = 4
"""Factor by which the noise of the quiet cluster is weaker: a network does not read it, and every image has some."""


@dataclass(frozen=True)
class ClusterFit(Fit):
    """The fit of Unlearnable Clusters: each group is a cluster.

    Attributes:
        centroids: float32 [p, d].
        goals: for each cluster, the cluster to which its noise moves images; empty if the family has no goals.
        moved: share of the sample whose embedding is nearest to its goal after noise is added; None without goals.
        looked_at: side in pixels of the squares that are embedded to find an image's cluster; None for protectors of
            earlier versions, which embedded the canvas.
        surrogate_sizes: at which the surrogate looks at images; None for an ensemble, and for protectors of earlier
            versions, whose surrogate has the size that was set, or its own.
    """

    centroids: Annotated[np.ndarray, Array("float32", ("p", "d"))]
    goals: list[int]
    moved: float | None
    looked_at: int | None = field(default=None, kw_only=True)
    surrogate_sizes: list[int] | None = field(default=None, kw_only=True)

    def check(self) -> None:
        """As `Fit.check`."""
        super().check()
        p = len(self.sizes)
        if self.goals and (len(self.goals) != p or not all(0 <= goal < p for goal in self.goals)):
            raise SettingError(f"goals={self.goals} does not name one of the {p} clusters for each of them.")
        if self.moved is not None and not 0 <= self.moved <= 1:
            raise SettingError(f"moved={self.moved} is not a share in [0, 1].")
        if self.looked_at is not None and not 0 < self.looked_at <= LARGEST_SIZE:
            raise SettingError(f"looked_at={self.looked_at} is not a side of up to {LARGEST_SIZE} pixels.")
        sizes = self.surrogate_sizes
        if sizes is not None and not (sizes and all(0 < size <= LARGEST_SIZE for size in sizes)):
            raise SettingError(f"surrogate_sizes={sizes} are not sides of up to {LARGEST_SIZE} pixels.")

    @property
    def view_size(self) -> int:
        """Side in pixels of the squares that are embedded."""
        return self.looked_at or self.canvas_size

    def groups(self) -> list[dict[str, Any]]:
        """Each cluster, its images in the sample, and the cluster that its noise moves images to, if there is one."""
        rows = [{"cluster": cluster, "images": images} for cluster, images in enumerate(self.sizes)]
        if not self.goals:
            return rows
        return [row | {"goal": goal} for row, goal in zip(rows, self.goals, strict=True)]

    def summary(self) -> str:
        """In a few words."""
        clusters = f"clusters of {min(self.sizes)} to {max(self.sizes)}" if len(self.sizes) > 1 else "1 cluster"
        return f"fitted on {counted(sum(self.sizes), 'image')}, {clusters}"


def fit(
    dataset: datasets.Dataset | datasets.IterableDataset,
    surrogate: Embedder,
    settings: Settings,
    options: FitOptions,
) -> ClusterFit:
    """Learn centroids and noise from a dataset; see `UCProtector.fit`.

    With several processes all of them embed, the main one learns, and all receive the result.
    """
    sample = draw_sample(dataset, settings, max(settings.canvas_size or 0, surrogate.size), check=options.check)
    chosen, side = settings.for_set(len(sample)), native_size(sample)
    _warn(len(sample), side, surrogate, settings, chosen)
    views, embeddings = embed(
        sample,
        surrogate,
        size=min(surrogate.size, side),
        normalise=settings.normalise,
        accelerator=options.accelerator,
        batch_size=options.embed_batch_size,
        num_workers=options.num_workers,
    )
    return options.once(lambda: _learn(views, embeddings, sample, surrogate, chosen, options))


def _warn(n_images: int, side: int, surrogate: Embedder, settings: Settings, chosen: Settings) -> None:
    """Say before the work what the fit cannot do with so few images, or with this surrogate."""
    if chosen.p < settings.p:
        images = f"{counted(n_images, 'image')} {'is' if n_images == 1 else 'are'}"
        logger.warning(FEW, images, counted(chosen.p, "cluster"))
    if chosen.p > 1 and surrogate.size < PHOTOGRAPH < side:
        logger.warning(SHORT_SIGHTED, surrogate.size, side)


def _learn(
    views: Tensor,
    embeddings: np.ndarray,
    sample: Sample,
    surrogate: Embedder,
    settings: Settings,
    options: FitOptions,
) -> ClusterFit:
    looked_at = views.shape[-1]
    family = FAMILIES.find(settings.parametrisation)
    size = (settings.canvas_size if issubclass(family.noise_type, CanvasNoise) else None) or looked_at
    canvases = views if size == looked_at else load_canvases(sample, size, options.num_workers)
    alone = settings.p == 1
    clustering = settings.clustering or ("spectral" if size > PHOTOGRAPH and not alone else "kmeans")
    clusters = find_clusters(embeddings, settings.p, settings.seed, clustering)
    checkpoint = options.checkpoint_dir / f"{_key(surrogate, settings, canvases, embeddings)}.safetensors"
    goal = None if alone else family.goals(clusters.centroids, settings)
    lesson = ClusterLesson(
        canvases=canvases,
        centroids=torch.from_numpy(clusters.centroids),
        surrogate=surrogate,
        settings=settings,
        accelerator=options.accelerator,
        checkpoint=checkpoint,
    )
    noise = family.learn(lesson)
    options.finish(checkpoint)
    if settings.quiet_cluster and not alone:
        noise = noise.weakened(tightest(embeddings, clusters), QUIETER)
    moved = None
    if goal is not None:
        embedded = _embed_protected(lesson, noise, clusters.assignment)
        moved = float((nearest(embedded, clusters.centroids) == goal[clusters.assignment]).mean())
    return ClusterFit(
        centroids=clusters.centroids,
        noise=noise,
        goals=[] if goal is None else goal.tolist(),
        sizes=clusters.sizes.tolist(),
        moved=moved,
        column=sample.column,
        surrogate_digest=surrogate.digest,
        surrogate_revision=surrogate.revision,
        coloured=sample.coloured,
        looked_at=looked_at,
        surrogate_sizes=list(surrogate.sizes) if isinstance(surrogate, Surrogate) else None,
    )


def _key(surrogate: Embedder, settings: Settings, canvases: Tensor, embeddings: np.ndarray) -> str:
    """Names an unfinished fit by all that decides its result."""
    facts = [ALGORITHM, settings.plain(), surrogate.digest, list(canvases.shape)]
    return hashlib.sha256(json.dumps(facts).encode() + embeddings.tobytes()).hexdigest()[:32]


def _embed_protected(lesson: ClusterLesson[Settings], noise: Noise, assignment: np.ndarray) -> np.ndarray:
    """Embeddings of the canvases, each with the noise of its cluster: float32 [N, d]."""
    embeddings, device = [], lesson.accelerator.device
    deltas = torch.from_numpy(noise.canvases(lesson.canvases.shape[-1])).to(device).float() / 255
    with torch.inference_mode(), lesson.accelerator.autocast():
        for pixels, clusters in zip(lesson.canvases.split(64), torch.from_numpy(assignment).split(64), strict=True):
            protected = add_noise(pixels.to(device).float() / 255, deltas[clusters])
            embeddings.append(embed_canvases(protected, lesson.surrogate, lesson.settings.normalise).float())
    return torch.cat(embeddings).cpu().numpy()
