"""UCProtector inside `datasets.map`, for real: every way of calling it gives the same protected images."""

import copy
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import Dataset, DatasetDict, Features, Image, IterableDataset, load_dataset
from datasets.fingerprint import Hasher
from PIL import Image as PILImage
from torch import nn

from tests.workers import WORKERS
from uc_hf import Surrogate, UCProtector
from uc_hf.data import images
from uc_hf.data.checks import check_dataset
from uc_hf.data.container import Container
from uc_hf.errors import BoundError, ImageError, NotFittedError, SettingError, SurrogateError
from uc_hf.methods.registry import protector_for
from uc_hf.surrogates.surrogate import load_surrogate
from uc_hf.training import devices


EPSILON = 16


@pytest.fixture(scope="module")
def fitted(tiles: Dataset, surrogate_folder: str) -> UCProtector:
    return UCProtector(surrogate=surrogate_folder, n_clusters=4, batch_size=32, seed=0).fit(tiles)


def pixels(value: object) -> np.ndarray:
    if isinstance(value, dict):
        value = PILImage.open(io.BytesIO(value["bytes"]))
    return np.asarray(value).astype(int)


def stored(dataset: Dataset) -> list[bytes]:
    return [row["image"]["bytes"] for row in dataset.cast_column("image", Image(decode=False))]


def test_map_changes_only_the_images_and_stays_within_epsilon(tiles: Dataset, fitted: UCProtector):
    protected = tiles.map(fitted, batched=True, batch_size=16)
    assert protected.features == tiles.features
    assert protected["label"] == tiles["label"] and protected["note"] == tiles["note"]
    for before, after in zip(tiles["image"], protected["image"], strict=True):
        difference = np.abs(pixels(after) - pixels(before))
        assert before.size == after.size and before.mode == after.mode
        assert 0 < difference.max() <= EPSILON


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batched": True, "batch_size": 7},
        {"batched": True, "num_proc": WORKERS},
        {"with_indices": True},
        {"batched": True, "with_indices": True, "with_rank": True, "num_proc": WORKERS},
        {"batched": True, "input_columns": ["image"]},
        {"batched": True, "keep_in_memory": True, "writer_batch_size": 10},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_every_way_of_mapping_gives_the_same_bytes(tiles: Dataset, fitted: UCProtector, options: dict):
    expected = [fitted(dict(row))["image"]["bytes"] for row in tiles.cast_column("image", Image(decode=False))]
    assert stored(tiles.map(fitted, **options)) == expected


def test_remove_columns_and_dataset_dict(tiles: Dataset, fitted: UCProtector):
    splits = DatasetDict(train=tiles.select(range(10)), test=tiles.select(range(10, 16)))
    protected = splits.map(fitted, batched=True, remove_columns=["note"])
    assert protected["train"].column_names == ["image", "label"]
    assert stored(protected["test"]) == stored(tiles.map(fitted, batched=True))[10:16]


def test_streaming_gives_the_same_bytes(tiles: Dataset, fitted: UCProtector, tmp_path: Path):
    tiles.to_parquet(tmp_path / "tiles.parquet")
    stream = load_dataset("parquet", data_files=str(tmp_path / "tiles.parquet"), split="train", streaming=True)
    assert isinstance(stream, IterableDataset)
    protected = list(stream.map(fitted, batched=True, batch_size=10, features=stream.features).decode(False))
    assert [row["image"]["bytes"] for row in protected] == stored(tiles.map(fitted, batched=True))
    assert [row["label"] for row in protected] == tiles["label"]


def test_fit_on_a_stream_reads_a_bounded_seeded_sample(tiles: Dataset, surrogate_folder: str):
    settings = {"surrogate": surrogate_folder, "n_clusters": 2, "max_fit_images": 30}
    stream = tiles.to_iterable_dataset()
    first, second = (UCProtector(fit_to=stream, **settings) for _ in range(2))
    assert sum(first.fitted.sizes) == 30
    assert np.array_equal(first.canvases(), second.canvases())


def test_with_transform_keeps_the_other_columns(tiles: Dataset, fitted: UCProtector):
    row = tiles.with_transform(fitted)[3]
    assert row["note"] == "note 3" and np.abs(pixels(row["image"]) - pixels(tiles[3]["image"])).max() <= EPSILON


def test_every_kind_of_image_value_is_protected_alike(tiles: Dataset, fitted: UCProtector, tmp_path: Path):
    image = tiles[0]["image"]
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    path = tmp_path / "holiday photo.png"
    path.write_bytes(buffer.getvalue())
    expected = pixels(fitted.transform(image))
    for value in (image, buffer.getvalue(), str(path), path, np.asarray(image), {"bytes": None, "path": str(path)}):
        assert np.array_equal(pixels(fitted({"image": value})["image"]), expected)
    assert fitted({"image": str(path)})["image"]["path"] == "holiday photo.png"


