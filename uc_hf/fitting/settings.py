"""The settings of a protector: what can be chosen, what is allowed, and what is meant.

`CommonSettings` are those of every method, `Settings` those of Unlearnable Clusters; a baseline adds its own.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from uc_hf.data.container import Container
from uc_hf.errors import SettingError
from uc_hf.fitting.epsilon import read_epsilon
from uc_hf.surrogates.backbones import Size, all_sizes
from uc_hf.surrogates.surrogate import Surrogate


SurrogateSpec = str | Surrogate | tuple[str | Surrogate, ...]


CLUSTERS = 10
"""The paper's number of clusters."""

PER_CLUSTER = 10
"""Smallest number of images per cluster if the number of clusters is not set."""


LARGEST_SIZE = 4096
"""Side in pixels of the largest square for embedding and learning; no network has a larger input."""


MEANT = {"eps": "epsilon", "model": "surrogate", "backbone": "surrogate", "k": "n_clusters", "lr": "learning_rate"}
"""Names that other libraries use for our settings and that are spelt too differently to be recognised."""


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """The settings of every method.

    Attributes:
        surrogate: a Hub name or local folder of a vision backbone, your own `Surrogate`, "uc_hf/tiny" (built in, needs
            no network), or a tuple of these (an ensemble).
        surrogate_revision: branch, tag or commit of a surrogate that comes from the Hub.
        surrogate_size: input size of the surrogate in pixels; with several, images are embedded at each. None for its
            processor's; waves add four sevenths of it from 128 px on, as clusters of both fit photographs better.
        n_clusters: p of the paper; None for ten, or for one of each ten images where there are fewer than a hundred. A
            single cluster means that all images get the same texture.
        epsilon: bound on every pixel's change, from 1/255 to 127/255 where 255/255 is white minus black; 16/255 is
            the paper's.
        seed: of the sample, the clusters, the initial noise and the EOT draws.
        image_column: the column to protect; None for the only image column.
        max_fit_images: size of the seeded sample of images from which everything is learnt; None for all images.
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
    n_clusters: int | None = None
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
            EpsilonError: epsilon is no number, or out of its range.
            SettingError: any other setting is outside its range.
        """
        if self.surrogate is None:
            raise SettingError("surrogate=None names no network. Write the name of one, or leave it out.")
        if isinstance(self.surrogate, list):
            object.__setattr__(self, "surrogate", tuple(self.surrogate))
        if self.surrogate_size is not None:
            sizes = all_sizes(self.surrogate_size)
            object.__setattr__(self, "surrogate_size", sizes[0] if len(sizes) == 1 else sizes)
        object.__setattr__(self, "epsilon", read_epsilon(self.epsilon))
        for name, least in (("batch_size", 1), ("seed", 0)):
            at_least(name, getattr(self, name), least)
        for name, least in (("n_clusters", 1), ("max_fit_images", 2)):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), least)
        if self.surrogate == ():
            raise SettingError("surrogate=() names no network. Write one or more, or leave it out.")
        if self.surrogate_size == ():
            raise SettingError("surrogate_size=() names no size. Write one or more, or leave it out.")
        for size in () if self.surrogate_size is None else all_sizes(self.surrogate_size):
            at_least("surrogate_size", size, 8, LARGEST_SIZE)
        if self.canvas_size is not None:
            at_least("canvas_size", self.canvas_size, 8, LARGEST_SIZE)
        _ = self.stored_as

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Settings from keywords, naming the nearest setting when one is misspelt.

        Raises:
            SettingError: an unknown name, or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = [MEANT[name]] if MEANT.get(name) in known else difflib.get_close_matches(name, known, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise SettingError(f"{name!r} is not a setting. {hint}Settings are: {', '.join(known)}.")
        return cls(**values)

    @property
    def levels(self) -> int:
        """Epsilon as a whole number of 8-bit levels, rounded down so that the bound holds on saved pixels."""
        return int(self.epsilon * 255 + 1e-6)

    @property
    def stored_as(self) -> Container:
        """`container`, read."""
        return Container.parse(self.container)

    @property
    def p(self) -> int:
        """The number of clusters: as set, or that of a large set."""
        return CLUSTERS if self.n_clusters is None else self.n_clusters

    def for_set(self, n_images: int) -> Self:
        """The settings with a number of clusters that suits the number of images, if none is set."""
        if self.n_clusters is not None:
            return self
        return self.changed(n_clusters=min(CLUSTERS, max(n_images // PER_CLUSTER, 1)))

    @property
    def surrogates(self) -> tuple[str | Surrogate, ...]:
        """The surrogate, or each of an ensemble."""
        return self.surrogate if isinstance(self.surrogate, tuple) else (self.surrogate,)

    def plain(self) -> dict[str, Any]:
        """The settings as JSON values; a surrogate of the user's own is None, since no name brings it back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if any(isinstance(surrogate, Surrogate) for surrogate in self.surrogates):
            values["surrogate"] = None
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def changed(self, **values: Any) -> Self:
        """A copy with some settings changed, validated anew."""
        return replace(self, **values)


def at_least(name: str, value: int, least: int, most: int | None = None) -> None:
    """Refuse a setting that is no whole number of at least `least`, and of at most `most` if there is such a limit.

    Raises:
        SettingError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name}={value!r} is not a whole number of at least {least}.")
    if most is not None and value > most:
        raise SettingError(f"{name}={value!r} is more than {most}.")


def above_zero(name: str, value: float) -> None:
    """Refuse a setting that is not above 0.

    Raises:
        SettingError: it is not.
    """
    if not value > 0:
        raise SettingError(f"{name}={value!r} is not above 0. Leave it out for the default.")


def one_of(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Refuse a setting that is not among the words that it may be.

    Raises:
        SettingError: it is not.
    """
    if value not in allowed:
        options = " or ".join(map(repr, allowed))
        raise SettingError(f"{name}={value!r} is not known. Write {options}.")
