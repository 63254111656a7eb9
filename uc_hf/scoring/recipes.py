"""How a scraper trains: recipes (optimiser, schedule, augmentation) and protocols (what is trained of a model)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from uc_hf.data import images
from uc_hf.errors import SettingError


AUGMENTATIONS = ("resized-crop", "pad-crop", "crop")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a target model is trained: SGD with momentum, warm-up and cosine. The defaults are the quick recipe.

    Attributes:
        epochs: passes over the training set.
        batch_size: images per step.
        learning_rate: the highest one.
        momentum: of SGD.
        nesterov: whether that momentum is Nesterov's.
        weight_decay: of SGD.
        warm_up: share of the training over which the learning rate rises; then it falls along a cosine.
        augmentation: "resized-crop" (random area of at least `crop_scale`, then flip), "pad-crop" (shift by up to an
            eighth of the side, 4 px at 32 px, then flip) or "crop" (7/8 of the side, 224 of 256 px, then flip; tested
            on the centre).
        crop_scale: smallest share of the area that a resized crop keeps.
        image_size: training size: the side in pixels to which whole images are resized.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    warm_up: float = 0.15
    augmentation: str = "resized-crop"
    crop_scale: float = 0.35
    image_size: int = 32

    def __post_init__(self) -> None:
        if self.augmentation not in AUGMENTATIONS:
            raise SettingError(f"augmentation={self.augmentation!r} is not {_one_of(AUGMENTATIONS)}.")
        if self.epochs < 1 or self.batch_size < 2 or self.image_size < images.MIN_SIDE:
            raise SettingError(
                f"epochs={self.epochs}, batch_size={self.batch_size}, image_size={self.image_size}: write at least 1 "
                f"epoch, 2 images per batch and {images.MIN_SIDE} pixels."
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A recipe from its fields by name.

        Raises:
            SettingError: an unknown name, or a value out of its range.
        """
        known = [field.name for field in fields(cls)]
        if unknown := [name for name in values if name not in known]:
            raise SettingError(f"{unknown[0]!r} is not a field of a recipe. Write one of {', '.join(known)}.")
        return cls(**values)

    @property
    def input_size(self) -> int:
        """Side in pixels of the model's input."""
        return self.image_size * 7 // 8 if self.augmentation == "crop" else self.image_size


RECIPES = {
    "quick": Recipe(),
    "paper": Recipe(epochs=90, batch_size=512, nesterov=False, warm_up=0.0, augmentation="crop", image_size=256),
}
"""`paper` is the recipe of the reference code (arXiv 2301.01217), which resizes the short side to 256 px. Here the
whole image is resized to a square of 256 px."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Which weights a target starts from, and which of them are trained.

    Attributes:
        name: in the scorecard.
        pretrained: start from the model's published weights, with a new head.
        frozen: train only the head, on features of the unchanged backbone.
        learning_rate: factor for the recipe's learning rate.
    """

    name: str
    pretrained: bool
    frozen: bool
    learning_rate: float

    def adapt(self, recipe: Recipe) -> Recipe:
        """The recipe with this protocol's learning rate."""
        return replace(recipe, learning_rate=recipe.learning_rate * self.learning_rate)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="from-scratch", pretrained=False, frozen=False, learning_rate=1.0),
        Protocol(name="finetune", pretrained=True, frozen=False, learning_rate=0.05),
        Protocol(name="linear-probe", pretrained=True, frozen=True, learning_rate=0.5),
    )
}


def find_protocol(name: str) -> Protocol:
    """A protocol by its name.

    Raises:
        SettingError: there is no such protocol.
    """
    if name not in PROTOCOLS:
        raise SettingError(f"protocol {name!r} is not known. Write {_one_of(tuple(PROTOCOLS))}.")
    return PROTOCOLS[name]


def _one_of(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names[:-1])) + f" or {names[-1]!r}"
