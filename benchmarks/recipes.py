"""What benchmarks compare: recipes of noise and surrogates, by the names that their command lines take."""

from typing import Any

from benchmarks.cifar_resnet import cifar_resnet
from uc_hf import UCProtector
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.surrogates.backbones import Size
from uc_hf.surrogates.surrogate import Surrogate, load_one


PAPER_EPOCHS = 50.0

RECIPES = ("default", "paper", *LOOKS, *FAMILIES)
"""The settings' defaults, `UCProtector.paper()`, or a look or parametrisation with all else at its default."""

CIFAR_RESNET = "cifar-resnet:"


def open_surrogate(name: str, size: Size | None) -> Surrogate:
    """A surrogate by its name; "cifar-resnet:FOLDER" stands for a CIFAR ResNet's weights, whose size is 32 px.

    As protectors load it: at two sizes, unless one is named.
    """
    if name.startswith(CIFAR_RESNET):
        return cifar_resnet(name.removeprefix(CIFAR_RESNET)).fold()
    return load_one(name, None, size, two_sizes=True)


def build(
    recipe: str,
    surrogate: Surrogate,
    *,
    steps: int | None = None,
    canvas_size: int | None = None,
    paper_epochs: float,
    **settings: Any,
) -> UCProtector:
    """The protector of a recipe, not fitted; `steps` and `canvas_size` are of the families that learn their noise."""
    if recipe == "paper":
        return UCProtector.paper(surrogate=surrogate, epochs=paper_epochs, canvas_size=canvas_size, **settings)
    if recipe in LOOKS:
        settings["look"] = recipe
    elif recipe != "default":
        settings["parametrisation"] = recipe
        if recipe != UCProtector.settings_type.parametrisation:
            settings |= {"steps": steps, "canvas_size": canvas_size}
    return UCProtector(surrogate=surrogate, **settings)
