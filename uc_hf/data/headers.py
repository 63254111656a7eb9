"""Colour information in the header of a file that Pillow does not read."""

import struct
from typing import Any

from uc_hf.data.png import SIGNATURE, read_png
from uc_hf.errors import ImageError


# Code points of ITU-T H.273 that an ordinary screen shows as sRGB, or nearly so; 2 leaves it open.
_PRIMARIES = {1, 2, 5, 6, 7}
_TRANSFERS = {1, 2, 4, 5, 6, 7, 13, 14, 15}


def read_header(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A file as Pillow can open it, and what Pillow's `info` would lack of its colours.

    Args:
        data: an encoded image of any format.

    Returns:
        the file (a PNG as `read_png` gives it), and "icc_profile" if it is read here.

    Raises:
        ImageError: the colours are HDR or a wide gamut without a profile, which a copy would lose; or as `read_png`.
    """
    told: dict[str, Any] = {}
    if data.startswith(SIGNATURE):
        data, told = read_png(data)
    elif data[4:8] == b"ftyp" and b"colrprof" not in data and b"colrrICC" not in data:
        at = data.find(b"colrnclx")
        told = {} if at < 0 else {"cicp": struct.unpack_from(">HH", data.ljust(at + 12), at + 8)}
    elif data[4:8] == b"jP  " and (profile := _profile_of_jpeg_2000(data)):
        told = {"icc_profile": profile}
    if "cicp" in told and "icc_profile" not in told:
        _refuse_wide(*told["cicp"])
    return data, told


def _profile_of_jpeg_2000(data: bytes) -> bytes | None:
    at = data.find(b"colr\2", 0, data.find(b"jp2c"))  # method 2: a profile
    if at < 4:
        return None
    return data[at + 7 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


def _refuse_wide(primaries: int, transfer: int) -> None:
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        raise ImageError(
            f"its colours are those of HDR or of a wide gamut (code points {primaries}/{transfer} of ITU-T H.273), "
            "which its copy would lose. Convert it to sRGB."
        )
