"""`uc-hf protect` for people with photos: files by name, outputs beside them, a rehearsal, a sheet of what changed."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from PIL import Image
from typer.testing import CliRunner

from tests.commands import invoke, succeed
from tests.stored import contents
from uc_hf import UCProtector
from uc_hf.cli.app import app
from uc_hf.cli.sheet import sheet_of


@pytest.fixture
def photos(tiles: Dataset, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for row in range(12):
        tiles[row]["image"].save(tmp_path / "photos" / f"{row}.jpg", quality=95)
    return tmp_path / "photos"


@pytest.fixture
def quick(surrogate_folder: str) -> list[str]:
    return ["--surrogate", surrogate_folder]


def test_a_single_photo_is_protected_beside_itself(
    photos: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    result = invoke("protect", "3.jpg", *quick)
    assert result.exit_code == 0, result.output
    assert set(contents(photos / "3-protected")) == {"3.png"}
    assert "Protected 1 image, " in result.stdout and "fitted on 1 image, 1 cluster" in result.stdout
    assert "1 image is few" in result.stderr and "hold a single image" not in result.stderr
    sheet = sheet_of(Path("3-protected.protector"), Path("3-protected"))
    assert sheet.is_file() and sheet.name in result.stdout


def test_photos_that_are_named_become_one_output(photos: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (photos / "4.jpg").rename(tmp_path / "more" / "4.jpg")
    command = ["protect", photos / "0.jpg", tmp_path / "more" / "4.jpg", "--out", tmp_path / "out", *quick, "--json"]
    report = json.loads(succeed(*command))
    assert report["images"] == 2 and set(contents(tmp_path / "out")) == {"photos/0.png", "more/4.png"}
    assert report["warnings"][0].startswith("2 images are few: enough for 1 cluster")
    sheet = Path(report["sheet"]).read_bytes()
    again = json.loads(succeed(*command))
    assert again["already_done"] == 2 and Path(again["sheet"]).read_bytes() == sheet


def test_a_folder_of_photos_is_protected_beside_itself(photos: Path, quick: list[str]) -> None:
    report = json.loads(succeed("protect", photos, *quick, "--json"))
    assert report["out"] == str(photos.with_name("photos-protected")) and report["images"] == 12
    assert Path(report["sheet"]).parent == photos.with_name("photos-protected.protector")


def test_keys_and_copies_that_lie_among_photos_are_never_taken_for_photos(
    photos: Path, quick: list[str], tmp_path: Path
) -> None:
    succeed("protect", photos / "3.jpg", *quick)
    result = invoke("protect", photos, "--out", tmp_path / "out", *quick)
    assert set(contents(tmp_path / "out")) == {f"{row}.png" for row in range(12)}
    assert (
        result.exit_code == 0 and "protectors, and the copies that they have made, are left aside: 2" in result.stdout
    )


@pytest.mark.parametrize("bad", [False, True])
def test_a_rehearsal_looks_at_all_and_writes_nothing(
    photos: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, bad: bool
) -> None:
    monkeypatch.setattr(UCProtector, "fit", None)
    if bad:
        for row in range(7):
            (photos / f"{row}.jpg").write_bytes((photos / f"{row}.jpg").read_bytes()[:300])
    before = contents(photos.parent)
    result = invoke("protect", photos, "--dry-run", *quick)
    assert contents(photos.parent) == before and not photos.with_name("photos-protected").exists()
    if bad:
        assert result.exit_code == 1 and "0.jpg: truncated or damaged" in result.stderr
        result = invoke("protect", photos, "--dry-run", "--skip-bad", *quick)
        assert "This would protect 5 images" in result.stdout and "0.jpg" in result.stdout
        assert contents(photos.parent) == before
    else:
        assert result.exit_code == 0 and "This would protect 12 images, and nothing is written now" in result.stdout
        assert "photos-protected.protector (to be fitted, with surrogate" in result.stdout
        report = json.loads(succeed("protect", photos, "--dry-run", *quick, "--json"))
        assert report["dry_run"] and report["images"] == 12 and report["protector_fitted_now"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["0.jpg", "nowhere.jpg"], "nowhere.jpg is not there"),
        (["0.jpg", "."], "is a folder: name it alone"),
        (["0.jpg", "notes.txt"], "notes.txt is no picture by its name"),
        (["0.jpg", "--out", "."], "holds the originals"),
        (["0.jpg", "--out", "one.png"], "copies go into a folder, and one.png is a file"),
        (["./nowhere"], "'./nowhere' is neither a local file or folder nor a dataset on the Hub"),
        (["empty"], "the folder empty holds neither images"),
        (["0.jpg", "--device", "abacus"], "device='abacus'"),
        (["0.jpg", "--batch-size", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_protected_is_said_before_anything_is_written(
    photos: Path, quick: list[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(photos)
    monkeypatch.setenv("COLUMNS", "200")
    (photos / "notes.txt").write_text("x")
    (photos / "empty").mkdir()
    before = contents(photos)
    result = invoke("protect", *words, *quick)
    assert result.exit_code != 0 and said in result.stderr and contents(photos) == before


def test_the_sheet_shows_the_most_changed_first(photos: Path, quick: list[str]) -> None:
    Image.new("RGB", (64, 64), "gray").save(photos / "plain.png")
    succeed("protect", photos, *quick)
    key = photos.with_name("photos-protected.protector")
    with Image.open(sheet_of(key, photos.with_name("photos-protected"))) as sheet:
        assert sheet.width > 600
    shown = {path.name: path.read_bytes() for path in key.glob("before-after*.png")}
    succeed("protect", photos, "--out", photos.with_name("again"), "--protector", key)
    assert {path.name for path in key.glob("before-after*.png")} == {*shown, "before-after-again.png"}
    assert all((key / name).read_bytes() == data for name, data in shown.items())


def test_protected_copies_are_not_protected_again(photos: Path, quick: list[str]) -> None:
    succeed("protect", photos, *quick)
    copies = photos.with_name("photos-protected")
    result = invoke("protect", copies, *quick)
    assert result.exit_code == 1 and f"{copies} holds protected copies" in result.stderr
    assert not photos.with_name("photos-protected-protected").exists()
    # A key may be called after the originals; it has not made them.
    key = photos.with_name("photos.protector")
    copies.with_name("photos-protected.protector").rename(key)
    succeed("protect", photos, "--out", photos.with_name("more"), "--protector", key)
    succeed("protect", photos, "--out", photos.with_name("yet-more"), "--protector", key)


def test_a_shell_completes_commands_and_options() -> None:
    for typed, completed in (("uc-hf pro", "protect"), ("uc-hf protect --dry", "--dry-run")):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_UC_HF_COMPLETE": "complete_bash"}
        assert CliRunner().invoke(app, env=words, prog_name="uc-hf").stdout.split() == [completed]


@pytest.mark.slow
def test_processes_side_by_side_write_the_same_bytes(photos: Path, quick: list[str], tmp_path: Path) -> None:
    succeed("protect", photos, "--out", tmp_path / "one", *quick)
    succeed("protect", photos, "--out", tmp_path / "two", *quick, "--num-proc", 2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
