"""A dataset -> a bounded sample of canvases and their embeddings, through Accelerate."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from uc_hf.data import images
from uc_hf.data.images import ImageValue
from uc_hf.data.progress import Bar
from uc_hf.errors import cell, naming
from uc_hf.fitting.sample import Sample
from uc_hf.surrogates.surrogate import Embedder


LOOKED_AT = 256
"""Largest number of images whose size is read."""


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
        with naming(cell(self.sample.rows[index], self.sample.column)):
            picture = images.decode(value)
        return torch.from_numpy(images.canvas(picture, self.size)).permute(2, 0, 1)


def native_size(sample: Sample) -> int:
    """The median side (square root of the area) in pixels of the sample's images, read from evenly spread headers."""
    spread = np.linspace(0, len(sample) - 1, min(LOOKED_AT, len(sample))).astype(int)
    sizes = [images.open_image(sample.values[index]).size for index in spread]
    return round(float(np.median([(width * height) ** 0.5 for width, height in sizes])))


def embed_canvases(canvases: Tensor, surrogate: Embedder, normalise: bool) -> Tensor:
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
    surrogate: Embedder,
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
        for batch in Bar(loader, desc="embedding", unit="batch", disable=not accelerator.is_main_process):
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
    return torch.cat(list(Bar(loader, desc="reading", unit="batch")))


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
