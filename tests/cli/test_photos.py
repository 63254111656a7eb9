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
from uc_hf.cli.sheet import NAME as SHEET


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
    assert Path("3-protected.protector", SHEET).is_file() and SHEET in result.stdout


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
        (photos / "0.jpg").write_bytes((photos / "0.jpg").read_bytes()[:300])
    before = contents(photos.parent)
    result = invoke("protect", photos, "--dry-run", *quick)
    assert contents(photos.parent) == before and not photos.with_name("photos-protected").exists()
    if bad:
        assert result.exit_code == 1 and "0.jpg: truncated or damaged" in result.stderr
        result = invoke("protect", photos, "--dry-run", "--skip-bad", *quick)
        assert "This would protect 11 images" in result.stdout and "0.jpg" in result.stdout
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
    before = contents(photos)
    result = invoke("protect", *words, *quick)
    assert result.exit_code != 0 and said in result.stderr and contents(photos) == before


def test_the_sheet_shows_the_most_changed_first(photos: Path, quick: list[str]) -> None:
    Image.new("RGB", (64, 64), "gray").save(photos / "plain.png")
    succeed("protect", photos, *quick)
    with Image.open(photos.with_name("photos-protected.protector") / SHEET) as sheet:
        assert sheet.width > 600


def test_a_shell_completes_commands_and_options() -> None:
    for typed, completed in (("uc-hf pro", "protect"), ("uc-hf protect --dry", "--dry-run")):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" ")), "_UC_HF_COMPLETE": "complete_bash"}
        assert CliRunner().invoke(app, env=words, prog_name="uc-hf").stdout.split() == [completed]


@pytest.mark.slow
def test_processes_side_by_side_write_the_same_bytes(photos: Path, quick: list[str], tmp_path: Path) -> None:
    succeed("protect", photos, "--out", tmp_path / "one", *quick)
    succeed("protect", photos, "--out", tmp_path / "two", *quick, "--num-proc", 2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
