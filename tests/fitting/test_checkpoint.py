"""An unfinished fit on disk: what is damaged is set aside, and the fit begins again to the same bytes."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from uc_hf import protector_for
from uc_hf.fitting.checkpoint import load_tensors, save_tensors


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "zeros at the end": lambda data: data[:-40] + bytes(40),
    "one bit": flipped,
    "another file": lambda data: b"hello",
}


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    assert load_tensors(tmp_path / "none") is None
    tensors = {
        "noise.weight": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
        "optimizer.0.step": torch.tensor(3.0),
        "generator": torch.Generator().manual_seed(1).get_state(),
        "empty": torch.zeros(0, 3),
    }
    save_tensors(tmp_path / "a.safetensors", tensors, {"step": "7"})
    saved, metadata = load_tensors(tmp_path / "a.safetensors")
    assert metadata == {"step": "7"} and set(saved) == set(tensors)
    assert all(torch.equal(saved[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"scores": torch.rand(50)}, {"step": "7"})
    path.write_bytes(broken := DAMAGE[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert load_tensors(path) is None
    assert "checkpoint is damaged, so that the fit begins again. It is kept as" in caplog.text
    assert not path.exists() and (tmp_path / "a.safetensors.damaged").read_bytes() == broken


@pytest.mark.parametrize("method", ["uc", "deepconfuse"])
def test_a_fit_whose_checkpoint_is_damaged_ends_with_the_same_noise(
    tiles: Dataset, tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"surrogate": "uc_hf/tiny", "batch_size": 16}
    settings |= (
        {"n_clusters": 3, "parametrisation": "direct", "steps": 20}
        if method == "uc"
        else {"trials": 1, "epochs": 2, "canvas_size": 32}
    )

    def fit() -> dict[str, np.ndarray]:
        fitted = protector_for(method, **settings).fit(tiles, checkpoint_dir=tmp_path, keep_checkpoint=True).fitted
        return fitted.arrays()

    first = fit()
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(flipped(checkpoint.read_bytes()))
    again = fit()
    assert "is damaged" in caplog.text and all(np.array_equal(first[name], again[name]) for name in first)
    assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint.name, f"{checkpoint.name}.damaged"]
