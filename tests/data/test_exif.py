"""What tells of a picture's owner leaves it, and nothing else: pixels, colours and how it is held stay."""

import io
import struct

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Features, Image, List, load_dataset
from PIL import Image as PILImage
from PIL import ImageOps
from PIL.PngImagePlugin import PngInfo

from tests.stored import local_folder, stored
from uc_hf import UCProtector
from uc_hf.data.exif import without_metadata
from uc_hf.errors import ImageError
from uc_hf.publishing.dataset import protect_dataset


SECRET = "A camera of mine"
XMP = f"<x:xmpmeta>{SECRET}</x:xmpmeta>".encode()


def personal_exif(orientation: int = 6) -> PILImage.Exif:
    exif = PILImage.Exif()
    exif[0x0110], exif[0x0112] = SECRET, orientation
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    return exif


def picture(mode: str = "RGB") -> PILImage.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return PILImage.fromarray(pixels).convert(mode)


def encoded(kind: str, mode: str = "RGB", orientation: int = 6, **options: object) -> bytes:
    text = PngInfo()
    text.add_text("Author", SECRET)
    text.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    more = {
        "JPEG": {"xmp": XMP, "comment": SECRET.encode()},
        "PNG": {"pnginfo": text},
        "WEBP": {"xmp": XMP},
        "MPO": {"save_all": True, "append_images": [picture(mode)]},
    }
    file = io.BytesIO()
    profile = {} if kind in ("AVIF", "MPO") else {"icc_profile": b"a profile" * 40}
    options = more.get(kind, {}) | profile | options
    picture(mode).save(file, kind, exif=personal_exif(orientation), **options)
    return file.getvalue()


def upright(image: PILImage.Image) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(image))


BARE = ("GIF", "BMP", "PPM")
"""Formats without EXIF."""

