"""The sets that a scorecard compares: none stands in for another, each is a Dataset, and no training counts twice."""

import copy
from pathlib import Path

import evaluate
import pytest
from datasets import Dataset, DatasetDict

import uc_hf
from uc_hf.errors import DatasetError, SettingError
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.scorecard import score


def test_a_set_that_is_another_one_or_no_dataset_is_refused(tiles: Dataset):
    clean, protected = tiles.select(range(48)), tiles.select(range(48, 96))
    same = "are the same dataset: nothing is compared"
    for given, test, reason in (
        ({"clean": clean, "protected": clean}, tiles, f"'clean' and 'protected' {same}"),
        ({"clean": clean, "protected": protected}, clean, f"'clean' and 'test' {same}"),
        ({"clean": clean, "protected": copy.copy(protected)}, protected, f"'protected' and 'test' {same}"),
        ({"clean": DatasetDict(train=clean)}, tiles, r"'clean' set is a DatasetDict with \['train'\]: give one split"),
        (
            {"clean": clean},
            tiles.to_iterable_dataset(),
            r"'test' set is no Dataset but of type IterableDataset\. Of a stream",
        ),
    ):
        with pytest.raises(DatasetError, match=reason):
            score(given, test, seeds=[0])


def test_the_evaluate_module_refuses_what_it_would_silently_replace_or_not_understand(tiles: Dataset):
    unlearnability = evaluate.load(uc_hf.module_path("unlearnability"))
    clean, protected, other = (tiles.select(range(32 * part, 32 * part + 32)) for part in range(3))
    given = {"clean": clean, "protected": protected, "test": tiles, "seeds": [0]}
    for name in ("clean", "protected"):
        with pytest.raises(SettingError, match=f"controls has a set '{name}', which is the name of another argument"):
            unlearnability.compute(**given, controls={name: other})
    with pytest.raises(SettingError, match="a training set is named 'test'"):
        unlearnability.compute(**given, controls={"test": other})
    with pytest.raises(SettingError, match=r"'epoch' is not a field of a recipe\. Write one of epochs, "):
        unlearnability.compute(**given, recipe={"epoch": 1})
    with pytest.raises(DatasetError, match="'protected' set is a DatasetDict"):
        unlearnability.compute(**given | {"protected": DatasetDict(train=protected)})


def test_a_training_that_is_named_twice_is_done_and_counted_once(tiles: Dataset, tmp_path: Path):
    sets = {"clean": tiles.select(range(48)), "protected": tiles.select(range(48, 96))}
    twice = {"targets": ["resnet-small"] * 2, "protocols": ["from-scratch"] * 2, "seeds": [0, 0]}
    options = {"recipe": Recipe(epochs=1, image_size=32), "resume": tmp_path / "scorecard.json"}
    once = score(sets, tiles, seeds=[0], counter_measures=["none", "jpeg"], **options)
    resumed = score(sets, tiles, counter_measures=["none", "jpeg-75", "none", "jpeg-75.0"], **twice, **options)
    (tmp_path / "scorecard.json").unlink()
    anew = score(sets, tiles, counter_measures=["none", "jpeg", "jpeg-75", "none"], **twice, **options)
    assert len(once.rows) == 4 and once == resumed == anew
    assert {summary.seeds for summary in anew.summaries()} == {1}
