"""Remove from encoded images what reveals their owner: EXIF, XMP, comments, previews. Pixels and colours stay.

Parts are cut out of JPEG, PNG and WebP files; the first picture of others is encoded again, losslessly. Of an
animation the first frame stays.
"""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from uc_hf.data.png import SIGNATURE
from uc_hf.errors import ImageError


_JPEG = b"\xff\xd8\xff"
_SOS, _EOI, _STANDALONE = 0xDA, 0xD9, (0x01, *range(0xD0, 0xDA))
_AFTER_SAMPLES = re.compile(rb"\xff[^\0\xff\xd0-\xd7]")
_PNG_KEPT = frozenset(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT".split())
_WEBP_STILL = (b"VP8 ", b"VP8L", b"ALPH")
_WEBP_KEPT = (*_WEBP_STILL, b"VP8X", b"ANIM", b"ICCP")
_WEBP_EXIF, _WEBP_XMP = 0x08, 0x04
_LOSSLESS = frozenset(("TIFF", "GIF", "BMP", "PPM"))
"""Formats that stay; of others a PNG takes the place, under the same name."""

_TIFF_KEPT = frozenset(
    int(tag)
    for tag in (
        "254 255 256 257 258 259 262 263 264 265 266 273 274 277 278 279 280 281 282 283 284 290 291 292 293 296 297 "
        "301 317 318 319 320 321 322 323 324 325 326 327 328 332 334 336 338 339 340 341 347 529 530 531 532 34675"
    ).split()
)
"""Sides, samples, compression, strips and tiles, orientation, resolution, page number, colours and their profile."""


def without_metadata(data: bytes) -> bytes:
    """An encoded image without EXIF, XMP, text and further pictures; its orientation and colour profile stay.

    Args:
        data: a file that Pillow reads. A JPEG, PNG, WebP, TIFF or AVIF without metadata comes back unchanged.

    Raises:
        ImageError: the file is damaged, so that its content is unknown.
    """
    try:
        if data.startswith(_JPEG):
            return _jpeg(data)
        if data.startswith(SIGNATURE):
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp(data)
        return _other(data)
    except Exception as reason:  # of any kind: Pillow's readers promise none for hostile bytes
        raise ImageError(
            f"its EXIF cannot be taken out, since the file is damaged ({reason}). Mend it, leave it out, or keep EXIF "
            "(--keep-exif)."
        ) from reason


def _jpeg(data: bytes) -> bytes:
    parts, exif = [], b""
    for marker, part in _jpeg_parts(data):
        if marker == 0xE1 and part[4:10] == b"Exif\0\0":
            exif = _orientation_alone(part[4:])
        if _kept_in_jpeg(marker, part[4:]):
            parts.append(part)
    if exif:
        behind_jfif = int(bool(parts) and parts[0][1] == 0xE0)
        parts.insert(behind_jfif, b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    return b"".join([data[:2], *parts])


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment, with the samples behind it, up to the end marker."""
    position, marker = 2, 0
    while marker != _EOI and position < len(data):
        while data[position + 1] == 0xFF:  # may be put before any marker
            position += 1
        if data[position] != 0xFF:
            raise ValueError(f"no marker at byte {position}")
        start, marker = position, data[position + 1]
        position += 2 if marker in _STANDALONE else 2 + struct.unpack_from(">H", data, position + 2)[0]
        if marker == _SOS:
            end = _AFTER_SAMPLES.search(data, position)
            position = len(data) if end is None else end.start()
        if position > len(data):
            raise ValueError("it ends within a segment")
        yield marker, data[start:position]


def _kept_in_jpeg(marker: int, payload: bytes) -> bool:
    if marker == 0xE0:
        return not payload.startswith(b"JFXX")  # a preview
    if marker == 0xE2:
        return payload.startswith(b"ICC_PROFILE\0")
    return marker == 0xEE or not (0xE0 <= marker <= 0xEF or marker == 0xFE)  # Adobe's says what the colours mean


def _png(data: bytes) -> bytes:
    parts, position, kind = [SIGNATURE], len(SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise ValueError("it ends within a chunk")
        if kind in _PNG_KEPT:
            parts.append(data[position:end])
        elif kind == b"eXIf" and (exif := _orientation_alone(data[position + 8 : end - 4])):
            body = kind + exif.removeprefix(b"Exif\0\0")
            parts.append(struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
        position = end
    return b"".join(parts)


def _webp(data: bytes) -> bytes:
    parts: list[bytes] = []
    exif, sampled = b"", False
    end = min(len(data), 8 + struct.unpack_from("<I", data, 4)[0])
    for kind, chunk in _webp_chunks(data[:end], 12):
        if kind == b"EXIF":
            exif = _orientation_alone(chunk[8:])
        elif kind == b"ANMF" and not sampled:
            inner = (part for inside, part in _webp_chunks(chunk, 24) if inside in _WEBP_STILL)
            frame = b"".join([chunk[8:24], *inner])
            parts.append(kind + struct.pack("<I", len(frame)) + frame)
        elif kind in _WEBP_KEPT and not (sampled and kind in _WEBP_STILL):
            parts.append(chunk)
        sampled = sampled or kind in (b"VP8 ", b"VP8L", b"ANMF")
    if parts and parts[0].startswith(b"VP8X"):
        flags = parts[0][8] & ~(_WEBP_EXIF | _WEBP_XMP) | (_WEBP_EXIF if exif else 0)
        parts[0] = parts[0][:8] + bytes([flags]) + parts[0][9:]
    if exif:
        parts.append(b"EXIF" + struct.pack("<I", len(exif)) + exif + bytes(len(exif) % 2))
    body = b"".join([b"WEBP", *parts])
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_chunks(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Kind and bytes of each chunk, with the padding behind it."""
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        after = position + 8 + length + length % 2
        yield kind, data[position:after]
        position = after


def _other(data: bytes) -> bytes:
    """A file of another format: its first picture encoded anew, in a format that keeps every pixel."""
    with Image.open(io.BytesIO(data)) as image:
        if _holds_nothing(image):
            return data
        image.load()  # turns a TIFF upright
        exif = Image.Exif()
        if orientation := image.getexif().get(ExifTags.Base.Orientation):
            exif[ExifTags.Base.Orientation] = orientation
        plain = image.copy()
        plain.info = {name: value for name, value in image.info.items() if name in ("icc_profile", "transparency")}
        for kind in (*_LOSSLESS.intersection([image.format]), "PNG", "TIFF"):
            stored = io.BytesIO()
            try:
                plain.save(stored, kind, exif=exif, icc_profile=image.info.get("icc_profile"))
            except (KeyError, OSError, ValueError):  # Pillow does not write this format, or not this mode in it
                continue
            if _same(stored.getvalue(), image):
                return stored.getvalue()
    raise ValueError("no format that Pillow writes holds its pixels")


def _holds_nothing(image: Image.Image) -> bool:
    """Whether a TIFF or an AVIF has one picture and nothing that says more than how to show it."""
    if getattr(image, "n_frames", 1) > 1:
        return False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _TIFF_KEPT.issuperset(image.tag_v2)
    return image.format == "AVIF" and not {"exif", "xmp"} & image.info.keys()


def _same(data: bytes, image: Image.Image) -> bool:
    """Whether a file shows what the first frame of an image does."""
    with Image.open(io.BytesIO(data)) as other:
        return other.mode == image.mode and np.array_equal(np.asarray(other), np.asarray(image))


def _orientation_alone(exif: bytes) -> bytes:
    """EXIF with only the orientation; empty if the image is upright or its EXIF cannot be read."""
    read, alone = Image.Exif(), Image.Exif()
    try:
        read.load(exif)
        orientation = read.get(ExifTags.Base.Orientation)
    except Exception:  # as above; `decode` takes damaged EXIF for absent, too
        return b""
    if orientation not in range(2, 9):
        return b""
    alone[ExifTags.Base.Orientation] = orientation
    return alone.tobytes()
