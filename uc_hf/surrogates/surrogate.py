"""Surrogates: pixels in [0, 1] to embeddings, differentiable with respect to the pixels.

A surrogate is the frozen network in whose feature space images are clustered (Unlearnable Clusters, arXiv 2301.01217,
section 3.2). It sees the whole image, resized to a square: an image processor's own centre crop would leave the border
without gradient. Resizing and normalisation happen here and nowhere else.
"""

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from uc_hf.errors import SurrogateError
from uc_hf.surrogates.backbones import (
    Backbone,
    Interpolation,
    Size,
    all_sizes,
    explained,
    load_backbone,
    whole_patches,
)
from uc_hf.surrogates.folding import fold_batch_norm
from uc_hf.surrogates.weights import digest_of_weights


Revision = str | Sequence[str | None] | None

SMALLER = 4 / 7
"""The second size of a network that looks at two, as a share of its own: 128 of 224 px."""

LOOKS_TWICE = 128
"""Own size in pixels from which on a second one is worth a look."""


class Embedder(nn.Module, ABC):
    """What takes images in [0, 1] to embeddings: a surrogate, or several as one.

    Attributes:
        size: side in pixels of the largest square that it looks at.
        dim: d, of an embedding.
        revision: commit on the Hub that the weights were loaded from; for several, each one's.
    """

    size: int
    dim: int
    revision: str | list[str | None] | None

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 (hex) of everything that determines an embedding."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Embed images float [N, 3, H, W] in [0, 1] as float32 [N, d]."""


