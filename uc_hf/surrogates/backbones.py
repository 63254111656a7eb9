"""Vision backbones by name: a Hub model, a local folder, or the built-in one, with what each expects of its input."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import resolve_revision, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    RevisionResolutionError,
)
from PIL import Image
from torch import Tensor, nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    CLIPVisionModelWithProjection,
    SiglipVisionModel,
)
from transformers.utils import is_timm_available
from transformers.utils import logging as transformers_logging

from uc_hf.errors import SurrogateError, first_line


Interpolation = Literal["bilinear", "bicubic"]

BUILT_IN = "uc_hf/tiny"

UNNAMED = "the publisher's own"
"""Stands for a surrogate on its owner's disk in what is pushed: its path would tell of the disk."""

_TIMM_REMEDY = 'pip install "uc_hf[timm] @ git+https://github.com/uc-hf/uc_hf"'


Size = int | Sequence[int]
"""Input size of a network: the side of a square in pixels, or several, at each of which it embeds an image."""


def all_sizes(size: Size) -> tuple[int, ...]:
    """One size or several as a tuple."""
    return tuple(size) if isinstance(size, Sequence) else (size,)


@dataclass(frozen=True)
class _Input:
    """What a model expects of its input: side in pixels, normalisation, resize filter."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation


@dataclass(frozen=True)
class Backbone:
    """A loaded image encoder and how to feed it.

    Attributes:
        encoder: float32 [N, 3, size, size] normalised pixels to a transformers output.
        size: side of its input in pixels, or several.
        mean: channel means, for pixels in [0, 1].
        std: channel standard deviations, for pixels in [0, 1].
        interpolation: filter of the resize.
        commit: on the Hub; None for a folder.
    """

    encoder: nn.Module
    size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation
    commit: str | None


def load_backbone(name: str, revision: str | None, size: Size | None) -> Backbone:
    """Load a backbone in float32; see `Surrogate.from_pretrained`.

    Args:
        name: name on the Hub, local folder, or "uc_hf/tiny" (ships with this package).
        revision: branch, tag or commit on the Hub.
        size: side of the model's input, or several; None for the one of its image processor.

    Raises:
        SurrogateError: the name is unknown, the model is not a vision model or has no image processor, the size does
            not fit it, or timm is missing.
    """
    source, commit, config = _locate(name, revision)
    model_class, model_config = _vision_class(config, name)
    return _backbone(name, source, commit, size, config, _load_encoder(model_class, source, model_config, commit))


def load_classifier(name: str, revision: str | None, size: Size | None) -> Backbone:
    """Load an image classifier in float32, with its class scores as the embedding.

    Args:
        name: name on the Hub or local folder of a model with a trained classification head.
        revision: branch, tag or commit on the Hub.
        size: side of the model's input; None for the one of its image processor.

    Raises:
        SurrogateError: as `load_backbone`, or a model without a trained head.
    """
    source, commit, config = _locate(name, revision)
    classifier = _load_encoder(AutoModelForImageClassification, source, config, commit)
    return _backbone(name, source, commit, size, config, _Logits(classifier))


def _locate(name: str, revision: str | None) -> tuple[str, str | None, Any]:
    """Where a model is stored, its commit and its config."""
    if name == UNNAMED:
        raise SurrogateError(
            "the surrogate of this protector lay on its owner's disk, and what was pushed does not name it: pass the "
            "same one, from_pretrained(..., surrogate=FOLDER), or open the protector's own folder or key"
        )
    source = str(resources.files("uc_hf.surrogates") / "tiny") if name == BUILT_IN else name
    commit = _resolve(source, revision)
    with explained(f"{name}: the model's config cannot be read"):
        return source, commit, AutoConfig.from_pretrained(source, revision=commit, trust_remote_code=False)


def _backbone(name: str, source: str, commit: str | None, size: Size | None, config: Any, encoder: Any) -> Backbone:
    spec = _timm_input(config, name) if config.model_type == "timm_wrapper" else _processor_input(source, commit)
    patch = getattr(encoder.config, "patch_size", 1)
    if size is None:
        size = whole_patches(spec.size, patch, strict=False)
    for one in all_sizes(size):
        whole_patches(one, patch, strict=True)
    return Backbone(
        encoder=encoder,
        size=size,
        mean=spec.mean,
        std=spec.std,
        interpolation=spec.interpolation,
        commit=commit,
    )


class _Logits(nn.Module):
    """A classifier whose output is its class scores."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = classifier.config

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.classifier(pixel_values=pixel_values).logits


def _resolve(name: str, revision: str | None) -> str | None:
    """The commit of a Hub name, None for a local folder; fails at once, without the retries of a download."""
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise SurrogateError(f"the folder {name} has no config.json: point to a folder written by save_pretrained")
        return None
    if name.startswith("timm/") and not is_timm_available():
        raise SurrogateError(f"{name} is a timm model and timm is not installed: {_TIMM_REMEDY}")
    try:
        commit = resolve_revision(name, revision=revision).resolved
        if try_to_load_from_cache(name, "config.json", revision=commit) is None:
            resolve_revision(name)  # a commit resolves to itself without a call: make sure that the Hub answers
    except HFValidationError as error:
        raise SurrogateError(f"there is no folder {name}, and it is no name on the Hub (owner/model)") from error
    except RevisionNotFoundError as error:
        raise SurrogateError(f"{name} has no revision {revision!r} on the Hub") from error
    except RepositoryNotFoundError as error:
        raise SurrogateError(
            f"there is no folder {name}, and no model of that name on the Hub that you may read: "
            "check the spelling; for a private or gated model run `hf auth login`"
        ) from error
    except RevisionResolutionError as error:
        raise SurrogateError(
            f"there is no folder {name}, it is not in the local cache, and no Hub is in reach "
            f'({first_line(error.__cause__ or error)}): connect, name a folder, or write "{BUILT_IN}" (built in)'
        ) from error
    return commit


