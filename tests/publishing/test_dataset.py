"""Protected datasets as parquet shards in a folder: the same rows, and a job that goes on where it stopped."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, IterableDataset, Value, load_dataset
from PIL import Image as PILImage

from tests.stored import DAMAGE, contents, files_limited_to, local_folder, snapshot, stored
from uc_hf import UCProtector
from uc_hf.data import rows
from uc_hf.data.sources import open_dataset
from uc_hf.errors import DatasetError, ImageError, OutputError
from uc_hf.publishing import dataset as shards
from uc_hf.publishing.dataset import Splits, protect_dataset
from uc_hf.scoring.imperceptibility import compare


EPSILON = 16
NAMES = ["stamp", "seal", "coin"]


def picture(rng: np.random.Generator, side: int = 8) -> bytes:
    file = io.BytesIO()
    PILImage.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, format="PNG")
    return file.getvalue()


def make_rows(count: int, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    columns = {
        "id": list(range(count)),
        "image": [{"bytes": picture(rng), "path": f"folder/stamp {row}.png"} for row in range(count)],
        "text": [f"row {row}" for row in range(count)],
        "kind": [row % 3 for row in range(count)],
    }
    features = {"id": Value("int64"), "image": Image(), "text": Value("string"), "kind": ClassLabel(names=NAMES)}
    return Dataset.from_dict(columns, features=Features(features))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 20)
    monkeypatch.setattr(shards, "BATCH_ROWS", 8)


@pytest.fixture
def stamps() -> DatasetDict:
    """More rows than one shard holds, very small; and a test split."""
    return DatasetDict(train=make_rows(50), test=make_rows(20, seed=1))


def write(splits: Splits, out: Path, protector: UCProtector, protect: tuple[str, ...] = ("train",), source: str = "s"):
    return protect_dataset(splits, protect, local_folder(out, protector), protector, source)


def streamed(splits: DatasetDict, folder: Path) -> Splits:
    """The same rows read from parquet files as they are asked for."""
    files = {split: str(folder / f"{split}.parquet") for split in splits}
    for split, dataset in splits.items():
        dataset.to_parquet(files[split])
    return load_dataset("parquet", data_files=files, streaming=True)


def generated(splits: DatasetDict) -> Splits:
    """The same rows from Python code."""

    def walk(split: str) -> Iterator[dict]:
        yield from splits[split].cast_column("image", Image(decode=False))

    return {
        split: IterableDataset.from_generator(walk, gen_kwargs={"split": split}, features=dataset.features)
        for split, dataset in splits.items()
    }


def test_a_dataset_keeps_its_rows_columns_and_features_and_its_test_split(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    outcome = write(stamps, tmp_path / "out", fitted)
    files = ["test-00000", "train-00000", "train-00001", "train-00002"]
    assert sorted(contents(tmp_path / "out")) == ["README.md", *(f"data/{name}.parquet" for name in files)]
    protected = load_dataset(str(tmp_path / "out"))
    assert list(protected) == ["train", "test"]
    assert protected["train"].features == stamps["train"].features
    for column in ("id", "text", "kind"):
        assert protected["train"][column] == stamps["train"][column]
    assert [row["bytes"] for row in stored(protected["test"])] == [row["bytes"] for row in stored(stamps["test"])]
    assert [row["path"] for row in stored(protected["train"])] == [f"stamp {row}.png" for row in range(50)]
    for row in range(50):
        before, after = (np.asarray(dataset["train"][row]["image"]).astype(int) for dataset in (stamps, protected))
        assert 0 < np.abs(after - before).max() <= EPSILON
    assert (outcome.images, outcome.already, outcome.carried) == (50, 0, ["test"])
    assert outcome.bytes_before == sum(len(row["bytes"]) for row in stored(stamps["train"]))
    measured = compare(outcome.pairs)
    assert measured.images == 24 and 0 < measured.max_difference <= EPSILON


def test_a_stream_gives_the_same_files_as_a_dataset_on_disk(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    ways = {"disk": stamps, "parquet": streamed(stamps, tmp_path), "python": generated(stamps)}
    for name, splits in ways.items():
        write(splits, tmp_path / name / "out", fitted)
    written = [contents(tmp_path / name / "out") for name in ways]
    assert written[0] == written[1] == written[2]


def test_shards_and_row_groups_of_large_pictures_hold_few_of_them(
    tmp_path: Path, fitted: UCProtector, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    sides = [16] * 15 + [90] * 6 + [16] * 5
    values = [{"bytes": picture(rng, side), "path": None} for side in sides]
    album = Dataset.from_dict({"image": values}, features=Features({"image": Image()}))
    monkeypatch.setattr(shards, "SHARD_BYTES", 60_000)
    monkeypatch.setattr(rows, "GROUP_BYTES", 30_000)
    monkeypatch.setattr(rows, "BATCH_BYTES", 20_000)
    write({"train": album}, tmp_path, fitted)
    files = [pq.ParquetFile(path) for path in sorted(tmp_path.rglob("*.parquet"))]
    groups = [[file.metadata.row_group(g).num_rows for g in range(file.num_row_groups)] for file in files]
    # One of the large pictures has 24 kB: it ends a batch, two of them a row group, three a shard.
    assert groups == [[16, 1], [2, 1], [6]]
    assert load_dataset(str(tmp_path), split="train").num_rows == 26


def test_a_bad_row_is_named_and_the_job_then_goes_on_behind_the_finished_shards(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int]
) -> None:
    values = stored(stamps["train"])
    values[45] = {"bytes": values[45]["bytes"][:40], "path": None}
    broken = stamps["train"].remove_columns("image").add_column("image", values)
    broken = broken.cast_column("image", Image()).select_columns(stamps["train"].column_names)
    with pytest.raises(ImageError, match=r"split 'train', row 45, column 'image': not an image.*same command goes"):
        write({"train": broken, "test": stamps["test"]}, tmp_path / "out", fitted)
    first = snapshot(tmp_path / "out")
    assert set(first) == {"data/train-00000.parquet", "data/train-00001.parquet"}
    protected_rows.clear()
    outcome = write(stamps, tmp_path / "out", fitted)
    assert (outcome.images, outcome.already, protected_rows) == (50, 40, list(range(40, 50)))
    assert outcome.bytes_before == sum(len(row["bytes"]) for row in stored(stamps["train"]))
    assert first.items() < snapshot(tmp_path / "out").items()
    write(stamps, tmp_path / "straight" / "out", fitted)
    assert contents(tmp_path / "out") == contents(tmp_path / "straight" / "out")


def test_a_finished_job_is_done_and_rows_that_were_added_since_follow(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int]
) -> None:
    first = DatasetDict(train=stamps["train"].select(range(30)), test=stamps["test"])
    write(first, tmp_path, fitted)
    before = snapshot(tmp_path)
    protected_rows.clear()
    outcome = write(first, tmp_path, fitted)
    assert (outcome.images, outcome.already, list(outcome.pairs), protected_rows) == (30, 30, [], [])
    assert snapshot(tmp_path) == before
    assert write(stamps, tmp_path, fitted).images == 50 and protected_rows == list(range(30, 50))
    assert load_dataset(str(tmp_path), split="train")["id"] == list(range(50))


def test_images_that_rows_only_point_to_are_taken_in(tmp_path: Path, fitted: UCProtector) -> None:
    paths = [tmp_path / "a photo.png", tmp_path / "another.png"]
    for path in paths:
        path.write_bytes(picture(np.random.default_rng(0), 30))
    pointing = Dataset.from_dict({"image": [str(path) for path in paths]}).cast_column("image", Image())
    outcome = write({"train": pointing, "extra": pointing}, tmp_path / "out", fitted)
    assert outcome.bytes_before == sum(path.stat().st_size for path in paths)
    clean = stored(load_dataset(str(tmp_path / "out"), split="extra"))
    assert clean == [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
    protected = stored(load_dataset(str(tmp_path / "out"), split="train"))
    assert [row["path"] for row in protected] == ["a photo.png", "another.png"]
    assert all(row["bytes"] not in (path.read_bytes() for path in paths) for row in protected)
    paths[1].unlink()
    with pytest.raises(DatasetError, match="row 1 of the split 'train' cannot be read"):
        write({"train": pointing}, tmp_path / "none", fitted)


def test_splits_of_any_name_come_back_but_those_without_rows(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    splits = {"train": stamps["train"], "train.extra": stamps["test"], "none_yet": stamps["test"].select([])}
    write(splits, tmp_path, fitted, ("train", "none_yet"))
    loaded = load_dataset(str(tmp_path))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 50, "train.extra": 20}
    assert all(rows.features["kind"].names == NAMES for rows in loaded.values())
    with pytest.raises(DatasetError, match="there are no rows in 'none_yet'"):
        write({"none_yet": splits["none_yet"]}, tmp_path / "none", fitted, ("none_yet",))
    with pytest.raises(DatasetError, match="'train-extra' cannot be loaded as a split again"):
        write({"train-extra": stamps["train"]}, tmp_path / "none", fitted, ("train-extra",))


def test_columns_have_to_be_known_and_the_same_in_all_splits(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    def nothing(row: dict) -> dict:
        return row

    unknown = streamed(stamps, tmp_path)["train"].map(nothing)
    for splits, message in (
        ({"train": unknown}, r"does not know its columns\. Write stream\.map\(\.\.\., features="),
        (stamps | {"b": stamps["test"].remove_columns("id")}, "'train' and 'b' have different columns"),
        ({"train": stamps["train"].rename_column("image", "picture")}, "there is no column 'image'"),
    ):
        with pytest.raises(DatasetError, match=message):
            write(splits, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "one bit", "gone"])
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_shard_is_made_again_and_no_other(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int], damage: str, number: int
) -> None:
    write(stamps, tmp_path / "out", fitted)
    first = snapshot(tmp_path / "out")
    name = f"data/train-{number:05d}.parquet"
    DAMAGE[damage](tmp_path / "out" / name)
    protected_rows.clear()
    outcome = write(stamps, tmp_path / "out", fitted)
    rows = list(range(20 * number, min(50, 20 * number + 20)))
    assert protected_rows == rows and outcome.already == 50 - len(rows)
    assert outcome.again == (0 if damage == "gone" else len(rows))
    second = snapshot(tmp_path / "out")
    assert {path for path in first if first[path] != second[path]} == {name} and second[name][0] == first[name][0]


def test_a_shard_that_no_manifest_vouches_for_is_made_again(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int]
) -> None:
    write(stamps, tmp_path / "out", fitted)
    before = contents(tmp_path / "out")
    (tmp_path / "out.jsonl").write_bytes(b"")
    protected_rows.clear()
    outcome = write(stamps, tmp_path / "out", fitted)
    assert contents(tmp_path / "out") == before and protected_rows == list(range(50))
    assert (outcome.already, outcome.again) == (0, 50)


@pytest.mark.parametrize("damage", ["empty", "half", "zeros", "gone"])
def test_a_damaged_card_is_written_anew_and_an_edited_one_kept(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, damage: str
) -> None:
    write(stamps, tmp_path, fitted)
    before = contents(tmp_path)
    DAMAGE[damage](tmp_path / "README.md")
    write(stamps, tmp_path, fitted)
    assert contents(tmp_path) == before
    with (tmp_path / "README.md").open("a") as card:
        card.write("My stamps.\n")
    write(stamps, tmp_path, fitted)
    assert (tmp_path / "README.md").read_bytes() == before["README.md"] + b"My stamps.\n"


def changed(dataset: Dataset, change: dict, at: int) -> Dataset:
    """The same rows but for one."""
    values = list(dataset.cast_column("image", Image(decode=False)))
    values[at] |= change
    return Dataset.from_list(values, features=dataset.features)


@pytest.mark.parametrize(
    "change",
    [{"image": {"bytes": picture(np.random.default_rng(7)), "path": "edited.png"}}, {"kind": 2}, {"text": "another"}],
    ids=["image", "label", "text"],
)
def test_a_shard_with_an_edited_row_is_made_again_and_no_other(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int], change: dict
) -> None:
    write(stamps, tmp_path / "out", fitted)
    edited = DatasetDict(train=changed(stamps["train"], change, at=21), test=stamps["test"])
    protected_rows.clear()
    outcome = write(edited, tmp_path / "out", fitted)
    assert protected_rows == list(range(20, 40)) and (outcome.already, outcome.again) == (30, 20)
    write(edited, tmp_path / "straight" / "out", fitted)
    # Not by load_dataset(FOLDER): datasets 5.2 serves what it has cached of another folder of that name.
    loaded = [open_dataset(str(tmp_path / name))["train"] for name in ("out", "straight/out")]
    assert stored(loaded[0]) == stored(loaded[1]) and loaded[0]["kind"] == edited["train"]["kind"]


def test_rows_that_were_put_in_between_or_left_out_are_followed(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    train = stamps["train"]
    write(stamps, tmp_path / "out", fitted)
    for kept in ([0, 1, *range(5, 50)], [49, *range(49)], list(range(50))):
        write(stamps | {"train": train.select(kept)}, tmp_path / "out", fitted)
        assert open_dataset(str(tmp_path / "out"))["train"]["id"] == kept


@pytest.mark.parametrize(("rows", "number"), [(45, 2), (40, 2), (30, 1), (10, 0)])
def test_a_split_does_not_shrink_unseen(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, rows: int, number: int
) -> None:
    write(stamps, tmp_path / "out", fitted)
    before = snapshot(tmp_path / "out")
    fewer = stamps | {"train": stamps["train"].select(range(rows))}
    said = (
        rf"train-{number:05d}\.parquet, whose rows .* ends before row {rows} of the split 'train'\. Remove that file"
    )
    with pytest.raises(OutputError, match=said):
        write(fewer, tmp_path / "out", fitted)
    assert snapshot(tmp_path / "out") == before
    for surplus in range(number, 3):
        (tmp_path / "out" / "data" / f"train-{surplus:05d}.parquet").unlink()
    assert write(fewer, tmp_path / "out", fitted).images == rows


def test_what_is_not_this_jobs_work_is_refused(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector, protected_rows: list[int]
) -> None:
    def refused(splits: Splits, out: Path, protector: UCProtector = fitted, **job: object) -> str:
        before = snapshot(out)
        with pytest.raises(OutputError) as caught:
            write(splits, out, protector, **job)
        assert snapshot(out) == before and not protected_rows
        return str(caught.value)

    train, out = stamps["train"], tmp_path / "out"
    write(stamps, out, fitted)
    protected_rows.clear()
    assert "rows that another protector has made" in refused(stamps, out, fitted.with_noise(-fitted.canvases()))
    other = fitted.restored(fitted.settings.changed(keep_exif=True), fitted.fitted)
    assert "rows that another protector has made" in refused(stamps, out, other)
    assert "the protected copy of other originals" in refused(stamps, out, source="other")
    assert "holds this split clean, and it is to be protected now" in refused(stamps, out, protect=("train", "test"))
    moved = DatasetDict(train=train.select([50 - row for row in range(1, 51)]), test=stamps["test"])
    assert "and those of the source are others now, as row 0 shows. Choose another output" in refused(moved, out)
    assert "rows with other columns" in refused(stamps.remove_columns("id"), out)
    assert "holds the split 'test', which is not among those to publish now: 'train'. Publish all" in refused(
        {"train": train}, out
    )
    for name in ("train-00000.parquet", "other.parquet"):
        (tmp_path / name / "data").mkdir(parents=True)
        stamps["train"].to_parquet(tmp_path / name / "data" / name)
        assert f"holds files of another dataset: data/{name}. Empty it" in refused(stamps, tmp_path / name)
    (tmp_path / "train-00000.parquet" / "data" / "train-00000.parquet").write_bytes(b"PAR1 and no more")
    assert "damaged file, data/train-00000.parquet" in refused(stamps, tmp_path / "train-00000.parquet")


def test_a_shard_tells_neither_what_its_source_is_called_nor_the_noise(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    write(stamps, tmp_path / "a", fitted, source="secret-holiday")
    write(stamps, tmp_path / "b", fitted.with_noise(-fitted.canvases()), source="secret-holiday")
    files = [tmp_path / name / "data" / "train-00000.parquet" for name in "ab"]
    first, second = (json.loads(pq.read_metadata(file).metadata[b"uc_hf"]) for file in files)
    assert b"holiday" not in files[0].read_bytes()
    assert {name for name in first if first[name] != second[name]} <= {"protector", "source", "originals", "flip"}


def test_a_full_disk_stops_with_what_is_done_and_the_same_call_goes_on(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    rng = np.random.default_rng(0)
    large = [{"bytes": picture(rng, 60), "path": None} for _ in range(20)]
    extra = make_rows(20).remove_columns("image").add_column("image", large).cast_column("image", Image())
    splits = {"train": make_rows(5), "extra": extra.select_columns(make_rows(1).column_names)}
    with files_limited_to(50_000), pytest.raises(OutputError) as caught:
        write(splits, tmp_path / "out", fitted, ("train", "extra"))
    assert "data/extra-00000.parquet cannot be written: File too large" in str(caught.value)
    assert "the same command goes on" in str(caught.value)
    assert set(snapshot(tmp_path / "out")) == {"data/train-00000.parquet"}
    assert write(splits, tmp_path / "out", fitted, ("train", "extra")).already == 5
    write(splits, tmp_path / "straight" / "out", fitted, ("train", "extra"))
    assert contents(tmp_path / "out") == contents(tmp_path / "straight" / "out")
