"""The benchmark of the training loop, and the paper's experiments, on sets of a few pictures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from datasets import Dataset, DatasetDict
from torch import Generator

from benchmarks import paper, training
from uc_hf.errors import SettingError
from uc_hf.scoring.recipes import Recipe
from uc_hf.surrogates.surrogate import Surrogate
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target


RECIPE = Recipe(epochs=1, batch_size=16, image_size=16)


@pytest.fixture(scope="module")
def clean() -> LabelledImages:
    shades = 20 * (torch.arange(48) % 6) + 60
    noise = torch.randint(-9, 10, (48, 3, 16, 16), generator=Generator().manual_seed(0))
    return LabelledImages((shades[:, None, None, None] + noise).byte(), torch.arange(48) % 6)


@pytest.fixture
def setup(clean: LabelledImages, surrogate_folder: str, tmp_path: Path) -> paper.Setup:
    stripes = 12 * (torch.arange(16) % 2).byte()
    return paper.Setup(
        sets={"clean": clean, "protected": LabelledImages(clean.pixels + stripes, clean.labels)},
        test=clean,
        classes=list("abcdef"),
        surrogate=Surrogate.from_pretrained(surrogate_folder),
        recipe=RECIPE,
        targets=("resnet-small",),
        seeds=1,
        paper_data=None,
        out=tmp_path,
    )


@pytest.mark.parametrize("loop", training.LOOPS)
def test_all_loops_of_the_benchmark_train_the_whole_model(loop: str, clean: LabelledImages) -> None:
    target = build_target("resnet-small", training.CLASSES, 16, seed=0)
    before = [parameter.clone() for parameter in target.parameters()]
    training.LOOPS[loop](target, clean, RECIPE)
    assert all(not torch.equal(a, b) for a, b in zip(before, target.cpu().parameters(), strict=True))
    steps = {buffer.item() for name, buffer in target.named_buffers() if name.endswith("num_batches_tracked")}
    assert steps == {3}


def test_the_speeds_are_compared(clean: LabelledImages) -> None:
    result = training.compare(clean, "resnet-small", RECIPE, repeats=1)
    ours, *theirs = result["images_per_second"].values()
    assert list(result["ratio"].values()) == pytest.approx([ours / other for other in theirs]) and min(theirs) > 0


@pytest.mark.parametrize(
    ("experiment", "rows", "columns", "files"),
    [
        ("table1", 1, {"target", "clean", "protected"}, {"table1.json"}),
        ("table2", 5, {"counter-measure", "paper: UC"}, {"table2.json"}),
        ("relabel", 1, {"super-classes", "guessing"}, {"relabel-5.json"}),
        ("mixed", 5, {"mixture", "its clean part alone"}, {"mixed.json", "mixed-curves.json", "mixed-curves.png"}),
        ("simclr", 1, {"target", "clean", "protected"}, {"simclr.json"}),
    ],
)
def test_the_papers_experiments_give_a_table_and_go_on_where_they_stopped(
    setup: paper.Setup, experiment: str, rows: int, columns: set[str], files: set[str]
) -> None:
    table = paper.EXPERIMENTS[experiment](setup)
    assert len(table) == rows and columns <= set(table[0])
    assert {path.name for path in setup.out.iterdir()} == files
    before = {name: (setup.out / name).read_bytes() for name in files}
    assert paper.EXPERIMENTS[experiment](setup) == table
    assert {name: (setup.out / name).read_bytes() for name in files} == before


def test_the_curves_tell_clean_from_protected_examples(setup: paper.Setup) -> None:
    paper.mixed_data(setup)
    curves = json.loads((setup.out / "mixed-curves.json").read_text())
    assert set(curves) == {"clean examples", "protected examples", "test"}
    assert all(len(curve) == RECIPE.epochs for curve in curves.values())


def test_too_few_classes_cannot_be_relabelled(setup: paper.Setup) -> None:
    few = replace(setup, classes=list("abcd"))
    with pytest.raises(SettingError, match="too few for five super-classes"):
        paper.relabel(few)


def test_a_protector_that_was_fitted_otherwise_is_not_taken_for_the_one_that_is_asked_for(
    tiles: Dataset, surrogate_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DatasetDict(train=tiles, test=tiles).save_to_disk(tmp_path / "data")
    words = ["paper", "mixed", "--data", tmp_path / "data", "--out", tmp_path / "out", "--surrogate", surrogate_folder]
    monkeypatch.setattr("sys.argv", [*map(str, words), "--image-size", "16", "--steps", "10"])
    assert paper.prepare(paper.arguments()).sets["protected"].pixels.shape[-1] == 16
    monkeypatch.setattr("sys.argv", [*map(str, words), "--image-size", "16", "--steps", "11"])
    with pytest.raises(SettingError, match=r"protector was fitted with other settings\. Name another --out"):
        paper.prepare(paper.arguments())
