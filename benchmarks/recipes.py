"""What benchmarks compare: recipes of noise and surrogates, by the names that their command lines take."""

from typing import Any

from benchmarks.cifar_resnet import cifar_resnet
from uc_hf import UCProtector
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.surrogates.backbones import Size
from uc_hf.surrogates.surrogate import Embedder, load_surrogate


PAPER_EPOCHS = 50.0

RECIPES = ("default", "paper", *FAMILIES)
"""The settings' defaults, `UCProtector.paper()`, or a parametrisation with all else at its default."""

CIFAR_RESNET = "cifar-resnet:"


def open_surrogate(name: str, size: Size | None) -> Embedder:
    """A surrogate by its name; "cifar-resnet:FOLDER" stands for a CIFAR ResNet's weights, whose size is 32 px."""
    if name.startswith(CIFAR_RESNET):
        return cifar_resnet(name.removeprefix(CIFAR_RESNET)).fold()
    return load_surrogate(name, size=size)


def build(recipe: str, surrogate: Embedder, *, steps: int | None, paper_epochs: float, **settings: Any) -> UCProtector:
    """The protector of a recipe, not fitted; `steps` is of all recipes but the paper's, which counts epochs."""
    if recipe == "paper":
        return UCProtector.paper(surrogate=surrogate, epochs=paper_epochs, **settings)
    chosen = {} if recipe == "default" else {"parametrisation": recipe}
    return UCProtector(surrogate=surrogate, steps=steps, **chosen, **settings)