def test_images_that_were_not_fitted_on_and_other_sizes_are_protected(fitted: UCProtector):
    rng = np.random.default_rng(1)
    for size in ((17, 90), (200, 131)):
        image = PILImage.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        protected = fitted.transform(image)
        assert protected.size == image.size
        assert 0 < np.abs(pixels(protected) - pixels(image)).max() <= EPSILON


@pytest.mark.parametrize(("mode", "becomes"), [("L", "RGB"), ("LA", "RGBA")])
def test_a_gray_picture_of_a_coloured_set_is_stored_in_colour_with_coloured_noise(
    fitted: UCProtector, mode: str, becomes: str
):
    gray = PILImage.fromarray(np.random.default_rng(2).integers(20, 230, (50, 60), dtype=np.uint8)).convert(mode)
    protected = fitted.transform(gray)
    assert protected.mode == becomes
    assert np.array_equal(pixels(protected), pixels(fitted.transform(gray.convert(becomes))))
    change = pixels(protected.convert("RGB")) - pixels(gray.convert("RGB"))
    assert (change != change[..., :1]).any()


def test_a_gray_set_stays_gray(tiles: Dataset, surrogate_folder: str):
    gray = tiles.map(lambda row: {"image": row["image"].convert("L")})
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=3, batch_size=16).fit(gray)
    picture = gray[0]["image"]
    change = pixels(protector.transform(picture)) - pixels(picture)
    assert protector.transform(picture).mode == "L"
    assert 0 < np.abs(change).max() <= EPSILON


def test_gray_pictures_among_coloured_ones_are_told_of(caplog: pytest.LogCaptureFixture):
    coloured = PILImage.fromarray(np.random.default_rng(3).integers(0, 256, (20, 20, 3), dtype=np.uint8))
    mixed = Dataset.from_dict({"image": [coloured, coloured.convert("L"), coloured]}).cast_column("image", Image())
    for rows in ([0, 2], [1, 1]):
        check_dataset(mixed.select(rows), "image", Container.parse("png"))
    assert not caplog.records
    check_dataset(mixed, "image", Container.parse("png"))
    assert "1 of 3 images are stored in gray (the first: row 1, column 'image')" in caplog.text


def test_equal_seeds_give_equal_bytes_and_other_seeds_other_noise(tiles: Dataset, surrogate_folder: str):
    settings = {"surrogate": surrogate_folder, "n_clusters": 3, "batch_size": 16}
    noises = [UCProtector(**settings, seed=seed).fit(tiles).canvases() for seed in (0, 0, 1)]
    assert np.array_equal(noises[0], noises[1]) and not np.array_equal(noises[0], noises[2])


def test_save_and_load_give_the_same_fingerprint_and_bytes(tiles: Dataset, fitted: UCProtector, tmp_path: Path):
    fitted.save_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["README.md", "config.json", "model.safetensors", "noise.png"]
    assert Hasher.hash(loaded) == Hasher.hash(fitted)
    assert stored(tiles.map(loaded, load_from_cache_file=False)) == stored(tiles.map(fitted))


def test_a_surrogate_may_be_compiled_and_is_the_same_one(tiles: Dataset, fitted: UCProtector, surrogate_folder: str):
    graphs = []

    def backend(graph, _):  # runs what was traced, without a C++ compiler
        graphs.append(graph)
        return graph

    surrogate = load_surrogate(surrogate_folder)
    surrogate.encoder.compile(backend=backend)
    protector = UCProtector(surrogate=surrogate, n_clusters=4, batch_size=32, seed=0).fit(tiles)
    mapped = tiles.map(protector, batched=True, num_proc=WORKERS)
    assert graphs
    assert surrogate.digest == load_surrogate(surrogate_folder).digest
    assert stored(mapped) == stored(tiles.map(fitted))


SECOND_PROCESS = """
import sys
from datasets import load_from_disk
from uc_hf import UCProtector
tiles = load_from_disk(sys.argv[1])
print(tiles.map(UCProtector.from_pretrained(sys.argv[2]), batched=True)._fingerprint)
"""


def test_a_new_process_is_served_from_the_cache(tiles: Dataset, fitted: UCProtector, tmp_path: Path):
    tiles.save_to_disk(tmp_path / "tiles")
    fitted.save_pretrained(tmp_path / "protector")
    command = [sys.executable, "-c", SECOND_PROCESS, str(tmp_path / "tiles"), str(tmp_path / "protector")]
    fingerprints = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert fingerprints[0] == fingerprints[1]
    caches = list((tmp_path / "tiles").glob("cache-*.arrow"))
    assert len(caches) == 1 and fingerprints[0].strip() in caches[0].name


