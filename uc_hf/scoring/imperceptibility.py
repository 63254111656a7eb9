"""How far protected images differ from their originals as stored: PSNR, SSIM, FLIP, LPIPS, changes, file sizes."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import flip_evaluator
import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity

from uc_hf.data import images
from uc_hf.data.images import ImageValue
from uc_hf.errors import ImageError
from uc_hf.scoring.lpips import Lpips


SCREEN, WINDOW = 1080, 256
"""In pixels: the height of the screen on which an image is viewed, and the side of the part that is judged."""


@dataclass(frozen=True)
class Imperceptibility:
    """Distances between originals and protected images.

    Attributes:
        images: number of compared pairs.
        psnr: mean peak signal-to-noise ratio in dB; infinite where no pixel changed.
        worst_psnr: PSNR of the most changed image.
        worst_psnr_row: its row, counted from 0.
        ssim: mean structural similarity over images and channels of what a screen shows (`as_seen`), at most 1.
        worst_ssim: SSIM of the least similar image.
        worst_ssim_row: its row.
        flip: mean FLIP over images, of what a screen shows (`as_seen`): what a viewer sees who changes from one to the
            other, from 0 (nothing) to 1.
        worst_flip: FLIP of the most visibly changed image.
        worst_flip_row: its row.
        max_difference: the largest change of any pixel, in 8-bit levels.
        mean_difference: mean |change| of a pixel, in 8-bit levels; every image has the same weight.
        size_ratio: bytes of the protected files divided by bytes of the originals; None if images come decoded.
        lpips: mean LPIPS over images, at least 0; None without its weights, like the next two.
        worst_lpips: LPIPS of the most different image.
        worst_lpips_row: its row.
    """

    images: int
    psnr: float
    worst_psnr: float
    worst_psnr_row: int
    ssim: float
    worst_ssim: float
    worst_ssim_row: int
    flip: float
    worst_flip: float
    worst_flip_row: int
    max_difference: int
    mean_difference: float
    size_ratio: float | None
    lpips: float | None
    worst_lpips: float | None
    worst_lpips_row: int | None


@dataclass(frozen=True)
class Difference:
    """How far one protected picture is from its original.

    Attributes:
        psnr: peak signal-to-noise ratio in dB; infinite where no pixel changed.
        ssim: mean structural similarity over channels of what a screen shows, at most 1.
        flip: of what a screen shows, from 0 to 1.
        lpips: at least 0; None where its weights are not given.
        max_difference: the largest change of any pixel, in 8-bit levels.
        mean_difference: mean |change| of a pixel, in 8-bit levels.
        bytes_before: size of the original's file; None where it comes decoded.
        bytes_after: of the protected file.
    """

    psnr: float
    ssim: float
    flip: float
    lpips: float | None
    max_difference: int
    mean_difference: float
    bytes_before: int | None
    bytes_after: int | None


def compare(pairs: Iterable[tuple[ImageValue, ImageValue]], lpips: Lpips | None = None) -> Imperceptibility:
    """Compare stored images pixel by pixel, with one pair in memory at a time.

    Args:
        pairs: an original and its protected version, in any form that `images.decode` takes.
        lpips: computes LPIPS; None leaves it out.

    Raises:
        ImageError: an image cannot be decoded or is too small for LPIPS, two differ in size, or there is no pair.
    """
    return summary(list(differences(pairs, lpips)))


def differences(pairs: Iterable[tuple[ImageValue, ImageValue]], lpips: Lpips | None = None) -> Iterator[Difference]:
    """What `compare` sums up: each pair by itself, in their order.

    Args:
        pairs: as of `compare`.
        lpips: as of `compare`.

    Raises:
        ImageError: a picture cannot be decoded or is too small for LPIPS, or two differ in size.
    """
    for index, (original, protected) in enumerate(pairs):
        yield _measure(index, original, protected, lpips)


def summary(measured: Sequence[Difference]) -> Imperceptibility:
    """Differences of single pictures, summed up.

    Raises:
        ImageError: there is none.
    """
    if not measured:
        raise ImageError("there is no pair of pictures to compare.")
    psnrs, ssims = [pair.psnr for pair in measured], [pair.ssim for pair in measured]
    flips = [pair.flip for pair in measured]
    before = [pair.bytes_before for pair in measured if pair.bytes_before is not None]
    after = [pair.bytes_after for pair in measured if pair.bytes_after is not None]
    distances = [pair.lpips for pair in measured if pair.lpips is not None]
    return Imperceptibility(
        images=len(measured),
        psnr=statistics.fmean(psnrs),
        worst_psnr=min(psnrs),
        worst_psnr_row=psnrs.index(min(psnrs)),
        ssim=statistics.fmean(ssims),
        worst_ssim=min(ssims),
        worst_ssim_row=ssims.index(min(ssims)),
        flip=statistics.fmean(flips),
        worst_flip=max(flips),
        worst_flip_row=flips.index(max(flips)),
        max_difference=max(pair.max_difference for pair in measured),
        mean_difference=statistics.fmean(pair.mean_difference for pair in measured),
        size_ratio=sum(after) / sum(before) if len(before) == len(after) == len(measured) else None,
        lpips=statistics.fmean(distances) if distances else None,
        worst_lpips=max(distances, default=None),
        worst_lpips_row=distances.index(max(distances)) if distances else None,
    )


VISIBLE = ((0.08, "hardly visible"), (0.13, "visible on a close look"), (0.2, "visible"), (1.0, "plainly visible"))
"""Words for a FLIP of at most so much; on Kodak, quiet has 0.12, balanced 0.16, strong 0.31, tint 0.33."""


def in_words(flip: float) -> str:
    """How visible a change is.

    Examples:
        >>> in_words(0.1)
        'visible on a close look'
    """
    return next(words for most, words in VISIBLE if flip <= most)


def psnr(change: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of differences in whole 8-bit levels, any shape; infinite where all are 0.

    Examples:
        >>> round(psnr(np.full((8, 8, 3), 16)), 2)
        24.05
    """
    strips = (change[top : top + images.STRIP] for top in range(0, len(change), images.STRIP))
    error = sum(int(np.square(strip, dtype=np.int32).sum(dtype=np.int64)) for strip in strips) / change.size
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _measure(index: int, original: ImageValue, protected: ImageValue, lpips: Lpips | None) -> Difference:
    before, after = images.decode(original).pixels, images.decode(protected).pixels
    if before.shape != after.shape:
        sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (before, after)]
        raise ImageError(f"pair {index} is {sizes[0]} pixels before and {sizes[1]} after: it is not the same picture.")
    change = np.maximum(before, after) - np.minimum(before, after)
    seen = [as_seen(pixels).astype(np.float32) / 255 for pixels in (before, after)]
    return Difference(
        psnr=psnr(change),
        ssim=float(structural_similarity(*seen, channel_axis=2, data_range=1)),
        flip=float(flip_evaluator.evaluate(*seen, "LDR", applyMagma=False)[1]),
        lpips=None if lpips is None else _lpips(index, before, after, lpips),
        max_difference=int(change.max()),
        mean_difference=float(change.mean()),
        bytes_before=_stored_bytes(original),
        bytes_after=_stored_bytes(protected),
    )


