"""What benchmarks compare: recipes of noise and surrogates, by the names that their command lines take."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from benchmarks.cifar_resnet import cifar_resnet
from uc_hf import UCProtector
from uc_hf.methods.unlearnable_clusters.families import FAMILIES
from uc_hf.methods.unlearnable_clusters.looks import LOOKS
from uc_hf.surrogates.backbones import Size
from uc_hf.surrogates.surrogate import Surrogate


PAPER_EPOCHS = 50.0

RECIPES = ("default", "paper", *LOOKS, *FAMILIES)
"""The settings' defaults, `UCProtector.paper()`, or a look or parametrisation with all else at its default."""

CIFAR_RESNET = "cifar-resnet:"


class RememberingSurrogate(Surrogate):
    """A surrogate that embeds a picture once, for benchmarks whose protectors all look at the same pictures."""

    def forward(self, images: Tensor) -> Tensor:
        """As `Surrogate.forward`; under `torch.inference_mode` what was embedded before is looked up."""
        if not torch.is_inference_mode_enabled():
            return super().forward(images)
        known: dict[bytes, Tensor] = self.__dict__.setdefault("_known", {})
        device = images.device.type
        rounding = str(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None).encode()
        keys = [hashlib.sha256(rounding + image.cpu().numpy().tobytes()).digest() for image in images]
        if any(key not in known for key in keys):
            known.update(zip(keys, super().forward(images).cpu(), strict=True))
        return torch.stack([known[key] for key in keys]).to(images.device)


def open_surrogate(name: str, size: Size | None, kind: type[Surrogate] = Surrogate) -> Surrogate:
    """A surrogate by its name; "cifar-resnet:FOLDER" stands for a CIFAR ResNet's weights, whose size is 32 px.

    As protectors load it: folded, and at two sizes, unless one is named.
    """
    if name.startswith(CIFAR_RESNET):
        return cifar_resnet(name.removeprefix(CIFAR_RESNET)).fold()
    surrogate = kind.from_pretrained(name, None, size)
    return (surrogate if size else surrogate.at_two_sizes()).fold()


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
