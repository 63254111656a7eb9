"""The settings of Unlearnable Clusters."""

from dataclasses import dataclass

from uc_hf.fitting.clusterings import CLUSTERINGS
from uc_hf.fitting.settings import CommonSettings, one_of


PHOTOGRAPH = 96
"""Images with a longer side in pixels are taken for photographs: measured at 32, 64, and 128."""


@dataclass(frozen=True, kw_only=True)
class Settings(CommonSettings):
    """Everything that decides a UCProtector's noise, apart from the images; the attributes of `CommonSettings`, too.

    Examples:
        >>> Settings(epsilon=16 / 255).levels
        16

    Attributes:
        clustering: "kmeans" (section 3.2); "spectral" cuts the graph of nearest neighbours where few images are
            neighbours, which leaves fewer strays in clusters of another kind; None for spectral clustering of
            photographs (a canvas of more than 96 px) and k-means of smaller pictures.
        parametrisation: the family of noise, a file in `families`: "wave" renders a coloured wave for each cluster;
            "direct" learns the pixels of each noise by gradient; "generator" one ResNet per cluster (section 3.3).
            Each has settings of its own beside these.
        quiet_cluster: one cluster, the tightest, gets a quarter of its noise. A clean picture then looks like one of
            it, and a small network that was trained on the set answers with its labels. Ours, not the paper's.
    """

    clustering: str | None = None
    parametrisation: str = "wave"
    quiet_cluster: bool = True

    def __post_init__(self) -> None:
        """As `CommonSettings`: refuse what is out of range."""
        super().__post_init__()
        one_of("clustering", self.clustering, (*CLUSTERINGS, None))
