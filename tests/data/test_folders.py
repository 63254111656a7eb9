"""One walk of a folder: which pictures are meant, in which split and class, and what is told of all the rest."""

import os
from pathlib import Path

import pytest
from PIL import Image as PILImage

from tests.commands import invoke, succeed
from tests.minihub import MiniHub
from uc_hf import UCProtector
from uc_hf.data import folders
from uc_hf.data.folders import list_folder
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError


def tree(root: Path, *names: str) -> Path:
    """Small pictures of these names, each of another colour."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        kind = Path(name).suffix.lstrip(".").lower()
        PILImage.new("RGB", (24, 20), (40 + 9 * number, 90, 200)).save(
            root / name, "PNG" if kind not in ("jpg", "avif", "webp") else None
        )
    return root


def labels(root: Path) -> dict[str, list[str | None]]:
    splits = open_dataset(str(root))
    return {
        split: [None if label is None else rows.features["label"].int2str(label) for label in rows["label"]]
        if "label" in rows.column_names
        else [None] * len(rows)
        for split, rows in splits.items()
    }


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.png", "eye-test.jpg"], {"train": [None] * 3}),
        (["beach/a.jpg", "hills/a.jpg", "val/a.jpg"], {"train": ["beach", "hills", "val"]}),
        (["val/a.jpg", "test/a.jpg"], {"train": ["test", "val"]}),
        (["train/a.jpg", "test/a.jpg"], {"train": [None], "test": [None]}),
        (["Test/a.jpg", "Train/a.jpg"], {"train": [None], "test": [None]}),
        (["train/a.jpg", "validation/a.jpg", "test/a.jpg"], {"train": [None], "test": [None], "validation": [None]}),
        (["train/cat/a.jpg", "train/dog/a.jpg", "test/cat/a.jpg"], {"train": ["cat", "dog"], "test": ["cat"]}),
        (["train/a.jpg", "test/a.jpg", "more/a.jpg"], {"train": ["more", "test", "train"]}),
        (["train/a.jpg", "test/a.jpg", "loose.jpg"], {"train": [None, "test", "train"]}),
        (["cat/a.jpg", "dog/a.jpg", "loose.jpg"], {"train": ["cat", "dog", None]}),
        (["cat/a.jpg", "loose.jpg"], {"train": [None, None]}),
        (["[x] y/a*b?.jpg", "%20#/::.jpg"], {"train": ["%20#", "[x] y"]}),
        (["2019/rome/a.jpg", "2020/oslo/a.jpg", "oslo/a.avif"], {"train": ["rome", "oslo", "oslo"]}),
    ],
)
def test_splits_and_classes_are_those_that_a_person_sees(
    tmp_path: Path, names: list[str], expected: dict[str, list[str | None]]
) -> None:
    assert labels(tree(tmp_path / "[2019] Rome", *names)) == expected


def test_links_are_followed_once_and_loops_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "a.jpg", "deep/b.jpg")
    outside = tree(tmp_path / "elsewhere", "c.jpg", "sub/d.jpg")
    (root / "linked").symlink_to(outside)
    (root / "picture.jpg").symlink_to(outside / "c.jpg")
    (root / "loop").symlink_to(root)
    (root / "deep" / "up").symlink_to(tmp_path)
    (outside / "back").symlink_to(root)
    (outside / "sub" / "round").symlink_to(outside)
    (root / "again").symlink_to(outside / "sub")
    folder = list_folder(root)
    assert [str(path) for path in folder.pictures] == [
        "a.jpg",
        "again/d.jpg",
        "deep/b.jpg",
        "linked/c.jpg",
        "picture.jpg",
    ]
    assert {str(path) for path in folder.noted[folders.LISTED]} == {
        "loop",
        "deep/up",
        "again/round",
        "linked/back",
        "linked/sub",
    }
    assert set(folder.linked) == {outside, outside / "sub", outside / "c.jpg"} and not folder.left_out
    assert {str(path) for path in folder.noted[folders.OUTSIDE]} == {"linked", "again", "picture.jpg"}


def test_whatever_is_listed_and_not_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = tree(tmp_path / "photos", "a.jpg", "b.MPO", ".hidden.jpg", ".thumbs/a.jpg", "locked/c.jpg")
    jpeg = (root / "a.jpg").read_bytes()
    for name in ("x.jxl", "x.hif", "x.dng", "x.CR2", "x.jpg_large", "x", "notes.txt", "backup.zip"):
        (root / name).write_bytes(b"text" if name.endswith(("txt", "zip")) else jpeg)
    (root / "gone.jpg").symlink_to("../.git/annex/objects/gone.jpg")
    (root / "itself").symlink_to("itself")
    os.mkfifo(root / "pipe.png")
    os.mkfifo(root / "pipe")
    (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.jpg"))).write_bytes(jpeg)
    Path(os.fsdecode(os.fsencode(root) + b"/\xe9t\xe9")).mkdir()
    scandir = os.scandir

    def locked(path: Path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    folder = list_folder(root)
    open_dataset(str(root))
    assert "pictures of kinds that are not opened (convert them to PNG): 6 (the first: x)" in caplog.text
    assert [str(path) for path in folder.pictures] == ["a.jpg", "b.MPO"]
    assert [str(path) for path in folder.others] == ["backup.zip", "notes.txt"]
    told = {kind: [os.fsencode(path) for path in paths] for kind, paths in (folder.left_out | folder.noted).items()}
    assert told == {
        folders.UNOPENED: [b"x", b"x.CR2", b"x.dng", b"x.hif", b"x.jpg_large", b"x.jxl"],
        folders.DEAD: [b"gone.jpg", b"itself"],
        folders.SPECIAL: [b"pipe.png"],
        folders.UNENCODABLE: [b"caf\xe9.jpg", b"\xe9t\xe9"],
        folders.UNREADABLE: [b"locked"],
        folders.HIDDEN: [b".hidden.jpg", b".thumbs"],
        folders.PIPES: [b"pipe"],
    }


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"the folder .*nowhere cannot be read"):
        list_folder(tmp_path / "nowhere")


@pytest.fixture
def key(fitted: UCProtector, tmp_path: Path) -> Path:
    fitted.save_pretrained(tmp_path / "key")
    return tmp_path / "key"


def test_a_key_of_any_name_is_never_taken_for_pictures(tmp_path: Path, key: Path) -> None:
    root = tree(tmp_path / "photos", "a.jpg", "deep/b.jpg")
    key.rename(root / "deep" / "mine")
    folder = list_folder(root)
    assert [str(path) for path in folder.pictures] == ["a.jpg", "deep/b.jpg"]
    assert folder.noted == {folders.KEYS: [Path("deep/mine")]}
    for source in (root / "deep" / "mine", root / "deep" / "mine" / "noise.png"):
        result = invoke("protect", source, "--out", tmp_path / "out", "--surrogate", "uc_hf/tiny")
        assert result.exit_code == 1 and "noise. Name " in result.stderr and not (tmp_path / "out").exists()


def test_originals_beside_a_key_that_is_called_after_them_are_not_left_aside(tmp_path: Path, key: Path) -> None:
    root = tree(tmp_path / "all", "photos/a.png", "photos/b.png", "loose.png")
    key = key.rename(root / "photos.protector")
    succeed("protect", root / "photos", "--protector", key, "--out", tmp_path / "copies")
    assert [str(path) for path in list_folder(root).pictures] == ["loose.png", "photos/a.png", "photos/b.png"]
    # Nor is an original a copy that has its name and size.
    copy, original = tmp_path / "copies" / "a.png", root / "photos" / "a.png"
    original.write_bytes(original.read_bytes().ljust(copy.stat().st_size, b"\0"))
    assert Path("photos/a.png") in list_folder(root).pictures
    (tmp_path / "copies").rename(root / "photos" / "new")
    (root / "photos").rename(root / "old")
    (root / "old" / "new").rename(root / "photos")
    assert [str(path) for path in list_folder(root).pictures] == ["loose.png", "old/a.png", "old/b.png"]


def test_copies_beside_a_key_of_another_name_are_left_aside(tmp_path: Path, key: Path) -> None:
    root = tree(tmp_path / "all", "photos/a.png", "photos/b.png")
    succeed("protect", root / "photos", "--protector", key.rename(root / "mine"), "--out", root / "published")
    folder = list_folder(root)
    assert [str(path) for path in folder.pictures] == ["photos/a.png", "photos/b.png"]
    assert folder.noted == {folders.KEYS: [Path("mine"), Path("published")]}


def test_a_new_key_does_not_go_among_pictures_under_a_name_like_theirs(tmp_path: Path) -> None:
    root = tree(tmp_path / "photos", "a.jpg")
    words = ["protect", root / "a.jpg", "--out", tmp_path / "out", "--surrogate", "uc_hf/tiny", "--protector"]
    result = invoke(*words, root / "mine")
    assert result.exit_code == 1 and f"{root / 'mine'} would lie among the pictures in {root}" in result.stderr
    succeed(*words, root / "mine.protector")


def test_the_command_says_what_it_left_out_and_exits_3(tmp_path: Path, key: Path) -> None:
    root = tree(tmp_path / "photos", "a.jpg", "b.jpg")
    words = ["protect", root, "--out", tmp_path / "out", "--protector", key]
    succeed(*words)
    for name in ("c.jxl", "d\x1b[2J.dng"):
        (root / name).write_bytes(b"\xff\x0a")
    (root / "gone.jpg").symlink_to("nowhere.jpg")
    result = invoke(*words)
    assert result.exit_code == 3 and "Protected 2 images" in result.stdout
    assert "Not published: pictures of kinds that are not opened (convert them to PNG): 2 (the first: c.jxl)" in (
        result.stdout
    )
    assert "Not published: links that lead nowhere: 1 (gone.jpg)" in result.stdout
    told = invoke(*words, "--json")
    assert told.exit_code == 3 and r"d\\x1b[2J.dng" in told.stdout and "\x1b" not in told.stdout


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_all_images_that_would_share_a_copy_are_named_at_once(tmp_path: Path, key: Path) -> None:
    root = tree(tmp_path / "photos", *(f"{name}.{kind}" for name in "abcdefg" for kind in ("jpg", "webp")), "a.bmp")
    result = invoke("protect", root, "--out", tmp_path / "out", "--protector", key)
    assert result.exit_code == 1 and "7 copies would be those of several images each:" in result.stderr
    assert "  a.bmp, a.jpg and a.webp would all become a.png\n" in result.stderr
    assert "  e.jpg and e.webp would both become e.png\n  and 2 more\n" in result.stderr


@pytest.mark.parametrize("parts", [0, 2])
def test_images_that_are_left_out_share_no_copy_with_others(tmp_path: Path, key: Path, parts: int) -> None:
    root = tree(tmp_path / "photos", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    for name in ("c.heic", "d.heic"):
        (root / name).write_bytes(HEIC)
    words = ["protect", root, "--out", tmp_path / "out", "--protector", key]
    refused = invoke(*words)
    assert refused.exit_code == 1 and "c.heic and c.jpg would both become c.png" in refused.stderr
    for options in [["--shard", f"{part + 1}/{parts}"] for part in range(parts)] or [[]]:
        result = invoke(*words, "--skip-bad", *options)
        assert result.exit_code == 3 and "c.heic" in result.stdout, result.output
    if parts:
        result = invoke("merge", tmp_path / "out", "--protector", key)
        assert result.exit_code == 3 and "images that cannot be protected: 2 (the first: c.heic" in result.stdout
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {"a.png", "b.png", "c.png", "d.png"}
    (root / "d.png").write_bytes((root / "a.jpg").read_bytes())
    again = invoke(*words, "--skip-bad")
    assert again.exit_code == 1 and "d.jpg and d.png would both become d.png" in again.stderr


def test_check_out_push_and_score_mean_the_same_pictures(hub: MiniHub, tmp_path: Path, key: Path) -> None:
    from datasets import load_dataset

    names = ["beach/a.jpg", "hills/b.avif", "val/eye-test.png", "val/[1].webp", "loose.jpg"]
    root = tree(tmp_path / "photos", *names)
    (root / "metadata.csv").write_text("file_name,gps\nloose.jpg,52.1\n")
    (root / "backup.zip").write_bytes(b"PK")
    succeed("protect", root, "--push-to", "me/walked", "--protector", key)
    succeed("protect", root, "--push-to", "me/walked-later", "--out", tmp_path / "out", "--protector", key)
    at_once, later = (load_dataset(name, split="train") for name in ("me/walked", "me/walked-later"))
    assert at_once.column_names == ["image", "label"] and at_once.features["label"].names == ["beach", "hills", "val"]
    assert at_once[:] == later[:] and at_once["label"] == [0, 1, None, 2, 2]
    assert labels(tmp_path / "out") == labels(root)


def test_pictures_of_a_test_folder_are_carried_over_clean(hub: MiniHub, tmp_path: Path, key: Path) -> None:
    from datasets import load_dataset

    root = tree(tmp_path / "photos", "train/a.jpg", "train/b.jpg", "test/c.jpg")
    exif = PILImage.Exif()
    exif[0x0110] = "A camera of mine"
    PILImage.new("RGB", (24, 20), "teal").save(root / "test" / "c.jpg", exif=exif)
    said = succeed("protect", root, "--out", tmp_path / "out", "--push-to", "me/split", "--protector", key)
    assert "Protected 2 images" in said and "left clean      split test" in said
    copies = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*"))
    assert copies == ["test/c.jpg", "train/a.png", "train/b.png"]
    clean = (tmp_path / "out" / "test" / "c.jpg").read_bytes()
    assert b"camera" not in clean
    with PILImage.open(root / "test" / "c.jpg") as before, PILImage.open(tmp_path / "out" / "test" / "c.jpg") as after:
        assert before.tobytes() == after.tobytes()
    pushed = load_dataset("me/split")
    assert {split: len(rows) for split, rows in pushed.items()} == {"train": 2, "test": 1}
    both = succeed(
        "protect", root, "--out", tmp_path / "both", "--protector", key, "--split", "train", "--split", "test"
    )
    assert "Protected 3 images" in both
