"""What is no picture cut out of the files of a GIF, BMP, PNM, TGA, JPEG 2000 and AVIF; their samples stay as stored.

Each function gives the file without it, unchanged if there is nothing to cut, or None if it cannot be cut out. Where a
file is damaged, it raises a ValueError, IndexError or struct.error.
"""

import re
import struct
from collections.abc import Iterator


_GIF_CONTROL, _GIF_APPLICATION, _GIF_PROFILE = 0xF9, 0xFF, b"\x0bICCRGBG1012"
_BMP_RLE, _BMP_MASKS, _BMP_PROFILES = (1, 2), (3, 6), (b"KNIL", b"DEBM")
_GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PNM = re.compile(rb"P([456])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)(?:" + _GAP + rb"(\d+))?\s", re.ASCII)
_JP2_KEPT = (b"jP  ", b"ftyp", b"rreq", b"jp2h", b"ihdr", b"bpcc", b"colr", b"pclr", b"cmap", b"cdef", b"res ")
_SOC, _SOT, _SOD, _EOC, _COMMENT = 0xFF4F, 0xFF90, 0xFF93, b"\xff\xd9", 0xFF64
_TGA_END = bytes(8) + b"TRUEVISION-XFILE.\0"


def gif(data: bytes) -> bytes | None:
    """Header, colours, and the first frame with its control block."""
    position = 13 + _gif_colours(data[10])
    parts = [data[:position]]
    while data[position] == ord("!"):
        end = _after_blocks(data, position + 2)
        kind, payload = data[position + 1], data[position + 2 : end]
        if (kind == _GIF_CONTROL and len(payload) == 6) or (
            kind == _GIF_APPLICATION and payload.startswith(_GIF_PROFILE)
        ):
            parts.append(data[position:end])
        position = end
    if data[position] != ord(","):
        raise ValueError(f"no picture at byte {position}")
    end = _after_blocks(data, position + 11 + _gif_colours(data[position + 9]))
    return b"".join([*parts, data[position:end], b";"])


def _gif_colours(flags: int) -> int:
    return 3 * 2 ** (1 + flags % 8) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    while length := data[position]:
        position += 1 + length
    return position + 1


def bmp(data: bytes) -> bytes | None:
    """Headers, colours and pixels; what lies between them becomes zero, and a profile goes, which nothing reads."""
    start, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, stored, colours, entry = 0, 0, 0, 3
    else:
        width, height, _, bits, compression, stored, _, _, colours = struct.unpack_from("<iiHHIIiiI", data, 18)
        entry = 4
    if bits <= 8:
        colours = colours or 2**bits
    masks = (12 if compression == 3 else 16) if compression in _BMP_MASKS and header == 40 else 0
    told = 14 + header + masks + colours * entry
    size = stored if compression in _BMP_RLE else (width * bits + 31) // 32 * 4 * abs(height)
    end = start + size
    if not size or end > len(data):
        return None
    whole = bytearray(data[:end])
    whole[told:start] = bytes(max(start - told, 0))
    if end < len(data):
        struct.pack_into("<I", whole, 2, end)
    if header >= 124 and data[70:74] in _BMP_PROFILES:
        whole[70:74] = b"BGRs"
        whole[126:134] = bytes(8)
    return bytes(whole)


def pnm(data: bytes) -> bytes | None:
    """The header without comments, and the samples of the first picture."""
    if data[1:2] in (b"1", b"2", b"3"):
        plain = re.sub(rb"#[^\r\n]*", b"", data)
        return plain if re.fullmatch(rb"P[123][\d\s]*", plain) else None
    header = _PNM.match(data)
    if header is None or (header[4] is None) != (header[1] == b"4"):
        return None
    width, height, top = int(header[2]), int(header[3]), int(header[4] or 1)
    row = (width + 7) // 8 if header[1] == b"4" else width * (3 if header[1] == b"6" else 1) * (2 if top > 255 else 1)
    samples = data[header.end() : header.end() + row * height]
    head = header[0]
    if b"#" in head:
        head = b"\n".join([b"P" + header[1], *(number for number in header.groups()[1:] if number)]) + b"\n"
    return head + samples


