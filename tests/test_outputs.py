"""Protected folders and datasets on disk: the same tree, the same rows, and a job that goes on where it stopped."""

import io
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, Image, load_dataset
from PIL import Image as PILImage

from uc_hf import UCProtector, outputs
from uc_hf.errors import DatasetError, ImageError, OutputError
from uc_hf.imperceptibility import compare
from uc_hf.outputs import protect_dataset, protect_folder


EPSILON = 16


@pytest.fixture(scope="module")
def fitted(tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=4, steps=5, batch_size=16).fit(tiles)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A nested tree of pictures of every common kind, beside files that are none."""
    rng = np.random.default_rng(0)

    def picture(name: str, channels: int = 3, size: tuple[int, int] = (40, 56)) -> None:
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(60, 200, (1, 1, channels))
        pixels = np.clip(colour + rng.normal(0, 10, (*size, channels)), 0, 255).astype(np.uint8)
        PILImage.fromarray(pixels.squeeze()).save(path)

    picture("first.jpg")
    picture("trips/rome/photo.of.me.JPG", size=(33, 90))
    picture("trips/rome/drawing.png")
    picture("trips/logo.png", channels=4)
    picture("trips/deep/er/gray.png", channels=1)
    picture("web.webp")
    picture(".thumbnails/first.png")
    (tmp_path / "album" / "readme.txt").write_text("not a picture")
    return tmp_path / "album"


@pytest.fixture
def stamps(monkeypatch: pytest.MonkeyPatch) -> DatasetDict:
    """More rows than one shard holds (20 here), very small; and a test split."""
    monkeypatch.setattr(outputs, "SHARD_ROWS", 20)
    rng = np.random.default_rng(0)

    def rows(count: int) -> Dataset:
        values = []
        for row in range(count):
            file = io.BytesIO()
            PILImage.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, format="PNG")
            values.append({"bytes": file.getvalue(), "path": f"folder/stamp {row}.png"})
        columns = {"id": list(range(count)), "image": values, "text": [f"row {row}" for row in range(count)]}
        return Dataset.from_dict(columns).cast_column("image", Image())

    return DatasetDict(train=rows(50), test=rows(20))


def stored(dataset: Dataset) -> list[dict]:
    return list(dataset.cast_column("image", Image(decode=False))["image"])


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of writing of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_folder_keeps_its_tree_its_names_and_every_pictures_size_and_mode(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out = tmp_path / "out"
    outcome = protect_folder(album, out, fitted)
    pictures = {
        "first.jpg": "first.png",
        "trips/rome/photo.of.me.JPG": "trips/rome/photo.of.me.png",
        "trips/rome/drawing.png": "trips/rome/drawing.png",
        "trips/logo.png": "trips/logo.png",
        "trips/deep/er/gray.png": "trips/deep/er/gray.png",
        "web.webp": "web.png",
    }
    assert set(snapshot(out)) == set(pictures.values())
    assert (outcome.images, outcome.already, outcome.ignored) == (6, 0, {".txt": 1})
    for name, copy in pictures.items():
        with PILImage.open(album / name) as before, PILImage.open(out / copy) as after:
            assert (before.size, before.mode) == (after.size, after.mode)
            assert 0 < np.abs(np.asarray(after).astype(int) - np.asarray(before)).max() <= EPSILON
    assert outcome.bytes_after == sum((out / copy).stat().st_size for copy in pictures.values())
    assert compare(outcome.pairs).max_difference <= EPSILON


def test_a_second_run_protects_what_was_added_and_leaves_the_rest_alone(
    album: Path, tmp_path: Path, fitted: UCProtector
) -> None:
    out = tmp_path / "out"
    protect_folder(album, out, fitted)
    first = snapshot(out)
    PILImage.new("RGB", (30, 30), "teal").save(album / "new.png")
    outcome = protect_folder(album, out, fitted)
    second = snapshot(out)
    assert set(second) - set(first) == {"new.png"} and first.items() <= second.items()
    assert (outcome.images, outcome.already) == (7, 6)


def test_two_files_that_would_become_one_are_refused(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    PILImage.new("RGB", (30, 30)).save(album / "first.png")
    with pytest.raises(DatasetError, match=r"first\.jpg and first\.png would both become first\.png"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


def test_bad_files_are_named_before_anything_is_written(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    whole = (album / "first.jpg").read_bytes()
    (album / "trips" / "zz half.jpg").write_bytes(whole[: len(whole) // 2])
    (album / "not really.png").write_text("hello")
    with pytest.raises(ImageError, match=r"(?s)2 of 8 images .*not really\.png: .*trips/zz half\.jpg: truncated"):
        protect_folder(album, tmp_path / "out", fitted)
    assert not (tmp_path / "out").exists()


def test_transparency_in_a_jpeg_container_is_refused_by_name(
    album: Path, tmp_path: Path, tiles: Dataset, surrogate_folder: str
) -> None:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, steps=1, batch_size=4, container="jpeg:90")
    with pytest.raises(ImageError, match=r"trips/logo\.png: jpeg:90 cannot hold its transparency.*'png' or 'webp'"):
        protect_folder(album, tmp_path / "out", protector.fit(tiles.select(range(8))))


def test_a_folder_without_pictures_is_refused(tmp_path: Path, fitted: UCProtector) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(DatasetError, match="holds no images"):
        protect_folder(tmp_path, tmp_path / "out", fitted)


def test_a_dataset_keeps_its_rows_columns_and_features_and_its_test_split(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    outcome = protect_dataset(stamps, ["train"], tmp_path / "out", fitted)
    assert sorted(path.name for path in (tmp_path / "out" / "data").iterdir()) == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00003.parquet",
        "train-00001-of-00003.parquet",
        "train-00002-of-00003.parquet",
    ]
    protected = load_dataset(str(tmp_path / "out"))
    assert protected["train"].features == stamps["train"].features
    assert protected["train"].select_columns(["id", "text"])[:] == stamps["train"].select_columns(["id", "text"])[:]
    assert [row["bytes"] for row in stored(protected["test"])] == [row["bytes"] for row in stored(stamps["test"])]
    assert [row["path"] for row in stored(protected["train"])] == [f"stamp {row}.png" for row in range(50)]
    for row in (0, 19, 20, 49):
        before, after = (np.asarray(dataset["train"][row]["image"]).astype(int) for dataset in (stamps, protected))
        assert 0 < np.abs(after - before).max() <= EPSILON
    assert (outcome.images, outcome.already, outcome.carried) == (50, 0, ["test"])
    assert outcome.bytes_before == sum(len(row["bytes"]) for row in stored(stamps["train"]))
    measured = compare(outcome.pairs)
    assert measured.images == 50 and 0 < measured.max_difference <= EPSILON


def test_a_bad_row_is_named_by_its_place_in_the_split_and_finished_shards_stay(
    stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    values = stored(stamps["train"])
    broken = [*values[:45], {"bytes": values[45]["bytes"][:40], "path": None}, *values[46:]]
    column = Dataset.from_dict({"image": broken}).cast_column("image", Image())
    with pytest.raises(ImageError, match=r"split 'train', row 45, column 'image': .+ cut off"):
        protect_dataset(DatasetDict(train=column), ["train"], tmp_path, fitted)
    first = snapshot(tmp_path)
    assert set(first) == {"data/train-00000-of-00003.parquet", "data/train-00001-of-00003.parquet"}
    mended = Dataset.from_dict({"image": values}).cast_column("image", Image())
    assert protect_dataset(DatasetDict(train=mended), ["train"], tmp_path, fitted).already == 40
    assert first.items() < snapshot(tmp_path).items()


def test_images_that_rows_only_point_to_are_taken_in(album: Path, tmp_path: Path, fitted: UCProtector) -> None:
    paths = [str(album / "first.jpg"), str(album / "web.webp")]
    rows = Dataset.from_dict({"image": paths}).cast_column("image", Image())
    outcome = protect_dataset(DatasetDict(train=rows, extra=rows), ["train"], tmp_path / "out", fitted)
    assert outcome.bytes_before == sum(Path(path).stat().st_size for path in paths)
    clean = stored(load_dataset(str(tmp_path / "out"), split="extra"))
    assert clean == [{"bytes": Path(path).read_bytes(), "path": Path(path).name} for path in paths]
    protected = stored(load_dataset(str(tmp_path / "out"), split="train"))
    assert [row["path"] for row in protected] == ["first.png", "web.png"]
    assert all(row["bytes"].startswith(b"\x89PNG") for row in protected)


def test_shards_of_another_dataset_are_not_mixed_with(tiles: Dataset, tmp_path: Path, fitted: UCProtector) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00007.parquet").write_bytes(b"")
    with pytest.raises(OutputError, match=r"files of another dataset.*train-00000-of-00007.*Empty it"):
        protect_dataset(DatasetDict(train=tiles), ["train"], tmp_path, fitted)


def test_a_protector_of_another_column_is_refused(tiles: Dataset, tmp_path: Path, fitted: UCProtector) -> None:
    renamed = tiles.rename_column("image", "picture")
    with pytest.raises(DatasetError, match="there is no column 'image'"):
        protect_dataset(DatasetDict(train=renamed), ["train"], tmp_path, fitted)


def test_a_full_disk_stops_with_what_is_done_and_the_same_call_goes_on(
    tiles: Dataset, stamps: DatasetDict, tmp_path: Path, fitted: UCProtector
) -> None:
    splits = DatasetDict(train=stamps["train"].select(range(5)), extra=tiles.select(range(20)))
    with files_limited_to(50_000), pytest.raises(OutputError) as caught:
        protect_dataset(splits, ["train", "extra"], tmp_path / "out", fitted)
    assert "extra-00000-of-00001.parquet cannot be written: File too large" in str(caught.value)
    assert "the same command goes on" in str(caught.value)
    assert set(snapshot(tmp_path / "out")) == {"data/train-00000-of-00001.parquet"}
    assert protect_dataset(splits, ["train", "extra"], tmp_path / "out", fitted).already == 5
    protect_dataset(splits, ["train", "extra"], tmp_path / "straight", fitted)
    paths = [sorted(folder.rglob("*.parquet")) for folder in (tmp_path / "out", tmp_path / "straight")]
    assert [path.read_bytes() for path in paths[0]] == [path.read_bytes() for path in paths[1]]


def test_imperceptibility_of_known_changes() -> None:
    gray = np.full((20, 24, 3), 100, dtype=np.uint8)
    textured = np.random.default_rng(0).integers(0, 200, (20, 24, 3), dtype=np.uint8)
    same, shifted = compare([(textured, textured)]), compare([(gray, gray + 16), (textured, textured + 4)])
    assert (same.psnr, same.ssim, same.max_difference) == (float("inf"), 1.0, 0)
    assert shifted.worst_psnr == pytest.approx(20 * np.log10(255 / 16))
    assert shifted.psnr == pytest.approx((20 * np.log10(255 / 16) + 20 * np.log10(255 / 4)) / 2)
    assert shifted.worst_ssim < shifted.ssim < 1 and shifted.max_difference == 16


def test_pictures_of_different_sizes_are_not_compared() -> None:
    small, large = np.zeros((20, 24, 3), dtype=np.uint8), np.zeros((20, 30, 3), dtype=np.uint8)
    with pytest.raises(ImageError, match="pair 0 is 24 x 20 pixels before and 30 x 20 after"):
        compare([(small, large)])
