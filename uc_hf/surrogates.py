"""Surrogates: pixels in [0, 1] to embeddings, differentiable with respect to the pixels.

The surrogate is the frozen network whose feature space the perturbation is learnt in (Unlearnable Clusters,
arXiv 2301.01217, section 4). It sees the whole image, resized to a square: a processor's own centre crop would leave
the border without gradient. Resizing and normalisation happen here and nowhere else.
"""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
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
    CLIPVisionModelWithProjection,
    SiglipVisionModel,
)
from transformers.utils import is_timm_available
from transformers.utils import logging as transformers_logging

from uc_hf.errors import SurrogateError


Interpolation = Literal["bilinear", "bicubic"]

BUILT_IN = "uc_hf/tiny"
_TIMM_REMEDY = 'pip install "uc_hf[timm]"'


@dataclass(frozen=True)
class _InputSpec:
    """What a model expects of its input: side in pixels, normalisation, resize filter."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Interpolation


class Surrogate(nn.Module):
    """A frozen image encoder with its own resizing and normalisation.

    The encoder is frozen in place (eval mode, no parameter requires grad) and stays so: `train()` does nothing.

    Args:
        encoder: takes float [N, 3, size, size], gives [N, d], [N, d, 1, 1], or a transformers output with
            `image_embeds` or `pooler_output`.
        size: side of the square that every image is resized to.
        mean: three channel means, for pixels in [0, 1].
        std: three channel standard deviations, for pixels in [0, 1].
        interpolation: filter of the resize, antialiased.
        name: Hub name or folder the encoder came from; None for an encoder made in code.
        revision: commit on the Hub that the weights came from.

    Raises:
        SurrogateError: the encoder does not take such images or does not give one vector per image.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: Interpolation = "bilinear",
        name: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.size = size
        self.interpolation = interpolation
        self.name = name
        self.revision = revision
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        # Transformers interpolate their position embeddings only when told to; at the native size it changes nothing.
        parameters = inspect.signature(encoder.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in parameters else {}
        self.to(next((tensor.device for tensor in encoder.parameters()), torch.device("cpu")))
        self.train(False)
        self.dim = self._measure_dim()

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, size: int | None = None) -> Self:
        """Load a vision backbone of transformers (or of timm, with the extra `uc_hf[timm]`) in float32.

        CLIP gives its projected image embedding, a ViT saved without its pooler its class token, all others their
        pooled features. Only safetensors are read and no remote code is run. The normalisation is measured from the
        model's own image processor. Its filter is kept where it is bilinear or bicubic; Lanczos becomes bicubic, and
        nearest or box bilinear, since they leave pixels without gradient.

        Args:
            name: name on the Hub, local folder, or "uc_hf/tiny" (ships with this package).
            revision: branch, tag or commit on the Hub (a folder has none); the commit is kept as `.revision`.
            size: side of the model's input, when not the one of its image processor.

        Raises:
            SurrogateError: unknown name, not a vision model, no image processor, unfit size, or timm missing.
        """
        name = str(name)
        source = str(resources.files("uc_hf") / "tiny") if name == BUILT_IN else name
        commit = _resolve(source, revision)
        with _explained(f"{name}: the model's config cannot be read"):
            config = AutoConfig.from_pretrained(source, revision=commit, trust_remote_code=False)
        model_class, model_config = _vision_class(config, name)
        spec = _timm_input(config, name) if config.model_type == "timm_wrapper" else _processor_input(source, commit)
        encoder = _load_encoder(model_class, source, model_config, commit)
        patch = getattr(encoder.config, "patch_size", 1)
        return cls(
            encoder,
            size=_whole_patches(spec.size if size is None else size, patch, strict=size is not None),
            mean=spec.mean,
            std=spec.std,
            interpolation=spec.interpolation,
            name=name,
            revision=commit,
        )

    @property
    def digest(self) -> str:
        """Sha256 (hex) over the encoder's weights and buffers; recomputed at each call (about 1 s per GB)."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.encoder.state_dict().items()):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever is asked, so that no BatchNorm statistic ever moves."""
        return super().train(False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize the whole image to size x size and normalise, differentiably.

        Args:
            images: float [N, 3, H, W] in [0, 1].

        Returns:
            float [N, 3, size, size], the encoder's pixel values.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise SurrogateError(
                f"images are {images.dtype} {list(images.shape)}: a surrogate takes float [N, 3, H, W] in [0, 1]"
            )
        square = (self.size, self.size)
        if images.shape[2:] != square:
            images = F.interpolate(images, square, mode=self.interpolation, antialias=True, align_corners=False)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Embed images; features are raw, not L2-normalised.

        Args:
            images: float [N, 3, H, W] in [0, 1].

        Returns:
            float32 [N, d].
        """
        output = self.encoder(self.preprocess(images), **self._options)
        return _one_vector_per_image(output, self.encoder).float()

    def _measure_dim(self) -> int:
        who, side = self.name or type(self.encoder).__name__, self.size
        with torch.no_grad(), _explained(f"{who} does not take images of {side} x {side} px: pass another size"):
            return self(torch.zeros(1, 3, side, side, device=self.mean.device)).shape[1]


class SurrogateEnsemble(nn.Module):
    """Several surrogates side by side: a dot product of two embeddings is the mean of the members' cosines.

    Args:
        members: at least one surrogate; each resizes to its own size.
    """

    revision: None = None  # one commit cannot name several models; the digest covers them all

    def __init__(self, members: Sequence[Surrogate]) -> None:
        super().__init__()
        if not members:
            raise SurrogateError("an ensemble needs at least one surrogate")
        self.members = nn.ModuleList(members)
        self.revision: str | None = None  # each member has its own
        self.size = max(member.size for member in members)
        self.dim = sum(member.dim for member in members)

    @property
    def digest(self) -> str:
        """Sha256 (hex) over the members' digests, in their order."""
        digests = [member.digest for member in self.members if isinstance(member, Surrogate)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def forward(self, images: Tensor) -> Tensor:
        """Embed images float [N, 3, H, W] in [0, 1] as float32 [N, dim], each row of length 1."""
        parts = [F.normalize(member(images), dim=1) for member in self.members]
        return torch.cat(parts, dim=1) / len(parts) ** 0.5


def load_surrogate(
    spec: str | Path | Surrogate | Sequence[str | Surrogate], revision: str | None = None, size: int | None = None
) -> Surrogate | SurrogateEnsemble:
    """Make a surrogate of what the user wrote.

    Args:
        spec: Hub name, folder, a `Surrogate`, or a list of these for an ensemble.
        revision: commit, tag or branch of a name on the Hub; a folder or a `Surrogate` has none, its digest tells.
        size: side of the models' input, when not their own.

    Raises:
        SurrogateError: as `Surrogate.from_pretrained`, or a `Surrogate` of another size, or a list and a revision.
    """
    if isinstance(spec, (str, Path)):
        return Surrogate.from_pretrained(spec, revision, size)
    if isinstance(spec, Surrogate):
        if size not in (None, spec.size):
            raise SurrogateError(f"size={size} was asked for, but the surrogate given looks at {spec.size} px")
        return spec
    if revision is not None:
        raise SurrogateError(
            "one revision cannot fit several surrogates: pass Surrogate.from_pretrained(name, revision) for each"
        )
    members = (Surrogate.from_pretrained(item, size=size) if isinstance(item, str) else item for item in spec)
    return SurrogateEnsemble(list(members))


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
            resolve_revision(name)  # a commit resolves to itself without a call: see that the Hub answers at all
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
            f'({_first_line(error.__cause__ or error)}): connect, name a folder, or use "{BUILT_IN}"'
        ) from error
    return commit


