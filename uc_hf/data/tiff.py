"""The first picture of a TIFF, with the tags that say how to show it and nothing else; its samples are not decoded."""

import struct


_KEPT = frozenset(
    int(tag)
    for tag in (
        "254 255 256 257 258 259 262 263 264 265 266 273 274 277 278 279 280 281 282 283 284 290 291 292 293 296 297 "
        "301 317 318 319 320 321 322 323 324 325 326 327 328 332 334 336 338 339 340 341 347 529 530 531 532 34675"
    ).split()
)
"""Sides, samples, compression, strips and tiles, orientation, resolution, page number, colours and their profile."""

_COMPRESSION, _OLD_JPEG, _TEXT = 259, 6, 2
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8}
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}
"""The types of whole numbers."""


class _Layout:
    """How the parts of a file are written: in which order bytes stand, and whether places have 4 bytes or 8."""

    def __init__(self, data: bytes) -> None:
        self.order = "<" if data[:2] == b"II" else ">"
        self.big = self.unpack("H", data, 2)[0] == 43
        self.place = "Q" if self.big else "I"
        self.width = 8 if self.big else 4
        self.header = 2 * self.width
        self.count, self.entry = ("Q", 20) if self.big else ("H", 12)

    def unpack(self, kinds: str, data: bytes, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + kinds, data, at)

    def pack(self, kinds: str, *numbers: int) -> bytes:
        return struct.pack(self.order + kinds, *numbers)


def first_picture(data: bytes) -> bytes | None:
    """A TIFF without further pages, text, thumbnails and bytes that no tag refers to; unchanged if it has none.

    Returns:
        None if its samples cannot be told apart from the rest: it does not say how many bytes they have.

    Raises:
        ValueError, struct.error, KeyError: it is damaged.
    """
    layout = _Layout(data)
    start = layout.unpack(layout.place, data, layout.width)[0]
    entries, spans, dropped = _entries(data, layout, start)
    places, lengths = (324, 325) if 324 in entries else (273, 279)
    if places not in entries or lengths not in entries or _numbers(entries, _COMPRESSION, layout) == (_OLD_JPEG,):
        return None
    pieces = list(zip(_numbers(entries, places, layout), _numbers(entries, lengths, layout), strict=True))
    if any(at + length > len(data) for at, length in pieces):
        raise ValueError("it ends within its samples")
    unread = bytearray(data)
    for at, length in [*spans, *pieces]:
        unread[at : at + length] = bytes(length)
    if not dropped and not any(unread.strip(b"\0")):
        return data
    return _written(entries, places, [data[at : at + length] for at, length in pieces], layout)


_Entries = dict[int, tuple[int, bytes]]


def _entries(data: bytes, layout: _Layout, start: int) -> tuple[_Entries, list[tuple[int, int]], bool]:
    """Type and value of the tags that are kept, the parts of the file that hold them, and whether others are not."""
    size = struct.calcsize(layout.order + layout.count)
    number = layout.unpack(layout.count, data, start)[0]
    after = start + size + number * layout.entry
    spans, kept = [(0, layout.header), (start, after + layout.width - start)], {}
    for at in range(start + size, after, layout.entry):
        tag, kind, count = layout.unpack("HH" + layout.place, data, at)
        if tag not in _KEPT or kind == _TEXT:
            continue
        length, place = _SIZES[kind] * count, at + layout.entry - layout.width
        if length > layout.width:
            place = layout.unpack(layout.place, data, place)[0]
        if place + length > len(data):
            raise ValueError(f"it ends within the tag {tag}")
        kept[tag] = kind, data[place : place + length]
        spans.append((place, length))
    return kept, spans, len(kept) < number or bool(layout.unpack(layout.place, data, after)[0])


def _numbers(entries: _Entries, tag: int, layout: _Layout) -> tuple[int, ...]:
    kind, value = entries.get(tag, (3, b""))
    return layout.unpack(f"{len(value) // _SIZES[kind]}{_WHOLE[kind]}", value, 0)


def _header(layout: _Layout) -> bytes:
    """The first bytes, with tags right behind them."""
    start = b"II" if layout.order == "<" else b"MM"
    kind = layout.pack("HHH", 43, 8, 0) if layout.big else layout.pack("H", 42)
    return start + kind + layout.pack(layout.place, layout.header)


def _written(entries: _Entries, places: int, pieces: list[bytes], layout: _Layout) -> bytes:
    """A file of these tags and samples: header, tags, longer values, samples, each at an even place."""
    kind = 16 if layout.big else 4
    entries[places] = kind, bytes(layout.width * len(pieces))
    outside = struct.calcsize(layout.order + layout.count) + len(entries) * layout.entry + layout.width + layout.header
    at = outside + sum(_even(len(value)) for _, value in entries.values() if len(value) > layout.width)
    starts = []
    for piece in pieces:
        starts.append(at)
        at += _even(len(piece))
    entries[places] = kind, layout.pack(f"{len(starts)}{layout.place}", *starts)
    head = _header(layout) + layout.pack(layout.count, len(entries))
    values = b""
    for tag, (kind, value) in sorted(entries.items()):
        head += layout.pack("HH" + layout.place, tag, kind, len(value) // _SIZES[kind])
        if len(value) > layout.width:
            head += layout.pack(layout.place, outside + len(values))
            values += value.ljust(_even(len(value)), b"\0")
        else:
            head += value.ljust(layout.width, b"\0")
    samples = (piece.ljust(_even(len(piece)), b"\0") for piece in pieces)
    return b"".join([head, bytes(layout.width), values, *samples])


def _even(length: int) -> int:
    return length + length % 2
