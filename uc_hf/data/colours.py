"""Colours of decoded images: converted to sRGB, or with a colour profile that the copy can carry."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from uc_hf.errors import ImageError


LONGEST_CARRIED = 2**20
"""Bytes of a profile. Pillow, and so `datasets`, refuses to open a PNG with a longer one."""

_NEARLY_SRGB = 0.05
"""Relative difference up to which the power of a gAMA chunk counts as sRGB's 1/2.2, as in libpng."""

_GRAY = ("L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")

_SRGB_CHROMATICITIES = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def to_rgb(image: Image.Image) -> Image.Image:
    """A loaded image in gray, RGB or a palette; CMYK with a profile is converted to sRGB by that profile.

    Raises:
        ImageError: the profile of a CMYK image is unusable.
    """
    if image.mode == "LAB":
        return _without_profile(image.convert("RGB"))
    profile = _profile(image)
    if image.mode != "CMYK" or profile is None:
        return image
    return _without_profile(_through(profile, image, "RGB"))


def curve_of(image: Image.Image) -> Callable[[np.ndarray], np.ndarray] | None:
    """The function from an image's samples, floats in [0, 1], to those of sRGB; None if they are sRGB already.

    It follows from a profile for gray, or from a PNG's gAMA chunk, which a profile or an sRGB chunk overrides.

    Raises:
        ImageError: the profile of a gray image is unusable.
    """
    profile = _profile(image)
    if profile is not None:
        if profile[16:20] != b"GRAY" or image.mode not in _GRAY:
            return None
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        levels = np.asarray(_through(profile, ramp, "RGB", ImageCms.Flags.NOOPTIMIZE))[0, :, 1] / 255
        return lambda samples: np.interp(samples, np.arange(256) / 255, levels)
    power = image.info.get("gamma", 0) * 2.2
    if "srgb" in image.info or power <= 0 or abs(power - 1) <= _NEARLY_SRGB:
        return None
    return lambda samples: samples ** (1 / power)


def to_srgb(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """An image (L, LA, RGB or RGBA) in sRGB, or unchanged if it has a profile for RGB that its copy can carry.

    A profile for another kind of pixels is dropped, as viewers do.

    Returns:
        the image and its profile; None for sRGB.

    Raises:
        ImageError: the profile is unusable, or a PNG has other primaries than sRGB.
    """
    curve, profile = curve_of(image), _profile(image)
    if curve is not None:
        image = _with_levels(image, np.rint(255 * curve(np.arange(256) / 255)))
    if profile is None:
        _refuse_primaries(image)
        return image, None
    if profile[16:20] != b"RGB ":
        return image, None
    if len(profile) > LONGEST_CARRIED:
        colour = image.convert(image.mode.replace("L", "RGB"))
        return _through(profile, colour, colour.mode), None
    return image, profile


def _profile(image: Image.Image) -> bytes | None:
    profile = image.info.get("icc_profile")
    return profile if profile and isinstance(profile, bytes) else None


def _refuse_primaries(image: Image.Image) -> None:
    places = image.info.get("chromaticity")
    if places is None or "srgb" in image.info or image.mode in _GRAY:
        return
    if not np.allclose(places, _SRGB_CHROMATICITIES, atol=0.01):
        raise ImageError("its cHRM chunk names other primaries than sRGB's. Convert it to sRGB.")


def _with_levels(image: Image.Image, levels: np.ndarray) -> Image.Image:
    """The image with its colours mapped by levels [256]; alpha stays."""
    alpha = "A" in image.mode
    colours = len(image.getbands()) - alpha
    return image.point([*levels.astype(int).tolist() * colours, *(range(256) if alpha else ())])


def _through(
    profile: bytes, image: Image.Image, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> Image.Image:
    try:
        meant, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(meant, srgb, image.mode, mode, flags=flags).apply(image)
    except (ImageCms.PyCMSError, OSError) as reason:
        raise ImageError(
            f"unusable colour profile of a {image.mode} image: {reason}. Convert the image to sRGB, or remove its "
            "profile."
        ) from reason


def _without_profile(image: Image.Image) -> Image.Image:
    image.info = {name: value for name, value in image.info.items() if name != "icc_profile"}
    return image
