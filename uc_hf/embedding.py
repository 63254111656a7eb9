"""A dataset -> a bounded sample of canvases and their embeddings, through Accelerate."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from tqdm.auto import tqdm

from uc_hf.data import images
from uc_hf.data.checks import check_all, check_dataset, undecoded
from uc_hf.data.columns import image_column
from uc_hf.data.images import Container, ImageValue
from uc_hf.data.rows import read_rows
from uc_hf.errors import DatasetError, ImageError
from uc_hf.settings import CommonSettings
from uc_hf.surrogates import Surrogate, SurrogateEnsemble


logger = logging.getLogger(__name__)

DRAWN_FROM = 2
"""The sample of a stream is drawn from so many times as many rows."""

FILES_AT_ONCE = 4
"""Rows of a stream are taken from so many of its files in turn; of each a row group is in memory."""

LARGE_FILE = 256 * 1024
"""In bytes."""


@dataclass(frozen=True)
class Sample:
    """The images that a protector is fitted on.

    Attributes:
        column: the image column's name.
        rows: the row of each image in the dataset it came from.
        values: each image as the dataset stores it (bytes, a path, or both), not decoded.
    """

    column: str
    rows: Sequence[int]
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def coloured(self) -> bool:
        """Whether any of them is stored in colour."""
        return not all(images.stored_gray(value) for value in self.values)

    def take(self, indices: list[int]) -> list[Any]:
        """Some of the values; of a dataset they are read at once, which takes a thirtieth of the time."""
        if isinstance(self.values, datasets.Column):
            return self.values[indices]
        return [self.values[index] for index in indices]


def draw_sample(
    dataset: datasets.Dataset | datasets.IterableDataset,
    settings: CommonSettings,
    side: int | None = None,
    *,
    check: bool = True,
) -> Sample:
    """A seeded sample of at most `max_fit_images`, after a cheap look at every row of a dataset that has rows.

    Of a stream the sample is drawn from the first `DRAWN_FROM` times as many rows, its files in random order and
    `FILES_AT_ONCE` in turn, so that its beginning does not stand for all.

    Args:
        dataset: images to draw from.
        settings: of the fit.
        side: the side in pixels of the squares that are made of the images; large files of a stream are kept only so
            large, since a sample of them is held in memory.
        check: look at all rows of a `Dataset`; of a stream the sample is looked at in any case.

    Raises:
        DatasetError: the dataset is empty, or has no (or not only one) image column.
        ImageError: rows whose image cannot be protected, all named before any time is spent.
    """
    if isinstance(dataset, datasets.IterableDataset):
        return _draw_from_stream(dataset, settings, side)
    if len(dataset) == 0:
        raise DatasetError("the dataset is empty: there is nothing to protect.")
    name = image_column(dataset.features, settings.image_column)
    if check:
        check_dataset(dataset, name, Container.parse(settings.container))
    values, limit = undecoded(dataset, name), settings.max_fit_images
    rows = np.arange(len(values))
    if limit is not None and limit < len(values):
        rows = np.sort(np.random.default_rng(settings.seed).permutation(len(values))[:limit])
        logger.info("fitting on a sample of %d of %d images", limit, len(values))
    return Sample(column=name, rows=rows.tolist(), values=values.select(rows)[name])


def _draw_from_stream(stream: datasets.IterableDataset, settings: CommonSettings, side: int | None) -> Sample:
    limit = settings.max_fit_images
    if stream.features is not None:
        stream = stream.decode(False)  # first of all: later, images would be decoded and encoded anew
    if limit is not None:
        # The files alone: a buffer of rows would hold as much as the sample does.
        stream = stream.shuffle(seed=settings.seed, buffer_size=1, max_buffer_input_shards=FILES_AT_ONCE)
    name, images_of_rows = _images_of(stream, settings)
    generator, values = np.random.default_rng(settings.seed), []
    for row, value in enumerate(islice(images_of_rows, None if limit is None else DRAWN_FROM * limit)):
        if limit is None or row < limit:
            values.append(_small_enough(value, side))
        elif (place := int(generator.integers(row + 1))) < limit:
            values[place] = _small_enough(value, side)
    if not values:
        raise DatasetError("the stream is empty: there is nothing to protect.")
    named = ((f"row {row} of the sample, column {name!r}", value) for row, value in enumerate(values))
    check_all(named, len(values), Container.parse(settings.container))
    return Sample(column=name, rows=range(len(values)), values=values)


def _images_of(stream: datasets.IterableDataset, settings: CommonSettings) -> tuple[str, Iterator[ImageValue]]:
    """The image column of a stream, and its values."""
    if stream.features is not None:
        name = image_column(stream.features, settings.image_column)
        rows = read_rows(stream.select_columns([name]), "the sample")
        return name, (row[name][0].as_py() for row in rows)
    name = settings.image_column or "image"
    first = next(iter(stream), {name: None})
    if name not in first:
        raise DatasetError(f"the stream has no column {name!r}; its columns are {', '.join(map(repr, first))}.")
    return name, (row[name] for row in stream)


def _small_enough(value: ImageValue, side: int | None) -> ImageValue:
    """An image as it is stored; in place of a large file a copy whose shorter side has `side` pixels."""
    if side is None or not isinstance(value, Mapping) or len(value["bytes"] or b"") <= LARGE_FILE:
        return value
    try:
        picture = images.decode(value)
    except ImageError:
        return value  # to be named with all others that are bad
    height, width, _ = picture.pixels.shape
    scale = side / min(height, width)
    if scale >= 1 or picture.alpha is not None:
        return value
    small = Image.fromarray(picture.pixels).resize(
        (round(width * scale), round(height * scale)), Image.Resampling.BILINEAR
    )
    plain = replace(picture, pixels=np.array(small), icc=None, exif=None)
    return {"bytes": images.encode(plain, Container("png")), "path": value.get("path")}


class Canvases(TorchDataset[Tensor]):
    """The sample as squares of one size, decoded when asked for: uint8 [3, S, S]."""

    def __init__(self, sample: Sample, size: int) -> None:
        self.sample = sample
        self.size = size

    def __len__(self) -> int:
        return len(self.sample)

    def __getitems__(self, indices: list[int]) -> list[Tensor]:
        """A batch, as a DataLoader asks for it."""
        return [self._canvas(index, value) for index, value in zip(indices, self.sample.take(indices), strict=True)]

    def _canvas(self, index: int, value: ImageValue) -> Tensor:
        try:
            picture = images.decode(value)
        except ImageError as error:
            raise ImageError(f"row {self.sample.rows[index]}, column {self.sample.column!r}: {error}") from error
        return torch.from_numpy(images.canvas(picture, self.size)).permute(2, 0, 1)


def native_size(sample: Sample, look_at: int = 256) -> int:
    """The median side (square root of the area) in pixels of the sample's images, read from evenly spread headers."""
    spread = np.linspace(0, len(sample) - 1, min(look_at, len(sample))).astype(int)
    sizes = [images.open_image(sample.values[index]).size for index in spread]
    return round(float(np.median([(width * height) ** 0.5 for width, height in sizes])))


