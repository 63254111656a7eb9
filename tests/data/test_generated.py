from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Image, load_dataset
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

import uc_hf
from uc_hf.data.generated import ORNAMENTS, generated_dataset


DATA = Path(__file__).parents[3] / "shared" / "data"
TINY = Path(uc_hf.__file__).parent / "surrogates" / "tiny"


@pytest.fixture(scope="module")
def demo_set() -> datasets.DatasetDict:
    return generated_dataset(n_train=600, n_test=200, seed=0)


def stored_bytes(dataset: Dataset) -> list[bytes]:
    return [row["bytes"] for row in dataset.cast_column("image", Image(decode=False))["image"]]


def test_same_seed_gives_the_same_bytes(demo_set):
    again = generated_dataset(n_train=600, n_test=200, seed=0)
    for split in ("train", "test"):
        assert stored_bytes(again[split]) == stored_bytes(demo_set[split])
        assert again[split]["label"] == demo_set[split]["label"]


def test_no_picture_is_repeated_across_splits_and_seeds(demo_set):
    other = generated_dataset(n_train=600, n_test=200, seed=1)
    everything = [data for splits in (demo_set, other) for split in splits.values() for data in stored_bytes(split)]
    assert len(set(everything)) == 1600


def test_splits_are_balanced_pngs_of_ten_named_classes(demo_set):
    for split, per_class in (("train", 60), ("test", 20)):
        assert demo_set[split].features == {"image": Image(), "label": ClassLabel(names=list(ORNAMENTS))}
        assert np.bincount(demo_set[split]["label"]).tolist() == [per_class] * 10
        image = demo_set[split][0]["image"]
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))


def test_rows_are_shuffled_and_a_count_that_ten_does_not_divide_is_filled():
    rows = generated_dataset(n_train=13, n_test=0)
    assert rows["train"]["label"] != sorted(rows["train"]["label"])
    assert sorted(np.bincount(rows["train"]["label"], minlength=10)) == [1] * 7 + [2] * 3
    assert len(rows["test"]) == 0


def test_colour_alone_does_not_tell_the_class(demo_set):
    """A linear model on the mean colour stays near chance: the class is the ornament, not a palette."""
    features = {split: np.stack([colour(image) for image in demo_set[split]["image"]]) for split in demo_set}
    targets = np.eye(10)[demo_set["train"]["label"]]
    weights, *_ = np.linalg.lstsq(features["train"], targets, rcond=None)
    guesses = (features["test"] @ weights).argmax(axis=1)
    assert (guesses == demo_set["test"]["label"]).mean() < 0.25


def colour(image) -> np.ndarray:
    return np.append(np.asarray(image).mean(axis=(0, 1)) / 255, 1.0)


@pytest.fixture(scope="module")
def tiny():
    model = AutoModel.from_pretrained(TINY).eval()
    return model, AutoImageProcessor.from_pretrained(TINY, backend="pil")


@torch.inference_mode()
def embed(tiny, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """L2-normalised embeddings and labels, through transformers alone."""
    model, processor = tiny
    parts = []
    for start in range(0, len(dataset), 200):
        rows = dataset[start : start + 200]["image"]
        inputs = processor([image.convert("RGB") for image in rows], return_tensors="pt")
        parts.append(model(**inputs).pooler_output.flatten(1))
    return torch.nn.functional.normalize(torch.cat(parts), dim=1), torch.tensor(dataset["label"])


def nearest_mean_accuracy(tiny, train: Dataset, test: Dataset) -> float:
    embeddings, labels = embed(tiny, train)
    means = torch.stack([embeddings[labels == label].mean(dim=0) for label in range(int(labels.max()) + 1)])
    queries, truth = embed(tiny, test)
    return (torch.cdist(queries, means).argmin(dim=1) == truth).float().mean().item()


def test_tiny_is_a_small_float32_model_folder(tiny):
    model, _ = tiny
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert sum(path.stat().st_size for path in TINY.iterdir() if path.is_file()) <= 5_000_000


def test_tiny_separates_the_generated_classes(tiny, demo_set):
    assert nearest_mean_accuracy(tiny, demo_set["train"], demo_set["test"]) >= 0.9


@pytest.mark.parametrize(("name", "chance"), [("flowers17", 1 / 17), ("cifar10", 1 / 10)])
def test_tiny_is_far_above_chance_on_photographs(tiny, name, chance):
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is absent")
    splits = load_dataset(str(DATA / name))
    train, test = (splits[split].shuffle(seed=0).take(min(500, len(splits[split]))) for split in ("train", "test"))
    assert nearest_mean_accuracy(tiny, train, test) > 4 * chance
