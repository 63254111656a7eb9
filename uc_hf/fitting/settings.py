"""The settings of a protector: what can be chosen, what is allowed, and what is meant.

`CommonSettings` are those of every method, `Settings` those of Unlearnable Clusters; a baseline adds its own.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from uc_hf.backbones import Size, all_sizes
from uc_hf.data.images import Container
from uc_hf.errors import SettingError
from uc_hf.fitting.epsilon import read_epsilon
from uc_hf.surrogates import Surrogate


THUMBNAIL, PHOTOGRAPH = 48, 96
"""Images whose canvas has a longer side, in pixels, than the first are no thumbnails, and those above the second are
taken for photographs: measured at 32, 64, and 128."""

SurrogateSpec = str | Surrogate | tuple[str | Surrogate, ...]


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """What every method lets you choose.

    Attributes:
        surrogate: a Hub name or local folder of a vision backbone, your own `Surrogate`, "uc_hf/tiny" (built in, needs
            no network), or a tuple of these (an ensemble).
        surrogate_revision: branch, tag or commit of a surrogate that comes from the Hub.
        surrogate_size: side in pixels at which the surrogate looks; None for its processor's. With a tuple of several
            it looks at each: (128, 224) told photographs better apart than either (with MobileNetV2).
        n_clusters: p of the paper, at least 2.
        epsilon: bound on every pixel's change, from 1/255 to 127/255 where 255/255 is white minus black; or "subtle"
            (8/255), "balanced" (12/255), "strong" (16/255, the paper's), kept as the number.
        seed: of the sample, the clusters, the initial noise and the EOT draws.
        image_column: the column to protect; None for the only image column.
        max_fit_images: everything is learnt from at most so many images (a seeded sample); None for all.
        canvas_size: side S of the square on which noise is learnt, stretched over each image as it is applied; None
            for the surrogate's size, or the images' own size where that is smaller. A network that is trained at
            less than half this size does not see textures. UCProtector finds clusters at the surrogate's
            size, or the images', in any case.
        normalise: L2-normalise embeddings before clustering and learning (balances the clusters).
        batch_size: images in a step.
        container: how protected images are stored: "png", "webp" (lossless) or "jpeg:QUALITY".
        keep_exif: keep EXIF (camera, time, place). Orientation is always applied to the pixels.
    """

    surrogate: SurrogateSpec = "openai/clip-vit-base-patch32"
    surrogate_revision: str | None = None
    surrogate_size: Size | None = None
    n_clusters: int = 10
    epsilon: float = 16 / 255
    seed: int = 0
    image_column: str | None = None
    max_fit_images: int | None = 5000
    canvas_size: int | None = None
    normalise: bool = True
    batch_size: int = 128
    container: str = "png"
    keep_exif: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range, with the range.

        Raises:
            EpsilonError: epsilon is an unknown word, no number, or out of its range.
            SettingError: any other setting is outside its range.
        """
        if isinstance(self.surrogate, list):
            object.__setattr__(self, "surrogate", tuple(self.surrogate))
        if self.surrogate_size is not None:
            sizes = all_sizes(self.surrogate_size)
            object.__setattr__(self, "surrogate_size", sizes[0] if len(sizes) == 1 else sizes)
        object.__setattr__(self, "epsilon", read_epsilon(self.epsilon))
        for name, least in (("n_clusters", 2), ("batch_size", 1), ("seed", 0)):
            at_least(name, getattr(self, name), least)
        for name, least in (("max_fit_images", 2), ("canvas_size", 8)):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), least)
        if self.surrogate_size == ():
            raise SettingError("surrogate_size=() names no size. Write one or more, or leave it out.")
        for size in () if self.surrogate_size is None else all_sizes(self.surrogate_size):
            at_least("surrogate_size", size, 8)
        Container.parse(self.container)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from keywords, naming the nearest setting when one is misspelt.

        Raises:
            SettingError: an unknown name, or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise SettingError(f"{name!r} is not a setting. {hint}Settings are: {', '.join(known)}.")
        return cls(**values)

    @property
    def levels(self) -> int:
        """Epsilon as a whole number of 8-bit levels, rounded down so that the bound holds on saved pixels."""
        return int(self.epsilon * 255 + 1e-6)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values; a surrogate of the user's own is None, since no name brings it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        one_or_more = values["surrogate"] if isinstance(values["surrogate"], tuple) else (values["surrogate"],)
        if any(isinstance(surrogate, Surrogate) for surrogate in one_or_more):
            values["surrogate"] = None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def changed(self, **values: Any) -> Self:
        """A copy with some settings changed, validated anew."""
        return replace(self, **values)


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
        parametrisation: "texture" tries gratings and gives each cluster the one that serves its goal best; "tile"
            learns a small tile for each cluster, repeated over the picture, that untrained networks read soonest
            (ours; takes no `goal` or `distance`); "direct" learns the pixels of each noise by gradient;
            "generator" one ResNet per cluster (section 3.3).
        distance: from the embedding to the centroid of the cluster aimed at: "l2" (squared), "cosine", or "kl"
            between softmaxes (equation 4).
        goal: which cluster each one is pushed to: the "next" (the paper) or the "farthest" derangement.
        steps: of `batch_size` images; texture: gratings that are tried, at least `n_clusters`; the others: optimiser
            steps, where every cluster has its share of each batch. None for the parametrisation's own: ten gratings
            for each cluster (one on canvases of more than 48 px), 450 (tile) or 400 optimiser steps.
        epochs: instead of `steps`: how often each cluster's noise sees the whole sample (50 in the paper).
        learning_rate: None for the parametrisation's own: direct, the first step as a share of epsilon; tile and
            generator, Adam's; texture has none.
        quiet_cluster: one cluster, the tightest, gets a quarter of its noise. A clean picture then looks like one of
            it, and a network that was trained on the set answers with its labels. Ours, not the paper's.
        shaped: less noise, down to a quarter, where a picture is flat and noise is seen (perceptual shaping). On small
            pictures it protects more than weaker noise that looks as strong by SSIM, and less than the same epsilon
            everywhere; on photographs next to nothing (docs/experiments.md). It is learnt, and `moved` measured,
            without.
        eot_scale: share of the area that the random-resized-crop of the EOT keeps, (least, largest) in (0, 1]; None
            learns on uncropped images as the paper does.
    """

    clustering: str | None = None
    parametrisation: str = "texture"
    distance: str = "l2"
    goal: str = "farthest"
    steps: int | None = None
    epochs: float | None = None
    learning_rate: float | None = None
    quiet_cluster: bool = True
    shaped: bool = False
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
        for name in ("epochs", "learning_rate"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise SettingError(f"{name}={getattr(self, name)!r} is not above 0. Leave it out for the default.")
        for name, allowed in CHOICES.items():
            one_of(name, getattr(self, name), allowed)
        if self.parametrisation == "texture":
            self._check_texture()
        if self.parametrisation == "tile":
            self._check_tile()
        if self.eot_scale is not None and not _is_range(self.eot_scale):
            raise SettingError(
                f"eot_scale={self.eot_scale!r} is not a pair (least, largest) of shares in (0, 1]: "
                "write for example (0.35, 1.0), or None to learn without random crops."
            )

    def _check_texture(self) -> None:
        if self.learning_rate is not None:
            raise SettingError(
                f"learning_rate={self.learning_rate!r}: textures are chosen, not learnt by gradient. Leave it out, or "
                "write parametrisation='direct'."
            )
        if self.steps is not None and self.steps < self.n_clusters:
            raise SettingError(
                f"steps={self.steps} tries fewer textures than the {self.n_clusters} clusters need. "
                f"Write steps={self.n_clusters} or more, or leave it out: enough are tried then."
            )

    def _check_tile(self) -> None:
        for name in ("distance", "goal"):
            value = getattr(self, name)
            if value != getattr(Settings, name):
                raise SettingError(
                    f"{name}={value!r}: tiles are learnt to be read, and pushed to no goal. Leave it out, or write "
                    "parametrisation='direct'."
                )


CHOICES = {
    "clustering": ("spectral", "kmeans", None),
    "parametrisation": ("texture", "tile", "direct", "generator"),
    "distance": ("l2", "cosine", "kl"),
    "goal": ("farthest", "next"),
}


def at_least(name: str, value: int, least: int) -> None:
    """Refuse a setting that is no whole number of at least `least`.

    Raises:
        SettingError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name}={value!r} is not a whole number of at least {least}.")


def one_of(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Refuse a setting that is not among the words that it may be.

    Raises:
        SettingError: it is not.
    """
    if value not in allowed:
        options = " or ".join(map(repr, allowed))
        raise SettingError(f"{name}={value!r} is not known. Write {options}.")


def _is_range(value: Any) -> bool:
    """Whether it is a pair (least, largest) of shares in (0, 1]."""
    numbers = isinstance(value, tuple) and len(value) == 2 and all(isinstance(share, (int, float)) for share in value)
    return numbers and 0 < value[0] <= value[1] <= 1
