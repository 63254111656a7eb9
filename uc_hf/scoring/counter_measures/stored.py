"""Counter-measures on stored images, once before training: uint8 [N, 3, S, S] -> uint8 [N, 3, S, S].

Compression and smoothing remove much of most published kinds of noise (Liu et al. 2023, "Image Shortcut Squeezing",
ICML). All but `reencode` act at the training size: the scraper resizes first.
"""

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor
from torch.nn import functional as F

from uc_hf.scoring.counter_measures.known import counter_measure


AT_ONCE = 256
"""Number of images that are filtered together."""

AROUND, COARSE = 7, 2
"""Side of the square of frequencies with which one is compared; and the number of periods across the image up to
which no peak is searched."""


@counter_measure("reencode", "files", "quality", 75, range(1, 101))
def reencode(picture: np.ndarray, quality: int) -> np.ndarray:
    """Compress one image by Pillow's defaults: chroma at half the resolution (4:2:0).

    Args:
        picture: uint8 [H, W, 3], at the size at which it was published.
        quality: Pillow's quality, 1 to 100.

    Returns:
        uint8 [H, W, 3].
    """
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    with Image.open(stream) as image:
        return np.array(image)


@counter_measure("jpeg", "pixels", "quality", 75, range(1, 101))
def jpeg(pixels: Tensor, quality: int) -> Tensor:
    """Compress as `reencode` does, at the training size (Liu et al. 2023)."""
    stored = np.empty((len(pixels), *pixels.shape[2:], 3), dtype=np.uint8)
    for row, picture in enumerate(pixels.permute(0, 2, 3, 1).cpu().numpy()):
        stored[row] = reencode(picture, quality)
    return torch.from_numpy(stored).permute(0, 3, 1, 2).contiguous().to(pixels.device)


@counter_measure("gray", "pixels", in_use=True)
def gray(pixels: Tensor) -> Tensor:
    """The luma of ITU-R 601 in all three channels, rounded as in Pillow's mode L (Liu et al. 2023)."""
    red, green, blue = pixels.int().unbind(dim=1)
    luma = (19595 * red + 38470 * green + 7471 * blue + 2**15) >> 16
    return luma.byte()[:, None].expand_as(pixels).contiguous()


@counter_measure("grayworld", "pixels", in_use=True)
def grayworld(pixels: Tensor) -> Tensor:
    """Scale each channel until its mean is the mean of all three: white balance by a gray world (Buchsbaum 1980)."""

    def balance(images: Tensor) -> Tensor:
        means = images.mean(dim=(2, 3), keepdim=True)  # [N, 3, 1, 1]
        return images * means.mean(dim=1, keepdim=True) / means.clamp(min=1 / 255)

    return _in_floats(pixels, balance)


@counter_measure("bits", "pixels", "bits", 3, range(1, 9))
def bits(pixels: Tensor, depth: int) -> Tensor:
    """Round each channel to `depth` bits, evenly spread from black to white (Xu et al. 2018, Feature Squeezing)."""
    levels = 2**depth - 1
    return _in_floats(pixels, lambda images: (images * levels).round() / levels)


@counter_measure("resize", "pixels", "factor", 2, (1, 16))
def resize(pixels: Tensor, factor: float) -> Tensor:
    """Shrink by a factor and enlarge again, bilinear with antialiasing (Xie et al. 2018)."""
    size = pixels.shape[-1]
    small = max(1, round(size / factor))

    def to(images: Tensor, side: int) -> Tensor:
        return F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)

    return _in_floats(pixels, lambda images: to(to(images, small), size))


@counter_measure("gaussian", "pixels", "sigma in pixels", 1, (0.1, 10))
def gaussian(pixels: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing with a standard deviation in pixels (the "Gaussian" of the paper's table 2)."""
    return _in_floats(pixels, lambda images: blur(images, sigma))


@counter_measure("median", "pixels", "side in pixels", 3, range(3, 16, 2))
def median(pixels: Tensor, side: int) -> Tensor:
    """The median of each channel over a square of an odd side (Xu et al. 2018, Feature Squeezing)."""
    return _in_floats(pixels, lambda images: _middle(images, side, "replicate"))


@counter_measure("tv", "pixels", "weight in percent", 10, (0.1, 100))
def total_variation(pixels: Tensor, weight: float) -> Tensor:
    """Total-variation denoising (Chambolle 2004), which keeps edges and flattens texture (Guo et al. 2018)."""
    smooth = np.empty((len(pixels), *pixels.shape[2:], 3), dtype=np.uint8)
    for row, picture in enumerate(pixels.permute(0, 2, 3, 1).cpu().numpy()):
        denoised = denoise_tv_chambolle(picture / 255, weight=weight / 100, channel_axis=-1)
        smooth[row] = (denoised.clip(0, 1) * 255).round().astype(np.uint8)
    return torch.from_numpy(smooth).permute(0, 3, 1, 2).contiguous().to(pixels.device)


@counter_measure("lowpass", "pixels", "share of the highest frequency", 0.5, (0.01, 1))
def lowpass(pixels: Tensor, share: float) -> Tensor:
    """Keep the frequencies below a share of the highest in each direction (Yin et al. 2019)."""
    height, width = pixels.shape[-2:]
    keep = (torch.fft.fftfreq(height).abs()[:, None] <= share / 2) & (torch.fft.rfftfreq(width) <= share / 2)
    keep = keep.to(pixels.device)
    return _in_floats(pixels, lambda images: torch.fft.irfft2(torch.fft.rfft2(images) * keep, s=(height, width)))


@counter_measure("notch", "pixels", "times the median around", 3, (1.1, 100))
def notch(pixels: Tensor, factor: float) -> Tensor:
    """Remove peaks from each channel's spectrum, the usual cure of periodic noise (Gonzalez and Woods, section 5.4).

    A peak is a frequency with more than `factor` times the median magnitude around it; its magnitude is reduced to
    that median. The lowest frequencies stay as they are.
    """

    def flatten_peaks(images: Tensor) -> Tensor:
        spectrum = torch.fft.fft2(images)
        size = spectrum.abs()
        usual = _middle(size, AROUND, "circular")
        down, across = (torch.fft.fftfreq(n, 1 / n, device=images.device).abs() for n in images.shape[2:])
        fine = (down[:, None] > COARSE) | (across > COARSE)
        spectrum = torch.where((size > factor * usual) & fine, spectrum * usual / size, spectrum)
        return torch.fft.ifft2(spectrum).real

    return _in_floats(pixels, flatten_peaks)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of float [N, C, H, W], truncated at four sigma, with repeated borders."""
    radius = int(4 * sigma + 0.5)
    along = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-0.5 * (along / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images.dtype)
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return F.conv2d(rows, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def _middle(values: Tensor, side: int, border: str) -> Tensor:
    """The median over a square around each value of float [N, C, H, W]; `border` is a mode of `F.pad`."""
    windows = F.pad(values, [side // 2] * 4, mode=border).unfold(2, side, 1).unfold(3, side, 1)
    return windows.flatten(4).median(dim=4).values


def _in_floats(pixels: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a transform of images in [0, 1] to 8-bit images, some at a time."""
    parts = [(transform(part.float() / 255).clamp(0, 1) * 255).round().byte() for part in pixels.split(AT_ONCE)]
    return torch.cat(parts)
