"""What numbers in a file mean: bits, white, transparent colours, gamma, profiles; read by other decoders than ours."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import png
import pytest
import tifffile
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image, ImageCms, PngImagePlugin

from tests.stored import stored
from uc_hf import UCProtector
from uc_hf.data.container import Container
from uc_hf.data.images import check, decode, encode
from uc_hf.errors import ImageError


PNG, WEBP = Container.parse("png"), Container.parse("webp")
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}
WIDTH, HEIGHT = 24, 16


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_file(kind: int, bits: int, values: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of values [H, W * samples], written by hand: Pillow cannot write all that it reads."""
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        digits = np.unpackbits(values.astype(np.uint8)[..., None], axis=2)[..., -bits:]
        rows = [np.packbits(row).tobytes() for row in digits.reshape(len(values), -1)]
    height, width = len(values), values.shape[1] // SAMPLES[kind]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunk(*pair) for pair in chunks) + body + chunk(b"IEND", b"")


def random_png(kind: int, bits: int, *chunks: tuple[bytes, bytes]) -> bytes:
    rng = np.random.default_rng(kind * 100 + bits)
    if kind == PALETTE:
        chunks = ((b"PLTE", rng.integers(0, 256, 3 * 2**bits, dtype=np.uint8).tobytes()), *chunks)
    return png_file(kind, bits, rng.integers(0, 2**bits, (HEIGHT, WIDTH * SAMPLES[kind])), *chunks)


