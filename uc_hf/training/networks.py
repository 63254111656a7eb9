"""Target models: the Hugging Face image classifiers that stand for a scraper's.

A target takes images in [0, 1] and normalises them itself. Presets are built in code, so that scoring from scratch
needs no internet; any other name is a Hub model or a local folder.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    ConvNextConfig,
    EfficientNetConfig,
    PretrainedConfig,
    PreTrainedModel,
    RegNetConfig,
    ResNetConfig,
    ViTConfig,
)

from uc_hf.errors import SettingError
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.devices import seeded


SMALL_IMAGE = 48
"""Up to this size in pixels a ResNet's 7x7 stride-2 stem and max-pooling would discard most of the image."""

MOMENTUM = 0.1
"""PyTorch's BatchNorm momentum. Some models of transformers hard-code TensorFlow's value, which means the opposite:
with 0.99 (EfficientNet) or 0.997 (MobileNetV2) the running statistics would be those of the last batch."""

PRESETS: dict[str, tuple[type[PretrainedConfig], dict[str, object], str | None]] = {
    "resnet-small": (
        ResNetConfig,
        {"embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "layer_type": "basic"},
        None,
    ),
    "resnet-18": (
        ResNetConfig,
        {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
        "microsoft/resnet-18",
    ),
    "efficientnet-b1": (
        EfficientNetConfig,
        {"width_coefficient": 1.0, "depth_coefficient": 1.1, "hidden_dim": 1280, "dropout_rate": 0.2},
        "google/efficientnet-b1",
    ),
    "regnetx-1.6gf": (
        RegNetConfig,
        {"layer_type": "x", "groups_width": 24, "hidden_sizes": [72, 168, 408, 912], "depths": [2, 4, 10, 2]},
        "facebook/regnet-x-016",
    ),
    "convnext-tiny": (ConvNextConfig, {}, "facebook/convnext-tiny-224"),
    "vit-small": (
        ViTConfig,
        {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
        None,
    ),
}
"""Name -> configuration, and the Hub model with weights for it. ResNet-18, EfficientNet-B1 and RegNetX-1.6GF are the
paper's targets (He et al. 2016; Tan and Le 2019; Radosavovic et al. 2020); the others are ConvNeXt-T (Liu et al. 2022)
and DeiT's ViT-S (Touvron et al. 2021)."""


class Target(nn.Module):
    """An image classifier that normalises its input itself.

    Args:
        model: a Hugging Face image classification model that takes `pixel_values`.

    Attributes:
        n_classes: number of labels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model
        self.n_classes: int = model.config.num_labels
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


class BackboneTarget(nn.Module):
    """A pretrained backbone with a new linear head.

    The head first standardises each feature (batch normalisation without weights), so that one learning rate fits
    features of any scale (He et al. 2022, appendix A.1).

    Args:
        backbone: float [N, 3, H, W] in [0, 1] to features float [N, d].
        dim: d.
        n_classes: number of labels.
        frozen: whether only the head is trained and the backbone stays in eval mode.
    """

    def __init__(self, backbone: nn.Module, dim: int, n_classes: int, frozen: bool) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(not frozen)
        self.head = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Linear(dim, n_classes))
        self.n_classes = n_classes
        self.frozen = frozen

    def train(self, mode: bool = True) -> "BackboneTarget":
        """Switch to training mode; a frozen backbone stays in eval mode."""
        super().train(mode)
        for part in self.backbone.children():  # not the backbone itself: a Surrogate refuses to train
            part.train(mode and not self.frozen)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Class scores float [N, n_classes] of images float [N, 3, H, W] in [0, 1]."""
        return self.head(self.backbone(images))


def build_target(name: str, n_classes: int, image_size: int, seed: int) -> Target:
    """A target model with fresh weights.

    Args:
        name: a preset, a Hub model or a local folder with a config.json.
        n_classes: number of labels.
        image_size: side of the square input in pixels; up to 48 px a ResNet gets a 3x3 stride-2 stem without pooling.
        seed: of the initial weights.

    Raises:
        SettingError: no such model, or it is not an image classifier.
    """
    config = _config(name, n_classes, image_size)
    with seeded(seed):
        try:
            model = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
        except ValueError as error:
            raise SettingError(
                f"target {name!r} (model_type {config.model_type!r}) is not an image classifier. "
                f"Name one, for example 'microsoft/resnet-18', or a preset: {', '.join(PRESETS)}."
            ) from error
        if config.model_type == "resnet" and image_size <= SMALL_IMAGE:
            embedder = model.resnet.embedder
            embedder.embedder.convolution = nn.Conv2d(3, config.embedding_size, 3, stride=2, padding=1, bias=False)
            embedder.pooler = nn.Identity()
    return Target(_with_usual_momentum(model))


def load_target(name: str, n_classes: int, image_size: int, seed: int, *, frozen: bool) -> BackboneTarget:
    """A target model with its published weights and a new head.

    Args:
        name: a preset with weights on the Hub, a Hub model (a timm one too, with the extra `uc_hf[timm]`), a local
            folder, or "uc_hf/tiny" (built in).
        n_classes: number of labels.
        image_size: side of the square input in pixels.
        seed: of the head's initial weights.
        frozen: train only the head.

    Raises:
        SettingError: a preset without published weights.
        SurrogateError: the weights cannot be loaded.
    """
    source = PRESETS[name][2] if name in PRESETS else name
    if source is None:
        with_weights = [preset for preset, (_, _, weights) in PRESETS.items() if weights]
        raise SettingError(
            f"target {name!r} has no published weights to start from. Name a model on the Hub, a folder, "
            f"'uc_hf/tiny' (built in), or one of {', '.join(with_weights)}."
        )
    backbone = Surrogate.from_pretrained(source, size=image_size)
    _with_usual_momentum(backbone)
    with seeded(seed):
        return BackboneTarget(backbone, backbone.dim, n_classes, frozen)


def folder_digest(name: str, target: Target | BackboneTarget) -> str | None:
    """Sixteen hex digits of what a target has from a local folder: its weights, or for fresh ones its configuration.

    Args:
        name: that the target was made by.
        target: as `build_target` or `load_target` gave it.

    Returns:
        None for a preset or a model of the Hub, whose name says which it is.
    """
    config = Path(name, "config.json")
    if name in PRESETS or not config.is_file():
        return None
    if isinstance(target, BackboneTarget) and isinstance(target.backbone, Surrogate):
        return target.backbone.digest[:16]
    return hashlib.sha256(config.read_bytes()).hexdigest()[:16]


def take_head(target: Target) -> int:
    """Remove the classifier of a fresh target, so that it returns its pooled features instead of class scores.

    Returns:
        the number of features.

    Raises:
        SettingError: the target has no classifier that ends in a linear layer.
    """
    linear = [part for part in getattr(target.model, "classifier", nn.Identity()).modules() if type(part) is nn.Linear]
    if not linear:
        raise SettingError(
            f"{type(target.model).__name__} has no linear classifier to remove. Name one of {', '.join(PRESETS)}."
        )
    target.model.classifier = nn.Flatten()
    return linear[-1].in_features


def _config(name: str, n_classes: int, image_size: int) -> PretrainedConfig:
    if name in PRESETS:
        kind, options, _ = PRESETS[name]
        if kind is ViTConfig:
            # Patches of 16 px at 224 px; smaller ones on small images, which would otherwise be a handful of tokens.
            options = options | {"image_size": image_size, "patch_size": 16 if image_size >= 128 else image_size // 8}
        return kind(**options, num_labels=n_classes)
    try:
        return AutoConfig.from_pretrained(name, num_labels=n_classes, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise SettingError(
            f"target {name!r} is neither a preset ({', '.join(PRESETS)}), a local folder with a config.json, "
            f"nor a model on the Hub: {error}"
        ) from error


def _with_usual_momentum(model: nn.Module) -> nn.Module:
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.momentum is not None and part.momentum > 0.5:
            part.momentum = MOMENTUM
    return model