def embed_canvases(canvases: Tensor, surrogate: Surrogate | SurrogateEnsemble, normalise: bool) -> Tensor:
    """Embeddings of canvases.

    Args:
        canvases: uint8 [N, 3, S, S], or float in [0, 1], on the surrogate's device.
        surrogate: frozen.
        normalise: divide each embedding by its L2 norm.

    Returns:
        float32 [N, d].
    """
    pixels = canvases if canvases.is_floating_point() else canvases.float() / 255
    embeddings = surrogate(pixels)
    return F.normalize(embeddings, dim=1) if normalise else embeddings


def embed(
    sample: Sample,
    surrogate: Surrogate | SurrogateEnsemble,
    *,
    size: int,
    normalise: bool,
    accelerator: Accelerator,
    batch_size: int,
    num_workers: int,
) -> tuple[Tensor, np.ndarray]:
    """Canvases and embeddings of a sample; with several processes each embeds its share and all receive everything.

    Args:
        sample: images to embed.
        surrogate: frozen, on the accelerator's device.
        size: S, the side of the squares in pixels.
        normalise: L2-normalise the embeddings.
        accelerator: its device, processes and mixed precision are used.
        batch_size: images per forward pass and process.
        num_workers: DataLoader processes that decode; 0 decodes in this one.

    Returns:
        canvases uint8 [N, 3, S, S], on the GPU where they take at most a quarter of what is free there, so that the
        steps that follow copy nothing; and embeddings float32 [N, d].

    Raises:
        ImageError: a row whose image cannot be decoded.
    """
    loader = accelerator.prepare(DataLoader(Canvases(sample, size), batch_size=batch_size, num_workers=num_workers))
    place = accelerator.device if _fits(len(sample) * 3 * size**2, accelerator.device) else torch.device("cpu")
    canvases, embeddings = [], []
    with torch.inference_mode(), accelerator.autocast(), _cores_left_to(num_workers):
        for batch in tqdm(loader, desc="embedding", unit="batch", disable=not accelerator.is_main_process):
            embedded = embed_canvases(batch, surrogate, normalise).float()
            batch, embedded = accelerator.gather_for_metrics((batch, embedded))
            canvases.append(batch.to(place))
            embeddings.append(embedded)
    return torch.cat(canvases), torch.cat(embeddings).cpu().numpy()


def load_canvases(sample: Sample, size: int, num_workers: int) -> Tensor:
    """The canvases of a sample where nobody embeds them, uint8 [N, 3, S, S].

    Raises:
        ImageError: a row whose image cannot be decoded.
    """
    loader = DataLoader(Canvases(sample, size), batch_size=64, num_workers=num_workers)
    return torch.cat(list(tqdm(loader, desc="reading", unit="batch")))


@contextmanager
def _cores_left_to(workers: int) -> Iterator[None]:
    """Take a thread less for each worker, since torch's threads wait busily for the one that has lost its core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads - workers))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fits(n_bytes: int, device: torch.device) -> bool:
    """Whether tensors can stay on a device, where joining them takes as much again."""
    return device.type == "cuda" and 4 * n_bytes <= torch.cuda.mem_get_info(device)[0]