def by_another_decoder(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The colours of a PNG in [0, 255] by its gamma, float [H, W, 3], and its alpha [H, W]; pypng shares no code."""
    width, height, rows, facts = png.Reader(bytes=data).asDirect()
    planes = facts["planes"]
    values = np.array([list(row) for row in rows]).reshape(height, width, planes) * (
        255 / (2 ** facts["bitdepth"] - 1)
    )
    alpha = values[..., -1] if planes in (2, 4) else np.full((height, width), 255.0)
    colours = np.broadcast_to(values[..., : 1 if planes < 3 else 3], (height, width, 3))
    return 255 * (colours / 255) ** (1 / (2.2 * facts.get("gamma", 1 / 2.2))), alpha


def transparent(*values: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(values)}H", *values)


def gamma(power: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(power * 100_000))


KINDS = {
    **{f"gray of {bits} bits": random_png(GRAY, bits) for bits in (1, 2, 4, 8, 16)},
    **{f"transparent gray of {bits} bits": random_png(GRAY, bits, transparent(1)) for bits in (1, 2, 4, 8)},
    "transparent gray of 16 bits": png_file(GRAY, 16, np.arange(384).reshape(16, 24) * 170, transparent(17_000)),
    **{f"palette of {bits} bits": random_png(PALETTE, bits) for bits in (1, 2, 4, 8)},
    **{f"half transparent palette of {b} bits": random_png(PALETTE, b, (b"tRNS", b"\x80\0")) for b in (1, 2, 4, 8)},
    **{f"colour of {bits} bits": random_png(RGB, bits) for bits in (8, 16)},
    "transparent colour of 8 bits": png_file(RGB, 8, np.arange(1152).reshape(16, 72) % 256, transparent(3, 4, 5)),
    **{f"gray and alpha of {bits} bits": random_png(GRAY_ALPHA, bits) for bits in (8, 16)},
    **{f"colour and alpha of {bits} bits": random_png(RGB_ALPHA, bits) for bits in (8, 16)},
    "gray of gamma 1": random_png(GRAY, 8, gamma(1)),
    "16 bits of gamma 1": random_png(GRAY, 16, gamma(1)),
    "palette of gamma 0.6": random_png(PALETTE, 4, gamma(0.6)),
    "colour of gamma 0.3": random_png(RGB, 8, gamma(0.3)),
    "colour and alpha of gamma 1": random_png(RGB_ALPHA, 8, gamma(1)),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_png_means_what_another_decoder_reads(name: str) -> None:
    picture = decode(KINDS[name])
    colours, alpha = by_another_decoder(KINDS[name])
    assert np.abs(picture.pixels - colours).max() < 1, "rounded, or the high byte of 16 bits"
    np.testing.assert_array_less(np.abs((255 if picture.alpha is None else picture.alpha) - alpha), 1)
    assert picture.mode.startswith("L") == ("gray" in name or name.startswith("16 bits"))


def test_every_copy_is_within_the_bound_by_another_decoder(fitted: UCProtector) -> None:
    features = Features({"image": ImageFeature(decode=False)})
    rows = Dataset.from_list([{"image": {"bytes": data, "path": None}} for data in KINDS.values()], features=features)
    for data, copy in zip(KINDS.values(), stored(rows.map(fitted, batched=True)), strict=True):
        before, after = by_another_decoder(data), by_another_decoder(copy["bytes"])
        assert 3 < np.abs(after[0] - before[0]).max() < 16 + 1
        np.testing.assert_array_less(np.abs(after[1] - before[1]), 1)


# --- bits


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def tiff_of_12_bits(values: np.ndarray) -> bytes:
    """Nobody here writes one: a header, nine tags, and three bytes for two values."""
    height, width = values.shape
    raw = int("".join(format(value, "012b") for value in values.ravel()), 2).to_bytes(values.size * 3 // 2, "big")
    sizes = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 122), (277, 1), (278, height)]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*sizes, (279, len(raw))])
    return b"II*\0" + struct.pack("<IH", 8, 9) + tags + bytes(4) + raw


def ramp(white: int, dtype: str = "u2") -> np.ndarray:
    return np.linspace(0, white, WIDTH * HEIGHT).astype(dtype).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("data", "white"),
    [
        (tiff_of_12_bits(ramp(4095)), 4095),
        (tiff(ramp(65535)), 65535),
        (tiff(ramp(65535), byteorder=">"), 65535),
        (tiff(65535 - ramp(65535), photometric="miniswhite"), 65535),
        (tiff(255 - ramp(255, "u1"), photometric="miniswhite"), 255),
    ],
    ids=["12 bits", "16 bits", "16 bits, big end first", "16 bits, white is 0", "8 bits, white is 0"],
)
def test_a_gray_tiff_goes_from_black_to_white(data: bytes, white: int) -> None:
    picture = decode(data)
    assert picture.mode == "L"
    np.testing.assert_array_equal(picture.pixels[..., 0], np.rint(ramp(white).astype(float) * 255 / white))


def test_a_dark_16_bit_negative_is_a_bright_picture() -> None:
    assert decode(tiff(ramp(9000), photometric="miniswhite")).pixels.min() > 200


@pytest.mark.parametrize(
    "data",
    [
        png_file(GRAY, 16, ramp(4095)),
        png_file(RGB, 16, np.repeat(ramp(4095), 3, axis=1)),
        png_file(GRAY_ALPHA, 16, np.repeat(ramp(4095), 2, axis=1)),
        tiff(ramp(4095)),
        tiff(ramp(16383)),
        tiff(65535 - ramp(4095), photometric="miniswhite"),
        tiff(np.dstack([ramp(4095)] * 3)),
        Image.fromarray(ramp(255).astype(np.int32)),
    ],
    ids=["gray", "colour", "alpha", "TIFF", "14 bits", "white is 0", "colour TIFF", "8 bits in 32"],
)
def test_fewer_bits_in_16_are_refused_by_name(data: Any) -> None:
    with pytest.raises(ImageError, match=r"nearly black: its brightest sample is .* fewer bits are stored in 16"):
        decode(data)


def test_black_is_black_in_any_number_of_bits() -> None:
    for kind in (GRAY, RGB):
        assert decode(png_file(kind, 16, np.zeros((HEIGHT, WIDTH * SAMPLES[kind]), int))).pixels.max() == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tiff(ramp(30_000, "i2")), "signed or have 16 bits"),
        (tiff(ramp(120, "i1")), "signed or have 8 bits"),
        (tiff(ramp(2**32 - 1, "u4")), "have 32 bits"),
        (
            tiff(ramp(255, "u1"), photometric="palette", colormap=np.arange(768, dtype="u2").reshape(3, 256) % 256),
            "palette",
        ),
        (random_png(RGB, 16, transparent(300, 400, 500)), "transparent colour of 16 bits"),
        (random_png(RGB, 16, gamma(1)), "16 bits and a gamma"),
    ],
    ids=["signed 16", "signed 8", "32", "palette of bytes", "transparent colour of 16 bits", "16 bits and gamma"],
)
def test_samples_without_a_meaning_are_refused_by_name(data: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        decode(data)


def test_a_transparent_gray_that_pillow_has_decoded_is_refused_with_what_to_give() -> None:
    image = Image.open(BytesIO(KINDS["transparent gray of 2 bits"]))
    assert decode(image).alpha is not None, "nothing is lost before the pixels are read"
    with pytest.raises(ImageError, match=r"comes decoded.*Give the file's bytes"):
        decode(image)


# --- colours


def test_gamma_of_srgb_changes_nothing_and_an_srgb_chunk_overrules_it() -> None:
    plain = decode(random_png(RGB, 8)).pixels
    for told in ([gamma(0.45455)], [gamma(1), (b"sRGB", b"\0")], [gamma(0)]):
        np.testing.assert_array_equal(decode(random_png(RGB, 8, *told)).pixels, plain)


def primaries(*green: int) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, *green, 15000, 6000)


def test_other_primaries_than_srgbs_are_refused_where_there_is_colour() -> None:
    usual, adobes = primaries(30000, 60000), primaries(21000, 71000)
    np.testing.assert_array_equal(decode(random_png(RGB, 8, usual)).pixels, decode(random_png(RGB, 8)).pixels)
    decode(random_png(GRAY, 8, adobes))
    for kind in (RGB, RGB_ALPHA, PALETTE):
        with pytest.raises(ImageError, match=r"cHRM chunk names other primaries.*Convert it to sRGB"):
            decode(random_png(kind, 8, adobes))


def high_dynamic_range() -> Iterator[bytes]:
    yield random_png(RGB, 16, (b"cICP", bytes([9, 16, 0, 1])))
    yield random_png(RGB, 8, (b"cICP", bytes([12, 13, 0, 1])))
    file = BytesIO()
    Image.new("RGB", (32, 24), "teal").save(file, "AVIF")
    data = bytearray(file.getvalue())
    at = data.index(b"colrnclx") + 8
    decode(bytes(data))
    data[at : at + 4] = bytes([0, 9, 0, 16])
    yield bytes(data)


def test_hdr_and_wide_gamuts_without_a_profile_are_refused_by_name() -> None:
    for data in high_dynamic_range():
        with pytest.raises(ImageError, match=r"HDR or of a wide gamut \(code points \d+/\d+.*Convert it to sRGB"):
            decode(data)
    decode(random_png(RGB, 8, (b"cICP", bytes([1, 13, 0, 1]))))


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr") -> bytes:
    """An ICC profile (ICC.1:2001): a header of 128 bytes, a table, the tags."""
    table, body, white = b"", b"", struct.pack(">3i", 63190, 65536, 54061)
    for name, data in {**tags, b"wtpt": b"XYZ " + bytes(4) + white}.items():
        table += name + struct.pack(">2I", 132 + 12 * (len(tags) + 1) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12x4s28x", 132 + len(table + body), bytes(4), 0x02400000, kind, space, b"XYZ ", b"acsp"
    )
    return (head + white).ljust(128, b"\0") + struct.pack(">I", len(tags) + 1) + table + body


LINEAR_GRAY = profile(b"GRAY", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, 256)})


def with_long_tag(size: int) -> bytes:
    """sRGB's profile with a tag that nobody knows."""
    count = int.from_bytes(SRGB[128:132])
    table = b"".join(
        name + struct.pack(">2I", offset + 12, length)
        for name, offset, length in struct.iter_unpack(">4s2I", SRGB[132 : 132 + 12 * count])
    )
    start = len(SRGB) + 12
    data = np.random.default_rng(0).bytes(size)
    whole = SRGB[4:128] + struct.pack(">I", count + 1) + table + b"zzzz" + struct.pack(">2I", start, size)
    return struct.pack(">I", start + size) + whole + SRGB[132 + 12 * count :] + data


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
@pytest.mark.parametrize("container", [PNG, WEBP], ids=str)
def test_a_profile_for_gray_is_applied(mode: str, container: Container) -> None:
    image = Image.fromarray(ramp(255, "u1")).convert(mode)
    picture = decode(saved(image, "PNG", icc_profile=LINEAR_GRAY))
    light = np.asarray(image.convert("L")) / 255
    meant = 255 * np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert picture.icc is None and picture.mode == ("LA" if mode == "LA" else "L")
    assert np.abs(picture.pixels[..., 0] - meant).max() <= 1
    np.testing.assert_array_equal(decode(encode(picture, container)).pixels, picture.pixels)


def test_a_profile_for_other_pixels_says_nothing() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
    for other in (LINEAR_GRAY, profile(b"CMYK", {}, b"prtr"), b"none at all"):
        picture = decode(saved(image, "PNG", icc_profile=other))
        assert picture.icc is None
        np.testing.assert_array_equal(picture.pixels, np.asarray(image))


def test_an_unusable_profile_of_gray_is_refused_by_name() -> None:
    data = saved(Image.fromarray(ramp(255, "u1")), "PNG", icc_profile=LINEAR_GRAY[:140])
    with pytest.raises(ImageError, match="unusable colour profile of a L image"):
        decode(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_a_profile_too_long_for_a_png_is_applied_and_the_copy_opens_anywhere(mode: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 4), dtype=np.uint8)).convert("RGB")
    data = saved(image.convert(mode), "PNG", icc_profile=with_long_tag(4_000_000))
    with pytest.raises(ValueError, match="too large"):
        Image.open(BytesIO(data))
    picture = check(data, PNG)
    assert picture.icc is None
    assert np.abs(picture.pixels.astype(int) - np.asarray(image.convert(mode).convert("RGB"))).max() <= 1
    Image.open(BytesIO(encode(picture, PNG))).load()