def as_seen(pixels: np.ndarray) -> np.ndarray:
    """The middle of an image as a screen shows it: an image that is higher than the screen is shrunk to it.

    People do not view a photo of 12 megapixels pixel by pixel. The middle represents the whole, since FLIP takes
    seconds for a screen.

    Args:
        pixels: uint8 [H, W, 3].

    Returns:
        uint8 [h, w, 3], at most `WINDOW` each.
    """
    height, width, _ = pixels.shape
    scale = max(1, height / SCREEN)
    side = round(WINDOW * scale)
    top, left = max(0, height - side) // 2, max(0, width - side) // 2
    middle = pixels[top : top + side, left : left + side]
    if scale == 1:
        return middle
    size = round(middle.shape[1] / scale), round(middle.shape[0] / scale)
    return np.asarray(Image.fromarray(np.ascontiguousarray(middle)).resize(size, Image.Resampling.LANCZOS))


def _lpips(index: int, before: np.ndarray, after: np.ndarray, lpips: Lpips) -> float:
    """LPIPS of two pictures uint8 [H, W, 3]."""
    units = [torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255 for pixels in (before, after)]
    try:
        return float(lpips(*units))
    except ImageError as error:
        raise ImageError(f"pair {index}: {error} Leave it out, or compare larger pictures.") from error


def _stored_bytes(value: ImageValue) -> int | None:
    """Size of an image's file; None for a decoded image."""
    if isinstance(value, Mapping):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, bytes):
        return len(value)
    return Path(value).stat().st_size if isinstance(value, str | Path) else None
