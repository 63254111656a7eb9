"""What is dropped into the page is hostile until it is looked at: nothing but pictures, nowhere but in the folder."""

import io
import stat
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uc_hf.cli.web.uploads import Limits, TooMuchError, pack, take_in


def png(seed: int = 0, side: int = 24) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_pictures_and_the_tree_of_a_zip_are_taken_in_and_the_rest_is_named(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(png())
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "cut.png").write_bytes(png()[:200])
    zipped(
        tmp_path / "trip.zip",
        {
            "rome/a.png": png(1),
            "rome/b c.png": png(2),
            "rome/readme.md": b"x",
            ".hidden/c.png": png(3),
            "__MACOSX/rome/._a.png": b"y",
        },
    )
    files = [tmp_path / name for name in ("one.png", "notes.txt", "cut.png", "trip.zip")]
    left_out = take_in(files, tmp_path / "in", Limits())
    assert tree(tmp_path / "in") == {"one.png", "rome/a.png", "rome/b c.png"}
    assert (tmp_path / "in/rome/a.png").read_bytes() == png(1)
    assert [left.name for left in left_out] == [
        "notes.txt",
        "cut.png",
        "trip.zip: rome/readme.md",
        "trip.zip: .hidden/c.png",
    ]
    assert "truncated or damaged" in left_out[1].reason


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "/tmp/evil.png", "a/../../evil.png", "..\\evil.png", "C:evil.png", "a\nb.png", "a\x1b[0m.png"],
)
def test_a_zip_cannot_write_outside_the_folder_or_smuggle_names(tmp_path: Path, name: str) -> None:
    file = zipped(tmp_path / "x.zip", {name: png(), "good.png": png(1)})
    left_out = take_in([file], tmp_path / "in", Limits())
    assert tree(tmp_path) == {"x.zip", "in/good.png"}
    assert len(left_out) == 1 and left_out[0].name.isprintable()


def test_links_encrypted_and_nested_entries_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("inner.zip", b"PK")
    left_out = take_in([tmp_path / "x.zip"], tmp_path / "in", Limits())
    assert tree(tmp_path / "in") == set()
    assert [left.reason.split(".")[0] for left in left_out] == [
        "a link or a special file, not a picture",
        "a zip file within a zip file",
    ]


def test_a_bomb_is_met_while_it_is_unpacked_whatever_its_header_says(tmp_path: Path) -> None:
    data = zlib.compress(b"\0" * 50_000_000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", b"\0" * 50_000_000)
    assert (tmp_path / "bomb.zip").stat().st_size < 2 * len(data)
    with pytest.raises(TooMuchError, match=r"0\.005 GB"):
        take_in([tmp_path / "bomb.zip"], tmp_path / "in", Limits(n_bytes=5_000_000))
    assert tree(tmp_path / "in") == set()


def test_so_many_files_and_no_more(tmp_path: Path) -> None:
    file = zipped(tmp_path / "many.zip", {f"{i}.png": png(i) for i in range(5)})
    with pytest.raises(TooMuchError, match="more than 3 files"):
        take_in([file], tmp_path / "in", Limits(files=3))
    assert len(tree(tmp_path / "in")) == 3


def test_what_is_no_zip_or_has_wrong_checksums_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.zip").write_bytes(b"not a zip")
    good = zipped(tmp_path / "bad.zip", {"a.png": png()}).read_bytes()
    place = good.index(b"IDAT") + 20
    (tmp_path / "bad.zip").write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
    left_out = take_in([tmp_path / "no.zip", tmp_path / "bad.zip"], tmp_path / "in", Limits())
    assert [left.name for left in left_out] == ["no.zip", "bad.zip: a.png"]
    assert tree(tmp_path / "in") == set()


def test_a_photo_whose_folder_has_the_name_of_another_photo_is_named_without_a_path_of_the_server(
    tmp_path: Path,
) -> None:
    files = [zipped(tmp_path / "a.zip", {"rome.png": png(1), "rome.png/b.png": png(2)})]
    [left] = take_in(files, tmp_path / "in", Limits())
    assert (left.name, left.reason) == (
        "a.zip: rome.png/b.png",
        "it cannot be kept under this name: File exists. Rename it.",
    )
    assert tree(tmp_path / "in") == {"rome.png"}


def test_two_photos_of_one_name_are_both_kept_and_the_same_photo_once(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png())
    Image.open(io.BytesIO(png(1))).save(tmp_path / "photo.jpg", quality=95)
    for _ in range(2):
        assert take_in([tmp_path / "photo.png", tmp_path / "photo.jpg"], tmp_path / "in", Limits()) == []
    assert tree(tmp_path / "in") == {"photo.png", "photo (2).jpg"}


def test_a_folder_is_packed_with_its_tree(tmp_path: Path) -> None:
    (tmp_path / "out/rome").mkdir(parents=True)
    (tmp_path / "out/rome/a.png").write_bytes(png())
    pack(tmp_path / "out", tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.namelist() == ["rome/a.png"] and archive.read("rome/a.png") == png()