class Encoder(nn.Module):
    """What a user brings: any torch module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 5, stride=4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2))

    def forward(self, x):
        return self.body(x).flatten(1)


def test_a_users_own_encoder_travels_to_workers_and_must_be_given_back_at_load(tiles: Dataset, tmp_path: Path):
    surrogate = Surrogate(Encoder(), size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    protector = UCProtector(surrogate=surrogate, n_clusters=3, fit_to=tiles)
    protected = stored(tiles.map(protector, batched=True, num_proc=WORKERS))
    protector.save_pretrained(tmp_path)
    with pytest.raises(SurrogateError, match=r"surrogate=Surrogate\(my_encoder"):
        UCProtector.from_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path, surrogate=surrogate)
    assert stored(tiles.map(loaded, batched=True, load_from_cache_file=False)) == protected
    other = UCProtector.from_pretrained(
        tmp_path, surrogate=Surrogate(Encoder(), size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    )
    with pytest.raises(SurrogateError, match="other weights"):
        other.transform(tiles[0]["image"])


def test_the_size_of_the_noise_changes_no_cluster(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    settings = {"surrogate": surrogate_folder, "n_clusters": 3, "batch_size": 8}
    settings |= {"parametrisation": "direct", "steps": 3}
    usual, coarse = UCProtector(fit_to=tiles, **settings), UCProtector(fit_to=tiles, canvas_size=16, **settings)
    assert usual.canvases().shape[-1] == 32 and coarse.canvases().shape[-1] == 16
    pictures = [images.decode(value) for value in tiles["image"]]
    assert np.array_equal(usual.assign(pictures), coarse.assign(pictures))
    coarse.save_pretrained(tmp_path)
    assert UCProtector.from_pretrained(tmp_path).fitted.view_size == 32


def test_a_protector_of_an_earlier_version_looks_at_the_canvas(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    settings = {"surrogate": surrogate_folder, "n_clusters": 3, "batch_size": 8}
    settings |= {"parametrisation": "direct", "steps": 3}
    UCProtector(fit_to=tiles, canvas_size=16, **settings).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["fit"]["looked_at"], config["digest"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert UCProtector.from_pretrained(tmp_path).fitted.view_size == 16


def test_a_forked_worker_without_the_gpu_says_what_to_do(
    tiles: Dataset, surrogate_folder: str, monkeypatch: pytest.MonkeyPatch
):
    sent = copy.copy(UCProtector(surrogate=surrogate_folder, n_clusters=2, fit_to=tiles))

    def refuse() -> torch.device:
        """What torch says as a forked worker turns to the GPU."""
        raise RuntimeError("Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, ...")

    monkeypatch.setattr(devices, "worker_device", refuse)
    with pytest.raises(SurrogateError, match=r"Leave num_proc .* out, .*set_start_method\(\"spawn\"\)"):
        sent.transform(tiles[0]["image"])


class Watched(Encoder):
    """Notes for each pass whether it runs in mixed precision."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed: list[bool] = []

    def forward(self, x):
        self.mixed.append(torch.is_autocast_enabled(x.device.type))
        return super().forward(x)


@pytest.mark.parametrize(
    ("settings", "passes"), [({}, 2), ({"parametrisation": "direct", "steps": 4}, 2 + 4 + 2)], ids=["wave", "direct"]
)
def test_every_pass_of_a_fit_runs_in_the_accelerators_precision(
    tiles: Dataset, settings: dict[str, object], passes: int
):
    AcceleratorState._reset_state()
    encoder = Watched()
    surrogate = Surrogate(encoder, size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    encoder.mixed.clear()
    protector = UCProtector(surrogate=surrogate, n_clusters=3, **settings)
    protector.fit(tiles, accelerator=Accelerator(mixed_precision="bf16"))
    AcceleratorState._reset_state()
    assert len(encoder.mixed) == passes and all(encoder.mixed)
    assert protector.fitted.centroids.dtype == np.float32


def test_a_stored_pixel_beyond_epsilon_is_refused(
    tiles: Dataset, fitted: UCProtector, monkeypatch: pytest.MonkeyPatch
):
    original = images.decode(tiles[0]["image"])

    def store(picture: images.Picture, *_: object, **__: object) -> bytes:
        """A container that goes beyond the bound by one level, in one corner of one channel."""
        changed = picture.pixels.copy()
        corner = original.pixels[-1, -1, 2]
        changed[-1, -1, 2] = corner + 17 if corner < 128 else corner - 17
        return encode(replace(picture, pixels=changed), Container("png"))

    encode = images.encode
    monkeypatch.setattr(images, "encode", store)
    with pytest.raises(BoundError, match="differs by 17/255 from its original; the bound is 16/255"):
        fitted.protect([original])


def test_an_unfitted_protector_says_what_to_write(tiles: Dataset):
    protector = UCProtector(surrogate="anything")
    assert "not fitted" in repr(protector)
    with pytest.raises(NotFittedError, match=r"ds\.map\(protector\.fit\(ds\), batched=True\)"):
        tiles.map(protector)


def test_repr_says_what_it_is(fitted: UCProtector):
    assert "n_clusters=4, epsilon=16/255" in repr(fitted) and "fitted on 96 images" in repr(fitted)


def test_with_noise_keeps_the_clusters_and_refuses_more_than_epsilon(tiles: Dataset, fitted: UCProtector):
    zero = fitted.with_noise(np.zeros_like(fitted.canvases()))
    assert np.array_equal(pixels(zero.transform(tiles[0]["image"])), pixels(tiles[0]["image"]))
    with pytest.raises(SettingError, match="exceeds 16/255"):
        fitted.with_noise(np.full_like(fitted.canvases(), 17))


def test_jpeg_container_is_learnt_under_jpeg_and_stored_as_jpeg(tiles: Dataset, surrogate_folder: str):
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, batch_size=8, container="jpeg:90")
    data = protector.fit(tiles)(dict(tiles[0]))["image"]["bytes"]
    assert PILImage.open(io.BytesIO(data)).format == "JPEG"


