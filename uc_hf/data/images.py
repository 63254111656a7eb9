"""Images of a dataset, in whatever form they come -> 8-bit RGB at native size, and back to bytes.

Everything that can be wrong with an image is found here and explained. Messages do not know the row, so callers prefix
it ("row 1234, column 'image': ").
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import PIL
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from uc_hf.data.colours import to_rgb, to_srgb
from uc_hf.data.container import Container
from uc_hf.data.headers import read_header
from uc_hf.data.orientation import upright
from uc_hf.data.png import lacks_rows
from uc_hf.data.pointers import fetched, is_member
from uc_hf.data.samples import samples_of, to_8_bits
from uc_hf.errors import ImageError, first_line, shown
from uc_hf.files import read_file


STRIP = 256
"""So many rows of a large picture are worked on at once, so that what is made of them between takes little memory."""

MIN_SIDE = 8
MAX_ASPECT = 32

ImageValue: TypeAlias = Image.Image | bytes | str | Path | Mapping[str, Any] | np.ndarray

# What each PIL mode becomes; a transparent colour (PNG tRNS, GIF) adds the alpha channel.
_DECODED_MODE = {
    **dict.fromkeys(("1", "L", "I", "I;16", "I;16L", "I;16B", "I;16N"), "L"),
    **dict.fromkeys(("LA", "La"), "LA"),
    **dict.fromkeys(("P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"), "RGB"),
    **dict.fromkeys(("PA", "RGBA", "RGBa"), "RGBA"),
}
GRAY = ("L", "LA")
"""Modes of images that are stored without colour."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray (ITU-R 601)."""

# Measured on flowers17 with +-16 noise (252 kB raw; size, time per picture on one core). PNG: level 1 with Z_RLE
# 158 to 169 kB in 9 ms, level 1 alone 169 to 183 kB in 12 ms, level 6 157 to 169 kB in 18 to 33 ms: noise leaves
# deflate no strings to find. WebP: method 0 141 to 170 kB in 5 ms, method 4 132 to 160 kB in 110 to 140 ms.
_LOSSLESS_OPTIONS: dict[str, dict[str, Any]] = {
    "png": {"compress_level": 1, "compress_type": zlib.Z_RLE},
    "webp": {"lossless": True, "exact": True, "method": 0, "quality": 50},
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded image, upright, at its native size.

    Attributes:
        pixels: uint8 [H, W, 3]; gray images have three equal channels.
        mode: mode in which it is stored again: "L", "LA", "RGB" or "RGBA".
        alpha: uint8 [H, W] if the mode has alpha, otherwise None.
        icc: the colour profile of `pixels`; None for sRGB.
        exif: the EXIF block without its orientation tag; None without EXIF.
    """

    pixels: np.ndarray
    mode: Literal["L", "LA", "RGB", "RGBA"]
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None


def open_image(value: ImageValue) -> Image.Image:
    """The PIL image of a dataset value; the pixels of a file are not read yet.

    Args:
        value: a PIL image, encoded bytes, a path, a dict with "bytes" and/or "path" (as `datasets` gives with
            decode=False), or a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].

    Raises:
        ImageError: the value is none of these, or not an image that Pillow reads.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray):
        return _from_array(value)
    data = file_bytes(value)
    pillows, told = read_header(data)
    try:
        with _damage_named():
            image = Image.open(BytesIO(pillows))
    except UnidentifiedImageError as reason:
        raise ImageError(
            f"not an image that Pillow {PIL.__version__} reads, or cut off or damaged in its header: {len(data)} "
            f"bytes, beginning with {data[:16]!r}. Remove it, or convert it to PNG or JPEG."
        ) from reason
    image.info.update(told)
    return image


