"""LPIPS from a safetensors file: what a formula gives, and what is said of files and pictures that do not do."""

from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import uc_hf
from uc_hf.errors import ImageError, SettingError
from uc_hf.scoring.imperceptibility import compare
from uc_hf.scoring.lpips import SCALE, SHIFT, Lpips


CONVOLUTIONS = {
    "net.slice1.0": (64, 3, 11, 11),
    "net.slice2.3": (192, 64, 5, 5),
    "net.slice3.6": (384, 192, 3, 3),
    "net.slice4.8": (256, 384, 3, 3),
    "net.slice5.10": (256, 256, 3, 3),
}
"""The package's names and shapes."""


def state(fill: float) -> dict[str, Tensor]:
    """Weights in the package's layout, drawn at random and scaled."""
    generator = torch.Generator().manual_seed(0)
    drawn = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in CONVOLUTIONS.items()}
    drawn |= {f"{name}.bias": torch.randn(shape[0], generator=generator) for name, shape in CONVOLUTIONS.items()}
    seen = {
        f"lins.{i}.model.1.weight": torch.rand(1, shape[0], 1, 1, generator=generator)
        for i, shape in enumerate(CONVOLUTIONS.values())
    }
    return {name: fill * tensor for name, tensor in drawn.items()} | seen


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(state(0.1), tmp_path / "lpips.safetensors")
    return tmp_path / "lpips.safetensors"


def test_lpips_of_a_network_that_sees_single_pixels_is_what_the_formula_gives(tmp_path: Path):
    """The first layer passes red and green of every fourth pixel on, the others nothing."""
    plain = state(0.0)
    plain["net.slice1.0.weight"][0, 0, 5, 5] = plain["net.slice1.0.weight"][1, 1, 5, 5] = 1
    plain["lins.0.model.1.weight"].zero_()[0, :2, 0, 0] = torch.tensor([2.0, 3.0])
    save_file(plain, tmp_path / "lpips.safetensors")
    before, after = torch.rand(2, 1, 3, 40, 47, generator=torch.Generator().manual_seed(1))

    def direction(picture: Tensor) -> np.ndarray:
        scaled = (2 * picture[0].double().numpy() - 1 - np.reshape(SHIFT, (3, 1, 1))) / np.reshape(SCALE, (3, 1, 1))
        sampled = np.maximum(scaled[:2, 3::4, 3::4][:, :9, :11], 0)  # 9 x 11 places: (40 + 4 - 11) // 4 + 1
        return sampled / np.maximum(np.sqrt((sampled**2).sum(axis=0)), 1e-10)

    expected = (np.reshape([2, 3], (2, 1, 1)) * (direction(before) - direction(after)) ** 2).sum(axis=0).mean()
    assert Lpips(tmp_path / "lpips.safetensors")(before, after).item() == pytest.approx(expected, rel=1e-4)


def test_lpips_is_nothing_between_equal_pictures_and_grows_with_the_change(weights: Path):
    before = np.random.default_rng(0).integers(40, 200, (48, 36, 3), dtype=np.uint8)
    signs = np.random.default_rng(1).choice([-1, 1], before.shape)
    pairs = [(before, (before + levels * signs).astype(np.uint8)) for levels in (4, 16, 0)]
    together = compare(pairs, Lpips(weights))
    each = [compare([pair], Lpips(weights)).lpips for pair in pairs]
    assert each[2] == 0 < each[0] < each[1]
    assert together.lpips == pytest.approx(np.mean(each))
    assert (together.worst_lpips, together.worst_lpips_row) == (each[1], 1)
    assert compare(pairs).lpips is None


def test_the_module_measures_lpips_where_its_weights_are_given(weights: Path):
    module = evaluate.load(uc_hf.module_path("imperceptibility"))
    before = [np.full((40, 40, 3), value, dtype=np.uint8) for value in (90, 160)]
    after = [picture + 16 for picture in before]
    result = module.compute(originals=before, protected=after, lpips=str(weights))
    assert result["lpips"] == compare(zip(before, after, strict=True), Lpips(weights)).lpips > 0
    assert module.compute(originals=before, protected=after)["lpips"] is None


def test_other_files_and_pictures_that_are_too_small_are_refused(weights: Path, tmp_path: Path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    for path in (tmp_path / "other.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(SettingError, match=rf"{path.name} holds no weights of LPIPS.*save_model"):
            Lpips(path)
    with pytest.raises(ImageError, match="pair 0: LPIPS needs 31 pixels on each side, not 30"):
        compare([(np.zeros((64, 30, 3), np.uint8), np.zeros((64, 30, 3), np.uint8))], Lpips(weights))
