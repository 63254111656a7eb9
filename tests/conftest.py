"""Shared parts of the tests: a Hub on this machine, small surrogates, small datasets of real files."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.minihub import MiniHub


HUB = MiniHub()
os.environ |= {
    # Read once, as the libraries are imported: so before any of them.
    "OMP_NUM_THREADS": "1",  # tests start processes side by side, whose thread pools would fight for the cores
    "HF_ENDPOINT": HUB.url,
    "HF_HOME": tempfile.mkdtemp(prefix="uc-hf-tests-"),
    "HF_TOKEN": "hf_dummy",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def hub() -> Iterator[MiniHub]:
    """A Hub that the real clients speak to over HTTP."""
    with HUB:
        yield HUB


@pytest.fixture(scope="session")
def surrogate_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small ResNet with fixed random weights, saved as any Hugging Face model is."""
    import torch
    from transformers import ResNetConfig, ResNetModel, ViTImageProcessorPil

    folder = tmp_path_factory.mktemp("surrogate")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], layer_type="basic")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ResNetModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def shared_data(name: str, split: str = "train"):
    """A real dataset that lies beside the project; the test is skipped where it does not."""
    from datasets import load_dataset

    if not (SHARED / "data" / name).is_dir():
        pytest.skip(f"needs the real dataset {name} in ../shared/data")
    return load_dataset(str(SHARED / "data" / name), split=split)


@pytest.fixture(scope="session")
def photos():
    """60 real flower photos at their native sizes, JPEG bytes, with labels and a text column."""
    flowers = shared_data("flowers17")
    return flowers.shuffle(seed=0).select(range(60)).add_column("note", [f"note {i}" for i in range(60)])


@pytest.fixture(scope="session")
def tiles():
    """96 small generated pictures that need nothing from outside: colours and stripes with a label."""
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, Image, Value

    rng = np.random.default_rng(0)
    labels = np.arange(96) % 4
    images = []
    for label in labels:
        stripes = np.sin(np.arange(40) * (0.3 + 0.4 * label))[:, None, None]
        colour = rng.uniform(60, 190, 3) + 50 * stripes * np.ones((40, 48, 1))
        images.append((colour + rng.normal(0, 6, (40, 48, 3))).clip(0, 255).astype(np.uint8))
    features = Features({"image": Image(), "label": ClassLabel(names=list("abcd")), "note": Value("string")})
    notes = [f"note {i}" for i in range(96)]
    return Dataset.from_dict({"image": images, "label": labels, "note": notes}, features=features)


@pytest.fixture(scope="session")
def fitted(tiles, surrogate_folder: str):
    """A protector that was fitted in a moment: it protects little, but as every other does."""
    from uc_hf import UCProtector

    return UCProtector(surrogate=surrogate_folder, n_clusters=4, batch_size=16).fit(tiles)


@pytest.fixture
def protected_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of every row that is protected, as it happens."""
    from uc_hf import UCProtector

    seen: list[int] = []
    call = UCProtector.__call__

    def spy(self: UCProtector, examples: object, *position: object) -> object:
        seen.extend(position[0])
        return call(self, examples, *position)

    monkeypatch.setattr(UCProtector, "__call__", spy)
    return seen
