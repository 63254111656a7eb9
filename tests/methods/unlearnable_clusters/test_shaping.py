"""Perceptual shaping: less noise where a picture is flat, within the bound, and the controls like the noise itself."""

import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value

from uc_hf import UCProtector
from uc_hf.data.images import Picture, decode
from uc_hf.scoring.controls import train_sets
from uc_hf.scoring.imperceptibility import compare


SIDE = 64


@pytest.fixture(scope="module")
def half_flat() -> Dataset:
    """Twelve pictures, of which the left half is flat and the right half busy."""
    generator = np.random.default_rng(0)
    pixels = np.full((12, SIDE, SIDE, 3), 120, dtype=np.uint8)
    pixels[:, :, SIDE // 2 :] = generator.integers(40, 215, (12, SIDE, SIDE // 2, 1))
    pixels += np.arange(12, dtype=np.uint8)[:, None, None, None]
    features = Features({"image": Image(), "row": Value("int64")})
    return Dataset.from_dict({"image": list(pixels), "row": list(range(12))}, features=features)


@pytest.fixture(scope="module")
def shaped(half_flat: Dataset) -> UCProtector:
    settings = {"n_clusters": 2, "steps": 4, "batch_size": 4, "quiet_cluster": False, "canvas_size": 32}
    return UCProtector(surrogate="uc_hf/tiny", shaped=True, **settings).fit(half_flat)


def pictures(dataset: Dataset) -> list[Picture]:
    return [decode(value) for value in dataset.cast_column("image", Image(decode=False))["image"]]


def changes(before: Dataset, after: Dataset) -> np.ndarray:
    pairs = zip(pictures(before), pictures(after), strict=True)
    return np.stack([np.abs(b.pixels.astype(int) - a.pixels) for a, b in pairs])


def test_flat_parts_get_a_quarter_of_the_noise_and_busy_ones_all_of_it(shaped: UCProtector, half_flat: Dataset):
    change = changes(half_flat, half_flat.map(shaped, batched=True))
    assert change[:, :, : SIDE // 2 - 10].max() == 4
    assert change[:, :, SIDE // 2 + 10 :].max() == 16


def test_a_shaped_noise_is_seen_less_by_ssim_and_of_the_same_epsilon(shaped: UCProtector, half_flat: Dataset):
    loud = UCProtector(**(shaped.settings.plain() | {"shaped": False})).fit(half_flat)
    assert np.array_equal(loud.fitted.noise, shaped.fitted.noise)
    before = half_flat.cast_column("image", Image(decode=False))["image"]
    seen = {}
    for protector in (shaped, loud):
        seen[protector] = compare(zip(before, protector.protect(pictures(half_flat)), strict=True))
    assert seen[shaped].ssim > seen[loud].ssim + 0.1
    assert seen[shaped].max_difference == seen[loud].max_difference == 16


def test_controls_are_shaped_as_the_noise_is(shaped: UCProtector, half_flat: Dataset):
    sets = train_sets(shaped, half_flat)
    for name in ("control-random", "control-blocky", "control-grating"):
        change = changes(sets["clean"], sets[name])
        assert change[:, :, : SIDE // 2 - 10].max() == 4 < change[:, :, SIDE // 2 + 10 :].max() == 16


def test_the_share_of_a_place_depends_on_the_size_at_which_the_noise_is_seen(shaped: UCProtector):
    """A picture of four times the size, its busy part four times as coarse, is shaped alike."""
    small = np.full((32, 32, 3), 120, dtype=np.uint8)
    small[:, 16:] = np.random.default_rng(0).integers(40, 215, (32, 16, 1))
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    noise = np.full((3, 32, 32), 16, dtype=np.int8)
    changed = [shaped.add(Picture(p, "RGB"), noise).pixels.astype(int) - p for p in (small, large)]
    assert np.abs(changed[1][1::4, 1::4] - changed[0]).mean() < 1
