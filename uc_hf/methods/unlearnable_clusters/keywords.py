"""The settings of UCProtector as its signature shows them to an editor and a type checker."""

from typing import TypedDict

from uc_hf.surrogates.backbones import Size


class Keywords(TypedDict, total=False):
    """What can be written beside the surrogate; `Settings` and each family's settings say what they mean.

    A family that is registered from outside may take more.
    """

    epsilon: float
    seed: int
    look: str
    n_clusters: int | None
    container: str
    keep_exif: bool
    image_column: str | None
    max_fit_images: int | None
    surrogate_size: Size | None
    surrogate_revision: str | None
    normalise: bool
    batch_size: int
    clustering: str | None
    parametrisation: str
    quiet_cluster: bool
    canvas_size: int | None
    distance: str
    goal: str
    steps: int | None
    epochs: float | None
    eot_scale: tuple[float, float] | None
    learning_rate: float | None
