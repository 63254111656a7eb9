"""What the baselines share: sample, canvases, labels, then a method's own `learn`; and noise as a function of both."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from uc_hf.data.columns import label_column as find_label_column
from uc_hf.data.columns import labels_of
from uc_hf.data.images import Picture
from uc_hf.errors import DatasetError, SettingError
from uc_hf.fitting.embedding import embed, load_canvases, native_size
from uc_hf.fitting.noise import CanvasNoise, Noise, stretch
from uc_hf.fitting.record import ALGORITHM, Fit, FitOptions
from uc_hf.fitting.sample import Sample, draw_sample
from uc_hf.fitting.schema import Array, Items, check_arrays
from uc_hf.fitting.settings import CommonSettings, one_of
from uc_hf.methods.label_sources import LABEL_SOURCES, LabelSource, as_text
from uc_hf.protecting.protector import AT_ONCE, Protector
from uc_hf.surrogates.backbones import load_classifier
from uc_hf.surrogates.surrogate import Embedder, Revision, Surrogate, load_surrogate
from uc_hf.training.labelled import LabelledImages


LARGEST_CANVAS = 224
"""Side in pixels beyond which a canvas does not grow with the images."""

TENSOR = "learnt."
"""Before the names of a method's own tensors in the saved file."""


@dataclass(frozen=True, kw_only=True)
class BaselineSettings(CommonSettings):
    """What every baseline lets you choose; the attributes of `CommonSettings`, too.

    Attributes:
        labels: "own" (those of the dataset), "predicted" (by `surrogate`, which then is an image classifier such as
            "microsoft/resnet-50") or "clusters" (`n_clusters` of `surrogate`'s embeddings).
        label_column: of labels="own"; None for the only ClassLabel, or a usual name.
    """

    labels: str = "own"
    label_column: str | None = None

    def __post_init__(self) -> None:
        """As `CommonSettings`: refuse what is out of range."""
        super().__post_init__()
        one_of("labels", self.labels, tuple(LABEL_SOURCES))
        if self.labels == "predicted" and not isinstance(self.surrogate, str):
            raise SettingError("labels='predicted' takes the name of one image classifier: surrogate='NAME'.")
        if self.labels == "predicted" and isinstance(self.surrogate_size, tuple):
            raise SettingError(
                f"surrogate_size={self.surrogate_size!r}: labels='predicted' asks the classifier at one size."
            )