def decode(value: ImageValue) -> Picture:
    """Decode a value that `open_image` takes: upright, 8 bits, RGB, with separate alpha.

    Samples of 12 and 16 bits are scaled, not clipped. A colour profile for gray or CMYK, and the gamma of a PNG, are
    applied, which makes the pixels sRGB. A photo that holds several pictures (MPO, by phones) gives its first. `value`
    stays unchanged.

    Raises:
        ImageError: the value is not an image, is damaged or animated, has no 8-bit meaning, has a side below MIN_SIDE
            pixels, is more than MAX_ASPECT times as long as wide (or the reverse), exceeds Pillow's limit, or has
            colours or samples whose meaning would be lost.
    """
    image = open_image(value)
    _refuse_by_header(image)
    with _damage_named():
        samples = samples_of(image)
        image.load()
        if image.format == "PNG" and not isinstance(value, Image.Image | np.ndarray):
            if lacks_rows(image, file_bytes(value)):
                raise ValueError("rows are missing at its end")
    image, exif = upright(image)
    image = to_rgb(to_8_bits(image, samples))
    mode: Any = _DECODED_MODE[image.mode]
    if image.has_transparency_data and not mode.endswith("A"):
        mode += "A"
    image, icc = to_srgb(_converted(image, mode))
    alpha = _array(image.getchannel("A")) if mode.endswith("A") else None
    return Picture(_array(_converted(image, "RGB")), mode, alpha, icc, exif)


def encode(picture: Picture, container: Container, *, keep_exif: bool = False) -> bytes:
    """Encode an image; of its metadata only the colour profile is kept, unless `keep_exif`.

    PNG keeps the mode. WebP has neither gray nor an opaque alpha: L comes back as RGB with equal channels, LA as RGBA,
    an opaque RGBA as RGB. Pixels and alpha come back bit for bit, also where transparent. JPEG is written without
    chroma subsampling (4:4:4), which would halve the noise.

    Args:
        picture: in the modes L and LA the first channel is stored.
        container: PNG, WebP or JPEG.
        keep_exif: keep EXIF, which can hold the place, the time and the camera's owner. (EXIF of TIFF files is not
            read.)

    Raises:
        ImageError: JPEG cannot hold alpha, or the image exceeds the format's limits (WebP: 16383 pixels a side).
    """
    check_container(picture, container)
    channels = picture.pixels[..., 0] if picture.mode in GRAY else picture.pixels
    if picture.alpha is not None:
        channels = np.dstack([channels, picture.alpha])
    image = Image.fromarray(np.ascontiguousarray(channels))
    options = dict(_LOSSLESS_OPTIONS.get(container.format, {"quality": container.quality, "subsampling": 0}))
    if picture.icc:
        options["icc_profile"] = picture.icc
    if picture.exif and keep_exif:
        options["exif"] = picture.exif
    stream = BytesIO()
    try:
        image.save(stream, format=container.format, **options)
    except (OSError, ValueError) as reason:
        raise ImageError(f"cannot be stored as {container}: {reason}. Use 'png'.") from reason
    return stream.getvalue()


def check(value: ImageValue, container: Container) -> Picture:
    """Decode an image and check that it can be stored: later steps raise no other error.

    It serves to check a whole dataset before hours are spent on it.

    Raises:
        ImageError: as `decode` and `check_container`.
    """
    picture = decode(value)
    check_container(picture, container)
    return picture


def check_container(picture: Picture, container: Container) -> None:
    """Refuse an image that a container cannot hold.

    Raises:
        ImageError: JPEG cannot hold transparency, or a side is longer than the format allows.
    """
    height, width, _ = picture.pixels.shape
    if picture.alpha is not None and not container.lossless:
        raise ImageError(f"{container} cannot hold its transparency ({picture.mode}): use 'png' or 'webp'.")
    if container.longest_side is not None and max(height, width) > container.longest_side:
        raise ImageError(
            f"{width} x {height} pixels: {container} holds sides of at most {container.longest_side}. Use 'png'."
        )


def stored_gray(value: ImageValue) -> bool:
    """Whether an image that passed `check` is stored without colour, by its header."""
    return _DECODED_MODE[open_image(value).mode] in GRAY


def in_colour(picture: Picture) -> Picture:
    """The image with a colour mode, even if it shows no colour."""
    if picture.mode not in GRAY:
        return picture
    return replace(picture, mode="RGB" if picture.mode == "L" else "RGBA")


