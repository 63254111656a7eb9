import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset
from torch import nn
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

from tests.commands import succeed
from uc_hf.data.generated import generated_dataset


REPO = "me/was-it-mine"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("originals") / "photos"
    generated_dataset(n_train=200, n_test=20, seed=5).save_to_disk(folder)
    return folder


def protect(originals: Path, key: Path, repo: str, seed: int) -> None:
    words = ("--surrogate", "uc_hf/tiny", "--n-clusters", 4)
    succeed("protect", originals, "--push-to", repo, "--protector", key, "--seed", seed, *words)


@pytest.fixture(scope="module")
def key(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("key") / "photos.protector"
    protect(originals, folder, REPO, seed=1)
    return folder


@pytest.fixture(scope="module")
def suspect(key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a scraper makes of the published set, by a trainer of his own."""
    scraped = load_dataset(REPO, split="train")
    pixels = torch.from_numpy(np.stack([np.array(picture) for picture in scraped["image"]])).permute(0, 3, 1, 2)
    labels = torch.tensor(scraped["label"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [1, 1, 1], "layer_type": "basic"}
        names = dict(enumerate(scraped.features["label"].names))
        model = ResNetForImageClassification(ResNetConfig(**sizes, id2label=names))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(40):
            for rows in torch.randperm(len(labels)).split(50):
                flipped = pixels[rows].flip(3) if torch.rand(()) < 0.5 else pixels[rows]
                loss = nn.functional.cross_entropy(model(flipped / 127.5 - 1).logits, labels[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    folder = tmp_path_factory.mktemp("suspect") / "classifier"
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_published_set_is_found_in_the_model_that_was_trained_on_it(
    originals: Path, key: Path, suspect: Path, tmp_path: Path
):
    out = tmp_path / "evidence"
    words = (suspect, "--protector", key, "--originals", originals, "--published", REPO, "--budget", 2000)
    told = succeed("trace", *words, "--out", out)
    assert told.startswith(f"{suspect} was trained on this set: p = ")
    assert f"in the card of {REPO} since " in told
    found = json.loads((out / "trace.json").read_text())
    assert found["found"] and found["p"] < 0.01
    assert found["owner_s_labels"] and found["scenes"] > 150
    assert (out / "trace.png").stat().st_size > 10_000
    again = json.loads(succeed("trace", *words, "--out", out, "--json"))
    assert again == found


@pytest.mark.slow
def test_another_key_is_no_evidence(originals: Path, suspect: Path, tmp_path: Path):
    other = tmp_path / "other.protector"
    protect(originals, other, "me/not-it", seed=2)
    told = json.loads(
        succeed("trace", suspect, "--protector", other, "--originals", originals, "--budget", 2000, "--json")
    )
    assert not told["found"]
    assert told["commitment"]["where"] == "a file beside the protector"