@dataclass(frozen=True)
class BaselineFit(Fit):
    """What a baseline learns.

    Attributes:
        names: of the labels.
        key: by which the label source tells an image's label.
        label_column: None where the images' own labels are not asked for.
        tensors: what the method itself has learnt.
    """

    names: Annotated[list[str], Items("p")]
    key: np.ndarray
    label_column: str | None
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays, as safetensors hold them."""
        return super().arrays() | {TENSOR + name: array for name, array in self.tensors.items()}

    def facts(self) -> dict[str, Any]:
        """All but the arrays, as JSON values."""
        return {name: value for name, value in super().facts().items() if name != "tensors"}

    @classmethod
    def restore(
        cls, arrays: Mapping[str, Any], facts: Mapping[str, Any], noise_type: type[Noise] = CanvasNoise
    ) -> Self:
        """What `arrays` and `facts` gave, put together again."""
        own = {name.removeprefix(TENSOR): array for name, array in arrays.items() if name.startswith(TENSOR)}
        common = {name: array for name, array in arrays.items() if not name.startswith(TENSOR)}
        return super().restore(common, {**facts, "tensors": own}, noise_type)

    def groups(self) -> list[dict[str, Any]]:
        """Each label, and its images in the sample."""
        return [{"label": name, "images": images} for name, images in zip(self.names, self.sizes, strict=True)]

    def summary(self) -> str:
        """In a few words."""
        return f"fitted on {sum(self.sizes)} images of {len(self.names)} labels"


@dataclass(frozen=True)
class Lesson:
    """What a method's `learn` is given.

    Attributes:
        images: uint8 [N, 3, S, S] and their labels int64 [N].
        n_classes: number of labels.
        accelerator: its device and mixed precision are used.
        checkpoint: a file to go on from when it exists, and to write to.
    """

    images: LabelledImages
    n_classes: int
    accelerator: Accelerator
    checkpoint: Path


class Baseline(Protector[BaselineFit]):
    """A method that protects for labels. A subclass says what it learns and what noise an image of a label gets.

    Attributes:
        learns: the tensors that it learns, for p labels and a canvas of side S; None for a network's weights.
    """

    settings_type = BaselineSettings
    fit_type = BaselineFit
    shown = ("labels",)
    settings: BaselineSettings
    learns: ClassVar[Mapping[str, Array] | None] = None
    _network: nn.Module | None = None

    @abstractmethod
    def learn(self, lesson: Lesson) -> dict[str, Tensor]:
        """Whatever the noise of any image is made from, by name."""

    @abstractmethod
    def noise(self, canvases: Tensor, labels: Tensor) -> Tensor:
        """The noise of images: of each by itself, up to rounding, which depends on the batch and which PGD amplifies.

        Args:
            canvases: uint8 [n, 3, S, S].
            labels: int64 [n].

        Returns:
            float [n, 3, S, S] in 8-bit levels; it is rounded, and clipped to epsilon.
        """

    @property
    def removable(self) -> bool:
        """As `Shared.removable`: only of a method whose noise is the same for all images of a label."""
        return False

    def _fit_to(self, dataset: datasets.Dataset | datasets.IterableDataset, options: FitOptions) -> BaselineFit:
        """The source of the labels, and the result of `learn`."""
        source = LABEL_SOURCES[self.settings.labels]
        column = None if source.embeds else _label_column(dataset, self.settings.label_column)
        sample = draw_sample(dataset, self.settings, self.settings.canvas_size or LARGEST_CANVAS, check=options.check)
        size = self.settings.canvas_size or min(LARGEST_CANVAS, native_size(sample))
        self._surrogate = self._network = None
        if column is not None:
            evidence = _own_labels(dataset, column, sample.rows)
            canvases = load_canvases(sample, size, options.num_workers)
        else:
            self._surrogate = self._load_surrogate(self.settings.surrogate_revision).to(options.accelerator.device)
            canvases, evidence = embed(
                sample,
                self._surrogate,
                size=size,
                normalise=self.normalised,
                accelerator=options.accelerator,
                batch_size=options.embed_batch_size,
                num_workers=options.num_workers,
            )
        return options.once(lambda: self._learn(canvases.cpu(), evidence, source, sample, column, options))

    def _learn(
        self,
        canvases: Tensor,
        evidence: np.ndarray,
        source: LabelSource,
        sample: Sample,
        label_column: str | None,
        options: FitOptions,
    ) -> BaselineFit:
        names, key = source.learn(evidence, self.settings.for_set(len(evidence)).p, self.settings.seed)
        labels = source.read(evidence, names, key)
        surrogate = self._surrogate
        digest = None if surrogate is None else surrogate.digest
        facts = [ALGORITHM, self.method, self.settings.plain(), digest, list(canvases.shape)]
        work = hashlib.sha256(json.dumps(facts).encode() + labels.tobytes())
        work.update(canvases.contiguous().numpy().data)
        checkpoint = options.checkpoint_dir / f"{work.hexdigest()[:32]}.safetensors"
        lesson = Lesson(
            LabelledImages(canvases, torch.from_numpy(labels)), len(names), options.accelerator, checkpoint
        )
        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in self.learn(lesson).items()}
        size = canvases.shape[-1]
        learnt = BaselineFit(
            noise=CanvasNoise(np.zeros((len(names), 3, size, size), dtype=np.int8)),
            sizes=np.bincount(labels, minlength=len(names)).tolist(),
            column=sample.column,
            surrogate_digest=digest,
            surrogate_revision=None if surrogate is None else surrogate.revision,
            coloured=sample.coloured,
            names=names,
            key=key,
            label_column=label_column,
            tensors=tensors,
        )
        options.finish(checkpoint)
        first = torch.from_numpy(np.unique(labels, return_index=True)[1])
        shown = self.restored(self.settings, learnt, surrogate)
        parts = [shown._levels(canvases[first[part]], part) for part in torch.arange(len(names)).split(AT_ONCE)]
        return replace(learnt, noise=CanvasNoise(np.concatenate(parts)))

    def check_fitted(self) -> None:
        """As `Shared.check_fitted`; the weights of a network are held against it when it is put together."""
        super().check_fitted()
        learnt = self.fitted
        sides = {"p": len(learnt.names), "S": learnt.canvas_size}
        if self.learns is not None:
            check_arrays("learnt", learnt.tensors, self.learns, sides)
        check_arrays("fit", {"key": learnt.key}, {"key": LABEL_SOURCES[self.settings.labels].key}, sides)

    def with_epsilon(self, epsilon: float) -> Self:
        """Refused: what a baseline learns, it learns for one strength.

        Raises:
            SettingError: always.
        """
        raise SettingError(
            f"the noise of {self.method!r} is learnt for its epsilon: fit again with epsilon={epsilon!r}."
        )

    @property
    def columns(self) -> list[str]:
        """The column of the images and, where they are asked for, that of their labels."""
        return [self.fitted.column, *filter(None, [self.fitted.label_column])]

    def assign(self, pictures: Sequence[Picture], labels: Sequence[Any] | None = None) -> np.ndarray:
        """The label of each picture, int64 [N]: as the dataset holds it, or by the surrogate."""
        source, learnt = LABEL_SOURCES[self.settings.labels], self.fitted
        if source.embeds:
            return source.read(self.embed(pictures), learnt.names, learnt.key)
        if labels is None:
            raise DatasetError(
                f"this protector was fitted for the labels in the column {learnt.label_column!r}, and there are none "
                "here. Protect a dataset that has that column, or fit with labels='clusters' or labels='predicted'."
            )
        return source.read(as_text(labels), learnt.names, learnt.key)

    def noises(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[np.ndarray]:
        """The noise of each picture at its own size, int8 [3, H, W] in 8-bit levels: its own, from its canvas."""
        start = 0
        for part in self.squares(pictures, self.fitted.canvas_size):
            labels = torch.from_numpy(groups[start : start + len(part)])
            yield from map(stretch, self._levels(part, labels), pictures[start : start + len(part)])
            start += len(part)

    def _levels(self, canvases: Tensor, labels: Tensor) -> np.ndarray:
        levels = self.settings.levels
        return self.noise(canvases, labels).detach().round().clamp(-levels, levels).to(torch.int8).cpu().numpy()

    @property
    def reach(self) -> str:
        """Of which training labels the protection holds, as cards tell it."""
        own = self.settings.labels == "own"
        return f"given {'the labels that this dataset has' if own else 'labels that follow the groups of its method'}"

    def _networks(self) -> list[nn.Module]:
        return [*super()._networks(), *filter(None, [self._network])]

    def build_network(self) -> nn.Module:
        """What `tensors` are the weights of, in a method that applies a network."""
        raise NotImplementedError

    def _ready_network(self) -> nn.Module:
        """The network that was learnt, put together once in each process."""
        if self._network is None:
            network = self.build_network()
            weights = {name: torch.from_numpy(array) for name, array in self.fitted.tensors.items()}
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:
                raise SettingError(f"the saved weights are not those of {self.method!r}: {error}") from error
            self._network = self._placed(network).eval().requires_grad_(False)
        return self._network

    @property
    def normalised(self) -> bool:
        """Whether embeddings are L2-normalised: logits are compared as they are."""
        return self.settings.normalise and self.settings.labels == "clusters"

    def _load_surrogate(self, revision: Revision) -> Embedder:
        settings = self.settings
        if settings.labels == "predicted" and isinstance(settings.surrogate, str):
            name = settings.surrogate
            classifier = load_classifier(
                name, revision if isinstance(revision, str) else None, settings.surrogate_size
            )
            return Surrogate.of(classifier, name).fold()
        return load_surrogate(settings.surrogate, revision=revision, size=settings.surrogate_size)


def image_seeds(canvases: Tensor) -> list[int]:
    """A seed for each canvas, uint8 [n, 3, S, S], from its pixels: equal images get equal noise in any batch."""
    digests = (hashlib.sha256(canvas.contiguous().numpy().tobytes()).digest() for canvas in canvases.cpu())
    return [int.from_bytes(digest[:8], signed=True) for digest in digests]


def _own_labels(dataset: datasets.Dataset, column: str, rows: Sequence[int]) -> np.ndarray:
    """The labels of some rows as text, after a check of the labels of all rows."""
    labels = as_text(labels_of(dataset, column))
    fitted = labels[list(rows)]
    if missing := sorted(set(labels.tolist()) - set(fitted.tolist())):
        raise DatasetError(
            f"the sample of {len(rows)} images has none with the label {missing[0]!r} of column {column!r} "
            f"({len(missing)} are missing). Write a larger max_fit_images, or None for all images."
        )
    return fitted


def _label_column(dataset: datasets.Dataset | datasets.IterableDataset, asked: str | None) -> str:
    if not isinstance(dataset, datasets.Dataset):
        raise DatasetError(
            "labels='own' takes a Dataset, one split of it, and this is a stream (as `uc-hf protect` reads it without "
            "--out). Name an --out, or write labels='clusters' or labels='predicted'."
        )
    try:
        return find_label_column(dataset.features, asked)
    except DatasetError as error:
        raise DatasetError(f"{error} Or fit with labels='clusters' or labels='predicted'.") from error
