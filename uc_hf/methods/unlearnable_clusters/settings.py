"""The settings of Unlearnable Clusters."""

from dataclasses import dataclass
from typing import Any

from uc_hf.errors import SettingError
from uc_hf.fitting.clusterings import CLUSTERINGS
from uc_hf.fitting.settings import CommonSettings, above_zero, at_least, one_of


THUMBNAIL, PHOTOGRAPH = 48, 96
"""Images whose canvas has a longer side, in pixels, than the first are no thumbnails, and those above the second are
taken for photographs: measured at 32, 64, and 128."""


@dataclass(frozen=True, kw_only=True)
class Settings(CommonSettings):
    """Everything that decides a UCProtector's noise, apart from the images; the attributes of `CommonSettings`, too.

    Examples:
        >>> Settings(epsilon=16 / 255).levels
        16
        >>> Settings(epsilon="subtle") == Settings(epsilon=8 / 255)
        True

    Attributes:
        clustering: "kmeans" (section 3.2); "spectral" cuts the graph of nearest neighbours where few images are
            neighbours, which leaves fewer strays in clusters of another kind; None for spectral clustering of
            photographs (a canvas of more than 96 px) and k-means of smaller pictures.
        parametrisation: the family of noise, a file in `families`: "texture" tries gratings and gives each cluster
            the one that serves its goal best; "direct" learns the pixels of each noise by gradient; "generator" one
            ResNet per cluster (section 3.3). Each has settings of its own beside these.
        distance: from the embedding to the centroid of the cluster aimed at: "l2" (squared), or "kl" between
            softmaxes (equation 4).
        goal: which cluster each one is pushed to: the "next" (the paper) or the "farthest" derangement.
        steps: of `batch_size` images; texture: gratings that are tried, at least `n_clusters`; the others: optimiser
            steps, where every cluster has its share of each batch. None for the family's own: ten gratings for each
            cluster (one on canvases of more than 48 px), or 400 optimiser steps.
        epochs: instead of `steps`: how often each cluster's noise sees the whole sample (50 in the paper).
        quiet_cluster: one cluster, the tightest, gets a quarter of its noise. A clean picture then looks like one of
            it, and a network that was trained on the set answers with its labels. Ours, not the paper's.
        eot_scale: share of the area that the random-resized-crop of the EOT keeps, (least, largest) in (0, 1]; None
            learns on uncropped images as the paper does.
    """

    clustering: str | None = None
    parametrisation: str = "texture"
    distance: str = "l2"
    goal: str = "farthest"
    steps: int | None = None
    epochs: float | None = None
    quiet_cluster: bool = True
    eot_scale: tuple[float, float] | None = (0.35, 1.0)

    def __post_init__(self) -> None:
        """As `CommonSettings`: refuse what is out of range."""
        super().__post_init__()
        if isinstance(self.eot_scale, list):
            object.__setattr__(self, "eot_scale", tuple(self.eot_scale))
        if self.steps is not None:
            at_least("steps", self.steps, 1)
            if self.epochs is not None:
                raise SettingError(
                    f"steps={self.steps} and epochs={self.epochs!r} both say how long the fit is. Leave one out "
                    "(with UCProtector.paper, which has 50 epochs, write epochs=None)."
                )
        if self.epochs is not None:
            above_zero("epochs", self.epochs)
        one_of("clustering", self.clustering, (*CLUSTERINGS, None))
        one_of("distance", self.distance, ("l2", "kl"))
        one_of("goal", self.goal, ("farthest", "next"))
        if self.eot_scale is not None and not _is_range(self.eot_scale):
            raise SettingError(
                f"eot_scale={self.eot_scale!r} is not a pair (least, largest) of shares in (0, 1]: "
                "write for example (0.35, 1.0), or None to learn without random crops."
            )


def _is_range(value: Any) -> bool:
    """Whether it is a pair (least, largest) of shares in (0, 1]."""
    numbers = isinstance(value, tuple) and len(value) == 2 and all(isinstance(share, (int, float)) for share in value)
    return numbers and 0 < value[0] <= value[1] <= 1
