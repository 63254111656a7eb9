"""Tiles: noise that is the same wherever it is cropped, and that a network without training reads soonest."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from torch.nn import functional as F

from uc_hf import UCProtector
from uc_hf.data.generated import generated_dataset
from uc_hf.data.images import canvas, decode
from uc_hf.methods.unlearnable_clusters.tiles import TILE
from uc_hf.scoring.controls import grating_noise
from uc_hf.training.augmentations import random_resized_crop
from uc_hf.training.networks import build_target


SETTINGS = {"n_clusters": 6, "parametrisation": "tile", "quiet_cluster": False, "canvas_size": 32}


def read(noise: np.ndarray, dataset: Dataset, seed: int, steps: int = 60) -> float:
    """Share of noises that a network tells, on pictures drawn at random, over its first steps of training."""
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.from_numpy(np.stack([canvas(decode(value), 32) for value in dataset["image"]]))
    pixels, deltas = pictures.permute(0, 3, 1, 2).float() / 255, torch.from_numpy(noise).float() / 255
    network = build_target("resnet-small", len(noise), 32, seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    right = 0.0
    for _ in range(steps):
        chosen, clusters = (torch.randint(n, (64,), generator=generator) for n in (len(pixels), len(noise)))
        view = random_resized_crop((pixels[chosen] + deltas[clusters]).clamp(0, 1), generator, scale=(0.35, 1.0))
        scores = network(view)
        optimizer.zero_grad()
        F.cross_entropy(scores, clusters).backward()
        optimizer.step()
        right += float((scores.argmax(dim=1) == clusters).float().mean()) / steps
    return right


def test_new_networks_read_learnt_tiles_sooner_than_random_gratings():
    pictures = generated_dataset(n_train=200, n_test=10)["train"]
    settings = SETTINGS | {"surrogate": "uc_hf/tiny", "steps": 300, "batch_size": 64}
    learnt = UCProtector(**settings).fit(pictures).fitted.noise
    gratings = grating_noise(learnt.shape, 16, seed=0)
    for seed in (7, 8):
        assert read(learnt, pictures, seed) > read(gratings, pictures, seed) + 0.15


def test_a_tile_is_repeated_at_full_strength_over_the_canvas(tiles: Dataset, surrogate_folder: str):
    settings = {"surrogate": surrogate_folder, "steps": 3, "batch_size": 8, "epsilon": 8 / 255}
    noise = UCProtector(**(SETTINGS | settings | {"canvas_size": 80})).fit(tiles).fitted.noise
    assert noise.shape == (6, 3, 80, 80) and set(np.unique(noise)) == {-8, 8}
    assert np.array_equal(noise[..., TILE:, TILE:], noise[..., :-TILE, :-TILE])
    assert len({one.tobytes() for one in noise}) == 6


def test_a_protector_of_tiles_tells_of_no_goals(tiles: Dataset, surrogate_folder: str, tmp_path: Path):
    settings = SETTINGS | {"surrogate": surrogate_folder, "steps": 3, "batch_size": 8}
    UCProtector(**settings).fit(tiles).save_pretrained(tmp_path)
    loaded = UCProtector.from_pretrained(tmp_path)
    assert "goal" not in repr(loaded) and "fitted on 96 images" in repr(loaded)
    assert all(set(group) == {"cluster", "images"} for group in loaded.fitted.groups())


def test_tiles_cannot_be_drawn_from_the_seed_alone(tiles: Dataset, surrogate_folder: str):
    settings = SETTINGS | {"surrogate": surrogate_folder, "steps": 3, "batch_size": 8}
    first, again = (UCProtector(**settings).fit(tiles).fitted.noise for _ in range(2))
    others = UCProtector(**settings).fit(tiles.select(range(48))).fitted.noise
    assert np.array_equal(first, again) and not np.array_equal(first, others)