CASES = [
    ("JPEG", "RGB", {}),
    ("JPEG", "L", {"progressive": True}),
    ("JPEG", "CMYK", {}),
    ("PNG", "RGBA", {}),
    ("PNG", "P", {"transparency": 3}),
    ("WEBP", "RGB", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("AVIF", "RGB", {}),
    ("MPO", "RGB", {}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), CASES)
def test_metadata_leaves_and_the_picture_stays(kind: str, mode: str, options: dict) -> None:
    before = encoded(kind, mode, **options)
    after = without_metadata(before + b"appended by a phone: " + SECRET.encode())
    assert SECRET.encode() in before and SECRET.encode() not in after
    with PILImage.open(io.BytesIO(before)) as old, PILImage.open(io.BytesIO(after)) as new:
        assert new.mode == old.mode and np.array_equal(np.asarray(new), np.asarray(old))
        assert new.info.get("icc_profile") == old.info.get("icc_profile")
        assert new.info.get("transparency") == old.info.get("transparency") and "xmp" not in new.info
        assert not new.getexif().get_ifd(0x8825)
        assert np.array_equal(upright(new), upright(old))
    assert without_metadata(after) == after


def plain(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    picture(mode).save(file, kind, **options)
    return file.getvalue()


PLAIN = [
    *((kind, "RGB", {}) for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")),
    ("TIFF", "P", {"compression": "tiff_adobe_deflate", "icc_profile": b"a profile" * 40, "dpi": (300, 300)}),
    ("TIFF", "1", {"compression": "group4"}),
    ("TIFF", "RGB", {"compression": "jpeg", "big_tiff": True}),
    ("TIFF", "F", {}),
    ("BMP", "P", {}),
    ("PPM", "1", {}),
    ("PPM", "I", {}),
]


@pytest.mark.parametrize(("kind", "mode", "options"), PLAIN)
def test_what_holds_nothing_comes_back_byte_for_byte(kind: str, mode: str, options: dict) -> None:
    data = plain(kind, mode, **options)
    assert without_metadata(data) == data


def with_pages(**options: object) -> bytes:
    return plain("TIFF", save_all=True, append_images=[picture("L")], **options)


def with_text_in(kind: str) -> bytes:
    data, text = plain(kind), SECRET.encode()
    if kind == "BMP":  # between the header and the pixels; more behind them
        start = struct.unpack_from("<I", data, 10)[0]
        return data[:10] + struct.pack("<I", start + len(text)) + data[14:start] + text + data[start:] + text
    if kind == "PPM":
        return data.replace(b"\n", b"\n# " + text + b"\n", 1) + text
    if kind == "JPEG2000":
        xml = struct.pack(">I4s", 8 + len(text), b"xml ") + text
        at = data.index(b"jp2h") - 4
        return data[:at] + xml + data[at:]
    return data + text


def windows_author(kind: str = "TIFF", mode: str = "RGB", **options: object) -> bytes:
    exif = PILImage.Exif()
    exif[0x9C9D] = SECRET.encode()
    return plain(kind, mode, exif=exif, **options)


frames = {"save_all": True, "append_images": [picture("L")], "duration": 50}
HIDDEN = {
    "author": windows_author(),
    "author, 1 bit": windows_author(mode="1", compression="group4"),
    "author, big": windows_author(mode="CMYK", big_tiff=True),
    "author, lossy": windows_author(compression="jpeg"),
    "page": with_pages(description=SECRET),
    "GIF comment": plain("GIF", comment=SECRET),
    "animated GIF": plain("GIF", **frames, comment=SECRET),
    "animated WebP": plain("WEBP", **frames, xmp=XMP),
    "animated WebP, lossless": plain("WEBP", "RGBA", lossless=True, **frames, xmp=XMP),
    "animated PNG": plain("PNG", **frames) + SECRET.encode(),
    "behind a GIF": with_text_in("GIF"),
    "BMP": with_text_in("BMP"),
    "PPM": with_text_in("PPM"),
    "PGM as text": b"P2 # " + SECRET.encode() + b"\n8 8\n9\n" + b"1 2 3 4 5 6 7 8\n" * 8,
    "two PPM": plain("PPM") * 2 + SECRET.encode(),
    "JPEG 2000": plain("JPEG2000", comment=SECRET),
    "JPEG 2000 samples": plain("JPEG2000", comment=SECRET, no_jp2=True),
    "JPEG 2000 box": with_text_in("JPEG2000"),
    "behind JPEG 2000": with_text_in("JPEG2000") + SECRET.encode(),
    "TGA": plain("TGA", id_section=SECRET.encode()),
    "TGA runs": plain("TGA", "P", id_section=SECRET.encode(), compression="tga_rle") + SECRET.encode(),
    "PCX": with_text_in("PCX"),
}
ANEW = {"JPEG2000", "TGA", "PCX"}


@pytest.mark.parametrize("what", HIDDEN)
def test_comments_pages_frames_and_what_lies_behind_leave_and_the_pixels_stay(what: str) -> None:
    before = HIDDEN[what]
    after = without_metadata(before)
    assert SECRET.encode() in before and SECRET.encode() not in after
    with PILImage.open(io.BytesIO(before)) as old, PILImage.open(io.BytesIO(after)) as new:
        assert new.format == ("PNG" if old.format in ANEW else old.format) and getattr(new, "n_frames", 1) == 1
        assert new.mode == old.mode and np.array_equal(np.asarray(new), np.asarray(old))
    assert without_metadata(after) == after


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_way_of_holding_a_camera_stays(orientation: int) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        before = encoded(kind, orientation=orientation)
        with PILImage.open(io.BytesIO(before)) as old, PILImage.open(io.BytesIO(without_metadata(before))) as new:
            assert np.array_equal(upright(new), upright(old))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", *BARE])
def test_a_file_that_is_damaged_anywhere_ends_in_our_words_or_keeps_no_metadata(kind: str) -> None:
    whole = with_text_in(kind) if kind in BARE else encoded(kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(whole[: int(rng.integers(20, len(whole)))])
        for place in rng.integers(0, len(broken), 3):
            broken[place] = int(rng.integers(0, 256))
        try:
            without_metadata(bytes(broken))
        except ImageError as error:
            assert "its EXIF cannot be taken out" in str(error)


def test_exif_hidden_behind_fill_bytes_or_between_scans_leaves() -> None:
    whole = encoded("JPEG", progressive=True)
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(XMP)) + XMP
    comment = b"\xff\xff\xff\xfe" + struct.pack(">H", 2 + len(SECRET)) + SECRET.encode()
    second_scan = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)
    after = without_metadata(whole[:2] + comment + whole[2:second_scan] + segment + whole[second_scan:])
    with PILImage.open(io.BytesIO(whole)) as old, PILImage.open(io.BytesIO(after)) as new:
        assert SECRET.encode() not in after and np.array_equal(upright(new), upright(old))


@pytest.mark.parametrize("keep", [False, True])
def test_clean_splits_and_nested_pictures_are_published_without_exif_unless_it_is_kept(
    tmp_path, tiles: Dataset, surrogate_folder: str, keep: bool
) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, keep_exif=keep).fit(tiles)
    values = [{"bytes": encoded("JPEG"), "path": "a.jpg"}] * 3
    features = Features({"image": Image(), "more": List(Image())})
    rows = Dataset.from_dict({"image": values, "more": [values[:2], [], None]}, features=features)
    protect_dataset(DatasetDict(train=rows, test=rows), ["train"], local_folder(tmp_path, protector), protector, "x")
    written = load_dataset(str(tmp_path))
    assert (SECRET.encode() in stored(written["test"])[0]["bytes"]) is keep
    nested = written["train"].with_format("arrow")[:]["more"].to_pylist()
    assert [len(row or []) for row in nested] == [2, 0, 0]
    assert (SECRET.encode() in nested[0][1]["bytes"]) is keep and nested[0][1]["path"] == "a.jpg"
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*.parquet"))
    assert (SECRET.encode() in files) is keep


def test_a_damaged_picture_of_a_clean_split_is_named_by_its_row(tmp_path, fitted: UCProtector, tiles: Dataset) -> None:
    values = [{"bytes": encoded("PNG"), "path": None}, {"bytes": encoded("PNG")[:300], "path": None}]
    clean = Dataset.from_dict({"image": values}, features=Features({"image": Image()}))
    splits = DatasetDict(train=tiles.select_columns("image"), test=clean)
    with pytest.raises(ImageError, match=r"row 1 of the split 'test', column 'image': its EXIF cannot be taken out"):
        protect_dataset(splits, ["train"], local_folder(tmp_path, fitted), fitted, "x")
