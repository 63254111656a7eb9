"""How a file stores the samples of its pixels, and their conversion to 8 bits."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from uc_hf.data.colours import curve_of
from uc_hf.errors import ImageError


DARK = 64
"""An image of more than 8 bits whose brightest sample is below this level of 255 holds fewer bits than it claims."""

_BITS_PER_SAMPLE, _PHOTOMETRIC, _COLOUR_MAP, _SAMPLE_FORMAT = 258, 262, 320, 339
_WHITE_IS_ZERO, _SIGNED = 0, 2


@dataclass(frozen=True)
class Samples:
    """How the samples of one image are stored.

    Attributes:
        bits: bits per sample; None if the image comes decoded, so that they are unknown.
        white_is_zero: whether Pillow returns them inverted.
        gray_alpha: whether Pillow returns gray with alpha as colour.
    """

    bits: int | None
    white_is_zero: bool = False
    gray_alpha: bool = False

    @property
    def white(self) -> int:
        """The value of white in modes of more than 8 bits; these are scaled to 16 bits, except for TIFF's 12."""
        return 4095 if self.bits == 12 else 65535


def samples_of(image: Image.Image) -> Samples:
    """How an image stores its samples; call it before the pixels are loaded.

    Raises:
        ImageError: the samples have no defined white: they are signed or have 32 bits.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _of_tiff(image)
    tiles = getattr(image, "tile", [])
    raw_mode = tiles[0].args if tiles else None
    if image.format != "PNG":
        return Samples(16 if image.mode.startswith("I") else 8)
    if not isinstance(raw_mode, str):
        return Samples(None)
    bits = re.search(r";(\d+)", raw_mode)
    return Samples(int(bits[1]) if bits else 8, gray_alpha=raw_mode.startswith("LA"))


def _of_tiff(image: TiffImagePlugin.TiffImageFile) -> Samples:
    tags: Any = image.tag_v2
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
    if _SIGNED in tags.get(_SAMPLE_FORMAT, ()) or (bits == 32 and image.mode == "I"):
        raise ImageError(f"its samples are signed or have {bits} bits, so white is not defined. Scale it to 8 bits.")
    if image.mode == "P" and max(tags.get(_COLOUR_MAP, (256,))) < 256:
        raise ImageError("its palette holds 8 bits in place of 16, and would be black. Convert it to RGB.")
    return Samples(bits, white_is_zero=bits > 8 and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)


def to_8_bits(image: Image.Image, samples: Samples) -> Image.Image:
    """A loaded image with 8 bits per sample: 16-bit gray is scaled by 1/257, 16-bit colour keeps its high byte.

    A transparent colour is scaled like the samples. A gamma or profile of 16-bit gray is applied here, before dark
    levels are lost. `image` stays unchanged.

    Raises:
        ImageError: values exceed 16 bits or are so dark that fewer bits must be meant, a transparent colour would be
            lost, or 16-bit colour has a gamma.
    """
    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        return _scaled(image, samples)
    if samples.gray_alpha:
        image = image.convert("LA")
    if samples.bits == 16 and image.mode in ("RGB", "RGBA", "RGBX", "RGBa", "LA"):
        if curve_of(image) is not None:
            raise ImageError("it has 16 bits and a gamma or profile of its own: convert it to sRGB.")
        if isinstance(transparent, tuple):
            raise ImageError("it has a transparent colour of 16 bits: convert it to 8 bits, or to RGBA.")
        extremes: Any = image.getextrema()
        _refuse_dark(max(high for _, high in extremes[: 1 if image.mode == "LA" else 3]), 255)
    if image.mode == "L" and isinstance(transparent, int) and 0 < transparent < 16:
        if samples.bits is None:
            raise ImageError("it comes decoded, and its transparent gray has lost its scale. Give the file's bytes.")
        if samples.bits < 8:
            image = image.copy()
            image.info["transparency"] = transparent * 255 // (2**samples.bits - 1)
    return image


def _scaled(image: Image.Image, samples: Samples) -> Image.Image:
    values, white = np.asarray(image), samples.white
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(f"gray values {low} to {high} exceed 16 bits: scale them to 0 to 65535.")
    _refuse_dark(white - low if samples.white_is_zero else high, white)
    curve, light = curve_of(image), np.arange(white + 1) / white
    if samples.white_is_zero:
        light = light[::-1]
    levels = np.rint(255 * (light if curve is None else curve(light))).astype(np.uint8)
    # In parts, since NumPy converts each index to 8 bytes.
    gray = Image.fromarray(np.concatenate([levels[part] for part in np.array_split(values, 1 + (values.size >> 22))]))
    if "transparency" in image.info:
        gray.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
    done = {"transparency"} if curve is None else {"transparency", "gamma", "icc_profile"}
    gray.info = {name: value for name, value in image.info.items() if name not in done}
    return gray


def _refuse_dark(brightest: int, white: int) -> None:
    if 0 < brightest * 255 < DARK * white:
        raise ImageError(
            f"nearly black: its brightest sample is {brightest} of {white}, as where fewer bits are stored in 16. "
            f"Scale its samples to 0 to {white}, or convert it to 8 bits."
        )
