"""Where `uc-hf protect` writes: tried before the fit, never by two runs at once, and left as it was found."""

import json
import re
from pathlib import Path

import pytest
from datasets import Dataset

from tests.commands import invoke, start, succeed
from tests.stored import contents, files_limited_to
from uc_hf import UCProtector
from uc_hf.data.progress import Progress, listening
from uc_hf.files import partial_path


@pytest.fixture
def photos(tiles: Dataset, tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for row in range(8):
        tiles[row]["image"].save(tmp_path / "photos" / f"{row}.png")
    return tmp_path / "photos"


@pytest.fixture
def quick(surrogate_folder: str) -> list[str]:
    return ["--surrogate", surrogate_folder, "--n-clusters", "2"]


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UCProtector, "fit", None)


@pytest.mark.usefixtures("no_fit")
@pytest.mark.parametrize(
    ("out", "key", "reason"),
    [
        ("file/out", None, r"file/out: Not a directory|file/out cannot be written: Not a directory"),
        ("out", "file/key", "file/key cannot be written: (File exists|Not a directory)"),
        ("\u957f" * 83 + "n", None, "File name too long"),
        ("n" * 300, None, "File name too long"),
        ("/proc/out", None, "/proc/out"),
        ("/", None, "lie within each other|is a whole disk"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_fit(
    photos: Path, quick: list[str], tmp_path: Path, out: str, key: str | None, reason: str
) -> None:
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    words = [] if key is None else ["--protector", tmp_path / key]
    result = invoke("protect", photos, "--out", tmp_path / out, *quick, *words)
    assert result.exit_code == 1 and re.search(reason, result.stderr), result.stderr
    assert contents(tmp_path) == before and not [*tmp_path.glob(".*")]


@pytest.mark.usefixtures("no_fit")
def test_no_room_for_the_protector_is_told_before_the_fit(photos: Path, quick: list[str], tmp_path: Path) -> None:
    with files_limited_to(500_000):
        result = invoke("protect", photos, "--out", tmp_path / "out", *quick)
    assert result.exit_code == 1 and "cannot be written: File too large. Make room there" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("no_fit")
def test_a_name_that_has_no_room_for_its_copys_suffix_is_told_before_the_fit(
    photos: Path, quick: list[str], tmp_path: Path
) -> None:
    (photos / "0.png").rename(photos / f"{'n' * 251}.png")
    result = invoke("protect", photos, "--out", tmp_path / "out", *quick, "--container", "webp")
    assert result.exit_code == 1 and "File name too long" in result.stderr


@pytest.mark.parametrize("words", [["--out", "out/more"], ["--out", "more", "--protector", "out/deep/key"]])
def test_nothing_is_written_into_the_output_of_an_earlier_run(
    photos: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    succeed("protect", photos, "--out", "out", *quick)
    before = contents(tmp_path)
    result = invoke("protect", photos, *words, *quick)
    assert result.exit_code == 1 and f"would lie within {tmp_path / 'out'}, copies of an earlier run" in result.stderr
    assert contents(tmp_path) == before
    (tmp_path / "out.protector").rename(tmp_path / "elsewhere")  # what is no output any more
    succeed("protect", photos, *words, *quick)


def test_the_working_directory_is_an_output_with_its_protector_beside_it(
    photos: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").mkdir()
    monkeypatch.chdir(tmp_path / "new")
    for _ in range(2):
        succeed("protect", photos, "--out", ".", *quick)
    assert len(contents(tmp_path / "new")) == 8 and (tmp_path / "new.protector" / "config.json").is_file()


def test_the_second_of_two_runs_stops_and_a_third_takes_over_from_a_killed_first(
    photos: Path, quick: list[str], tmp_path: Path
) -> None:
    first = start("protect", photos, "--out", tmp_path / "out", *quick[:-1], 10_000, "--protector", tmp_path / "key")
    lock = tmp_path / "out" / ".uc_hf.lock"
    while not (lock.exists() and lock.read_text()):
        assert first.poll() is None, first.communicate()[1]
    for out, key in (("out", "other-key"), ("other-out", "key")):
        second = invoke("protect", photos, "--out", tmp_path / out, *quick, "--protector", tmp_path / key)
        said = f"another run writes to {tmp_path / (out if out == 'out' else key)} (process {first.pid} on "
        assert second.exit_code == 1 and said in second.stderr, second.stderr
        assert "Wait until it has ended, or stop it" in second.stderr
    assert not [*tmp_path.glob("other*")]
    first.kill()
    first.communicate()
    assert lock.exists()
    succeed("protect", photos, "--out", tmp_path / "out", *quick, "--protector", tmp_path / "key")
    assert len([*(tmp_path / "out").iterdir()]) == 8 and not [*tmp_path.glob(".*")]


def test_what_killed_runs_have_left_unfinished_is_removed(photos: Path, quick: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        succeed("protect", photos, "--out", tmp_path / "out", *quick)
        assert not [*tmp_path.rglob("*.partial")]
        key = tmp_path / "out.protector"
        for file in (tmp_path / "out" / "0.png", key, key / "before-after.png", key / "outputs" / "some.jsonl"):
            partial_path(file).write_bytes(b"half")


def test_a_fit_that_cannot_be_saved_is_not_lost(
    photos: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    learnt = ["--parametrisation", "direct", "--steps", 4, "--canvas-size", 16]
    command = ["protect", photos, "--out", tmp_path / "out", *quick, *learnt]
    with monkeypatch.context() as patch:
        patch.setattr(UCProtector, "_save_pretrained", full)
        result = invoke(*command)
    assert result.exit_code == 1 and "out.protector cannot be written: No space left on device" in result.stderr
    assert not (tmp_path / "out.protector").exists() and not (tmp_path / "out").exists()

    heard: list[Progress] = []
    with listening(heard.append):
        report = json.loads(succeed(*command, "--json"))
    assert report["protector_fitted_now"] and report["images"] == 8
    assert {(said.done, said.total) for said in heard if said.phase == "learning noise"} == {(4, 4)}


def test_lack_of_memory_is_told_in_a_sentence(
    photos: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def too_much(*_: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    monkeypatch.setattr(UCProtector, "_fit_to", too_much)
    result = invoke("protect", photos, "--out", tmp_path / "out", *quick)
    assert result.exit_code == 1 and "Error: there is not enough memory (" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_cache_that_cannot_be_written_is_told_before_the_fit(photos: Path, quick: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    process = start("protect", photos, "--out", tmp_path / "out", *quick, home=tmp_path / "file" / "home")
    _, said = process.communicate()
    assert process.returncode == 1 and "Traceback" not in said and "HF_HOME" in said, said