def test_a_profile_of_a_bomb_is_refused_by_name() -> None:
    bomb = (b"iCCP", b"bomb\0\0" + zlib.compress(bytes(65 * 2**20)))
    with pytest.raises(ImageError, match="its colour profile takes more than 64 MB"):
        decode(random_png(RGB, 8, bomb))


@pytest.mark.parametrize("damage", ["checksum", "cut"])
def test_a_damaged_profile_is_damage(damage: str) -> None:
    data = bytearray(random_png(RGB, 8, (b"iCCP", b"name\0\0" + zlib.compress(SRGB))))
    if damage == "checksum":
        data[data.index(b"iCCP") + 40] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        decode(bytes(data) if damage == "checksum" else bytes(data[: data.index(b"iCCP") + 200]))


@pytest.mark.parametrize("where", ["before the pixels", "behind them"])
def test_long_texts_of_a_healthy_png_do_no_harm(where: str) -> None:
    texts = PngImagePlugin.PngInfo()
    for name in ("workflow", "prompt"):
        texts.add_itxt(name, "x" * 3_000_000, zip=True)
    image = Image.new("RGB", (24, 16), "teal")
    data = saved(image, "PNG", pnginfo=texts)
    if where == "behind them":
        data = saved(image, "PNG")[:-12] + data[33 : data.index(b"IDAT") - 4] + data[-12:]
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(image))