def _vision_class(config: Any, name: str) -> tuple[Any, Any]:
    """The model class that embeds images, and the config to load it with."""
    if config.model_type == "clip":
        # The projection of a full checkpoint has the width in its outer config, whatever the vision part says.
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
    """Load the weights in float32, and refuse those that the checkpoint lacks (they would be random)."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it lists every weight of a text tower or classifier left out
    try:
        with _explained(f"{source}: the weights cannot be loaded"):
            encoder, report = model_class.from_pretrained(
                source,
                config=config,
                revision=commit,
                dtype=torch.float32,
                use_safetensors=True,
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


def _processor_input(source: str, commit: str | None) -> _InputSpec:
    """Read size and filter from the model's image processor, and measure its normalisation."""
    wrap = "or wrap the model yourself: Surrogate(encoder, size=, mean=, std=)"
    with _explained(f"{source} has no usable image processor: save one next to the model, {wrap}"):
        processor = AutoImageProcessor.from_pretrained(source, revision=commit, backend="pil", trust_remote_code=False)
    size = processor.size or {}
    if getattr(processor, "do_center_crop", False) and processor.crop_size:
        size = processor.crop_size
    height, width = size.get("height") or size.get("shortest_edge"), size.get("width") or size.get("shortest_edge")
    if height is None or height != width:
        raise SurrogateError(f"the image processor of {source} has no square input (size {dict(size)}): {wrap}")
    resample = processor.resample
    name = Image.Resampling(resample).name if isinstance(resample, int) else getattr(resample, "name", "bilinear")
    return _InputSpec(height, *_measure_normalisation(processor, height, source), _smooth_filter(name))


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


def _timm_input(config: Any, name: str) -> _InputSpec:
    """Input of a timm checkpoint, resolved by timm from its pretrained_cfg."""
    with _explained(f"{name}: timm cannot be used"):
        from timm.data import resolve_data_config
    data = resolve_data_config(config.pretrained_cfg, model=None, verbose=False)
    return _InputSpec(
        data["input_size"][-1], tuple(data["mean"]), tuple(data["std"]), _smooth_filter(data["interpolation"])
    )


def _smooth_filter(name: str) -> Interpolation:
    return "bicubic" if name.lower() in ("bicubic", "lanczos") else "bilinear"


def _whole_patches(size: int, patch: Any, strict: bool) -> int:
    """The size in whole patches: what is left over at the right and bottom would never be seen."""
    if not isinstance(patch, int) or size % patch == 0:
        return size
    whole = size // patch * patch
    if strict:
        raise SurrogateError(f"size={size} is not a multiple of the model's patch of {patch} px: write size={whole}")
    return whole


def _one_vector_per_image(output: Any, encoder: nn.Module) -> Tensor:
    embedding = output
    if not isinstance(output, Tensor):
        pooled = getattr(output, "pooler_output", None)
        embedding = getattr(output, "image_embeds", pooled)
    if embedding is None or embedding.ndim < 2 or embedding.shape[2:].numel() != 1:
        got = type(output).__name__ if embedding is None else list(embedding.shape)
        raise SurrogateError(f"{type(encoder).__name__} gives {got}, not one vector per image: pool its output first")
    return embedding.flatten(1)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn a library's error into ours, with its first line as the reason."""
    try:
        yield
    except SurrogateError:
        raise
    except (AssertionError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        remedy = f". A timm model needs: {_TIMM_REMEDY}" if isinstance(error, ImportError) else ""
        raise SurrogateError(f"{what} ({_first_line(error)}){remedy}") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
