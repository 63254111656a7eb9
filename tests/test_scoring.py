"""The scorecard: honest baselines, equal seeds equal numbers, one JSON schema, and the evaluate face of it."""

import json
from dataclasses import replace
from pathlib import Path

import evaluate
import numpy as np
import pytest
from datasets import Dataset
from transformers import AutoConfig, ResNetConfig

import uc_hf
from uc_hf import UCProtector
from uc_hf.errors import DatasetError, SettingError
from uc_hf.scoring.controls import blocky_noise, random_sign_noise, train_sets
from uc_hf.scoring.scorecard import Scorecard, score
from uc_hf.scoring.training import Recipe


QUICK = Recipe(epochs=6, batch_size=16, image_size=32)
ROW = {"target", "protocol", "train_set", "counter_measure", "seed", "last", "peak"}


@pytest.fixture(scope="module")
def sets(tiles: Dataset, surrogate_folder: str) -> dict[str, Dataset]:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=4, steps=10, batch_size=16).fit(tiles)
    return train_sets(protector, tiles)


@pytest.fixture(scope="module")
def card(sets: dict[str, Dataset], tiles: Dataset) -> Scorecard:
    return score({name: sets[name] for name in ("clean", "protected")}, tiles, seeds=[0, 1], recipe=QUICK)


def test_a_target_learns_the_clean_set_and_the_scorecard_has_every_cell(card: Scorecard):
    assert card.chance == 0.25
    assert [(row.train_set, row.seed) for row in card.rows] == [
        ("clean", 0),
        ("clean", 1),
        ("protected", 0),
        ("protected", 1),
    ]
    clean, protected = card.summaries()
    assert clean.last > 0.6 and clean.drop == 0
    assert protected.drop == pytest.approx(clean.last - protected.last)
    for row, curve in zip(card.rows, card.curves, strict=True):
        assert len(curve) == QUICK.epochs and row.last == curve[-1] and row.peak == max(curve)


def test_the_headline_names_protected_clean_and_chance(card: Scorecard):
    assert card.headline().startswith("A resnet-small trained on the protected set reaches ")
    assert card.headline().endswith("guessing gives 25%.")


def test_the_json_has_the_documented_schema(card: Scorecard, tmp_path: Path):
    card.save(tmp_path / "scorecard.json")
    saved = json.loads((tmp_path / "scorecard.json").read_text())
    assert set(saved) == {"chance", "rows"} and all(set(row) == ROW for row in saved["rows"])
    assert saved == card.to_dict()


def test_equal_seeds_give_equal_numbers(card: Scorecard, sets: dict[str, Dataset], tiles: Dataset):
    again = score({"clean": sets["clean"]}, tiles, seeds=[0], recipe=QUICK)
    assert again.curves[0] == card.curves[0]


def test_a_killed_run_resumes_without_training_a_finished_cell_again(
    card: Scorecard, sets: dict[str, Dataset], tiles: Dataset, tmp_path: Path
):
    pair = {name: sets[name] for name in ("clean", "protected")}
    finished = Scorecard(card.chance, [replace(card.rows[0], last=0.123), *card.rows[1:3]])
    finished.save(tmp_path / "scorecard.json")
    resumed = score(pair, tiles, seeds=[0, 1], recipe=QUICK, resume=tmp_path / "scorecard.json")
    assert resumed.rows == [*finished.rows, card.rows[3]]
    assert Scorecard.load(tmp_path / "scorecard.json").rows == resumed.rows


def test_a_useless_protector_scores_no_drop(card: Scorecard, sets: dict[str, Dataset], tiles: Dataset):
    same = score({"clean": sets["clean"], "protected": sets["clean"]}, tiles, seeds=[0], recipe=QUICK)
    assert same.summaries()[1].drop == 0 and same.curves[1] == card.curves[0]


def test_controls_share_the_clusters_epsilon_and_encoding(sets: dict[str, Dataset], tiles: Dataset):
    assert list(sets) == ["clean", "protected", "control-random", "control-blocky"]
    before = np.stack([np.asarray(image).astype(int) for image in tiles["image"]])
    after = {name: np.stack([np.asarray(image).astype(int) for image in sets[name]["image"]]) for name in sets}
    assert np.array_equal(after["clean"], before)
    for name in ("protected", "control-random", "control-blocky"):
        assert np.abs(after[name] - before).max() == 16
        patterns = {(after[name] - before)[row].tobytes() for row in range(len(before))}
        assert len(patterns) < len(before)


def test_control_noise_is_all_at_epsilon_and_blocks_are_eight_pixels():
    random = random_sign_noise((3, 3, 20, 20), 16, seed=0)
    blocky = blocky_noise((3, 3, 20, 20), 16, seed=0)
    assert set(np.unique(random)) == set(np.unique(blocky)) == {-16, 16}
    assert (blocky[:, :, :8, :8] == blocky[:, :, :1, :1]).all() and not np.array_equal(random, blocky)
    assert np.array_equal(random, random_sign_noise((3, 3, 20, 20), 16, seed=0))


def test_a_target_by_name_is_built_from_its_config_alone(sets: dict[str, Dataset], tiles: Dataset, tmp_path: Path):
    ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic").save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).model_type == "resnet"
    recipe = Recipe(epochs=1, batch_size=32, image_size=16, augmentation="pad-crop")
    card = score({"clean": sets["clean"]}, tiles, targets=[str(tmp_path)], seeds=[0], recipe=recipe)
    assert card.rows[0].target == str(tmp_path) and 0 <= card.rows[0].last <= 1


def test_mistakes_say_what_to_write(sets: dict[str, Dataset], tiles: Dataset):
    with pytest.raises(SettingError, match="lacks 'clean'"):
        score({"protected": sets["protected"]}, tiles)
    with pytest.raises(SettingError, match=r"neither a preset \(resnet-small, resnet-18\)"):
        score({"clean": tiles}, tiles, targets=["/no/such/model"], recipe=QUICK)
    with pytest.raises(DatasetError, match="Write label_column="):
        score({"clean": tiles.remove_columns("label")}, tiles)
    with pytest.raises(SettingError, match="'resized-crop' or 'pad-crop'"):
        Recipe(augmentation="none")


def test_the_evaluate_module_gives_the_same_numbers(card: Scorecard, sets: dict[str, Dataset], tiles: Dataset):
    unlearnability = evaluate.load(uc_hf.module_path("unlearnability"))
    recipe = {"epochs": QUICK.epochs, "batch_size": QUICK.batch_size, "image_size": QUICK.image_size}
    result = unlearnability.compute(
        clean=sets["clean"], protected=sets["protected"], test=tiles, seeds=[0, 1], recipe=recipe
    )
    assert result == card.to_dict()


def test_an_unknown_module_names_those_there_are():
    with pytest.raises(FileNotFoundError, match="it has unlearnability"):
        uc_hf.module_path("nothing")
