"""`uc-hf protect --shard I/N` and `uc-hf merge`: several runs at once, and in the end the output of one."""

import json
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset

from tests.commands import DEADLINE, invoke, start, succeed
from tests.stored import contents, flip_a_bit
from uc_hf import UCProtector
from uc_hf.publishing import dataset
from uc_hf.publishing.manifest import Manifest


NONE = {"bytes": b"none", "path": None}


@pytest.fixture(autouse=True)
def no_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the sheet takes longer than all else here."""
    monkeypatch.setattr("uc_hf.cli.protect.draw_sheet", lambda *_: None)


@pytest.fixture
def photos(tiles: Dataset, tmp_path: Path) -> Path:
    """Pictures in class folders, to be protected, and some in test/, which stay clean."""
    for row in range(30):
        file = tmp_path / "photos" / ("test" if row > 25 else "train") / "ab"[row % 2] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        tiles[row]["image"].save(file)
    return tmp_path / "photos"


@pytest.fixture
def rows(tiles: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Parquet files with a split to protect and one that stays clean; their shards on the disk hold few rows."""
    monkeypatch.setattr(dataset, "SHARD_ROWS", 9)
    monkeypatch.setattr(dataset, "BATCH_ROWS", 4)
    for split, part in {"train": tiles.select(range(50)), "test": tiles.select(range(50, 60))}.items():
        part.to_parquet(tmp_path / "rows" / f"{split}.parquet")
    return tmp_path / "rows"


@pytest.fixture
def key(fitted: UCProtector, tmp_path: Path) -> Path:
    fitted.save_pretrained(tmp_path / "key")
    return tmp_path / "key"


def shard(source: Path, key: Path, out: Path, part: str, *options: object) -> str:
    return succeed("protect", source, "--protector", key, "--out", out, "--shard", part, *options)


def all_but(folder: Path, *names: str) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if not name.startswith(names)}


