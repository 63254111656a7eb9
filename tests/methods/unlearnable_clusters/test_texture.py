"""The family of textures: what a network and a scraper's JPEG make of its two kinds."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from uc_hf import UCProtector
from uc_hf.data.generated import generated_dataset
from uc_hf.data.images import LUMA
from uc_hf.methods.unlearnable_clusters.families.texture import draw_gratings, draw_textures, render
from uc_hf.scoring.counter_measures.stored import gray, jpeg


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """uint8 [50, 3, 32, 32]."""
    rows = generated_dataset(n_train=50, n_test=10)["train"]["image"]
    return torch.from_numpy(np.stack([np.array(row) for row in rows])).permute(0, 3, 1, 2)


def left_of(textures: Tensor, pictures: Tensor, measure: Callable[[Tensor], Tensor]) -> list[float]:
    """The share of each texture that a counter-measure leaves in the pictures, on average."""
    before = measure(pictures).float()
    shares = []
    for texture in textures:
        after = measure((pictures + 16 * texture).clamp(0, 255).byte()).float()
        shares.append(float(((after - before).mean(dim=0) * texture / 16).mean()))
    return shares


def test_blue_opposes_green_in_every_second_cluster_and_the_others_are_of_one_brightness(
    tiles: Dataset, surrogate_folder: str
):
    settings = {"surrogate": surrogate_folder, "n_clusters": 5, "steps": 12, "batch_size": 8}
    noise = UCProtector(**settings, quiet_cluster=False).fit(tiles).canvases()
    red, green, blue = noise[0::2].swapaxes(0, 1)
    assert np.array_equal(blue, -green) and (red != green).any(axis=(1, 2)).all()
    red, green, blue = noise[1::2].swapaxes(0, 1)
    assert np.array_equal(red, green) and (np.abs(blue) == 16).all() and (blue != green).any(axis=(1, 2)).all()


def test_larger_canvases_have_green_opposed_to_red_instead_of_a_brightness(tiles: Dataset, surrogate_folder: str):
    settings = {"surrogate": surrogate_folder, "n_clusters": 4, "steps": 12, "batch_size": 8, "canvas_size": 49}
    noise = UCProtector(**settings, quiet_cluster=False).fit(tiles).canvases()
    assert np.array_equal(noise[0::2, 2], -noise[0::2, 1]) and np.array_equal(noise[1::2, 1], -noise[1::2, 0])


@pytest.mark.parametrize("measure", [lambda pixels: jpeg(pixels, 75), gray], ids=["jpeg", "gray"])
def test_half_of_the_textures_survive_jpeg_and_gray(pictures: Tensor, measure: Callable[[Tensor], Tensor]):
    textures = render(draw_textures(20, torch.Generator().manual_seed(0), 32), 32)
    independent = render(draw_gratings(20, torch.Generator().manual_seed(0)), 32)
    fine = left_of(textures[1::2], pictures, measure)
    assert min(fine) > 0.5
    assert np.mean(fine) > np.mean(left_of(independent, pictures, measure)) + 0.1


@pytest.mark.parametrize("size", [32, 64])
def test_more_of_the_opposed_colours_survives_jpeg_than_of_random_gratings(pictures: Tensor, size: int):
    def left(textures: Tensor) -> float:
        return float(np.mean(left_of(render(textures, 32), pictures, lambda pixels: jpeg(pixels, 75))))

    opposed = draw_textures(40, torch.Generator().manual_seed(0), size)[0::2]
    independent = draw_gratings(20, torch.Generator().manual_seed(0))
    assert left(opposed) > left(independent) + 0.1


@pytest.mark.parametrize(("size", "least"), [(48, 0.5), (64, 0.3)])
def test_no_kind_of_texture_cancels_itself_in_gray(size: int, least: float):
    textures = render(draw_textures(20, torch.Generator().manual_seed(0), size), size)
    luma = torch.einsum("c,nchw->nhw", torch.tensor(LUMA), textures)
    assert luma.square().mean(dim=(1, 2)).sqrt().min() > least