def tga(data: bytes) -> bytes | None:
    """Header, colours and pixels, without the text behind the header and the author's notes at the end."""
    colours = data[1] * struct.unpack_from("<H", data, 5)[0] * ((data[7] + 7) // 8)
    width, height, bits = struct.unpack_from("<HHB", data, 12)
    start, size = 18 + data[0] + colours, (bits + 7) // 8
    end = _after_runs(data, start, width * height, size) if data[2] & 8 else start + width * height * size
    if data[2] & 3 == 3 and bits == 1:
        end = start + (width + 7) // 8 * height
    if end > len(data):
        raise ValueError("it ends within its pixels")
    foot = _TGA_END if data[end:] == _TGA_END else b""
    return b"\0" + data[1:18] + data[18 + data[0] : end] + foot


def _after_runs(data: bytes, position: int, pixels: int, size: int) -> int:
    while pixels > 0:
        head = data[position]
        number = head % 128 + 1
        position += 1 + size * (1 if head > 127 else number)
        pixels -= number
    return position


def jpeg_2000(data: bytes) -> bytes | None:
    """The boxes that describe the picture and its samples, without comments; or the bare samples likewise."""
    if data.startswith(b"\xff\x4f"):
        return _codestream(data)
    parts: list[bytes] = []
    for kind, whole, content in _boxes(data):
        if kind == b"jp2c":
            samples = _codestream(content)
            return None if samples is None else b"".join([*parts, _box(kind, whole, content, samples)])
        if kind == b"jp2h":
            inner = b"".join(part for child, part, _ in _boxes(content) if child in _JP2_KEPT)
            parts.append(_box(kind, whole, content, inner))
        elif kind in _JP2_KEPT:
            parts.append(whole)
    raise ValueError("it has no samples")


def _box(kind: bytes, whole: bytes, content: bytes, left: bytes) -> bytes:
    return whole if left == content else struct.pack(">I4s", 8 + len(left), kind) + left


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Each box of a file, or of the content of one: its kind, its bytes, and its content."""
    position = 0
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        start = position + 8
        if length == 1:
            length, start = struct.unpack_from(">Q", data, start)[0], start + 8
        after = position + length if length else len(data)
        if not start <= after <= len(data):
            raise ValueError(f"the box at byte {position} ends outside of it")
        yield kind, data[position:after], data[start:after]
        position = after


def _codestream(data: bytes) -> bytes | None:
    """The samples without the comments of their header; None where a tile has some."""
    parts, position = [data[:2]], 2
    for marker, part in _segments(data, position):
        position += len(part)
        if marker != _COMMENT:
            parts.append(part)
    begin = position
    while data[position : position + 2] == b"\xff\x90":
        length = struct.unpack_from(">I", data, position + 6)[0]
        after = position + length if length else data.find(_EOC, position)
        if not position + 14 <= after <= len(data):
            raise ValueError("it ends within its samples")
        if any(marker == _COMMENT for marker, _ in _segments(data, position + 12, _SOD)):
            return None
        position = after
    return b"".join([*parts, data[begin:position], _EOC])


def _segments(data: bytes, position: int, last: int = _SOT) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of each segment before the last."""
    while (marker := struct.unpack_from(">H", data, position)[0]) != last:
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        yield marker, data[position:end]
        position = end


def avif(data: bytes) -> bytes | None:
    """The file if it has one picture without EXIF, XMP and previews: its samples are referred to by their places."""
    boxes = {kind: content for kind, _, content in _boxes(data)}
    told = boxes.get(b"meta", b"")
    others = set(boxes) - {b"ftyp", b"meta", b"mdat"}
    return None if others or any(kind in told for kind in (b"Exif", b"mime", b"thmb", b"uri ")) else data
