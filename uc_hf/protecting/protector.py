"""Apply: a fitted protector of any method as a pure function of one image that any `datasets.map` can call."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self, overload

import datasets
import numpy as np
import PIL.Image
import torch
from accelerate import Accelerator
from huggingface_hub import constants
from torch import nn

from uc_hf.data import images
from uc_hf.data.container import Container
from uc_hf.data.given import as_dataset
from uc_hf.data.images import ImageValue, Picture
from uc_hf.errors import SurrogateError
from uc_hf.fitting.checkpoint import check_place
from uc_hf.fitting.embedding import embed_canvases
from uc_hf.fitting.noise import Noise
from uc_hf.fitting.record import ALGORITHM, FitOptions, FitT
from uc_hf.fitting.settings import CommonSettings, SurrogateSpec
from uc_hf.protecting.examples import open_examples
from uc_hf.protecting.key_file import pack_key
from uc_hf.protecting.noise import add, check_bound
from uc_hf.protecting.removal import original_of
from uc_hf.protecting.rows import protect_rows
from uc_hf.protecting.saving import Shared
from uc_hf.protecting.workers import Workers
from uc_hf.surrogates.surrogate import Embedder, Revision
from uc_hf.training.devices import Network, accelerator_on, deterministic, find_device, is_worker, to_worker_device


FITS = Path(constants.HF_HOME) / "uc_hf" / "fits"
"""Unfinished fits are kept here unless another place is named."""

AT_ONCE = 64
"""Pictures in one forward pass while applying, however large the batch that map hands over."""


class Protector(Shared[FitT], ABC):
    """What all methods share once they are fitted: decode, put into a group, perturb, check, encode.

    A method says which group an image belongs to (`assign`), and may say what noise it gets (`noises`) or what
    becomes of it (`perturbed`); by default each group has one noise.

    Args:
        surrogate: the network by which images are put into groups; see `CommonSettings`.
        fit_to: fit at once to this dataset, so that `ds.map(UCProtector(fit_to=ds))` is one line.
        device: as `to`.
        **settings: see `settings_type`, which lists every one with its default.

    Attributes:
        shown: settings that its `repr` tells, beside those of all methods.
        workers: processes that it works in, where `working_in` has started some.

    Raises:
        SettingError: an unknown setting, or a value out of its range.
    """

    shown: ClassVar[tuple[str, ...]] = ("surrogate", "n_clusters")
    workers: Workers | None = None

    def __init__(
        self,
        surrogate: SurrogateSpec = CommonSettings.surrogate,
        *,
        fit_to: Any = None,
        device: str | torch.device | None = None,
        **settings: Any,
    ) -> None:
        self.settings = self.read_settings({"surrogate": surrogate, **settings})
        self._fit = None
        self._surrogate = None
        self._device = None if device is None else find_device(device)
        if fit_to is not None:
            self.fit(fit_to)

    def fit(
        self,
        dataset: Any,
        *,
        embed_batch_size: int = 64,
        num_workers: int = 0,
        accelerator: Accelerator | None = None,
        checkpoint_dir: str | Path | None = None,
        keep_checkpoint: bool = False,
        check: bool = True,
    ) -> Self:
        """Learn from a dataset everything that determines the noise of any image.

        An interrupted fit continues where it stopped when the same call is repeated.

        Args:
            dataset: a `Dataset`, one split of a `DatasetDict`, or an `IterableDataset` (a bounded sample is read); a
                folder of pictures, or a list of pictures, in any form that `as_dataset` takes.
            embed_batch_size: images per forward pass of the surrogate while embedding.
            num_workers: processes that decode images.
            accelerator: for mixed precision or several processes; a default one otherwise.
            checkpoint_dir: where the unfinished fit is kept; by default in the Hugging Face cache.
            keep_checkpoint: leave it there when the fit is finished, for you to remove once the protector is saved.
            check: check every image of a `Dataset` first, so that no bad one is found after hours.

        Returns:
            self, fitted.

        Raises:
            DatasetError: empty, a DatasetDict, no dataset at all, no image column, or images shown otherwise than they
                are stored; by the images' own labels also a stream, no label column or label, or fewer than two.
            ImageError: images that cannot be protected, named by row.
            SettingError: `embed_batch_size` is below 1, or `num_workers` below 0.
            SurrogateError: the surrogate cannot be loaded.
            ClusterError: more clusters than images, or clusters that stay empty.
            OutputError: `checkpoint_dir` cannot be written to.
        """
        folder = FITS if checkpoint_dir is None else Path(checkpoint_dir)
        check_place(folder)
        with deterministic(), accelerator_on(self._device) if accelerator is None else nullcontext(accelerator) as own:
            options = FitOptions(
                accelerator=own,
                embed_batch_size=embed_batch_size,
                num_workers=num_workers,
                checkpoint_dir=folder,
                keep_checkpoint=keep_checkpoint,
                check=check,
            )
            self._fit = self._fit_to(as_dataset(dataset), options)
        return self

    def to(self, device: str | torch.device) -> Self:
        """Work on a device from now on: "cpu", "cuda", "cuda:1", "mps".

        Without it a fit works where Accelerate says, and each process that protects on a GPU where there is one.

        Returns:
            self.

        Raises:
            SettingError: there is no such device here.
        """
        self._device = find_device(device)
        for network in self._networks():
            network.to(self._device)
        return self

    def loaded(self) -> Self:
        """Load the surrogate now rather than at the first image; protectors made from this one share it then.

        Returns:
            self.
        """
        self._ready_surrogate()
        return self

    @abstractmethod
    def _fit_to(self, dataset: datasets.Dataset | datasets.IterableDataset, options: FitOptions) -> FitT:
        """What the method learns; of several processes the main one learns, and all receive the result."""

    @abstractmethod
    def assign(self, pictures: Sequence[Picture], labels: Sequence[Any] | None = None) -> np.ndarray:
        """The group of each picture, int64 [N].

        Args:
            pictures: decoded pictures.
            labels: of each, as its column holds it, where the method asks for that column (`columns`).
        """

    @abstractmethod
    def _load_surrogate(self, revision: Revision) -> Embedder:
        """The network by which images are put into groups."""

    @property
    def columns(self) -> list[str]:
        """The columns that are read: that of the images, and that of the labels where the method needs them."""
        return [self.fitted.column]

    def __call__(self, examples: Any, *position: Any) -> Any:
        """Protect the image column of one example or a batch; other columns stay unchanged.

        Args:
            examples: what `datasets.map`, `with_transform` or a DataLoader hands over. An image is a PIL picture,
                bytes, a path, {"bytes", "path"} or a uint8 array. Publish what `map` gives: `with_transform` protects
                what you read, and `push_to_hub` pushes what is stored, the originals.
            *position: row numbers and rank, when map is called `with_indices` or `with_rank`; errors of a
                batched map then name the row.

        Returns:
            the examples, their images {"bytes", "path"} (the stem is kept); to `map` those alone, but for tables.

        Raises:
            NotFittedError: before `fit`.
            ImageError: an image that cannot be protected.
            DatasetError: the rows lack the column that the protector was fitted on, or show it otherwise than stored;
                the method needs labels, and there is none or one that it was not fitted on.
        """
        handed = open_examples(examples, self.columns, sys._getframe(1))
        column, *label = handed.columns
        labels = handed.columns[label[0]] if label else None
        return handed.replace(list(protect_rows(self, handed.columns[column], labels, position)))

    def protect(self, pictures: Sequence[Picture], labels: Sequence[Any] | None = None) -> list[bytes]:
        """Protected pictures at their own size, encoded; the bound is checked on the decoded bytes.

        Args:
            pictures: decoded pictures of any size and mode.
            labels: of each, where the method asks for that column (`columns`).

        Returns:
            one encoded image each, in the container of the settings.

        Raises:
            NotFittedError: before `fit`.
            ImageError: a picture with transparency is to be stored as JPEG.
            BoundError: a losslessly stored picture is further than epsilon from its original.
            DatasetError: the method needs the images' own labels, and there are none.
        """
        pictures = [self.as_stored(picture) for picture in pictures]
        return (self.workers or self).protect_groups(pictures, self.assign(pictures, labels))

    def protect_groups(
        self, pictures: Sequence[Picture], groups: np.ndarray, noise: Noise | None = None
    ) -> list[bytes]:
        """As `protect`, of pictures whose groups are known.

        Args:
            pictures: as `as_stored` gives them.
            groups: int64 [N].
            noise: of the groups, in place of what this method makes: how controls are made.
        """
        if noise is None:
            changed = self.perturbed(pictures, groups)
        else:
            changed = map(self._add, pictures, map(noise.for_picture, pictures, groups.tolist()))
        return [self.store(before, after) for before, after in zip(pictures, changed, strict=True)]

    @overload
    def transform(self, image: PIL.Image.Image) -> PIL.Image.Image: ...

    @overload
    def transform(self, image: Sequence[PIL.Image.Image]) -> list[PIL.Image.Image]: ...

    def transform(self, image: Any) -> Any:
        """The protected version of one PIL picture or of each of a list, at its own size, in the mode it is stored in.

        Raises:
            NotFittedError: before `fit`.
            ImageError: a picture cannot be protected.
        """
        if isinstance(image, Sequence) and not isinstance(image, str | bytes):
            protected = self.protect([images.decode(picture) for picture in image]) if image else []
            return [images.open_image(data) for data in protected]
        return images.open_image(self.protect([images.decode(image)])[0])

    def as_stored(self, picture: Picture) -> Picture:
        """An image in the mode in which it will be stored: in colour if the set has coloured images.

        A few images without coloured noise would teach a network to use image content (docs/concepts/limits.md).
        """
        return images.in_colour(picture) if self.fitted.coloured else picture

    def perturbed(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[Picture]:
        """The images with their noise, each at its own size.

        Args:
            pictures: decoded images.
            groups: int64 [N], the group of each.
        """
        return map(self._add, pictures, self.noises(pictures, groups))

    def noises(self, pictures: Sequence[Picture], groups: np.ndarray) -> Iterator[np.ndarray]:
        """The noise of each image's group at the image's own size, int8 [3, H, W] in 8-bit levels."""
        return map(self.fitted.noise.for_picture, pictures, groups.tolist())

    def with_epsilon(self, epsilon: float) -> Self:
        """A protector with the same groups and the same noise, at another strength, without a new fit.

        A new fit at that epsilon may choose another noise.

        Args:
            epsilon: as the setting.

        Raises:
            EpsilonError: epsilon is no number, or out of its range.
            SettingError: the method's noise is learnt for one strength.
        """
        learnt, settings = self.fitted, self.settings.changed(epsilon=epsilon)
        noise = learnt.noise.scaled(settings.levels / self.settings.levels)
        return self.restored(settings, replace(learnt, noise=noise), self._surrogate)

    def remove(self, image: PIL.Image.Image | ImageValue) -> PIL.Image.Image:
        """The original of a protected image, for the owner of this key.

        It is exact except where the noise was clipped at black or white: within epsilon there. JPEG leaves its traces.
        With `look="tint"` the surrogate is asked, and any file but the one that was published may come back in a wrong
        colour. Most baselines' noise cannot be taken off again (`removable`): keep the originals.

        Args:
            image: the protected image.

        Raises:
            SettingError: this method's noise cannot be taken off again.
            ImageError: no noise of this key is left in the image, or it could be any of several tints.
        """
        return images.open_image(images.encode(original_of(self, image), Container("png")))

    def save_key(self, file: str | Path) -> None:
        """Save the protector as one file, to be put away: whoever has it can remove the noise.

        Args:
            file: by custom NAME.uckey; `open_protector` opens it.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            pack_key(Path(folder), Path(file))

    def _add(self, picture: Picture, noise: np.ndarray) -> Picture:
        return add(picture, noise, self.settings.levels)

    def store(self, before: Picture, after: Picture) -> bytes:
        """A perturbed picture, encoded in the container of the settings.

        Raises:
            ImageError: it has transparency and is to be stored as JPEG.
            BoundError: it is stored losslessly and further than epsilon from the original.
        """
        container = self.settings.stored_as
        data = images.encode(after, container, keep_exif=self.settings.keep_exif)
        if container.lossless and self.bounded:
            check_bound(before, data, self.settings.levels)
        return data

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Embeddings of pictures as the groups are found in them, float32 [N, d]."""
        surrogate = self._ready_surrogate()
        device, normalise = next(surrogate.parameters()).device, self.normalised
        with torch.inference_mode():
            squares = self.squares(pictures, self.fitted.view_size)
            parts = [embed_canvases(part.to(device), surrogate, normalise).cpu() for part in squares]
        return torch.cat(parts).numpy()

    @property
    def normalised(self) -> bool:
        """Whether embeddings are L2-normalised."""
        return self.settings.normalise

    def squares(self, pictures: Sequence[Picture], size: int) -> Iterator[torch.Tensor]:
        """Pictures as squares of one size, some at a time: uint8 [n, 3, size, size]."""
        for start in range(0, len(pictures), AT_ONCE):
            squares = [images.canvas(picture, size) for picture in pictures[start : start + AT_ONCE]]
            yield torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)

    def _ready_surrogate(self) -> Embedder:
        """The surrogate that was fitted with, loaded on first use in each process."""
        if self._surrogate is None:
            surrogate = self._load_surrogate(self.fitted.surrogate_revision)
            if surrogate.digest != self.fitted.surrogate_digest:
                raise SurrogateError(
                    f"surrogate {self.settings.surrogate!r} has other weights, input size or normalisation than "
                    "the one that this protector was fitted with: images would be put into the wrong clusters. "
                    f"Pass the right one, {type(self).__name__}.from_pretrained(..., surrogate=...), or fit again."
                )
            self._surrogate = self._placed(surrogate)
        return self._surrogate

    def _placed(self, network: Network) -> Network:
        """A network on the device that was asked for, or that of this process."""
        return to_worker_device(network) if self._device is None else network.to(self._device)

    def _networks(self) -> list[nn.Module]:
        """Those that are loaded."""
        return [] if self._surrogate is None else [self._surrogate]

    def __repr__(self) -> str:
        settings = self.settings
        told = "not fitted" if self._fit is None else self._fit.summary()
        shown = ", ".join(f"{name}={settings.plain()[name]!r}" for name in self.shown)
        return (
            f"{type(self).__name__}({shown}, epsilon={self.limit}, "
            f"container={settings.container!r}, seed={settings.seed}: {told})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Plain data only, and all that decides the pixels: `datasets` hashes it and ships it to its workers."""
        state = {"algorithm": ALGORITHM, "settings": self.settings, "fit": self._fit}
        return state if self._device is None else state | {"device": self._device}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings, self._fit = state["settings"], state["fit"]
        self._surrogate, self._device = None, state.get("device")
        if is_worker():
            # A forked worker inherits OpenMP's locks: a second thread would wait for them for ever.
            torch.set_num_threads(1)
