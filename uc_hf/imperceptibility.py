"""How far protected pictures are from their originals, as they are stored: PSNR, SSIM, the largest change."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

from uc_hf import images
from uc_hf.errors import ImageError
from uc_hf.images import ImageValue


@dataclass(frozen=True)
class Imperceptibility:
    """Distances between originals and protected pictures.

    Attributes:
        images: how many pairs were compared.
        psnr: mean peak signal-to-noise ratio in dB; infinite where no pixel changed.
        worst_psnr: of the most changed picture.
        ssim: mean structural similarity over pictures and channels, at most 1.
        worst_ssim: of the least similar picture.
        max_difference: the largest change of any pixel, in 8-bit levels.
    """

    images: int
    psnr: float
    worst_psnr: float
    ssim: float
    worst_ssim: float
    max_difference: int


def compare(pairs: Iterable[tuple[ImageValue, ImageValue]]) -> Imperceptibility:
    """Compare pictures pixel by pixel, both decoded from what is stored.

    Args:
        pairs: an original and its protected version, in any form that `images.decode` takes.

    Raises:
        ImageError: a picture cannot be decoded, two differ in size, or there is no pair.
    """
    psnrs, ssims, largest = [], [], 0
    for index, (original, protected) in enumerate(pairs):
        before, after = images.decode(original).pixels, images.decode(protected).pixels
        if before.shape != after.shape:
            sizes = [f"{pixels.shape[1]} x {pixels.shape[0]}" for pixels in (before, after)]
            raise ImageError(f"pair {index} is {sizes[0]} pixels before and {sizes[1]} after: it is not one picture.")
        change = np.abs(after.astype(np.int16) - before)
        psnrs.append(psnr(change))
        # In float32, since a photo of 12 megapixels takes gigabytes in float64.
        similar = structural_similarity(
            before.astype(np.float32), after.astype(np.float32), channel_axis=2, data_range=255
        )
        ssims.append(float(similar))
        largest = max(largest, int(change.max()))
    if not psnrs:
        raise ImageError("there is no pair of pictures to compare.")
    return Imperceptibility(
        images=len(psnrs),
        psnr=statistics.fmean(psnrs),
        worst_psnr=min(psnrs),
        ssim=statistics.fmean(ssims),
        worst_ssim=min(ssims),
        max_difference=largest,
    )


def psnr(change: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of differences in 8-bit levels, any shape; infinite where all are 0."""
    error = np.square(change, dtype=np.float64).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
