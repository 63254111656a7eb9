"""Datasets protected and pushed to a Hub in pieces, with the real clients: streams, interruptions, refusals."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict, load_dataset
from huggingface_hub import DatasetCard, HfApi

from tests.commands import invoke, succeed
from tests.minihub import MiniHub, Refused
from tests.stored import contents, local_folder, stored
from uc_hf import UCProtector, compare, publish
from uc_hf.errors import DatasetError, OutputError, SettingError
from uc_hf.publishing import dataset as shards
from uc_hf.publishing.dataset import protect_dataset
from uc_hf.publishing.marks import JUDGED
from uc_hf.publishing.outcome import spread
from uc_hf.scoring.imperceptibility import in_words


ROWS = 20
CLEAN = "me/tiles-clean"
PROGRAM = f"from uc_hf.publishing import dataset; dataset.SHARD_ROWS = {ROWS}; from uc_hf.cli.app import main; main()"
"""`uc-hf` with small shards."""


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", ROWS)


@pytest.fixture(autouse=True)
def obliging_hub(hub: MiniHub) -> MiniHub:
    """The Hub of each test answers every request, whatever the test before has made of it."""
    hub.before, hub.role = None, "write"
    return hub


@pytest.fixture(scope="module")
def clean(hub: MiniHub, tiles: Dataset) -> DatasetDict:
    """Originals that lie on the Hub too, private, in several files."""
    splits = DatasetDict(train=tiles.select(range(72)), test=tiles.select(range(72, 96)))
    splits.push_to_hub(CLEAN, private=True, max_shard_size="100KB")
    return splits


@pytest.fixture(scope="module")
def key(fitted: UCProtector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the protector."""
    folder = tmp_path_factory.mktemp("key") / "protector"
    fitted.save_pretrained(folder)
    return folder


def streamed(name: str = CLEAN) -> datasets.IterableDatasetDict:
    return load_dataset(name, streaming=True)


def data_files(hub: MiniHub, repo: str) -> dict[str, bytes]:
    return {path: data for path, data in hub.files("datasets", repo).items() if path.startswith("data/")}


def at_commit(hub: MiniHub, repo: str, number: int, act: Callable[[], None]) -> None:
    """Do something as the n-th commit to a repository is asked for, and let it fail."""
    at_request(hub, f"/api/datasets/{repo}/commit/main", number, act)


def at_request(hub: MiniHub, start: str, number: int, act: Callable[[], None]) -> None:
    """Do something as the n-th request for a path that starts in this way comes, and let it fail."""
    seen: list[str] = []

    def before(method: str, path: str) -> None:
        if path.startswith(start):
            seen.append(path)
            if len(seen) == number:
                act()
                raise Refused(403, "Your storage is full")

    hub.before = before


def test_a_pushed_set_comes_back_with_its_rows_columns_features_and_splits(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, tmp_path: Path
) -> None:
    address = publish(streamed(), "me/tiles-published", protector=fitted, source=CLEAN, private=True)
    assert address == f"{hub.url}/datasets/me/tiles-published"
    assert hub.repos["datasets", "me/tiles-published"].private
    loaded = load_dataset("me/tiles-published")
    assert list(loaded) == ["train", "test"]
    for split in clean:
        assert loaded[split].features == clean[split].features
        assert loaded[split]["note"] == clean[split]["note"] and loaded[split]["label"] == clean[split]["label"]
    before, after = stored(clean["train"]), stored(loaded["train"])
    assert all(new["bytes"] != old["bytes"] for old, new in zip(before, after, strict=True))
    assert [row["bytes"] for row in stored(loaded["test"])] == [row["bytes"] for row in stored(clean["test"])]
    protect_dataset(clean, ["train"], local_folder(tmp_path / "local", fitted), fitted, CLEAN)
    local = {path: data for path, data in contents(tmp_path / "local").items() if path.startswith("data/")}
    assert data_files(hub, "me/tiles-published") == local
    assert [row["note"] for row in streamed("me/tiles-published")["train"]] == clean["train"]["note"]
    card = DatasetCard.load("me/tiles-published")
    assert card.data["uc_hf"]["epsilon"] == "16/255" and card.data["source_datasets"] == [CLEAN]
    assert ".uc_hf/contact-sheet.png" in hub.files("datasets", "me/tiles-published") and ".uc_hf/" in card.text


