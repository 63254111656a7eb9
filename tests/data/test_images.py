"""Images of every kind, as real encoded bytes: what is read, what is stored again, and what is refused in words."""

import logging
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms, ImageOps
from PIL.JpegImagePlugin import JpegImageFile

from tests.conftest import SHARED, shared_data
from uc_hf.data import images
from uc_hf.data.images import (
    Container,
    Picture,
    canvas,
    decode,
    encode,
    open_image,
    stem,
)
from uc_hf.errors import ImageError, SettingError


PNG, WEBP, JPEG = Container.parse("png"), Container.parse("webp"), Container.parse("jpeg:95")
ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def check(value: Any) -> Picture:
    return images.check(value, PNG)


def noise(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def photo(width: int = 40, height: int = 24) -> Image.Image:
    """Smooth colour, so that lossy formats stay close to it."""
    return Image.fromarray(noise(3, 4, 3)).resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def exif_with_gps(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = "Maker"
    exif.get_ifd(GPS).update({1: "N", 2: (48.0, 51.0, 29.5)})
    return exif


def ink_profile() -> bytes:
    """A small ICC profile for CMYK (lut8, ICC.1:2001, 6.5.8): black ink is L = 100 %, no black ink L = 0."""
    corners = np.array([[255 if k else 0, 128, 128] for _ in range(8) for k in (0, 1)], np.uint8)  # K varies fastest
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(np.eye(3, dtype=int) * 65536).ravel().tolist())
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + ramp * 4 + corners.tobytes() + ramp * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    tags, body = b"", b""
    for name, data in ((b"A2B0", lut), (b"wtpt", white)):
        tags += name + struct.pack(">2I", 128 + 4 + 24 + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    size = 128 + 4 + len(tags) + len(body)
    head = struct.pack(">I4sI4s4s4s12x4s", size, bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 2) + tags + body


# --- modes


def rgb(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    ("image", "format", "mode"),
    [
        (photo().convert("1"), "PNG", "L"),
        (photo().convert("L"), "PNG", "L"),
        (photo().convert("L"), "JPEG", "L"),
        (photo().convert("P", palette=Image.Palette.ADAPTIVE), "PNG", "RGB"),
        (photo().convert("P", palette=Image.Palette.ADAPTIVE), "GIF", "RGB"),
        (photo(), "PNG", "RGB"),
        (photo(), "BMP", "RGB"),
        (photo(), "JPEG", "RGB"),
        (photo().convert("CMYK"), "TIFF", "RGB"),
        (photo().convert("CMYK"), "JPEG", "RGB"),
        pytest.param(
            photo().convert("YCbCr"),
            "TIFF",
            "RGB",
            marks=pytest.mark.skipif(PIL.__version__ < "13", reason="Pillow 12 cannot read what it writes"),
        ),
        (photo().convert("LAB"), "TIFF", "RGB"),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else value,
)
def test_opaque_modes_become_gray_or_rgb(image: Image.Image, format: str, mode: str) -> None:
    # Pillow 12 cannot read the uncompressed YCbCr that it writes.
    data = saved(image, format, **({"compression": "tiff_lzw"} if format == "TIFF" else {}))
    picture = decode(data)
    assert picture.mode == mode and picture.alpha is None
    assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == (24, 40, 3)
    np.testing.assert_array_equal(picture.pixels, rgb(Image.open(BytesIO(data))))
    check(data)


def test_hsv_in_memory_becomes_rgb() -> None:
    image = photo().convert("HSV")
    np.testing.assert_array_equal(decode(image).pixels, rgb(image))


def test_gray_pictures_have_three_equal_channels() -> None:
    gray = noise(24, 40)
    for pixels in (decode(gray).pixels, decode(saved(Image.fromarray(gray), "PNG")).pixels):
        np.testing.assert_array_equal(pixels, np.dstack([gray] * 3))


@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_kept_apart(channels: int) -> None:
    values = noise(24, 40, channels)
    picture = decode(saved(Image.fromarray(values), "PNG"))
    assert picture.mode == {2: "LA", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(picture.alpha, values[..., -1])
    np.testing.assert_array_equal(picture.pixels, np.broadcast_to(values[..., :-1], (24, 40, 3)))


@pytest.mark.parametrize("mode", ["La", "RGBa", "PA"])
def test_rarer_alpha_modes_of_images_in_memory(mode: str) -> None:
    straight = Image.fromarray(noise(24, 40, 4)).convert("LA" if mode == "La" else "RGBA")
    image = photo().convert("P").convert("PA") if mode == "PA" else straight.convert(mode)
    picture = decode(image)
    expected = image.convert("LA" if mode == "La" else "RGBA")
    assert picture.mode == expected.mode
    np.testing.assert_array_equal(picture.alpha, np.asarray(expected)[..., -1])


@pytest.mark.parametrize(("source", "mode"), [("1", "LA"), ("L", "LA"), ("P", "RGBA"), ("RGB", "RGBA")])
def test_a_transparent_colour_becomes_alpha(source: str, mode: str) -> None:
    image = Image.fromarray(np.repeat(np.uint8([[0], [255]]), 16, axis=1).repeat(8, axis=0)).convert(source)
    colour: Any = {"P": image.getpixel((0, 0)), "RGB": (0, 0, 0)}.get(source, 0)
    picture = decode(saved(image, "PNG", transparency=colour))
    assert picture.mode == mode and picture.alpha is not None
    assert (picture.alpha[:8] == 0).all() and (picture.alpha[8:] == 255).all()
    assert (picture.pixels[8:] == 255).all() and (picture.pixels[:8] == 0).all()


def test_a_transparent_16_bit_gray_becomes_alpha() -> None:
    values = np.full((16, 16), 40000, np.uint16)
    values[:8] = 1000
    image = Image.fromarray(values)
    image.info["transparency"] = 1000
    picture = decode(image)
    assert picture.mode == "LA" and picture.alpha is not None
    np.testing.assert_array_equal(np.unique(picture.alpha[:8]), [0])
    np.testing.assert_array_equal(np.unique(picture.alpha[8:]), [255])


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_gray_is_scaled_not_clipped(mode: str) -> None:
    values = noise(24, 40, dtype=np.uint16)
    values[0, :2] = 0, 65535
    image = {
        "I;16": lambda: Image.open(BytesIO(saved(Image.fromarray(values), "PNG"))),
        "I;16B": lambda: Image.frombytes("I;16B", (40, 24), values.astype(">u2").tobytes()),
        "I": lambda: Image.fromarray(values.astype(np.int32)),
    }[mode]()
    assert image.mode == mode
    picture = decode(image)
    assert picture.mode == "L"
    np.testing.assert_array_equal(picture.pixels[..., 0], np.rint(values / 257))


def test_gray_beyond_16_bits_is_refused() -> None:
    with pytest.raises(ImageError, match=r"70000 exceed 16 bits"):
        decode(Image.fromarray(np.full((16, 16), 70000, np.int32)))


def test_float_images_are_refused_by_name() -> None:
    data = saved(Image.fromarray(np.zeros((16, 16), np.float32)), "TIFF")
    for read in (decode, check):
        with pytest.raises(ImageError, match="mode F"):
            read(data)


def test_cmyk_goes_through_its_own_profile() -> None:
    image = Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    assert decode(saved(image, "TIFF")).pixels.max() == 0
    data = saved(image, "TIFF", icc_profile=ink_profile())
    picture = decode(data)
    assert picture.icc is None and picture.mode == "RGB"
    assert picture.pixels.min() >= 250  # in this profile black ink is white
    check(data)


def test_cmyk_with_an_unusable_profile_is_refused() -> None:
    data = saved(photo().convert("CMYK"), "JPEG", icc_profile=SRGB)
    for read in (decode, check):
        with pytest.raises(ImageError, match="colour profile"):
            read(data)


# --- values


def test_every_kind_of_value_gives_the_same_picture(tmp_path: Path) -> None:
    data = saved(photo(), "PNG")
    path = tmp_path / "cat.png"
    path.write_bytes(data)
    values = [
        data,
        path,
        str(path),
        {"bytes": data, "path": None},
        {"bytes": data, "path": "cat.png"},
        {"bytes": None, "path": str(path)},
        open_image(data),
        np.asarray(photo()),
    ]
    for value in values:
        np.testing.assert_array_equal(decode(value).pixels, np.asarray(photo()))
        check(value)
    stems = [None, "cat", "cat", None, "cat", "cat", None, None]
    assert [stem(value) for value in values] == stems
    assert stem(Image.open(path)) == "cat"
    assert stem({"bytes": data, "path": "zip://animals/cat.jpg::https://host/all.zip"}) == "cat"


@pytest.mark.parametrize("shape", [(16, 12), (16, 12, 1), (16, 12, 3), (16, 12, 4)])
def test_arrays(shape: tuple[int, ...]) -> None:
    values = noise(*shape)
    image = open_image(values)
    assert image.size == (12, 16)
    np.testing.assert_array_equal(np.asarray(image), values.squeeze(-1) if shape[-1] == 1 else values)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((16, 16, 3), np.float32), "array of float32.*uint8"),
        (np.zeros((16, 16), np.int64), "array of int64.*uint8"),
        (np.zeros((3, 16, 16), np.uint8), r"\[3, 16, 16\].*channels first"),
        (np.zeros(16, np.uint8), r"shape \[16\]"),
        (np.zeros((0, 16), np.uint8), "16 x 0 pixels"),
        (None, "it is empty"),
        (7, "int is not an image"),
        (b"", "empty"),
        ({"bytes": None, "path": None}, "empty"),
        ({"bytes": None, "path": "absent/cat.jpg"}, r"absent/cat\.jpg.*No such file"),
        (b"<!DOCTYPE html><title>404</title>", r"not an image.*<!DOCTYPE html"),
        (saved(photo(), "PNG")[:20], "truncated or damaged: Truncated File Read"),
        (saved(photo(1, 1), "PNG"), "1 x 1 pixels: sides below 8"),
        (saved(photo(200, 7), "PNG"), "200 x 7 pixels"),
        (saved(photo(10_000, 20), "PNG"), "10000 x 20 pixels: one side is more than 32 times"),
    ],
    ids=str,
)
def test_what_cannot_be_an_image_is_refused_in_words(value: Any, message: str) -> None:
    for read in (decode, check):
        with pytest.raises(ImageError, match=message):
            read(value)


def test_the_smallest_and_the_longest_pictures_pass() -> None:
    assert decode(noise(8, 8)).pixels.shape == (8, 8, 3)
    assert decode(noise(8 * 32, 8)).pixels.shape == (256, 8, 3)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    for read in (decode, check):
        with pytest.raises(ImageError, match="too large"):
            read(saved(photo(), "PNG"))


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_several_frames_are_refused_by_name(format: str) -> None:
    frames = [Image.fromarray(noise(24, 40, 3, seed=seed)) for seed in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:])
    for read in (decode, check):
        with pytest.raises(ImageError, match=f"{format} file has 3 frames.*extract"):
            read(data)


