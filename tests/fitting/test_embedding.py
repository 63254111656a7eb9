"""Embedding through Accelerate: a bounded sample, named bad rows, and the same result on one process and on two."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset, Features, Image, Value, load_dataset
from PIL import Image as PILImage

from uc_hf import UCProtector
from uc_hf.data import images
from uc_hf.errors import DatasetError, ImageError, SettingError
from uc_hf.fitting.embedding import embed, native_size
from uc_hf.fitting.sample import draw_sample
from uc_hf.methods.unlearnable_clusters.settings import Settings
from uc_hf.surrogates.surrogate import Surrogate


SCRIPT = """
import sys
import numpy as np
import torch
from accelerate import Accelerator
from datasets import load_from_disk
from uc_hf import UCProtector

torch.set_num_threads(1)
accelerator = Accelerator(cpu=True)
tiles = load_from_disk(sys.argv[1])
settings = {"surrogate": sys.argv[2], "n_clusters": 4, "batch_size": 16}
protector = UCProtector(**settings).fit(tiles, accelerator=accelerator, embed_batch_size=10)
name = f"{accelerator.num_processes}-{accelerator.process_index}.npz"
np.savez(f"{sys.argv[3]}/{name}", **protector.fitted.arrays())
accelerator.end_training()  # Gloo's threads abort now and then where Python ends before the process group does
"""


def test_two_processes_give_the_same_embeddings_clusters_and_noise_as_one(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path
):
    tiles.save_to_disk(tmp_path / "tiles")
    (tmp_path / "fit.py").write_text(SCRIPT)
    arguments = [str(tmp_path / "fit.py"), str(tmp_path / "tiles"), surrogate_folder, str(tmp_path)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
    for command in ([sys.executable, *arguments], [*torchrun, *arguments]):
        subprocess.run(command, check=True, env=environment)
    alone, first, second = (np.load(tmp_path / name) for name in ("1-0.npz", "2-0.npz", "2-1.npz"))
    for name in ("centroids", "wave.angles", "wave.key"):
        assert np.array_equal(alone[name], first[name]) and np.array_equal(first[name], second[name])


def test_workers_decode_to_the_same_embeddings(tiles: Dataset, surrogate_folder: str):
    sample = draw_sample(tiles, Settings())
    accelerator = Accelerator()
    surrogate = Surrogate.from_pretrained(surrogate_folder).to(accelerator.device)
    settings = {"size": 32, "normalise": True, "accelerator": accelerator, "batch_size": 20}
    canvases, alone = embed(sample, surrogate, **settings, num_workers=0)
    threads = torch.get_num_threads()
    _, with_workers = embed(sample, surrogate, **settings, num_workers=2)
    assert torch.get_num_threads() == threads
    assert canvases.shape == (96, 3, 32, 32) and canvases.dtype == torch.uint8
    assert np.array_equal(alone, with_workers)
    assert np.allclose(np.linalg.norm(alone, axis=1), 1, atol=1e-5)


def test_the_sample_is_bounded_seeded_and_in_row_order(tiles: Dataset):
    rows = [list(draw_sample(tiles, Settings(max_fit_images=20, seed=seed)).rows) for seed in (0, 0, 1)]
    assert len(rows[0]) == 20 and rows[0] == sorted(rows[0]) == rows[1] != rows[2]


def test_the_native_size_is_that_of_the_images_not_of_the_canvas(tiles: Dataset):
    assert native_size(draw_sample(tiles, Settings())) == round((40 * 48) ** 0.5)


def test_the_sample_of_a_stream_is_bounded_seeded_and_drawn_from_all_files(tiles: Dataset, tmp_path: Path):
    files = [str(tmp_path / f"{number}.parquet") for number in range(4)]
    for number, file in enumerate(files):
        tiles.select(range(24 * number, 24 * number + 24)).to_parquet(file)
    stream = load_dataset("parquet", data_files=files, split="train", streaming=True)
    drawn = [draw_sample(stream, Settings(max_fit_images=12, seed=seed)).values for seed in (0, 0, 1)]
    assert len(drawn[0]) == 12 and drawn[0] == drawn[1] != drawn[2]
    stored = list(tiles.cast_column("image", Image(decode=False))["image"])
    rows = [[stored.index(value) for value in values] for values in drawn]
    assert len(set(rows[0])) == 12 and {row // 24 for row in rows[0]} == {0, 1, 2, 3}
    whole = draw_sample(stream, Settings(max_fit_images=None)).values
    assert sorted(map(stored.index, whole)) == list(range(96))


def test_the_sample_of_a_stream_from_the_hub_holds_the_files_as_they_are(tiles: Dataset):
    files = [io.BytesIO() for _ in range(6)]
    for file, picture in zip(files, tiles["image"], strict=False):
        picture.save(file, "JPEG", quality=70)
    rows = [{"image": {"bytes": file.getvalue(), "path": f"{number}.jpg"}} for number, file in enumerate(files)]
    Dataset.from_list(rows, features=Features({"image": Image()})).push_to_hub("me/jpegs-to-sample")
    stream = load_dataset("me/jpegs-to-sample", split="train", streaming=True)
    drawn = draw_sample(stream, Settings(max_fit_images=6)).values
    assert sorted(drawn, key=lambda value: value["path"]) == [row["image"] for row in rows]


def test_large_photos_of_a_stream_are_kept_as_small_as_they_are_seen(tiles: Dataset):
    photo = np.random.default_rng(0).integers(0, 255, (700, 500, 3), dtype=np.uint8)
    rows = [{"image": PILImage.fromarray(photo)}, {"image": tiles[0]["image"]}]
    album = Dataset.from_list(rows, features=Features({"image": Image()}))
    settings = Settings(max_fit_images=None)
    large, small = draw_sample(album.to_iterable_dataset(), settings, 64).values
    assert PILImage.open(io.BytesIO(large["bytes"])).size == (64, 90)
    assert small == draw_sample(album, settings).values[1]
    seen = [images.canvas(images.decode(value), 64).astype(int) for value in (large, photo)]
    assert np.abs(seen[0] - seen[1]).mean() < 1


def with_bad_rows(bad: dict[int, bytes], n: int = 30) -> Dataset:
    buffer = io.BytesIO()
    PILImage.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(buffer, "JPEG")
    rows = [{"photo": {"bytes": bad.get(i, buffer.getvalue()), "path": None}} for i in range(n)]
    return Dataset.from_list(rows, features=Features({"photo": Image()}))


def test_every_bad_row_is_named_before_anything_is_embedded():
    bad = with_bad_rows({3: b"not an image", 17: b""})
    with pytest.raises(ImageError) as raised:
        draw_sample(bad, Settings(max_fit_images=5))
    message = str(raised.value)
    assert "2 of 30 images cannot be protected" in message
    assert "row 3, column 'photo':" in message and "row 17, column 'photo':" in message


def test_columns_that_are_missing_or_not_images_are_refused_with_what_there_is():
    texts = Dataset.from_dict({"caption": ["a"]}, features=Features({"caption": Value("string")}))
    with pytest.raises(DatasetError, match=r"'caption' \(string\)"):
        draw_sample(texts, Settings())
    with pytest.raises(DatasetError, match=r"no column 'img'; the columns are 'photo'"):
        draw_sample(with_bad_rows({}), Settings(image_column="img"))


def test_numbers_of_a_fit_that_are_out_of_range_are_refused(tiles: Dataset, surrogate_folder: str):
    for name, least in (("embed_batch_size", 1), ("num_workers", 0)):
        with pytest.raises(SettingError, match=f"{name}={least - 1} is not a whole number of at least {least}"):
            UCProtector(surrogate_folder).fit(tiles, **{name: least - 1})
