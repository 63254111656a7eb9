"""A folder as people have it: good pictures of every format, and damaged files of many kinds among them."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


Generator = np.random.Generator
SUFFIX = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}
SUFFIX |= {"AVIF": ".avif", "PPM": ".ppm", "JPEG2000": ".jp2"}


def good_file(format: str, seed: int) -> bytes:
    """A small picture that has something in every part."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 200, (4, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((int(rng.integers(40, 90)), int(rng.integers(32, 70))))
    file = BytesIO()
    picture.save(file, format, **({"lossless": True} if format == "WEBP" else {}))
    return file.getvalue()


def cut(data: bytes, rng: Generator) -> bytes:
    return data[: int(len(data) * rng.uniform(0.3, 0.7))]


def cut_in_its_header(data: bytes, rng: Generator) -> bytes:
    return data[: int(rng.integers(1, 16))]


def cut_near_its_end(data: bytes, rng: Generator) -> bytes:
    return data[: -max(24, len(data) // 20)]


def zeros_to_its_end(data: bytes, rng: Generator) -> bytes:
    return data[: len(data) // 2].ljust(len(data), b"\0")


def a_byte_changed(data: bytes, rng: Generator) -> bytes:
    damaged = bytearray(data)
    damaged[int(rng.integers(len(data) // 3, len(data) * 2 // 3))] ^= int(rng.integers(1, 256))
    return bytes(damaged)


def a_block_of_noise(data: bytes, rng: Generator) -> bytes:
    at = int(rng.integers(len(data) // 3, len(data) // 2))
    return data[:at] + rng.bytes(32) + data[at + 32 :]


def begins_in_its_middle(data: bytes, rng: Generator) -> bytes:
    return data[len(data) // 2 :]


def nothing_but_zeros(data: bytes, rng: Generator) -> bytes:
    return bytes(len(data))


def empty(data: bytes, rng: Generator) -> bytes:
    return b""


def noise(data: bytes, rng: Generator) -> bytes:
    return b"\1" + rng.bytes(len(data))


def a_web_page(data: bytes, rng: Generator) -> bytes:
    return b"<!DOCTYPE html><html><title>404 Not Found</title></html>"


def a_pointer_of_git_lfs(data: bytes, rng: Generator) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{rng.bytes(32).hex()}\nsize 12345\n".encode()


def a_header_with_a_larger_picture(data: bytes, rng: Generator) -> bytes:
    """PNG: the height is doubled, and the checksum is right."""
    head = data[12:20] + struct.pack(">I", 2 * int.from_bytes(data[20:24])) + data[24:29]
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def a_bomb(data: bytes, rng: Generator) -> bytes:
    """PNG: a few bytes that claim to be 40,000 pixels square."""
    head = b"IHDR" + struct.pack(">II", 40_000, 40_000) + data[24:29]
    return data[:8] + data[8:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


def too_small(data: bytes, rng: Generator) -> bytes:
    return _stored(data, lambda picture: picture.resize((4, 30)))


def too_long(data: bytes, rng: Generator) -> bytes:
    return _stored(data, lambda picture: picture.resize((8, 300)))


def several_frames(data: bytes, rng: Generator) -> bytes:
    file, picture = BytesIO(), Image.open(BytesIO(data))
    others = [picture.rotate(90, expand=False), picture.rotate(180)]
    picture.save(file, picture.format, save_all=True, append_images=others)
    return file.getvalue()


def numbers_that_are_no_colours(data: bytes, rng: Generator) -> bytes:
    return _stored(data, lambda picture: picture.convert("F"))


def _stored(data: bytes, change: Callable[[Image.Image], Image.Image]) -> bytes:
    file, picture = BytesIO(), Image.open(BytesIO(data))
    change(picture).save(file, picture.format)
    return file.getvalue()


ALL = tuple(SUFFIX)
CUT = tuple(format for format in ALL if format != "JPEG2000")  # OpenJPEG decodes what is there
DAMAGE: dict[Callable[[bytes, Generator], bytes], tuple[str, ...]] = {
    cut: CUT,
    cut_in_its_header: ALL,
    cut_near_its_end: ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "PPM"),
    zeros_to_its_end: ("JPEG", "PNG"),
    a_byte_changed: ("PNG",),
    a_block_of_noise: ("PNG",),
    begins_in_its_middle: ALL,
    nothing_but_zeros: ALL,
    empty: ALL,
    noise: ALL,
    a_web_page: ALL,
    a_pointer_of_git_lfs: ALL,
    a_header_with_a_larger_picture: ("PNG",),
    a_bomb: ("PNG",),
    too_small: ALL,
    too_long: ALL,
    several_frames: ("GIF", "TIFF", "WEBP", "PNG"),
    numbers_that_are_no_colours: ("TIFF",),
}
"""Each kind, and the formats in which nobody can take it for a picture. A byte that is changed in a JPEG gives another
picture, not a damaged file."""


def write_corpus(folder: Path, n_good: int, n_damaged: int) -> list[str]:
    """Write good and damaged files into a folder and its subfolders; the names of the damaged ones."""
    damaged = []
    for number in range(n_good + n_damaged):
        kinds = list(DAMAGE)
        kind = kinds[number % len(kinds)]
        formats = ALL if number < n_good else DAMAGE[kind]
        format = formats[number // len(kinds) % len(formats)]
        data = good_file(format, number)
        name = f"{number % 7}/{number:04}{SUFFIX[format]}"
        if number >= n_good:
            data = kind(data, np.random.default_rng(number))
            damaged.append(name)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return damaged