def canvas(picture: Picture, size: int) -> np.ndarray:
    """The surrogate's input: the whole image without alpha, resized to a square.

    Returns:
        uint8 [size, size, 3], bilinear with antialiasing.
    """
    return resize(torch.from_numpy(picture.pixels).permute(2, 0, 1), (size, size)).permute(1, 2, 0).numpy()


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize pixels uint8 [3, H, W], channels last in memory, to (height, width), bilinear and antialiased.

    On bytes torch takes a third of Pillow's time, and a tenth of its own time on floats.
    """
    if pixels.shape[1:] == size:
        return pixels
    return F.interpolate(pixels[None], size, mode="bilinear", antialias=True, align_corners=False)[0]


def n_pixels(value: ImageValue) -> int:
    """Width times height, by the header; 0 where it cannot be read, as `decode` will say."""
    try:
        width, height = open_image(value).size
    except ImageError:
        return 0
    return width * height


def stem(value: ImageValue) -> str | None:
    """The file name, without folder and suffix, of a value with a path; None without a path."""
    path = value if isinstance(value, str | Path) else getattr(value, "filename", None)
    if isinstance(value, Mapping):
        path = value.get("path")
    if not path:
        return None
    # A file inside an archive is named "zip://folder/cat.jpg::https://host/cats.zip" by `datasets`.
    return Path(str(path).split("::")[0] if "://" in str(path) else path).stem


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8:
        raise ImageError(
            f"an array of {array.dtype} is not an image: give uint8, for values in [0, 1] "
            "(x * 255).round().astype('uint8')."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(
            f"an array of shape {list(array.shape)} is not an image: give [H, W] or [H, W, C] with 1, 3 or 4 channels "
            "(from channels first: x.transpose(1, 2, 0))."
        )
    return Image.fromarray(np.ascontiguousarray(array))


def file_bytes(value: bytes | str | Path | Mapping[str, Any]) -> bytes:
    """The stored bytes of an image, from bytes, a path, or a dict with "bytes" and/or "path".

    Raises:
        ImageError: there are no bytes, or the file cannot be read.
    """
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        value = (path or b"") if data is None else data
    if isinstance(value, bytes | None):
        if not value:
            raise ImageError("it is empty: it has no bytes and no path. Remove it.")
        return value
    if not isinstance(value, str | Path):
        raise ImageError(
            f"{type(value).__name__} is not an image: give a PIL image, bytes, a path, a dict with 'bytes' or 'path', "
            "or a uint8 array (of a stream with a format, write .with_format(None) first). Rows without an image have "
            "to be removed."
        )
    try:
        return fetched(str(value)) if is_member(str(value)) else read_file(value)
    except (OSError, ValueError, zipfile.BadZipFile) as reason:
        why = getattr(reason, "strerror", None) or reason
        raise ImageError(f"{shown(value)!r} cannot be read: {why}.") from reason


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except (UnidentifiedImageError, ImageError):
        raise
    except Image.DecompressionBombError as reason:
        raise ImageError(f"too large: {reason} Scale it down, or raise PIL.Image.MAX_IMAGE_PIXELS.") from reason
    except MemoryError as reason:
        raise ImageError("too large for the memory that is free. Scale it down.") from reason
    except Exception as reason:  # of any kind: Pillow's decoders promise none for hostile bytes
        raise ImageError(
            f"truncated or damaged: {first_line(reason)}. Fetch the file again, or remove it."
        ) from reason


def _refuse_by_header(image: Image.Image) -> None:
    width, height = image.size
    short, long = sorted((width, height))
    with _damage_named():
        # The other frames of an MPO are previews and depth maps of the same photo.
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ImageError(f"the {image.format} file has {frames} frames, not one: extract them as images of their own.")
    if image.mode not in _DECODED_MODE:
        raise ImageError(f"mode {image.mode} has no 8-bit meaning: convert the image to 8-bit gray or RGB.")
    if short < MIN_SIDE:
        raise ImageError(f"{width} x {height} pixels: sides below {MIN_SIDE} cannot be protected. Remove it.")
    if long > MAX_ASPECT * short:
        raise ImageError(
            f"{width} x {height} pixels: one side is more than {MAX_ASPECT} times the other. Crop or remove it."
        )


def _array(image: Image.Image) -> np.ndarray:
    """The pixels, uint8 [H, W] or [H, W, C], in strips: asked for all, Pillow makes two copies besides."""
    width, height = image.size
    pixels = np.empty((height, width, *([3] if image.mode == "RGB" else [])), np.uint8)
    for top in range(0, height, STRIP):
        pixels[top : top + STRIP] = np.asarray(image.crop((0, top, width, min(height, top + STRIP))))
    return pixels


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)