def test_transparency_in_a_jpeg_container_is_refused_by_row_before_fitting(tiles: Dataset, surrogate_folder: str):
    clear = PILImage.new("RGBA", (30, 30), (10, 20, 30, 40))
    mixed = Dataset.from_dict({"image": [tiles[0]["image"], clear]}, features=Features({"image": Image()}))
    with pytest.raises(ImageError, match=r"row 1, column 'image': jpeg:90 cannot hold its transparency"):
        UCProtector(surrogate=surrogate_folder, n_clusters=2, container="jpeg:90").fit(mixed)
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=2, container="jpeg:90").fit(tiles)
    with pytest.raises(ImageError, match=r"row 1, column 'image': .*use 'png' or 'webp'"):
        mixed.map(protector, batched=True, with_indices=True)


def test_a_surrogate_of_two_sizes(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    settings = {"surrogate": surrogate_folder, "n_clusters": 4, "batch_size": 8}
    protector = UCProtector(surrogate_size=(16, 32), **settings).fit(tiles)
    protector.save_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path)
    assert loaded.settings == protector.settings
    assert stored(tiles.map(loaded)) == stored(tiles.map(protector))
    one, same = (UCProtector(surrogate_size=size, **settings) for size in ((32,), 32))
    assert one.settings == same.settings
    with pytest.raises(SettingError, match="surrogate_size=4 is not a whole number of at least 8"):
        UCProtector(surrogate_size=(4, 32))
    with pytest.raises(SettingError, match=r"surrogate_size=\(16, 32\): labels='predicted' asks .* at one size"):
        protector_for("grating", surrogate=surrogate_folder, labels="predicted", surrogate_size=(16, 32))


def test_a_large_surrogate_looks_twice_and_finds_the_same_clusters_when_it_is_loaded(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path
):
    large = tmp_path / "large"
    shutil.copytree(surrogate_folder, large)
    processor = json.loads((large / "preprocessor_config.json").read_text())
    processor |= {"size": {"height": 140, "width": 140}, "crop_size": {"height": 140, "width": 140}}
    (large / "preprocessor_config.json").write_text(json.dumps(processor))
    settings = {"surrogate": str(large), "n_clusters": 4, "seed": 1}
    protector = UCProtector(**settings).fit(tiles)
    assert protector.fitted.surrogate_sizes == [80, 140]
    protector.save_pretrained(tmp_path / "key")
    loaded = UCProtector.from_pretrained(tmp_path / "key")
    assert stored(tiles.map(loaded)) == stored(tiles.map(protector))
    one = UCProtector(surrogate_size=140, **settings).fit(tiles)
    assert one.fitted.surrogate_sizes == [140] and one.fitted.surrogate_digest != protector.fitted.surrogate_digest
    learnt = UCProtector(parametrisation="direct", steps=1, batch_size=8, **settings).fit(tiles)
    assert learnt.fitted.surrogate_sizes == [140]


def test_an_ensemble_of_surrogates(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    protector = UCProtector(surrogate=[surrogate_folder, surrogate_folder], n_clusters=2, fit_to=tiles)
    protector.save_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path)
    assert protector.fitted.centroids.shape == (2, 64)
    assert Hasher.hash(loaded) == Hasher.hash(protector)
    assert loaded.transform(tiles[0]["image"]).tobytes() == protector.transform(tiles[0]["image"]).tobytes()
