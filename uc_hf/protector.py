"""UCProtector: fit on a dataset, then a pure function of one image that any `datasets.map` can call."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import datasets
import multiprocess
import numpy as np
import PIL.Image
import torch
from accelerate import Accelerator
from datasets.formatting.formatting import LazyBatch, LazyRow
from huggingface_hub import constants

from uc_hf import images
from uc_hf.clustering import nearest
from uc_hf.embedding import embed_canvases
from uc_hf.errors import BoundError, ImageError, SettingError, SurrogateError
from uc_hf.fitting import ALGORITHM, Fit, fit
from uc_hf.images import Container, Picture
from uc_hf.perturbation import add_levels, resize_noise
from uc_hf.settings import Settings
from uc_hf.sharing import Shared
from uc_hf.surrogates import Revision, Surrogate, SurrogateEnsemble, load_surrogate


EMBEDDED_AT_ONCE = 64
"""Pictures in one forward pass while applying, however large the batch that map hands over."""


class UCProtector(Shared):
    """Adds a learnt, bounded, cluster-wise noise to images so that models trained on them fail on clean images.

    Examples:
        >>> from uc_hf.generated import generated_dataset
        >>> ds = generated_dataset(n_train=100, n_test=10)["train"]
        >>> protector = UCProtector(surrogate="uc_hf/tiny", epsilon=8 / 255, steps=20)
        >>> protected = ds.map(protector.fit(ds), batched=True)
        >>> protected.features == ds.features
        True

    Args:
        fit_to: fit at once to this dataset, so that `ds.map(UCProtector(fit_to=ds))` is one line.
        **settings: see `uc_hf.settings.Settings`, which lists every one with its default.

    Raises:
        SettingError: an unknown setting, or a value out of its range.
    """

    def __init__(self, *, fit_to: datasets.Dataset | datasets.IterableDataset | None = None, **settings: Any) -> None:
        self.settings = Settings.from_mapping(settings)
        self._fit = None
        self._surrogate: Surrogate | SurrogateEnsemble | None = None
        if fit_to is not None:
            self.fit(fit_to)

    @classmethod
    def paper(cls, **settings: Any) -> Self:
        """The published recipe (section 4.1 and the reference code's defaults), for comparison.

        One ResNet generator per cluster, KL divergence on raw embeddings, the next centroid as goal, 50 epochs over
        the whole set in batches of 256, no EOT. It costs 500 surrogate passes per image.
        """
        recipe = {
            "surrogate": "microsoft/resnet-50",
            "parametrisation": "generator",
            "distance": "kl",
            "goal": "next",
            "normalise": False,
            "epochs": 50.0,
            "batch_size": 256,
            "eot_scale": None,
            "max_fit_images": None,
        }
        return cls(**(recipe | settings))

    def fit(
        self,
        dataset: datasets.Dataset | datasets.IterableDataset,
        *,
        embed_batch_size: int = 64,
        num_workers: int = 0,
        accelerator: Accelerator | None = None,
        checkpoint_dir: str | Path | None = None,
        check: bool = True,
    ) -> Self:
        """Learn centroids and noise from a dataset; labels are not looked at.

        An interrupted fit goes on where it stopped when the same call is made again.

        Args:
            dataset: a `Dataset`, one split of a `DatasetDict`, or an `IterableDataset` (a bounded sample is read).
            embed_batch_size: images per forward pass of the surrogate while embedding.
            num_workers: processes that decode images.
            accelerator: for mixed precision or several processes; a default one otherwise.
            checkpoint_dir: where the unfinished fit is kept; by default in the Hugging Face cache, removed at the end.
            check: look at every image of a `Dataset` first, so that no bad one is met when hours have been spent.

        Returns:
            self, fitted.

        Raises:
            DatasetError: empty, a DatasetDict, or no image column.
            ImageError: images that cannot be protected, named by row.
            SurrogateError: the surrogate cannot be loaded.
            ClusterError: more clusters than images, or clusters that stay empty.
        """
        accelerator = accelerator or Accelerator()
        self._surrogate = self._load_surrogate(self.settings.surrogate_revision).to(accelerator.device)
        folder = Path(checkpoint_dir) if checkpoint_dir is not None else Path(constants.HF_HOME) / "uc_hf" / "fits"
        self._fit = fit(
            dataset,
            self._surrogate,
            self.settings,
            accelerator=accelerator,
            embed_batch_size=embed_batch_size,
            num_workers=num_workers,
            checkpoint_dir=folder,
            check=check,
        )
        return self

    def __call__(self, examples: Any, *position: Any) -> Any:
        """Protect the image column of one example or a batch; the other columns are left alone.

        Args:
            examples: what `datasets.map`, `with_transform` or a DataLoader hands over. An image is a PIL picture,
                bytes, a path, {"bytes", "path"} or a uint8 array.
            *position: row numbers and rank, when map is called `with_indices` or `with_rank`; errors then name the
                row.

        Returns:
            the same examples, the image column replaced by {"bytes", "path"} (the file's stem is kept).

        Raises:
            NotFittedError: before `fit`.
            ImageError: an image that cannot be protected.
        """
        column = self.fitted.column
        if not isinstance(examples, Mapping):
            many = isinstance(examples, list)
            protected = self._protect_values(examples if many else [examples], column, position)
            return {column: protected if many else protected[0]}
        if isinstance(examples, (LazyBatch, LazyRow)):
            # As stored, not as `datasets` decodes it: the mode, ICC profile and file name would be lost.
            values = examples.pa_table[column].to_pylist()
            many = isinstance(examples, LazyBatch)
        else:
            many = isinstance(examples[column], list)
            values = examples[column] if many else [examples[column]]
        protected = self._protect_values(values, column, position)
        examples[column] = protected if many else protected[0]
        return examples

    def _protect_values(self, values: Sequence[Any], column: str, position: Sequence[Any]) -> list[dict[str, Any]]:
        rows = position[0] if position and isinstance(position[0], list) else None
        where = [f"image {i} of this batch" if rows is None else f"row {rows[i]}" for i in range(len(values))]
        pictures = []
        for name, value in zip(where, values, strict=True):
            with _named(f"{name}, column {column!r}"):
                pictures.append(images.decode(value))
        suffix = Container.parse(self.settings.container).suffix
        protected = []
        for name, value, picture, cluster in zip(where, values, pictures, self.assign(pictures), strict=True):
            with _named(f"{name}, column {column!r}"):
                data = self._encode(picture, int(cluster))
            stem = images.stem(value)
            protected.append({"bytes": data, "path": None if stem is None else stem + suffix})
        return protected

    def protect(self, pictures: Sequence[Picture], clusters: np.ndarray | None = None) -> list[bytes]:
        """Protected pictures at their own size, encoded; the bound is checked on the decoded bytes.

        Args:
            pictures: decoded pictures of any size and mode.
            clusters: int64 [N], where `assign` was asked already; None asks it.

        Returns:
            one encoded image each, in the container of the settings.

        Raises:
            NotFittedError: before `fit`.
            ImageError: a picture with transparency is to be stored as JPEG.
            BoundError: a losslessly stored picture is further than epsilon from its original.
        """
        clusters = self.assign(pictures) if clusters is None else clusters
        return [self._encode(picture, int(cluster)) for picture, cluster in zip(pictures, clusters, strict=True)]

    def _encode(self, picture: Picture, cluster: int) -> bytes:
        container = Container.parse(self.settings.container)
        data = images.encode(self._add(picture, cluster), container, keep_exif=self.settings.keep_exif)
        if container.lossless:
            check_bound(picture, data, self.settings.levels)
        return data

    def transform(self, image: PIL.Image.Image) -> PIL.Image.Image:
        """The protected version of one PIL picture, at its own size, in the mode it is stored in.

        Raises:
            NotFittedError: before `fit`.
            ImageError: the picture cannot be protected.
        """
        return images.open_image(self.protect([images.decode(image)])[0])

    def assign(self, pictures: Sequence[Picture]) -> np.ndarray:
        """The cluster of each picture: the nearest centroid of its embedding, int64 [N]."""
        return nearest(self.embed(pictures), self.fitted.centroids)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """Embeddings of pictures as the clusters see them, float32 [N, d]."""
        size = self.fitted.canvas_size
        surrogate = self._ready_surrogate()
        device = next(surrogate.parameters()).device
        embeddings = []
        with torch.inference_mode():
            for start in range(0, len(pictures), EMBEDDED_AT_ONCE):
                canvases = [images.canvas(picture, size) for picture in pictures[start : start + EMBEDDED_AT_ONCE]]
                pixels = torch.from_numpy(np.stack(canvases)).permute(0, 3, 1, 2).to(device)
                embeddings.append(embed_canvases(pixels, surrogate, self.settings.normalise).cpu())
        return torch.cat(embeddings).numpy()

    def _add(self, picture: Picture, cluster: int) -> Picture:
        height, width, _ = picture.pixels.shape
        noise = resize_noise(torch.from_numpy(self.fitted.noise[cluster]), (height, width), self.settings.levels)
        return replace(picture, pixels=add_levels(picture.pixels, noise.permute(1, 2, 0).numpy()))

    def with_noise(self, noise: np.ndarray) -> Self:
        """A protector with the same clusters and container and another noise: how controls are made.

        Args:
            noise: int8 [p, 3, S, S] in 8-bit levels, within epsilon; zeros give the matched clean baseline.

        Raises:
            SettingError: another shape or dtype, or beyond epsilon.
        """
        shape = self.fitted.noise.shape
        if noise.dtype != np.int8 or noise.shape != shape:
            raise SettingError(
                f"noise is {noise.dtype} {noise.shape}; this protector's is int8 {shape} (8-bit levels)."
            )
        if np.abs(noise.astype(int)).max() > self.settings.levels:
            raise SettingError(f"noise exceeds {self.settings.levels}/255, this protector's epsilon.")
        twin = type(self)()
        twin.settings, twin._surrogate = self.settings, self._surrogate
        twin._fit = replace(self.fitted, noise=noise)
        return twin

    def _load_surrogate(self, revision: Revision) -> Surrogate | SurrogateEnsemble:
        return load_surrogate(self.settings.surrogate, revision=revision, size=self.settings.surrogate_size)

    def _ready_surrogate(self) -> Surrogate | SurrogateEnsemble:
        """The surrogate that was fitted with, loaded on first use in each process."""
        if self._surrogate is None:
            surrogate = self._load_surrogate(self.fitted.surrogate_revision)
            if surrogate.digest != self.fitted.surrogate_digest:
                raise SurrogateError(
                    f"surrogate {self.settings.surrogate!r} has other weights, input size or normalisation than "
                    "the one that this protector was fitted with: images would be put into the wrong clusters. "
                    "Pass the right one, UCProtector.from_pretrained(..., surrogate=...), or fit again."
                )
            self._surrogate = surrogate.to(_worker_device())
        return self._surrogate

    def __repr__(self) -> str:
        settings = self.settings
        epsilon = f"{settings.epsilon * 255:g}/255"
        state = "not fitted"
        if self._fit is not None:
            state = f"fitted on {sum(self._fit.sizes)} images, clusters of {min(self._fit.sizes)} to "
            state += f"{max(self._fit.sizes)}, {self._fit.moved:.0%} moved to their goal"
        return (
            f"UCProtector(surrogate={settings.plain()['surrogate']!r}, n_clusters={settings.n_clusters}, "
            f"epsilon={epsilon}, container={settings.container!r}, seed={settings.seed}: {state})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Plain data only, and all that decides the pixels: `datasets` hashes it and ships it to its workers."""
        learnt = None if self._fit is None else dict(vars(self._fit))
        return {"algorithm": ALGORITHM, "settings": dict(vars(self.settings)), "fit": learnt}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.settings = Settings(**state["settings"])
        self._fit = None if state["fit"] is None else Fit(**state["fit"])
        self._surrogate = None
        if multiprocess.parent_process() is not None:
            # A forked worker inherits OpenMP's locks: a second thread would wait for them for ever.
            torch.set_num_threads(1)


def check_bound(picture: Picture, encoded: bytes, levels: int) -> None:
    """Compare a stored image with its original, pixel by pixel.

    Args:
        picture: the original.
        encoded: the protected image as it is saved.
        levels: the bound in 8-bit levels.

    Raises:
        BoundError: a pixel differs by more.
    """
    stored = images.decode(encoded).pixels
    difference = int((np.maximum(stored, picture.pixels) - np.minimum(stored, picture.pixels)).max())
    if difference > levels:
        raise BoundError(f"a saved pixel differs by {difference}/255 from its original; the bound is {levels}/255.")


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say which image an error is about."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{where}: {error}") from error


def _worker_device() -> torch.device:
    """The GPU of this process: map's workers take one each in turn."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    identity = multiprocess.current_process()._identity
    return torch.device("cuda", (identity[0] - 1 if identity else 0) % torch.cuda.device_count())