def test_a_stranger_loads_a_pushed_set_without_uc_hf(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, tmp_path: Path
) -> None:
    publish(streamed(), "me/for-strangers", protector=fitted, source=CLEAN)
    code = (
        "import sys, json; sys.modules['uc_hf'] = None; from datasets import load_dataset; "
        "sets = load_dataset('me/for-strangers'); first = sets['train'][0]; "
        "print(json.dumps([sets.num_rows, list(sets['train']['note']), list(first), first['image'].size]))"
    )
    home = {"HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | home, capture_output=True, text=True)
    assert json.loads(done.stdout or "null") == [
        {"train": 72, "test": 24},
        clean["train"]["note"][:],
        ["image", "label", "note"],
        [48, 40],
    ], done.stderr


def test_one_split_alone_is_published_under_its_name(hub: MiniHub, tiles: Dataset, fitted: UCProtector) -> None:
    publish(tiles.select(range(10)), "me/one-split", protector=fitted)
    assert not hub.repos["datasets", "me/one-split"].private
    assert load_dataset("me/one-split")["train"].num_rows == 10
    with pytest.raises(DatasetError, match="list is not a dataset to publish"):
        publish([1, 2], "me/nothing", protector=fitted)
    for names in ({"splits": "train"}, {"keep_clean": "note"}):
        with pytest.raises(SettingError, match=r"(splits|keep_clean)='\w+' is a text, not a list of names"):
            publish(tiles, "me/nothing", protector=fitted, **names)
    assert ("datasets", "me/nothing") not in hub.repos


@pytest.mark.parametrize("source", ["./photos", "/home/alice/photos", "photos/of/2024", "C:\\photos"])
def test_a_source_on_the_publishers_disk_is_never_written(
    hub: MiniHub, tiles: Dataset, fitted: UCProtector, source: str
) -> None:
    repo = f"me/of-local-photos-{len(source)}"
    publish(tiles.select(range(10)), repo, protector=fitted, source=source)
    assert load_dataset(repo)["train"].num_rows == 10
    files = hub.files("datasets", repo)
    assert not any(source.encode() in data for data in files.values())


def test_a_split_that_was_published_before_is_not_dropped_by_another_one(
    hub: MiniHub, clean: DatasetDict, key: Path, fitted: UCProtector, tmp_path: Path
) -> None:
    repo, splits = "me/split-by-split", DatasetDict(train=clean["train"], extra=clean["test"])
    publish(splits["train"], repo, protector=fitted)
    before = hub.files("datasets", repo)
    extra = Dataset.from_list(list(splits["extra"]), features=splits["extra"].features, split="extra")
    with pytest.raises(
        OutputError, match=rf"{repo} holds the split 'train', .*: 'extra'\. Publish all of them at once"
    ):
        publish(extra, repo, protector=fitted)
    assert hub.files("datasets", repo) == before
    publish(splits, repo, protector=fitted)
    assert load_dataset(repo).num_rows == {"train": 72, "extra": 24}
    after = data_files(hub, repo)
    assert all(after[path] == data for path, data in before.items() if path.startswith("data/"))
    with pytest.raises(OutputError, match="holds the split 'extra', which is not among"):
        publish(splits["train"], repo, protector=fitted)
    with pytest.raises(OutputError, match=r"ends before row 10 of the split 'extra'\. Remove that file"):
        publish(DatasetDict(train=splits["train"], extra=extra.select(range(10))), repo, protector=fitted)
    splits["train"].to_parquet(tmp_path / "train.parquet")
    pushed = invoke(
        "protect", tmp_path / "train.parquet", "--out", tmp_path / "out", "--push-to", repo, "--protector", key
    )
    assert pushed.exit_code == 1 and "holds the split 'extra'" in pushed.stderr
    assert data_files(hub, repo) == after


def test_images_that_are_shown_otherwise_than_they_are_stored_are_refused_before_anything_is_pushed(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector
) -> None:
    gray = clean.cast_column("image", datasets.Image(mode="L"))
    blurred = clean["test"].with_transform(lambda rows: rows)
    for shown, reason in (
        (gray, r"column 'image' shows its images in mode 'L'.*ds.cast_column\('image', datasets.Image\(\)\)"),
        (DatasetDict(train=clean["train"], test=blurred), r"has a transform .*ds.with_format\(None\).map\(TRANSFORM"),
    ):
        with pytest.raises(DatasetError, match=reason):
            publish(shown, "me/shown-otherwise", protector=fitted)
    assert ("datasets", "me/shown-otherwise") not in hub.repos


@pytest.mark.parametrize("step", ["upload", "commit"])
def test_a_push_that_the_hub_breaks_off_goes_on_without_protecting_a_row_twice(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, protected_rows: list[int], step: str
) -> None:
    repo, whole = f"me/broken-off-at-{step}", f"me/whole-{step}"
    # Bytes that no other test has uploaded: those that are there are not sent again.
    protector = fitted.with_noise(np.roll(fitted.canvases(), 1, axis=-1))
    at_request(hub, "/_lfs/" if step == "upload" else f"/api/datasets/{repo}/commit/main", 3, lambda: None)
    with pytest.raises(OutputError, match=rf"{repo} on the Hub: .*storage is full[\s\S]* goes on"):
        publish(streamed(), repo, protector=protector, source=CLEAN)
    assert sorted(data_files(hub, repo)) == ["data/train-00000.parquet", "data/train-00001.parquet"]
    hub.before = None
    protected_rows.clear()
    publish(streamed(), repo, protector=protector, source=CLEAN)
    assert protected_rows == list(range(2 * ROWS, 72))
    publish(streamed(), whole, protector=protector, source=CLEAN)
    assert data_files(hub, repo) == data_files(hub, whole)
    cards = [hub.files("datasets", name)["README.md"].decode() for name in (repo, whole)]
    assert cards[0].replace(repo.split("/")[1], whole.split("/")[1]) == cards[1]


def test_a_finished_push_is_not_done_again_and_its_source_not_fetched(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, protected_rows: list[int]
) -> None:
    publish(streamed(), "me/finished", protector=fitted, source=CLEAN)
    before, seen = hub.files("datasets", "me/finished"), len(hub.log)
    protected_rows.clear()
    publish(streamed(), "me/finished", protector=fitted, source=CLEAN)
    assert hub.files("datasets", "me/finished") == before and not protected_rows
    fetched = [line.path for line in hub.log[seen:] if line.method == "GET" and line.path.endswith(".parquet")]
    assert not [path for path in fetched if f"{CLEAN}/resolve" in path]


def test_a_killed_program_goes_on_where_it_was_and_leaves_nothing_but_the_protector(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, surrogate_folder: str, tmp_path: Path
) -> None:
    words = ["protect", CLEAN, "--push-to", "me/killed", "--surrogate", surrogate_folder, "--n-clusters", "4"]
    command = [sys.executable, "-c", PROGRAM, *words, "--max-fit-images", "32", "--json"]
    (tmp_path / "work").mkdir()
    (tmp_path / "scratch").mkdir()
    places = {"HF_HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "scratch")}

    def run() -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path / "work", env=os.environ | places, **pipes)

    process = run()
    at_commit(hub, "me/killed", 3, lambda: os.kill(process.pid, signal.SIGKILL))
    assert process.communicate()[1] and process.returncode == -signal.SIGKILL
    assert sorted(data_files(hub, "me/killed")) == ["data/train-00000.parquet", "data/train-00001.parquet"]
    hub.before = None
    printed, said = run().communicate()
    report = json.loads(printed)
    assert (report["images"], report["already_done"], report["protector_fitted_now"]) == (72, 2 * ROWS, False), said
    assert report["imperceptibility"]["images"] == len(spread(72 - 2 * ROWS)) and report["out"] is None
    assert report["bytes_before"] == sum(len(row["bytes"]) for row in stored(clean["train"]))
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["killed.protector"]
    assert not list((tmp_path / "home").rglob("*.arrow")) and not list((tmp_path / "home").rglob("*.parquet"))

    protector = UCProtector.from_pretrained(tmp_path / "work" / "killed.protector")
    publish(clean, "me/not-killed", protector=protector, source=CLEAN)
    assert data_files(hub, "me/killed") == data_files(hub, "me/not-killed")


@pytest.mark.parametrize("same", [True, False], ids=["the-same-job", "with-another-protector"])
def test_of_two_pushes_at_once_both_end_well_or_one_is_told_and_nothing_is_mixed(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, same: bool
) -> None:
    repo = f"me/at-once-{same}".lower()
    both_here, waited = threading.Barrier(2), threading.local()

    def before(method: str, path: str) -> None:
        # Each client's first commit waits until the other's is asked for too.
        if path == f"/api/datasets/{repo}/commit/main" and not hasattr(waited, "done") and not both_here.broken:
            waited.done = True
            both_here.wait(timeout=60)

    other = fitted if same else fitted.with_noise(-fitted.canvases())
    told: list[str] = []

    def push(protector: UCProtector) -> None:
        try:
            publish(clean, repo, protector=protector, source=CLEAN)
        except OutputError as error:
            told.append(str(error))

    HfApi().create_repo(repo, repo_type="dataset")
    hub.before = before
    threads = [threading.Thread(target=push, args=[protector]) for protector in (fitted, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == (0 if same else 1) and all("another protector has made" in message for message in told)
    hub.before = None
    straight = [f"{repo}-{name}" for name in ("first", "second")]
    for name, protector in zip(straight, (fitted, other), strict=True):
        publish(clean, name, protector=protector, source=CLEAN)
    assert data_files(hub, repo) in [data_files(hub, name) for name in straight]
    assert load_dataset(repo)["train"].num_rows == 72


def test_what_cannot_be_pushed_is_refused_before_a_row_is_protected(
    hub: MiniHub,
    clean: DatasetDict,
    fitted: UCProtector,
    protected_rows: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(repo: str, **options: object) -> str:
        with pytest.raises(OutputError) as caught:
            publish(clean, repo, protector=fitted, source=CLEAN, **options)
        assert not protected_rows
        return str(caught.value)

    clean.push_to_hub("me/a-strangers-rows")
    HfApi().create_repo("me/open", repo_type="dataset", private=False)
    HfApi().create_repo("me/lent", repo_type="dataset")
    monkeypatch.setattr(hub, "foreign", {"me/lent"})
    assert "holds files of another dataset: data/train-00000-of-00001.parquet. Empty" in refused("me/a-strangers-rows")
    assert "exists and is public. Make it private" in refused("me/open", private=True)
    assert "You don't have the rights" in refused("me/lent")
    assert "cannot be made: you are me on the Hub. Write me/NAME" in refused("somebody/new")
    assert "does not say whose the repository is. Write USER/new" in refused("new")
    assert "Check your token" in refused("me/new", token="hf_wrong")
    hub.role = "read"
    assert "your token for the Hub may only read" in refused("me/new")
    assert {("datasets", name) for name in ("me/new", "somebody/new", "new")}.isdisjoint(hub.repos)


def test_the_program_refuses_what_another_protector_has_pushed_and_says_which_to_name(
    hub: MiniHub, clean: DatasetDict, fitted: UCProtector, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = invoke("protect", CLEAN)
    assert nowhere.exit_code == 1 and "--out FOLDER, --push-to USER/NAME, or both" in nowhere.stderr
    publish(clean, "me/with-a-key", protector=fitted, source=CLEAN)
    words = ["protect", CLEAN, "--push-to", "me/with-a-key"]
    result = invoke(*words)
    assert result.exit_code == 1 and "holds data already" in result.stderr and "--protector" in result.stderr
    assert not list(tmp_path.iterdir())
    report = json.loads(succeed(*words, "--protector", key, "--json"))
    assert (report["images"], report["already_done"], report["imperceptibility"]) == (72, 72, None)


def test_a_picture_of_a_stream_that_cannot_be_protected_is_named_and_what_was_pushed_stays(
    hub: MiniHub, clean: DatasetDict, key: Path, tmp_path: Path
) -> None:
    values = stored(clean["train"])
    values[50] = {"bytes": b"no picture", "path": None}
    broken = clean["train"].remove_columns("image").add_column("image", values)
    broken = broken.cast_column("image", datasets.Image())
    broken.push_to_hub("me/broken")
    result = invoke("protect", "me/broken", "--push-to", "me/half", "--protector", key)
    assert result.exit_code == 1 and "split 'train', row 50, column 'image': not an image" in result.stderr
    assert sorted(data_files(hub, "me/half")) == ["data/train-00000.parquet", "data/train-00001.parquet"]
    broken.to_parquet(tmp_path / "broken.parquet")
    result = invoke("protect", tmp_path / "broken.parquet", "--push-to", "me/at-hand", "--protector", key)
    assert result.exit_code == 1 and "1 of 72 images cannot be protected" in result.stderr
    assert ("datasets", "me/at-hand") not in hub.repos


@pytest.fixture
def photos(tiles: Dataset, tmp_path: Path) -> Path:
    for row, (picture, label) in enumerate(zip(tiles["image"][:24], tiles["label"][:24], strict=True)):
        folder = tmp_path / "photos" / "abcd"[label]
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f"photo {row}.png")
    return tmp_path / "photos"


def test_a_folder_of_images_becomes_rows_with_names_and_labels_with_and_without_a_local_copy(
    hub: MiniHub, photos: Path, key: Path, tmp_path: Path
) -> None:
    succeed("protect", photos, "--push-to", "me/photos", "--protector", key)
    succeed("protect", photos, "--push-to", "me/photos-too", "--out", tmp_path / "out", "--protector", key)
    first, second = (load_dataset(name, split="train") for name in ("me/photos", "me/photos-too"))
    assert stored(first) == stored(second) and first["label"] == second["label"]
    assert first.features["label"].names == ["a", "b", "c", "d"]
    for row in stored(first):
        label = first["label"][stored(first).index(row)]
        assert (tmp_path / "out" / "abcd"[label] / row["path"]).read_bytes() == row["bytes"]
    copies = sorted((tmp_path / "out").rglob("*.png"))
    seen = compare((photos / copy.relative_to(tmp_path / "out"), copy) for copy in copies[:JUDGED]).flip
    for name in ("me/photos", "me/photos-too"):
        assert f"| visibility | {in_words(seen)}: FLIP {seen:.2f}, where" in DatasetCard.load(name).text
    inside = invoke("protect", photos, "--push-to", "me/photos-new", "--protector", photos / "key")
    assert inside.exit_code == 1 and "would lie within the source" in inside.stderr
    (photos / "a" / "cut.png").write_bytes(b"\x89PNG and no more")
    result = invoke("protect", photos, "--push-to", "me/photos-new", "--protector", tmp_path / "other key")
    assert result.exit_code == 1 and "a/cut.png: not an image" in result.stderr


def test_a_local_copy_is_pushed_as_it_is_and_finished_later(
    hub: MiniHub, clean: DatasetDict, key: Path, tmp_path: Path
) -> None:
    words = ["protect", CLEAN, "--protector", key, "--push-to", "me/copied"]
    at_commit(hub, "me/copied", 1, lambda: None)
    result = invoke(*words, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "storage is full" in result.stderr
    hub.before = None
    succeed(*words, "--out", tmp_path / "out")
    local = {path: data for path, data in contents(tmp_path / "out").items() if path.startswith("data/")}
    assert data_files(hub, "me/copied") == local
    assert load_dataset("me/copied")["train"].features == clean["train"].features
    report = json.loads(succeed(*words, "--json"))
    assert report["already_done"] == 72 and data_files(hub, "me/copied") == local