def test_the_profile_of_a_jpeg_2000_is_read() -> None:
    data = saved(Image.new("RGB", (24, 16), "teal"), "JPEG2000")
    at = data.index(b"colr\1")
    old, new = int.from_bytes(data[at - 4 : at]), 11 + len(SRGB)
    box = struct.pack(">I", new) + b"colr\2\0\0" + SRGB
    head = data.index(b"jp2h") - 4
    longer = struct.pack(">I", int.from_bytes(data[head : head + 4]) + new - old)
    data = data[:head] + longer + data[head + 4 : at - 4] + box + data[at - 4 + old :]
    assert decode(data).icc == SRGB


# --- pixels that are not all there


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", [GRAY, RGB, PALETTE, RGB_ALPHA])
def test_a_png_without_its_last_rows_is_named_and_a_black_end_is_none(kind: int, interlaced: bool) -> None:
    values = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH * SAMPLES[kind]))
    values[-3:] = 0
    palette = [(b"PLTE", bytes(768))] if kind == PALETTE else []
    whole = png_file(kind, 8, values, *palette)
    if interlaced:
        rows = values.reshape(HEIGHT, WIDTH, -1)
        steps = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        parts = (rows[top::down, left::across] for top, left, down, across in steps)
        lines = [b"\0" + row.astype(np.uint8).tobytes() for part in parts for row in part]
    else:
        lines = [b"\0" + row.astype(np.uint8).tobytes() for row in values]
    head, behind = whole[12:28] + bytes([interlaced]), whole[33 : whole.index(b"IDAT") - 4]
    for missing, names in ((0, False), (1, True), (4, True)):
        pixels = zlib.compress(b"".join(lines[: len(lines) - missing]))
        data = whole[:8] + chunk(b"IHDR", head[4:]) + behind + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
        if names:
            with pytest.raises(ImageError, match="damaged: rows are missing"):
                decode(data)
        else:
            np.testing.assert_array_equal(decode(data).pixels, decode(whole).pixels)


def test_a_byte_that_the_pixels_do_not_need_is_damage_too() -> None:
    data = bytearray(random_png(RGB, 8))
    data[data.index(b"IEND") - 10] ^= 1  # in the checksum of the compressed pixels
    with pytest.raises(ImageError, match="damaged: a wrong checksum"):
        decode(bytes(data))
