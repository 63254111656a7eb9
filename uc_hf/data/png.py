"""What a PNG holds that Pillow does not look at: checksums, how many rows there are, long profiles, HDR."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from PIL import Image

from uc_hf.errors import ImageError


SIGNATURE = b"\x89PNG\r\n\x1a\n"

LARGEST_PROFILE = 64 * 2**20
"""In bytes."""

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced picture: the first column and row of each pass, and the steps to the next (PNG, 8.2)."""


def read_png(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG as Pillow can open it, and what `info` would lack.

    Args:
        data: an encoded PNG.

    Returns:
        the file without its texts and its profile, since Pillow refuses healthy ones where these take more than a
        megabyte; "icc_profile", and "cicp": the code points of its colours (ITU-T H.273).

    Raises:
        ImageError: a wrong checksum of its pixels, or a profile that is too long.
    """
    kept, at = [memoryview(SIGNATURE)], len(SIGNATURE)
    info: dict[str, Any] = {}
    for kind, chunk in _chunks(data):
        at += len(chunk)
        profile = _profile(chunk) if kind == b"iCCP" else None
        if profile is not None:
            info["icc_profile"] = profile
        elif kind not in _TEXTS:
            kept.append(chunk)
        if kind == b"cICP" and len(chunk) == 16:
            info["cicp"] = chunk[8], chunk[9]
        if kind == b"IDAT" and len(chunk) >= 12 and not _intact(chunk):
            raise ImageError("truncated or damaged: a wrong checksum. Fetch the file again, or remove it.")
    kept.append(memoryview(data)[at:])
    whole = sum(map(len, kept)) == len(data)  # a copy of a photo's file is large
    return data if whole else b"".join(kept), info


def lacks_rows(image: Image.Image, data: bytes) -> bool:
    """Whether a loaded PNG has fewer rows than its header says, which Pillow leaves black.

    Args:
        image: what was read.
        data: the file.
    """
    width, height = image.size
    interlaced = data[28] != 0
    if not interlaced and image.crop((0, height - 1, width, height)).getbbox(alpha_only=False) is not None:
        return False
    bits = data[24] * _CHANNELS[data[25]]
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    expected = sum(_pass_size(width, height, bits, *place) for place in passes)
    return _inflated_size(data, expected) < expected


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and bytes of each chunk, the last one perhaps cut off."""
    at, kind = len(SIGNATURE), b""
    while at + 8 <= len(data) and kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, memoryview(data)[at : at + length + 12]
        at += length + 12


def _intact(chunk: memoryview) -> bool:
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])


def _profile(chunk: memoryview) -> bytes | None:
    """The profile in an iCCP chunk; None where that is damaged, to be reported by Pillow."""
    body, inflate = bytes(chunk[8:-4]), zlib.decompressobj()
    try:
        profile = inflate.decompress(body[body.index(0) + 2 :], LARGEST_PROFILE) if _intact(chunk) else b""
    except (ValueError, zlib.error):
        return None
    if inflate.unconsumed_tail:
        raise ImageError(f"its colour profile takes more than {LARGEST_PROFILE >> 20} MB: remove the profile.")
    return profile if inflate.eof else None


def _pass_size(width: int, height: int, bits: int, left: int, top: int, across: int, down: int) -> int:
    """Bytes of the filtered rows of a pass; an empty one has none."""
    columns, rows = max(0, -(-(width - left) // across)), max(0, -(-(height - top) // down))
    return rows * (1 + -(-columns * bits // 8)) if columns else 0


def _inflated_size(data: bytes, enough: int) -> int:
    inflate, size = zlib.decompressobj(), 0
    for kind, chunk in _chunks(data):
        if kind == b"IDAT":
            rest = bytes(chunk[8:-4])
            while rest and size < enough and not inflate.eof:
                size += len(inflate.decompress(rest, 2**20))
                rest = inflate.unconsumed_tail
    return size
