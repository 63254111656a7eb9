"""What the tests of the page share."""

from pathlib import Path

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """A classifier that has seen none of the photographs."""
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResNetForImageClassification(ResNetConfig(**sizes, num_labels=3))
    model.save_pretrained(tmp_path / "stranger")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "stranger")
    return tmp_path / "stranger"