@pytest.mark.parametrize(("kind", "of"), [("photos", 4), ("rows", 3)])
def test_merged_shards_are_the_files_of_one_run(
    kind: str, of: int, key: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(kind)
    for number in reversed(range(1, of + 1)):
        shard(source, key, tmp_path / "out", f"{number}/{of}")
    assert not [name for name in contents(tmp_path / "out") if not name.startswith(".shards")]
    merged = json.loads(succeed("merge", tmp_path / "out", "--protector", key, "--json"))
    assert merged["images"] == (26 if kind == "photos" else 50) and merged["carried_over_clean"] == ["test"]
    assert merged["imperceptibility"]["max_difference"] <= 16
    alone = ["protect", source, "--protector", key, "--out"]
    succeed(*alone, tmp_path / "alone")
    assert contents(tmp_path / "out") | {"README.md": b""} == contents(tmp_path / "alone") | {"README.md": b""}
    assert len({path.name for path in (key / "outputs").iterdir()}) == 2
    again = json.loads(succeed(*alone, tmp_path / "out", "--json"))
    assert (again["already_done"], again["made_again"]) == (merged["images"], 0)


def test_merged_rows_load_with_their_features(rows: Path, key: Path, tiles: Dataset, tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        shard(rows, key, tmp_path / "out", part)
    succeed("merge", tmp_path / "out", "--protector", key)
    loaded = load_dataset(str(tmp_path / "out"))
    assert loaded["train"].features == tiles.features and loaded["train"]["note"] == tiles["note"][:50]


def test_two_shards_at_once_of_which_one_is_killed_and_run_again(tiles: Dataset, key: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for row in range(160):
        tiles[row % 96]["image"].save(tmp_path / "photos" / f"{row:03}.png")
    words = ["protect", tmp_path / "photos", "--protector", key, "--out", tmp_path / "out"]
    first, second = (start(*words, "--shard", part) for part in ("1/2", "2/2"))
    end = time.monotonic() + DEADLINE
    while not list((tmp_path / "out" / ".shards" / "2-of-2").glob("*.png")):
        assert second.poll() is None and time.monotonic() < end
        time.sleep(0.005)
    second.send_signal(signal.SIGKILL)
    assert second.wait(DEADLINE) == -signal.SIGKILL
    assert first.wait(DEADLINE) == 0, first.communicate()
    refused = invoke("merge", tmp_path / "out", "--protector", key)
    assert refused.exit_code == 1 and "shard 2/2 has no copy of" in refused.stderr
    assert "Protected 80 images" in succeed(*words, "--shard", "2/2")
    succeed("merge", tmp_path / "out", "--protector", key)
    succeed("protect", tmp_path / "photos", "--protector", key, "--out", tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.parametrize("kind", ["photos", "rows"])
def test_a_missing_shard_or_a_changed_file_is_named_with_the_line_that_mends_it(
    kind: str, key: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source, out = request.getfixturevalue(kind), tmp_path / "out"
    shard(source, key, out, "1/3", "--split", "train")
    shard(source, key, out, "3/3", "--split", "train")
    merge = ["merge", out, "--protector", key]
    assert f"{out} lacks 1 shard of 3: 2/3" in mended(invoke(*merge).stderr, "2/3")
    damaged = max(path for path in (out / ".shards" / "3-of-3").rglob("*.*") if path.suffix in (".png", ".parquet"))
    flip_a_bit(damaged)
    said = mended(invoke(*merge).stderr, "3/3")
    name = damaged.relative_to(out / ".shards" / "3-of-3")
    assert f"shard 3/3 {'has no copy of' if kind == 'photos' else 'lacks'} {name}" in said
    damaged.unlink()
    mended(invoke(*merge).stderr, "3/3")
    succeed(*merge)
    assert not (out / ".shards").exists()


def mended(stderr: str, part: str) -> str:
    """Run the line that an error shows, and give the error."""
    line = stderr[stderr.index("uc-hf protect") :].splitlines()[0]
    assert f"--shard {part}" in line
    succeed(*shlex.split(line)[1:])
    return stderr


@pytest.mark.parametrize("kind", ["photos", "rows"])
def test_an_interrupted_merge_is_continued(
    kind: str, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    source, out = request.getfixturevalue(kind), tmp_path / "out"
    for part in ("1/2", "2/2"):
        shard(source, key, out, part)
    add, calls = Manifest.add, []

    def failing(self: Manifest, *args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        add(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "add", failing)
        assert invoke("merge", out, "--protector", key).exit_code == 130
    assert all_but(out, ".shards") and (out / ".shards").is_dir()
    succeed("merge", out, "--protector", key)
    succeed("protect", source, "--protector", key, "--out", tmp_path / "alone")
    assert contents(out) | {"README.md": b""} == contents(tmp_path / "alone") | {"README.md": b""}


@pytest.mark.parametrize("kind", ["photos", "rows"])
def test_bad_images_are_named_as_in_the_whole_and_left_out_of_the_merged_output(
    kind: str, key: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = request.getfixturevalue(kind)
    last = 25 if kind == "photos" else 40
    for split, places in {"train": [3, 11, last], "test": [27 if kind == "photos" else 1]}.items():
        if kind == "photos":
            for place in places:
                (source / split / "ab"[place % 2] / f"{place}.png").write_bytes(b"none")
            continue
        file = str(source / f"{split}.parquet")
        table = load_dataset("parquet", data_files=file, split="train").cast_column("image", Image(decode=False))
        values = [NONE if place in places else value for place, value in enumerate(table["image"])]
        Dataset.from_dict(table.to_dict() | {"image": values}, features=table.features).to_parquet(file)
    words = ["--protector", key, "--out", tmp_path / "out"]
    refused = invoke("protect", source, *words, "--shard", "3/3")
    assert ("train/b/25.png" if kind == "photos" else "row 40 of the split 'train'") in refused.stderr
    codes = {invoke("protect", source, *words, "--skip-bad", "--shard", f"{part}/3").exit_code for part in (1, 2, 3)}
    assert 3 in codes and invoke("merge", tmp_path / "out", "--protector", key).exit_code == 3
    invoke("protect", source, "--protector", key, "--out", tmp_path / "alone", "--skip-bad")
    assert contents(tmp_path / "out") | {"README.md": b""} == contents(tmp_path / "alone") | {"README.md": b""}


def test_rows_that_have_changed_since_are_not_joined(rows: Path, key: Path, tiles: Dataset, tmp_path: Path) -> None:
    for part in ("1/2", "2/2"):
        shard(rows, key, tmp_path / "out", part)
    tiles.select([*range(30), 31, 30, *range(32, 50)]).to_parquet(rows / "train.parquet")
    refused = invoke("merge", tmp_path / "out", "--protector", key)
    assert "shard 2/2 was made of other rows than the source has now, as row 30 of 'train' shows" in refused.stderr
    assert "--shard 2/2" in refused.stderr


def test_shards_of_another_protector_source_or_number_are_not_joined(
    photos: Path, key: Path, tiles: Dataset, surrogate_folder: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shard(photos, key, out, "1/2")
    UCProtector(surrogate=surrogate_folder, n_clusters=3).fit(tiles).save_pretrained(tmp_path / "other")
    shard(photos, tmp_path / "other", out, "2/2")
    merge = ["merge", out, "--protector", key]
    assert f"shard 2/2 was made with another protector than {key}" in invoke(*merge).stderr
    shutil.rmtree(out / ".shards" / "2-of-2")
    shutil.copytree(photos, tmp_path / "copy")
    shard(tmp_path / "copy", key, out, "2/2")
    assert f"shard 2/2 was made with source '{tmp_path / 'copy'}'" in invoke(*merge).stderr
    shutil.rmtree(out / ".shards" / "2-of-2")
    shard(photos, key, out, "3/3")
    assert f"{out} holds shard 1/2 and shard 3/3" in invoke(*merge).stderr
    assert "uc-hf merge" in invoke("protect", photos, "--protector", key, "--out", out).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "0/2"], "from 1/N to N/N"),
        (["--shard", "3/2"], "from 1/N to N/N"),
        (["--shard", "half"], "write I/N"),
        (["--shard", "1/27"], "there are only 26 images to protect"),
        (["--shard", "1/2", "--push-to", "me/photos"], "goes without --push-to: after `uc-hf merge`"),
        (["--shard", "1/2", "--metadata"], "goes without --metadata: after `uc-hf merge`"),
    ],
)
def test_words_that_a_shard_cannot_have(photos: Path, key: Path, tmp_path: Path, words: list[str], said: str) -> None:
    result = invoke("protect", photos, "--protector", key, "--out", tmp_path / "out", *words)
    assert result.exit_code == 1 and said in result.stderr, result.stderr
    assert not (tmp_path / "out").exists()


def test_a_shard_needs_a_protector_and_a_merge_needs_shards(photos: Path, tmp_path: Path) -> None:
    for words in ([], ["--protector", tmp_path / "none"]):
        said = invoke("protect", photos, "--out", tmp_path / "out", "--shard", "1/2", *words).stderr
        assert "write --protector KEY" in said and "save_key" in said
    assert "holds no shards" in invoke("merge", tmp_path / "out").stderr


def test_a_key_in_one_file_and_the_default_places(photos: Path, fitted: UCProtector, tmp_path: Path) -> None:
    fitted.save_key(tmp_path / "photos.uckey")
    for part in ("2/2", "1/2"):
        succeed("protect", photos, "--protector", tmp_path / "photos.uckey", "--shard", part)
    succeed("merge", f"{photos}-protected")
    assert len(contents(Path(f"{photos}-protected"))) == 30


def test_shards_of_a_saved_dataset_and_of_one_on_the_hub(key: Path, tiles: Dataset, tmp_path: Path) -> None:
    few = DatasetDict(train=tiles.select(range(20)))
    few.save_to_disk(tmp_path / "saved")
    few.push_to_hub("me/few")
    for source, out in ((tmp_path / "saved", tmp_path / "out"), ("me/few", tmp_path / "out-hub")):
        for part in ("1/2", "2/2"):
            shard(source, key, out, part)
        succeed("merge", out, "--protector", key)
        assert load_dataset(str(out), split="train")["note"] == few["train"]["note"]