def _vision_class(config: Any, name: str) -> tuple[Any, Any]:
    """The model class that embeds images, and the config to load it with."""
    if config.model_type == "clip":
        # In a full checkpoint the width of the projection stands in the outer config, not in that of the vision part.
        config.vision_config.projection_dim = config.projection_dim
        return CLIPVisionModelWithProjection, config.vision_config
    if config.model_type == "siglip":
        return SiglipVisionModel, config.vision_config
    if CLIPVisionModelWithProjection.__name__ in (config.architectures or []):
        return CLIPVisionModelWithProjection, config
    model_class = MODEL_MAPPING.get(type(config), None)
    if getattr(model_class, "main_input_name", None) != "pixel_values":
        raise SurrogateError(
            f'{name} is a "{config.model_type}", not a vision model: '
            "name an image backbone such as microsoft/resnet-18 or openai/clip-vit-base-patch32"
        )
    return model_class, config


def _load_encoder(model_class: Any, source: str, config: Any, commit: str | None) -> Any:
    """Load the weights in float32; refuse a checkpoint that lacks some, which would be random."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it lists every weight of a text tower or classifier left out
    try:
        with explained(f"{source}: the weights cannot be loaded"):
            encoder, report = model_class.from_pretrained(
                source,
                config=config,
                revision=commit,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(report["missing_keys"])
    if missing and all(key.startswith("pooler.") for key in missing):
        encoder.pooler = _ClassToken()
    elif missing:
        raise SurrogateError(f"{source} has no weights for {', '.join(missing[:3])}: it is not a whole image encoder")
    return encoder


class _ClassToken(nn.Module):
    """Stands in for a pooler that was never trained: the token that the model's classifier reads."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states[:, 0]


def _processor_input(source: str, commit: str | None) -> _Input:
    """Size and filter of the model's image processor, and its normalisation, which is measured."""
    wrap = "or wrap the model yourself: Surrogate(encoder, size=, mean=, std=)"
    with explained(f"{source} has no usable image processor: save one next to the model, {wrap}"):
        processor = AutoImageProcessor.from_pretrained(source, revision=commit, backend="pil", trust_remote_code=False)
    size = processor.size or {}
    if getattr(processor, "do_center_crop", False) and processor.crop_size:
        size = processor.crop_size
    height, width = size.get("height") or size.get("shortest_edge"), size.get("width") or size.get("shortest_edge")
    if height is None or height != width:
        raise SurrogateError(f"the image processor of {source} has no square input (size {dict(size)}): {wrap}")
    resample = processor.resample
    name = Image.Resampling(resample).name if isinstance(resample, int) else getattr(resample, "name", "bilinear")
    return _Input(height, *_measure_normalisation(processor, height, source), _smooth_filter(name))


def _measure_normalisation(processor: Any, size: int, source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel, from what the processor makes of four flat images."""
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [128, 128, 128], [32, 96, 224]], dtype=torch.uint8)
    images = [image.expand(size, size, 3).numpy() for image in colours]
    values = processor(images, do_resize=False, do_center_crop=False, return_tensors="pt")["pixel_values"]
    flat = values.double().amax(dim=(2, 3))
    offset, scale = flat[0], flat[1] - flat[0]
    error = (flat - offset - scale * colours.double() / 255).abs().amax()
    if scale.abs().amin() == 0 or error > 1e-4 * scale.abs().amax() or not flat.equal(values.double().amin((2, 3))):
        raise SurrogateError(
            f"the image processor of {source} does more than shift and scale each channel: "
            "wrap the model yourself, Surrogate(encoder, size=, mean=, std=)"
        )
    return tuple((-offset / scale).tolist()), tuple((1 / scale).tolist())


def _timm_input(config: Any, name: str) -> _Input:
    """Input of a timm checkpoint, resolved by timm from its pretrained_cfg."""
    with explained(f"{name}: timm cannot be used"):
        from timm.data import resolve_data_config
    data = resolve_data_config(config.pretrained_cfg, model=None, verbose=False)
    return _Input(
        data["input_size"][-1], tuple(data["mean"]), tuple(data["std"]), _smooth_filter(data["interpolation"])
    )


def _smooth_filter(name: str) -> Interpolation:
    return "bicubic" if name.lower() in ("bicubic", "lanczos") else "bilinear"


def whole_patches(size: int, patch: Any, strict: bool) -> int:
    """The size in whole patches: pixels beyond the last whole patch would be ignored."""
    if not isinstance(patch, int) or size % patch == 0:
        return size
    whole = size // patch * patch
    if strict:
        raise SurrogateError(f"size={size} is not a multiple of the model's patch of {patch} px: write size={whole}")
    return whole


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise a library's error as a `SurrogateError`, with its first line as the reason."""
    try:
        yield
    except SurrogateError:
        raise
    except (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        remedy = f". A timm model needs: {_TIMM_REMEDY}" if isinstance(error, ImportError) else ""
        raise SurrogateError(f"{what} ({first_line(error)}){remedy}") from error
