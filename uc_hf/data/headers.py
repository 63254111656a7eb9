"""Colour information in the header of a file that Pillow does not read."""

import struct
import zlib
from typing import Any

from uc_hf.errors import ImageError


LARGEST_PROFILE = 64 * 2**20
"""In bytes."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")

# Code points of ITU-T H.273 that an ordinary screen shows as sRGB, or nearly so; 2 leaves it open.
_PRIMARIES = {1, 2, 5, 6, 7}
_TRANSFERS = {1, 2, 4, 5, 6, 7, 13, 14, 15}


def read_header(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A file in a form that Pillow opens, and the colour information that Pillow's `info` would lack.

    Args:
        data: an encoded image of any format.

    Returns:
        the file (a PNG without its texts and its profile, since Pillow refuses healthy files where these exceed a
        megabyte), and "icc_profile" if it is read here.

    Raises:
        ImageError: the colours are HDR or a wide gamut without a profile, which a copy would lose.
    """
    if data.startswith(_SIGNATURE):
        return _read_png(data)
    if data[4:8] == b"ftyp":
        at = data.find(b"colrnclx")
        if at >= 0 and b"colrprof" not in data and b"colrrICC" not in data:
            _refuse_wide(*struct.unpack_from(">HH", data.ljust(at + 12), at + 8))
    if data[4:8] == b"jP  " and (profile := _profile_of_jpeg_2000(data)):
        return data, {"icc_profile": profile}
    return data, {}


def _read_png(data: bytes) -> tuple[bytes, dict[str, Any]]:
    kept, info = [memoryview(data)[: len(_SIGNATURE)]], {}
    at, code_points = len(_SIGNATURE), None
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = memoryview(data)[at : at + length + 12]
        at += length + 12
        profile = _profile_of_png(chunk) if kind == b"iCCP" else None
        if profile is not None:
            info["icc_profile"] = profile
        elif kind not in _TEXTS:
            kept.append(chunk)
        if kind == b"cICP" and length == 4:
            code_points = chunk[8:10]
        if kind == b"IEND":
            break
    if code_points is not None and not info:
        _refuse_wide(*code_points)
    kept.append(memoryview(data)[at:])
    return b"".join(kept), info


def _profile_of_png(chunk: memoryview) -> bytes | None:
    """The profile in an iCCP chunk; None if it is damaged, which Pillow reports."""
    body, checksum = bytes(chunk[4:-4]), bytes(chunk[-4:])
    if zlib.crc32(body).to_bytes(4, "big") != checksum:
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(body[body.index(0, 4) + 2 :], LARGEST_PROFILE)
    except (ValueError, zlib.error):
        return None
    if inflate.unconsumed_tail:
        raise ImageError(f"its colour profile takes more than {LARGEST_PROFILE >> 20} MB: remove the profile.")
    return profile if inflate.eof else None


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
