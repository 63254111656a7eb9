"""`uc-hf` as a user runs it: what it prints, what it writes, how it ends, and that it goes on after Ctrl-C."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, load_dataset
from PIL import Image as PILImage

from tests.commands import PROGRAM, interrupt, invoke, start, succeed
from tests.minihub import MiniHub
from uc_hf.data import images
from uc_hf.files import partial_path


@pytest.fixture(scope="module")
def saved(tiles: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a test split, written by save_to_disk."""
    folder = tmp_path_factory.mktemp("data") / "tiles"
    DatasetDict(train=tiles.select(range(64)), test=tiles.select(range(64, 96))).save_to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def quick(surrogate_folder: str) -> list[str]:
    return ["--surrogate", surrogate_folder, "--n-clusters", "4"]


@pytest.fixture(scope="module")
def protected(saved: Path, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """A protected dataset with its protector beside it, and what the command printed."""
    out = tmp_path_factory.mktemp("protected") / "out"
    return out, json.loads(succeed("protect", saved, "--out", out, *quick, "--json"))


@pytest.fixture(scope="module")
def swapped(tiles: Dataset, quick: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled C and D, copies P of C, and Q of C by the key `mine`; R is S with its test split protected."""
    root = tmp_path_factory.mktemp("swapped")
    for row in range(12):
        for name in "CD":
            file = root / name / "ab"[row % 2] / f"{row}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            tiles[row]["image"].save(file)
    succeed("protect", root / "C", "--out", root / "P", *quick)
    succeed("protect", root / "C", "--out", root / "Q", "--protector", root / "mine", *quick)
    for split, name in (("train", "C"), ("test", "D")):
        shutil.copytree(root / name, root / "S" / split)
    succeed("protect", root / "S", "--out", root / "R", "--protector", root / "mine", "--split", "test")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_protect_writes_a_dataset_that_loads_and_reports_it_as_json(
    protected: tuple[Path, dict], tiles: Dataset
) -> None:
    out, report = protected
    assert (report["images"], report["already_done"], report["carried_over_clean"]) == (64, 0, ["test"])
    assert report["imperceptibility"]["max_difference"] == 16 and report["imperceptibility"]["psnr"] > 24
    assert report["bytes_after"] > report["bytes_before"] > 0 and report["protector_fitted_now"]
    loaded = load_dataset(str(out))
    assert loaded["train"].features == tiles.features
    assert loaded["train"]["label"] == tiles["label"][:64] and loaded["test"]["label"] == tiles["label"][64:]


def test_the_protector_lies_beside_the_output_never_within_it(protected: tuple[Path, dict]) -> None:
    out, report = protected
    assert report["protector"] == str(out.with_name("out.protector"))
    assert set(contents(out)) == {"README.md", "data/train-00000.parquet", "data/test-00000.parquet"}
    assert {"config.json", "model.safetensors"} <= set(contents(out.with_name("out.protector")))


def test_a_protectors_folder_that_holds_hidden_files_alone_takes_the_protector(
    saved: Path, quick: list[str], tmp_path: Path
) -> None:
    (tmp_path / "out.protector").mkdir()
    (tmp_path / "out.protector" / ".DS_Store").touch()
    succeed("protect", saved, "--out", tmp_path / "out", *quick)
    assert {".DS_Store", "config.json", "model.safetensors"} <= set(contents(tmp_path / "out.protector"))


def test_a_second_run_finds_everything_done(protected: tuple[Path, dict], saved: Path, quick: list[str]) -> None:
    out, _ = protected
    before = contents(out)
    text = succeed("protect", saved, "--out", out, *quick)
    assert "Protected 64 images" in text and "(loaded)" in text
    assert re.search("already done +64, by an earlier run", text)
    assert contents(out) == before


def test_a_person_is_told_what_matters(saved: Path, quick: list[str], tmp_path: Path) -> None:
    result = invoke("protect", saved, "--out", tmp_path / "out", *quick, "--epsilon", "8/255", "--container", "webp")
    assert result.exit_code == 0
    for fact in (
        "Protected 64 images, sizes unchanged",
        "left clean      split test",
        "epsilon         8/255",
        "largest change  8/255, measured on 24 stored images",
        "dB on average",
        "out.protector private: it is the key that removes the noise",
        "Take down the originals",
    ):
        assert fact in result.stdout
    assert json.loads((tmp_path / "out.protector" / "config.json").read_text())["settings"]["epsilon"] == 8 / 255
    assert "protecting" in result.stderr and "protecting" not in result.stdout


@pytest.mark.parametrize("kind", ["dataset", "folder"])
def test_every_image_is_looked_at_once_before_the_work(
    saved: Path, tiles: Dataset, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    looked, check = [], images.check
    monkeypatch.setattr(images, "check", lambda *value: looked.append(value) or check(*value))
    if kind == "folder":
        (tmp_path / "photos").mkdir()
        for row in range(64):
            tiles[row]["image"].save(tmp_path / "photos" / f"{row}.png")
    succeed("protect", saved if kind == "dataset" else tmp_path / "photos", "--out", tmp_path / "out", *quick)
    # An image that is carried over clean is looked at again as its EXIF is taken out.
    assert len(looked) == (64 if kind == "folder" else 64 + 2 * 32)


def test_exif_is_kept_on_request_alone(tiles: Dataset, quick: list[str], tmp_path: Path) -> None:
    exif = PILImage.Exif()
    exif[0x0110] = "A camera of mine"
    (tmp_path / "photos").mkdir()
    for row in range(16):
        tiles[row]["image"].save(tmp_path / "photos" / f"{row}.jpg", exif=exif)
    for out, words, kept in (("without", [], {}), ("with", ["--keep-exif"], dict(exif))):
        succeed("protect", tmp_path / "photos", "--out", tmp_path / out, *quick, *words)
        with PILImage.open(tmp_path / out / "3.png") as picture:
            assert dict(picture.getexif()) == kept
    words = ["protect", tmp_path / "photos", "--out", tmp_path / "again", "--protector", tmp_path / "with.protector"]
    for more in (["--dry-run"], []):
        said = succeed(*words, *more)
        assert "EXIF" in said and "the protector was made with --keep-exif" in said


def test_other_settings_than_the_saved_protectors_are_refused(
    protected: tuple[Path, dict], saved: Path, quick: list[str]
) -> None:
    result = invoke("protect", saved, "--out", protected[0], *quick, "--epsilon", "8/255", "--seed", "7")
    assert result.exit_code == 1
    assert (
        result.stderr.startswith("Error: ")
        and "fitted with other settings: epsilon 8/255 (saved: 16/255)" in result.stderr
    )
    assert "seed 7 (saved: 0)" in result.stderr and "n_clusters" not in result.stderr


def test_a_protector_protects_tomorrows_upload_without_a_new_fit(
    protected: tuple[Path, dict], tiles: Dataset, tmp_path: Path
) -> None:
    tiles.select(range(5)).to_parquet(tmp_path / "new.parquet")
    key = protected[0].with_name("out.protector")
    text = succeed("protect", tmp_path / "new.parquet", "--out", tmp_path / "new", "--protector", key, "--json")
    assert json.loads(text)["protector_fitted_now"] is False and json.loads(text)["images"] == 5
    assert load_dataset(str(tmp_path / "new"), split="train").features == tiles.features


def test_a_folder_with_clean_pictures_is_never_taken_for_finished_work(
    protected: tuple[Path, dict], tiles: Dataset, tmp_path: Path
) -> None:
    for folder in ("photos", "copies"):
        (tmp_path / folder).mkdir()
        tiles[0]["image"].save(tmp_path / folder / "cat.png")
    key = protected[0].with_name("out.protector")
    result = invoke("protect", tmp_path / "photos", "--out", tmp_path / "copies", "--protector", key)
    assert result.exit_code == 1 and "copies is not empty, and not the work of the protector" in result.stderr


@pytest.mark.parametrize(
    ("out", "protector", "reason"),
    [
        ("photos/out", None, "lie within each other"),
        (".", None, "lie within each other"),
        ("out", "out/key", "would lie within .* and be published with it"),
        ("notes.txt", None, "is a file"),
        ("full", None, "is not empty, and not the work of the protector .*Empty it, or choose another --out"),
        ("out", "full", "is not empty and holds no protector"),
    ],
)
def test_outputs_that_would_do_harm_are_refused(
    tiles: Dataset, tmp_path: Path, out: str, protector: str | None, reason: str
) -> None:
    for folder in ("photos", "full"):
        (tmp_path / folder).mkdir()
        tiles[0]["image"].save(tmp_path / folder / "cat.png")
    (tmp_path / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    key = [] if protector is None else ["--protector", tmp_path / protector]
    result = invoke("protect", tmp_path / "photos", "--out", tmp_path / out, *key)
    assert result.exit_code == 1
    assert re.search(reason, result.stderr), result.stderr
    assert contents(tmp_path) == before


def test_splits_are_chosen_by_name(saved: Path, quick: list[str], tmp_path: Path, tiles: Dataset) -> None:
    report = json.loads(succeed("protect", saved, "--out", tmp_path / "out", *quick, "--split", "test", "--json"))
    assert (report["images"], report["carried_over_clean"]) == (32, ["train"])
    result = invoke("protect", saved, "--out", tmp_path / "none", *quick, "--split", "tset")
    assert result.exit_code == 1 and "there is no split 'tset'; the splits are 'train', 'test'" in result.stderr


def test_push_needs_a_login_before_anything_else_and_publishes_the_copy_alone(
    hub: MiniHub, saved: Path, quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["protect", saved, "--out", tmp_path / "out", *quick, "--push-to"]
    wrong = invoke(*words, "no/such/name")
    assert wrong.exit_code == 1 and "Write USER/NAME" in wrong.stderr
    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        stranger = invoke(*words, "me/tiles-protected")
    assert stranger.exit_code == 1 and "not logged in to the Hub. Run `hf auth login`" in stranger.stderr
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.protector").exists()
    report = json.loads(succeed(*words, "me/tiles-protected", "--json"))
    assert report["pushed_to"].endswith("/datasets/me/tiles-protected")
    pushed, local = load_dataset("me/tiles-protected"), load_dataset(str(tmp_path / "out"))
    assert [row["image"] for row in pushed["train"]] == [row["image"] for row in local["train"]]
    assert set(pushed) == {"train", "test"}


def test_score_prints_a_table_and_writes_a_scorecard_and_a_page(
    protected: tuple[Path, dict], saved: Path, tmp_path: Path
) -> None:
    out, _ = protected
    short = ["--seeds", "1", "--epochs", "1", "--image-size", "16"]
    key = out.with_name("out.protector")
    text = succeed("score", out, "--clean", saved, "--protector", key, *short, "--out", tmp_path / "report")
    for word in ("clean", "protected", "control-random", "control-blocky", "guessing", "25.0", "resnet-small"):
        assert word in text
    card = json.loads((tmp_path / "report" / "scorecard.json").read_text())
    assert card["chance"] == 0.25
    assert {"clean", "protected", "control-random", "control-blocky"} <= {row["train_set"] for row in card["rows"]}
    page = (tmp_path / "report" / "scorecard.html").read_text()
    assert all(title in page for title in ("Accuracy", "Pictures", "The noise")) and page.count("<img") == 3
    printed = json.loads(succeed("score", out, "--clean", saved, "--test", "test", *short, "--json"))
    assert [row["train_set"] for row in printed["rows"]] == ["clean", "protected"]
    assert printed["rows"][1] == card["rows"][1]


def test_score_goes_on_with_what_its_folder_holds_and_adds_counter_measures(
    protected: tuple[Path, dict], saved: Path, tmp_path: Path
) -> None:
    command = ["score", protected[0], "--clean", saved, "--seeds", 1, "--image-size", 16, "--out", tmp_path]
    path = tmp_path / "scorecard.json"
    first = json.loads(succeed(*command, "--epochs", 1, "--json"))
    first["rows"][1]["last"] = 0.987  # no training gives this
    path.write_text(json.dumps(first))
    partial_path(path).write_bytes(b"what a killed run has left")
    more = ["--counter-measure", "none", "--counter-measure", "gray", "--target", "resnet-small"]
    text = succeed(*command, "--epochs", 1, *more)
    rows = json.loads(path.read_text())["rows"]
    assert rows[:2] == first["rows"] and [row["counter_measure"] for row in rows] == [None, None, "gray", "gray"]
    lines = [line for line in text.splitlines() if line.startswith(("none", "gray"))]
    assert lines[0].startswith("none") and "98.7 %" in lines[0] and "ways round it tried" in text
    assert "gray" in (tmp_path / "scorecard.html").read_text() and not [*tmp_path.glob("*.partial")]
    other = invoke(*command, "--epochs", 2)
    assert other.exit_code == 1 and "another recipe, other sets or models: epochs=2 (saved: 1)" in other.stderr
    wrong = invoke(*command, "--preset", "fast")
    assert wrong.exit_code == 1 and "preset 'fast' is not known. Write one of quick, paper, full." in wrong.stderr


def test_score_says_which_test_set_it_lacks(protected: tuple[Path, dict], tiles: Dataset, tmp_path: Path) -> None:
    tiles.to_parquet(tmp_path / "clean.parquet")
    result = invoke("score", protected[0], "--clean", tmp_path / "clean.parquet")
    assert result.exit_code == 1 and "has no test split (it has 'train')" in result.stderr
    same = invoke("score", protected[0], "--clean", tmp_path / "clean.parquet", "--test", "train")
    assert same.exit_code == 1 and "networks are trained on it" in same.stderr
    assert "--test" in result.stderr


@pytest.mark.parametrize("within", ["out", "out/report", "tiles/report"])
def test_no_report_is_written_into_a_set(
    protected: tuple[Path, dict], saved: Path, tmp_path: Path, within: str
) -> None:
    out = (protected[0] if within.startswith("out") else saved).parent / within
    before = contents(out.parent)
    score = ["score", protected[0], "--clean", saved]
    trace = ["trace", "uc_hf/tiny", "--protector", protected[0].with_name("out.protector"), "--originals", saved]
    for words in (score, trace):
        result = invoke(*words, "--out", out)
        assert result.exit_code == 1 and f"the report {out} would lie within " in result.stderr
    assert contents(out.parent) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("score C --clean C", "the protected set and --clean are the same"),
        ("score P --clean P", "the protected set and --clean are the same"),
        ("score C --clean P", "--clean P holds protected copies"),
        ("score P --clean C --test C", "--clean and --test are the same"),
        ("score C --clean D --test C", "the protected set and --test are the same"),
        ("score C --clean D --test P", "--test P holds protected copies"),
        ("score C --clean D --test R --protector mine", "--test R holds protected copies in its split 'test'"),
        ("trace M --protector P.protector --originals P", "--originals P holds protected copies"),
        ("trace M --protector mine --originals Q", "--originals Q holds protected copies"),
        ("trace M --protector mine --originals C --published C", "--originals and --published are the same"),
        ("trace M --protector mine --originals C --unseen C", "--originals and --unseen are the same"),
        ("trace M --protector mine --originals C --unseen Q", "--unseen Q holds protected copies"),
    ],
)
def test_swapped_and_equal_sets_are_not_measured(
    swapped: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(swapped)
    result = invoke(*words.split())
    assert result.exit_code == 1 and said in result.stderr, result.output


def test_a_test_split_that_lies_in_the_protected_set_may_test(
    protected: tuple[Path, dict], tiles: Dataset, tmp_path: Path
) -> None:
    tiles.select(range(64)).to_parquet(tmp_path / "clean.parquet")
    short = ["--seeds", "1", "--epochs", "1", "--image-size", "16", "--test", protected[0]]
    assert "guessing gives" in succeed("score", protected[0], "--clean", tmp_path / "clean.parquet", *short)


def test_inspect_shows_settings_clusters_and_noise(protected: tuple[Path, dict], tmp_path: Path) -> None:
    key = protected[0].with_name("out.protector")
    facts = json.loads(succeed("inspect", key, "--json", "--picture", tmp_path / "noise.png"))
    assert facts["settings"]["n_clusters"] == 4 and facts["images_fitted"] == 64
    assert sum(cluster["images"] for cluster in facts["groups"]) == 64
    assert all("goal" not in cluster for cluster in facts["groups"])
    assert 0 < facts["noise"]["mean_change"] <= facts["noise"]["max_change"] == 16
    with PILImage.open(tmp_path / "noise.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10
    assert "fitted on 64 images, clusters of" in succeed("inspect", key)


def test_inspect_refuses_what_is_no_protector(protected: tuple[Path, dict]) -> None:
    result = invoke("inspect", protected[0])
    assert result.exit_code == 1 and "holds no protector" in result.stderr


def test_help_needs_no_heavy_library_and_shows_examples() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from uc_hf.cli.app import app; "
        "print(CliRunner().invoke(app, ['protect', '--help']).stdout); "
        "sys.exit(bool({'torch', 'datasets', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "uc-hf protect ./photos --out ./photos-protected" in done.stdout


def test_the_program_ends_with_the_codes_of_a_unix_command() -> None:
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[0]) == (0, "uc_hf")
    for words in (["protect"], ["protect", "x", "--out", "y", "--steps", "many"], ["no-such-command"]):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "" and done.stderr


def test_ctrl_c_while_fitting_and_while_applying_then_the_same_command_ends_with_the_same_bytes(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path
) -> None:
    photos, out, home = tmp_path / "photos", tmp_path / "out", tmp_path / "home"
    photos.mkdir()
    for row, picture in enumerate(tiles["image"]):
        picture.resize((240, 180)).save(photos / f"{row}.png")
    options = ["--surrogate", surrogate_folder, "--n-clusters", 2, "--surrogate-size", 16]
    options += ["--parametrisation", "direct", "--steps", 300]
    command = ["protect", photos, "--out", out, *options]

    said = interrupt(start(*command, home=home), lambda: bool([*home.rglob("*.safetensors")]))
    assert "Interrupted. What was saved is kept" in said and "Traceback" not in said
    assert not out.exists() and not out.with_name("out.protector").exists()

    process = start(*command, home=home)
    said = interrupt(process, lambda: len([*out.glob("*.png")]) > 1)
    assert process.returncode == 130 and "Interrupted" in said and "Traceback" not in said
    assert not re.search(r"learning noise:\s+0%", said), "the fit began anew"
    assert 0 < len(contents(out)) < 96 and all(name.endswith(".png") for name in contents(out))

    report = json.loads(succeed(*command, "--json"))
    assert report["images"] == 96 and 0 < report["already_done"] < 96
    straight = tmp_path / "straight"
    succeed("protect", photos, "--out", straight, *options)
    assert contents(out) == contents(straight)
    keys = [folder.with_name(folder.name + ".protector") / "model.safetensors" for folder in (out, straight)]
    assert keys[0].read_bytes() == keys[1].read_bytes()