def test_a_phone_photo_with_a_preview_is_read_as_the_photo() -> None:
    data = saved(photo(64, 48), "MPO", save_all=True, append_images=[photo(16, 12)], quality=95)
    image = Image.open(BytesIO(data))
    assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    check(data)
    np.testing.assert_array_equal(decode(data).pixels, np.asarray(image))


# --- damaged files


def broken_files() -> dict[str, bytes]:
    jpeg, png = saved(photo(64, 48), "JPEG", quality=95), saved(Image.fromarray(noise(48, 64, 3)), "PNG")
    webp = saved(Image.fromarray(noise(48, 64, 3)), "WEBP", lossless=True)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    half = {"jpeg": jpeg, "png": png, "webp": webp, "gif": saved(photo(64, 48), "GIF"), "bmp": saved(photo(), "BMP")}
    files = {f"half a {name}": data[: len(data) // 2] for name, data in half.items()}
    files |= {f"{name} ending in zeros": data[: len(data) // 2].ljust(len(data), b"\0") for name, data in half.items()}
    for name in ("bmp", "gif", "webp"):
        del files[f"{name} ending in zeros"]  # zeros are valid pixel codes in these
    return files | {"png with a wrong byte": bytes(flipped), "png without IEND": png[:-40]}


@pytest.mark.parametrize("name", broken_files())
def test_truncated_and_damaged_files_are_found_by_check_as_by_decode(name: str) -> None:
    messages = []
    for read in (decode, check):
        with pytest.raises(ImageError, match="truncated or damaged") as caught:
            read(broken_files()[name])
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize("tail", [b"\0" * 300, b"\nMotionPhoto mp4 bytes"], ids=["zeros", "a video"])
def test_bytes_after_the_end_are_harmless(format: str, tail: bytes) -> None:
    data = saved(photo(), format)
    check(data + tail)
    np.testing.assert_array_equal(decode(data + tail).pixels, decode(data).pixels)


@pytest.mark.parametrize("name", ["flowers17", "tiny-imagenet-20", "imagenet-sample"])
def test_check_passes_real_photos(name: str) -> None:
    from datasets import Image as ImageFeature

    rows = shared_data(name, "test").cast_column("image", ImageFeature(decode=False)).select(range(100))
    for value in rows["image"]:
        check(value)
        assert decode(value).mode in ("L", "RGB")
        with pytest.raises(ImageError, match="truncated"):
            check(value["bytes"][:-200])


# --- metadata


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once_and_removed(format: str, orientation: int) -> None:
    data = saved(photo(), format, exif=exif_with_gps(orientation))
    value = Image.open(BytesIO(data))
    picture = decode(value)
    np.testing.assert_array_equal(picture.pixels, rgb(ImageOps.exif_transpose(Image.open(BytesIO(data)))))
    assert picture.pixels.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    again = decode(encode(picture, PNG, keep_exif=True))
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    if format != "TIFF":
        assert value.getexif()[ORIENTATION] == orientation, "the caller's image is untouched"


@pytest.mark.parametrize("container", [PNG, WEBP, JPEG], ids=str)
def test_exif_goes_unless_it_is_asked_for(container: Container) -> None:
    picture = decode(saved(photo(), "JPEG", exif=exif_with_gps(6)))
    plain = Image.open(BytesIO(encode(picture, container)))
    plain.load()
    assert not plain.getexif() and "exif" not in plain.info
    kept = Image.open(BytesIO(encode(picture, container, keep_exif=True))).getexif()
    assert kept[MAKE] == "Maker" and kept.get_ifd(GPS)[1] == "N" and ORIENTATION not in kept


def test_a_damaged_exif_block_does_not_cost_the_image(caplog: pytest.LogCaptureFixture) -> None:
    data = saved(photo(), "JPEG", exif=b"Exif\0\0MM\0\x96\0\0\0\x08")
    with caplog.at_level(logging.WARNING, "uc_hf.data.orientation"):
        picture = decode(data)
    assert picture.exif is None and "EXIF" in caplog.text
    np.testing.assert_array_equal(picture.pixels, rgb(Image.open(BytesIO(data))))


@pytest.mark.parametrize("container", [PNG, WEBP, JPEG], ids=str)
def test_the_colour_profile_is_kept(container: Container) -> None:
    picture = decode(saved(photo(), "JPEG", icc_profile=SRGB))
    assert picture.icc == SRGB
    assert decode(encode(picture, container)).icc == SRGB


# --- storing


@pytest.mark.parametrize("container", [PNG, WEBP], ids=str)
@pytest.mark.parametrize("shape", [(31, 45), (31, 45, 2), (31, 45, 3), (31, 45, 4)])
def test_lossless_containers_keep_every_bit(container: Container, shape: tuple[int, ...]) -> None:
    values = noise(*shape)
    if shape[-1] in (2, 4):
        values[:10, :, -1] = 0  # fully transparent, with colours below
    picture = decode(Image.fromarray(values))
    data = encode(picture, container)
    again = decode(data)
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    if picture.alpha is None:
        assert again.alpha is None
    else:
        np.testing.assert_array_equal(again.alpha, picture.alpha)
    assert Image.open(BytesIO(data)).format == container.format.upper()
    if container == PNG:
        assert again.mode == picture.mode
    check(data)


def test_an_opaque_alpha_is_kept_by_png_and_dropped_by_webp() -> None:
    values = noise(16, 16, 4)
    values[..., 3] = 255
    picture = decode(values)
    assert decode(encode(picture, PNG)).mode == "RGBA"
    assert decode(encode(picture, WEBP)).mode == "RGB"


def test_real_photos_keep_every_bit() -> None:
    paths = sorted((SHARED / "data" / "kodak").glob("*.png"))[:2]
    if not paths:
        pytest.skip("needs the real photos of ../shared/data/kodak")
    for path in paths:
        picture = decode(path)
        for container in (PNG, WEBP):
            np.testing.assert_array_equal(decode(encode(picture, container)).pixels, picture.pixels)


def test_jpeg_is_stored_without_chroma_subsampling() -> None:
    rgb_file = Image.open(BytesIO(encode(decode(photo()), JPEG)))
    assert isinstance(rgb_file, JpegImageFile)
    assert [component[1:3] for component in rgb_file.layer] == [(1, 1)] * 3
    assert Image.open(BytesIO(encode(decode(photo().convert("L")), JPEG))).mode == "L"
    coarse = encode(decode(photo()), Container.parse("jpeg:10"))
    assert len(coarse) < len(encode(decode(photo()), JPEG))


def test_jpeg_refuses_alpha_and_names_what_takes_it() -> None:
    with pytest.raises(ImageError, match=r"jpeg:95 cannot hold its transparency \(RGBA\): use 'png' or 'webp'"):
        encode(decode(noise(16, 16, 4)), JPEG)


def test_a_side_beyond_webp_is_refused_with_a_remedy() -> None:
    picture = decode(np.zeros((600, 16_400), np.uint8))
    with pytest.raises(ImageError, match=r"16383.*Use 'png'"):
        encode(picture, WEBP)


def test_the_canvas_is_the_whole_picture_squeezed() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 200
    small = canvas(Picture(pixels, "RGB"), 16)
    assert small.shape == (16, 16, 3) and small.dtype == np.uint8
    assert (small[:, :7] == 0).all() and (small[:, 9:] == 200).all()


# --- containers


@pytest.mark.parametrize(
    ("text", "stored", "suffix", "lossless"),
    [
        ("png", "png", ".png", True),
        ("webp", "webp", ".webp", True),
        ("jpeg", "jpeg:95", ".jpg", False),
        ("jpeg:1", "jpeg:1", ".jpg", False),
        ("jpeg:100", "jpeg:100", ".jpg", False),
    ],
)
def test_containers_are_written_as_they_are_read(text: str, stored: str, suffix: str, lossless: bool) -> None:
    container = Container.parse(text)
    assert (str(container), container.suffix, container.lossless) == (stored, suffix, lossless)
    assert Container.parse(str(container)) == container


@pytest.mark.parametrize("text", ["", "PNG", "jpg", "png:9", "jpeg:", "jpeg:0", "jpeg:101", "jpeg:9.5", "jpeg:-1"])
def test_unknown_containers_are_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(SettingError, match=r"'png' or 'webp'.*'jpeg:95'.*1 to 100"):
        Container.parse(text)
