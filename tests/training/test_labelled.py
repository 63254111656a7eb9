"""Sets that are larger than their share of memory lie in a file, and nothing else changes."""

import sys
import tempfile
from pathlib import Path

import pytest
import torch
from datasets import Dataset

from uc_hf.scoring.reading import load_images
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.scorecard import score_images
from uc_hf.training import labelled
from uc_hf.training.labelled import LabelledImages


def load(tiles: Dataset) -> LabelledImages:
    return load_images(tiles, "image", "label", list("abcd"), 32, "tiles")


@pytest.fixture
def no_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which every set is too large; the folder of its temporary files."""
    monkeypatch.setattr(labelled, "LARGEST_SHARE", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def mapped(folder: Path) -> int:
    """How many files of a folder are mapped into this process."""
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_large_set_is_mapped_from_a_file_that_goes_with_it(tiles: Dataset, no_memory: Path) -> None:
    images = load(tiles)
    part = images.select(images.labels == 1)
    assert mapped(no_memory) == 2 and not list(no_memory.iterdir())
    del images, part
    assert mapped(no_memory) == 0


def test_a_mapped_set_is_the_same_and_trains_the_same(tiles: Dataset, request: pytest.FixtureRequest) -> None:
    def measure() -> tuple[str, str, str, dict]:
        images = load(tiles)
        rows, chosen = torch.tensor([5, 0, 7]), images.labels > 1
        card = score_images(
            {"clean": images, "protected": LabelledImages(255 - images.pixels, images.labels)},
            images,
            4,
            targets=["resnet-small"],
            protocols=["from-scratch"],
            counter_measures=["none", "jpeg-75", "early-stopping"],
            seeds=[0],
            recipe=Recipe(epochs=2, batch_size=16),
        )
        parts = images.select(rows), images.select(chosen)
        assert torch.equal(parts[0].pixels, images.pixels[rows])
        assert torch.equal(parts[1].labels, images.labels[chosen])
        return images.fingerprint(), *(part.fingerprint() for part in parts), card.to_dict()

    in_memory = measure()
    request.getfixturevalue("no_memory")
    assert measure() == in_memory