class Surrogate(Embedder):
    """A frozen image encoder with its own resizing and normalisation.

    The encoder is frozen in place (eval mode, no parameter requires grad) and stays so: `train()` does nothing. Its
    convolutions are put into the channels-last memory format: MobileNetV2 on a CPU runs 1.4 to 2 times as fast.

    Args:
        encoder: takes float [N, 3, size, size], gives [N, d], [N, d, 1, 1], or a transformers output with
            `image_embeds` or `pooler_output`.
        size: side of the square to which every image is resized. With several sizes an image is embedded at each,
            and the embeddings are joined as in an ensemble.
        mean: three channel means, for pixels in [0, 1].
        std: three channel standard deviations, for pixels in [0, 1].
        interpolation: filter of the resize, antialiased.
        name: Hub name or folder that the encoder was loaded from; None for an encoder made in code.
        revision: commit on the Hub that the weights were loaded from.

    Attributes:
        sizes: all input sizes.
        size: the largest of them.

    Raises:
        SurrogateError: the encoder does not take such images or does not give one vector per image.
    """

    mean: Tensor
    std: Tensor
    revision: str | None

    def __init__(
        self,
        encoder: nn.Module,
        *,
        size: Size,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: Interpolation = "bilinear",
        name: str | None = None,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = convert_conv2d_weight_memory_format(encoder.requires_grad_(False), torch.channels_last)
        self.sizes = all_sizes(size)
        self.size = max(self.sizes)
        self.interpolation = interpolation
        self.name = name
        self.revision = revision
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        # Transformers interpolate their position embeddings only if asked to; at the native size that changes nothing.
        parameters = inspect.signature(encoder.forward).parameters
        self._options = {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in parameters else {}
        self.to(next((tensor.device for tensor in encoder.parameters()), torch.device("cpu")))
        self.train(False)
        self.dim = self._measure_dim()
        self._unfolded_digest: str | None = None

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None, size: Size | None = None) -> Self:
        """Load a vision backbone of transformers (or of timm, with the extra `uc_hf[timm]`) in float32.

        CLIP gives its projected image embedding, a ViT saved without its pooler its class token, all others their
        pooled features. Only safetensors are read and no remote code is run. The normalisation is measured from the
        model's own image processor. Its filter is kept where it is bilinear or bicubic; Lanczos becomes bicubic, and
        nearest or box bilinear, since they leave pixels without gradient.

        Args:
            name: name on the Hub, local folder, or "uc_hf/tiny" (ships with this package).
            revision: branch, tag or commit on the Hub (a folder has none); the commit is kept as `.revision`.
            size: side of the model's input, or several; None for the one of its image processor.

        Raises:
            SurrogateError: the name is unknown, the model is not a vision model or has no image processor, the size
                does not fit it, or timm is missing.
        """
        return cls.of(load_backbone(str(name), revision, size), str(name))

    @classmethod
    def of(cls, backbone: Backbone, name: str) -> Self:
        """A surrogate of a loaded network and the name that it was loaded by."""
        return cls(
            backbone.encoder,
            size=backbone.size,
            mean=backbone.mean,
            std=backbone.std,
            interpolation=backbone.interpolation,
            name=name,
            revision=backbone.commit,
        )

    def at_two_sizes(self) -> Self:
        """The same network, which looks at each image at its own size and at a smaller one, and joins the embeddings.

        The smaller square shows what of a photograph is left when a scraper shrinks it; clusters of both views seem to
        protect photographs better than those of either (docs/log/waves.md). A small network, or one that has several
        sizes, stays as it is. Ask before `fold`.
        """
        if len(self.sizes) > 1 or self.size < LOOKS_TWICE:
            return self
        patch = getattr(getattr(self.encoder, "config", None), "patch_size", 1)
        return type(self)(
            self.encoder,
            size=(whole_patches(round(self.size * SMALLER), patch, strict=False), self.size),
            mean=self.mean.flatten().tolist(),
            std=self.std.flatten().tolist(),
            interpolation=self.interpolation,
            name=self.name,
            revision=self.revision,
        )

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that determines an embedding: size, filter, normalisation, weights, buffers.

        Computed at each call. After `fold` it is the digest of the weights before folding.
        """
        if self._unfolded_digest is not None:
            return self._unfolded_digest
        size = self.size if len(self.sizes) == 1 else self.sizes
        inputs = [size, self.interpolation, self.mean.flatten().tolist(), self.std.flatten().tolist()]
        return digest_of_weights(self.encoder, inputs)

    def fold(self) -> Self:
        """Fold batch normalisation into the convolutions, in place: the same embeddings up to rounding, faster.

        A surrogate that a protector loads by name is folded; one that you made stays as it is unless you call this.

        Returns:
            self.
        """
        if self._unfolded_digest is None:
            self._unfolded_digest = self.digest
            probe = torch.rand(2, 3, self.size, self.size, generator=torch.Generator().manual_seed(0))
            fold_batch_norm(self.encoder, lambda: self(probe.to(self.mean.device)))
        return self

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode whatever `mode` is, so that no BatchNorm statistic ever changes."""
        return super().train(False)

    def preprocess(self, images: Tensor, size: int | None = None) -> Tensor:
        """Resize the whole image to size x size and normalise, differentiably.

        Args:
            images: float [N, 3, H, W] in [0, 1].
            size: in pixels; None for the largest of its sizes.

        Returns:
            float [N, 3, size, size], the encoder's pixel values, channels last in memory.
        """
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != 3:
            raise SurrogateError(
                f"images are {images.dtype} {list(images.shape)}: a surrogate takes float [N, 3, H, W] in [0, 1]"
            )
        size = size or self.size
        square = (size, size)
        images = images.contiguous(memory_format=torch.channels_last)
        if images.shape[2:] != square:
            # Antialiasing takes twice the time and does nothing where a bilinear filter only enlarges. With it torch's
            # bicubic filter equals PIL's.
            antialias = self.interpolation == "bicubic" or max(images.shape[2:]) > size
            images = F.interpolate(images, square, mode=self.interpolation, antialias=antialias, align_corners=False)
        return torch.addcmul(-self.mean / self.std, images, 1 / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images; features are raw, not L2-normalised.

        Args:
            images: float [N, 3, H, W] in [0, 1].

        Returns:
            float32 [N, d]; with several sizes each row of length 1.
        """
        embeddings = [self._embed_at(images, size) for size in self.sizes]
        return embeddings[0] if len(embeddings) == 1 else _side_by_side(embeddings)

    def _embed_at(self, images: Tensor, size: int) -> Tensor:
        output = self.encoder(self.preprocess(images, size), **self._options)
        return _one_vector_per_image(output, self.encoder).float()

    def _measure_dim(self) -> int:
        who, dim = self.name or type(self.encoder).__name__, 0
        for side in self.sizes:
            black = torch.zeros(1, 3, side, side, device=self.mean.device)
            with torch.no_grad(), explained(f"{who} does not take images of {side} x {side} px: pass another size"):
                dim += self._embed_at(black, side).shape[1]
        return dim


class SurrogateEnsemble(Embedder):
    """Several surrogates as one: the dot product of two embeddings is the mean of the members' cosines.

    Args:
        members: at least one surrogate; each resizes to its own size.
    """

    def __init__(self, members: Sequence[Surrogate]) -> None:
        super().__init__()
        if not members:
            raise SurrogateError("an ensemble needs at least one surrogate")
        self.members = nn.ModuleList(members)
        self.revision = [member.revision for member in members]
        self.size = max(member.size for member in members)
        self.dim = sum(member.dim for member in members)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the members' digests, in order."""
        digests = [member.digest for member in self.members if isinstance(member, Surrogate)]
        return hashlib.sha256(" ".join(digests).encode()).hexdigest()

    def forward(self, images: Tensor) -> Tensor:
        """Embed images float [N, 3, H, W] in [0, 1] as float32 [N, dim], each row of length 1."""
        return _side_by_side([member(images) for member in self.members])


def load_surrogate(
    spec: str | Path | Surrogate | Sequence[str | Surrogate],
    revision: Revision = None,
    size: Size | None = None,
    *,
    two_sizes: bool = False,
) -> Embedder:
    """A surrogate from a name, a folder, a `Surrogate`, or several of them.

    Args:
        spec: Hub name, folder, a `Surrogate`, or a list of these for an ensemble.
        revision: commit, tag or branch of a name on the Hub; for an ensemble a list with one for each member. A folder
            or a `Surrogate` has none: its digest identifies it.
        size: side of the models' input, or several; None for their own.
        two_sizes: whether a name stands for a network `at_two_sizes`, unless `size` says which; an ensemble has views
            enough.

    Raises:
        SurrogateError: as `Surrogate.from_pretrained`; also for a `Surrogate` of another size, and for one revision
            with several surrogates.
    """
    if isinstance(spec, (Surrogate, str, Path)):
        return _load_one(spec, revision if isinstance(revision, str) else None, size, two_sizes)
    if isinstance(revision, str):
        raise SurrogateError(
            "one revision cannot fit several surrogates: pass Surrogate.from_pretrained(name, revision) for each"
        )
    revisions = revision or [None] * len(spec)
    return SurrogateEnsemble([_load_one(one, commit, size) for one, commit in zip(spec, revisions, strict=True)])


def _load_one(
    spec: str | Path | Surrogate, revision: str | None, size: Size | None, two_sizes: bool = False
) -> Surrogate:
    """As `load_surrogate`, of a single one."""
    if isinstance(spec, Surrogate):
        if size is not None and all_sizes(size) != spec.sizes:
            has = ", ".join(map(str, spec.sizes))
            raise SurrogateError(f"size={size} was asked for, but the surrogate given has {has}")
        return spec
    surrogate = Surrogate.from_pretrained(spec, revision, size)
    if two_sizes and size is None:
        surrogate = surrogate.at_two_sizes()
    return surrogate.fold()


def _side_by_side(embeddings: Sequence[Tensor]) -> Tensor:
    """Several embeddings [N, d] joined to one of length 1; each contributes equally to its cosines."""
    return torch.cat([F.normalize(part, dim=1) for part in embeddings], dim=1) / len(embeddings) ** 0.5


def _one_vector_per_image(output: Any, encoder: nn.Module) -> Tensor:
    embedding = output
    if not isinstance(output, Tensor):
        pooled = getattr(output, "pooler_output", None)
        embedding = getattr(output, "image_embeds", pooled)
    if embedding is None or embedding.ndim < 2 or embedding.shape[2:].numel() != 1:
        got = type(output).__name__ if embedding is None else list(embedding.shape)
        raise SurrogateError(f"{type(encoder).__name__} gives {got}, not one vector per image: pool its output first")
    return embedding.flatten(1)
