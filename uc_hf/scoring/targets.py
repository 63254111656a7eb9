"""Target models: the Hugging Face image classifiers that play the scraper.

A target takes images in [0, 1]; its normalisation is inside. Small presets are built in code, so that scoring needs no
network; any other name is a Hub model or a local folder whose architecture is used with fresh weights.
"""

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, ResNetConfig

from uc_hf.errors import SettingError


SMALL_IMAGE = 48
"""Up to this size in pixels a ResNet's 7x7 stride-2 stem and max-pooling would throw most of the picture away."""

PRESETS: dict[str, dict[str, object]] = {
    "resnet-small": {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "layer_type": "basic"},
    "resnet-18": {
        "embedding_size": 64,
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
        "layer_type": "basic",
    },
}
"""ResNet configurations known by name; `resnet-18` is the paper's first target (He et al. 2016)."""


class Target(nn.Module):
    """An image classifier with its normalisation inside.

    Args:
        model: a Hugging Face image classification model that takes `pixel_values`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of images.

        Args:
            images: float [N, 3, H, W] in [0, 1].

        Returns:
            float [N, n_classes] logits.
        """
        return self.model(pixel_values=(images - self.mean) / self.std).logits


def build_target(name: str, n_classes: int, image_size: int, seed: int) -> Target:
    """A target model with fresh weights.

    Args:
        name: a preset ("resnet-small", "resnet-18"), a Hub model or a local folder with a config.json.
        n_classes: number of labels.
        image_size: side of the square training images in pixels; at most 48 px a ResNet gets a 3x3 stride-2 stem
            without pooling.
        seed: of the initial weights.

    Raises:
        SettingError: no such model, or it is not an image classifier.
    """
    config = _config(name, n_classes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = AutoModelForImageClassification.from_config(config)
        except ValueError as error:
            raise SettingError(
                f"target {name!r} (model_type {config.model_type!r}) is not an image classifier. "
                f"Name one, for example 'microsoft/resnet-18', or a preset: {', '.join(PRESETS)}."
            ) from error
        if config.model_type == "resnet" and image_size <= SMALL_IMAGE:
            embedder = model.resnet.embedder
            embedder.embedder.convolution = nn.Conv2d(3, config.embedding_size, 3, stride=2, padding=1, bias=False)
            embedder.pooler = nn.Identity()
    return Target(model)


def _config(name: str, n_classes: int) -> PretrainedConfig:
    if name in PRESETS:
        return ResNetConfig(**PRESETS[name], num_labels=n_classes)
    try:
        return AutoConfig.from_pretrained(name, num_labels=n_classes)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"target {name!r} is neither a preset ({', '.join(PRESETS)}), a local folder with a config.json, "
            f"nor a model that the Hub gives: {error}"
        ) from error
