"""The scorecard: honest baselines, equal seeds equal numbers, one JSON schema, and the evaluate face of it."""

import json
import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    MobileNetV2Config,
    MobileNetV2Model,
    ResNetConfig,
    ViTConfig,
    ViTImageProcessorPil,
)

import uc_hf
from tests.stored import DAMAGE
from uc_hf import UCProtector
from uc_hf.errors import DatasetError, SettingError
from uc_hf.scoring import scorecard
from uc_hf.scoring.controls import blocky_noise, random_sign_noise, with_controls
from uc_hf.scoring.detection import Detection
from uc_hf.scoring.recipes import RECIPES, Recipe
from uc_hf.scoring.results import Row, Scorecard
from uc_hf.scoring.scorecard import score
from uc_hf.scoring.trainer import augment, still, train_target
from uc_hf.training.labelled import LabelledImages
from uc_hf.training.networks import build_target, load_target


QUICK = Recipe(epochs=6, batch_size=16, image_size=32)
ROW = {"target", "protocol", "train_set", "counter_measure", "seed", "last", "peak", "early", "curve"}


@pytest.fixture(scope="module")
def sets(tiles: Dataset, surrogate_folder: str) -> dict[str, Dataset]:
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=4, batch_size=16).fit(tiles)
    return with_controls(protector, tiles)


@pytest.fixture(scope="module")
def pair(sets: dict[str, Dataset]) -> dict[str, Dataset]:
    return {name: sets[name] for name in ("clean", "protected")}


@pytest.fixture(scope="module")
def card(pair: dict[str, Dataset], tiles: Dataset) -> Scorecard:
    return score(pair, tiles, seeds=[0, 1], recipe=QUICK)


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
    for row in card.rows:
        assert len(row.curve) == QUICK.epochs and row.last == row.curve[-1] and row.peak == max(row.curve)


def test_the_headline_names_protected_clean_and_chance(card: Scorecard):
    assert card.headline().startswith("A resnet-small trained on the protected set reaches ")
    assert card.headline().endswith("guessing gives 25.0 %.")


def test_a_card_whose_first_command_was_stopped_tells_what_the_second_one_measured():
    measured = (("clean", None, 0.7), ("clean", "jpeg-75", 0.6), ("protected", "jpeg-75", 0.3))
    rows = [Row("resnet-small", "from-scratch", name, measure, 0, last, last) for name, measure, last in measured]
    headline = Scorecard(0.1, rows).headline()
    assert (
        "the protected set with jpeg-75 reaches 30.0 %" in headline
        and "on the originals it reaches 60.0 %" in headline
    )


def test_the_json_has_the_documented_schema(card: Scorecard, tmp_path: Path):
    card.save(tmp_path / "scorecard.json")
    saved = json.loads((tmp_path / "scorecard.json").read_text())
    assert set(saved) == {"chance", "recipe", "sets", "detection", "notes", "folders", "rows"}
    assert all(set(row) == ROW for row in saved["rows"])
    assert set(saved["sets"]) == {"test", "clean", "protected"} and saved["recipe"]["epochs"] == QUICK.epochs
    assert saved == card.to_dict() and Scorecard.load(tmp_path / "scorecard.json") == card


def test_scorecards_of_the_first_version_are_still_read(tmp_path: Path):
    run = {"target": "resnet-small", "protocol": "from-scratch", "counter_measure": None, "seed": 0}
    rows = [
        run | {"train_set": name, "last": last, "peak": last} for name, last in (("clean", 0.78), ("protected", 0.22))
    ]
    (tmp_path / "old.json").write_text(json.dumps({"chance": 0.1, "rows": rows}))
    old = Scorecard.load(tmp_path / "old.json")
    assert "trained on the protected set reaches 22.0 %" in old.headline() and old.curves[0] == []
    assert old.to_markdown().startswith(old.headline())


def test_the_published_scorecards_can_be_read():
    published = sorted((Path(uc_hf.__file__).parents[1] / "docs" / "scorecards").glob("*.json"))
    assert published and all(Scorecard.load(path).summaries() for path in published)


def test_equal_seeds_give_equal_numbers(card: Scorecard, sets: dict[str, Dataset], tiles: Dataset):
    again = score({"clean": sets["clean"]}, tiles, seeds=[0], recipe=QUICK)
    assert again.curves[0] == card.curves[0]


def test_equal_seeds_give_equal_numbers_of_a_target_with_dropout_whatever_was_trained_before(
    tmp_path: Path,
):
    images = LabelledImages(torch.arange(32 * 3 * 32 * 32).reshape(32, 3, 32, 32).byte(), torch.arange(32) % 4)
    vit = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTConfig(**vit, image_size=32, patch_size=8, hidden_dropout_prob=0.5).save_pretrained(tmp_path)
    trained = []
    for _ in range(2):
        target = build_target(str(tmp_path), 4, 32, seed=0)
        torch.rand(7)  # as another training would, of the generator that dropout draws from
        train_target(target, images, {"test": images}, replace(QUICK, epochs=1), seed=0, title="")
        trained.append(torch.cat([weight.detach().flatten() for weight in target.parameters()]))
    assert torch.equal(*trained)


def test_a_target_that_brings_its_own_code_is_refused_and_none_of_it_is_run(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}))
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    with pytest.raises(SettingError, match="is neither a preset"):
        build_target(str(tmp_path), 4, 32, seed=0)
    assert not (tmp_path / "was-run").exists()


def test_a_killed_run_resumes_without_training_a_finished_cell_again(
    card: Scorecard, pair: dict[str, Dataset], tiles: Dataset, tmp_path: Path
):
    finished = replace(card, rows=[replace(card.rows[0], last=0.123), *card.rows[1:3]])
    finished.save(tmp_path / "scorecard.json")
    resumed = score(pair, tiles, seeds=[0, 1], recipe=QUICK, resume=tmp_path / "scorecard.json")
    assert resumed.rows == [*finished.rows, card.rows[3]]
    assert Scorecard.load(tmp_path / "scorecard.json") == resumed


def test_gray_trainings_that_were_tested_in_colour_are_run_again(
    pair: dict[str, Dataset], tiles: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path, recipe = tmp_path / "scorecard.json", replace(QUICK, epochs=1)
    card = score(pair, tiles, seeds=[0], recipe=recipe, counter_measures=["none", "gray"], resume=path)
    conditions = {name: value for name, value in card.recipe.items() if name != "tests_in_use"}
    replace(card, recipe=conditions, rows=[replace(row, last=0.123) for row in card.rows]).save(path)
    again = score(pair, tiles, seeds=[0], recipe=recipe, counter_measures=["none", "gray"], resume=path)
    assert {row.counter_measure for row in again.rows if row.last == 0.123} == {None}
    assert "2 trainings of" in caplog.text


def test_a_damaged_scorecard_is_set_aside_and_begun_again(
    pair: dict[str, Dataset], tiles: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path, recipe = tmp_path / "scorecard.json", replace(QUICK, epochs=1)
    card = score(pair, tiles, seeds=[0], recipe=recipe, resume=path)
    whole = path.read_bytes()
    for damage in ("empty", "half", "zeros"):
        DAMAGE[damage](path)
        assert score(pair, tiles, seeds=[0], recipe=recipe, resume=path) == card and path.read_bytes() == whole
        assert "The scorecard is damaged" in caplog.text and (tmp_path / "scorecard.json.damaged").exists()
        caplog.clear()


def test_a_scorecard_takes_no_rows_of_another_recipe_or_of_other_images(
    card: Scorecard, sets: dict[str, Dataset], pair: dict[str, Dataset], tiles: Dataset, tmp_path: Path
):
    path = tmp_path / "scorecard.json"
    card.save(path)
    with pytest.raises(SettingError, match=r"another recipe, other sets or models: epochs=7 \(saved: 6\)"):
        score(pair, tiles, recipe=replace(QUICK, epochs=7), resume=path)
    other = {"clean": sets["clean"], "protected": sets["control-random"]}
    with pytest.raises(SettingError, match="other sets or models: the set 'protected'"):
        score(other, tiles, recipe=QUICK, resume=path)
    path.write_text("[]")
    with pytest.raises(SettingError, match="is not a scorecard"):
        score(pair, tiles, recipe=QUICK, resume=path)


def test_a_scorecard_takes_no_rows_of_a_model_that_its_folder_held_before(
    pair: dict[str, Dataset], tiles: Dataset, surrogate_folder: str, tmp_path: Path
):
    model = tmp_path / "model"
    shutil.copytree(surrogate_folder, model)

    def scored(protocol: str, name: str = "scorecard.json") -> Scorecard:
        options = {"protocols": [protocol], "seeds": [0], "recipe": replace(QUICK, epochs=1)}
        return score(pair, tiles, targets=[str(model)], **options, resume=tmp_path / name)

    for protocol in ("from-scratch", "linear-probe"):
        card = scored(protocol)
    assert set(card.folders) == {f"{model}, from-scratch", f"{model}, linear-probe"}
    replace(card, folders={}).save(tmp_path / "older.json")
    weights = load_file(model / "model.safetensors")
    save_file({name: 1.5 * tensor for name, tensor in weights.items()}, model / "model.safetensors", {"format": "pt"})
    assert scored("from-scratch") == card  # fresh weights: only the configuration counts
    with pytest.raises(
        SettingError, match=r"the model '.*model, linear-probe', which has changed since. Name another"
    ):
        scored("linear-probe")
    assert scored("linear-probe", "older.json").rows == card.rows
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"hidden_act": "gelu"}))
    with pytest.raises(SettingError, match="from-scratch', which has changed since"):
        scored("from-scratch")


def test_a_scorecard_takes_no_rows_of_another_precision(
    pair: dict[str, Dataset], card: Scorecard, tiles: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "scorecard.json"
    replace(card, recipe=card.recipe | {"mixed_precision": "bf16"}).save(path)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.raises(
        SettingError,
        match=r"mixed_precision=.no. \(saved: .bf16.; ACCELERATE_MIXED_PRECISION=no or =bf16 decides it\)",
    ):
        score(pair, tiles, recipe=QUICK, resume=path)


def test_a_useless_protector_scores_no_drop_and_cannot_be_detected(
    card: Scorecard, sets: dict[str, Dataset], tiles: Dataset
):
    useless = sets["clean"].map(lambda row: row)
    same = score({"clean": sets["clean"], "protected": useless}, tiles, seeds=[0], recipe=QUICK)
    assert same.summaries()[1].drop == 0 and same.curves[1] == card.curves[0]
    assert same.detection is not None and same.detection.accuracy == same.detection.chance == 0.5


def test_every_counter_measure_is_a_cell_of_the_clean_set_too(pair: dict[str, Dataset], tiles: Dataset):
    measures = ["jpeg-50+mixup", "early-stopping"]
    card = score(pair, tiles, seeds=[0], recipe=replace(QUICK, epochs=2), counter_measures=measures)
    assert [(row.counter_measure, row.train_set) for row in card.rows] == [
        (measure, name) for measure in measures for name in pair
    ]
    assert [row.early is None for row in card.rows] == [True, True, False, False]
    assert all(row.early in row.curve for row in card.rows[2:])
    worst = card.judged()[0].protected.counter_measure
    assert worst in measures
    assert card.headline().startswith(f"A resnet-small trained on the protected set with {worst} reaches")


def test_files_that_a_scraper_stored_anew_are_compressed_at_their_own_size(pair: dict[str, Dataset], tiles: Dataset):
    def compressed(row: dict) -> dict:
        stream = BytesIO()
        row["image"].save(stream, "JPEG", quality=30)
        return {"image": {"bytes": stream.getvalue(), "path": None}}

    by_hand = {name: rows.map(compressed) for name, rows in pair.items()}
    recipe = replace(QUICK, epochs=2)
    expected = score(by_hand, tiles, seeds=[0], recipe=recipe, counter_measures=["gray"])
    card = score(pair, tiles, seeds=[0], recipe=recipe, counter_measures=["reencode-30+gray", "gray"])
    assert [row.curve for row in card.rows[:2]] == [row.curve for row in expected.rows]
    assert [row.curve for row in card.rows[:2]] != [row.curve for row in card.rows[2:]]


@pytest.mark.parametrize("choose", [(), ("epochs",)])
@pytest.mark.parametrize("name", ["averaging-1000", "gray+spectral-97"])
def test_more_groups_than_images_are_refused_before_the_first_training(
    pair: dict[str, Dataset], tiles: Dataset, name: str, choose: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scorecard, "train_target", None)
    repeated = {name: rows.select([*range(90), *range(10)]) for name, rows in pair.items()}
    with pytest.raises(SettingError, match=rf"'{re.escape(name)}' divides .* 90 different ones. Write .* at most 90"):
        score(repeated, tiles, counter_measures=["none", name], recipe=QUICK, choose=choose)


def test_leaked_originals_are_stored_anew_like_the_published_copies(pair: dict[str, Dataset], tiles: Dataset):
    measures = ["reencode-30", "reencode-30+leaked"]
    recipe = replace(QUICK, epochs=2)
    card = score({"clean": pair["clean"]}, tiles, seeds=[0], recipe=recipe, counter_measures=measures)
    assert card.curves[0] == card.curves[1]


@pytest.mark.parametrize("protocol", ["finetune", "linear-probe"])
def test_pretrained_targets_learn_and_a_probe_leaves_the_backbone_alone(
    protocol: str, sets: dict[str, Dataset], tiles: Dataset, surrogate_folder: str
):
    clean = {"clean": sets["clean"]}
    recipe = replace(QUICK, epochs=5)
    cards = [
        score(
            clean,
            tiles,
            targets=[surrogate_folder],
            protocols=[protocol],
            seeds=[0],
            recipe=recipe,
            counter_measures=m,
        )
        for m in (["none"], ["none"], ["pgd-1"])
    ]
    assert cards[0].rows == cards[1].rows and cards[0].rows[0].protocol == protocol
    assert cards[0].rows[0].last > 0.4
    assert cards[2].rows[0].last > 0.25

    target = load_target(surrogate_folder, 4, 32, seed=0, frozen=protocol == "linear-probe")
    before = {name: value.clone() for name, value in target.backbone.state_dict().items()}
    images = LabelledImages(torch.randint(256, (32, 3, 32, 32), dtype=torch.uint8), torch.arange(32) % 4)
    train_target(target, images, {"test": images}, recipe, 0, "test")
    after = target.backbone.cpu().state_dict()
    changed = any(not torch.equal(value, before[name]) for name, value in after.items())
    assert changed == (protocol == "finetune")


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("resnet-18", 11.7),
        ("efficientnet-b1", 7.8),
        ("regnetx-1.6gf", 9.2),
        ("convnext-tiny", 28.6),
        ("vit-small", 22.1),
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, millions: float):
    with torch.device("meta"):
        target = build_target(name, 1000, 224, seed=0)
    assert sum(p.numel() for p in target.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_batch_normalisation_never_has_tensorflows_momentum(tmp_path: Path):
    MobileNetV2Model(MobileNetV2Config(depth_multiplier=0.1)).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    targets = [build_target("efficientnet-b1", 3, 32, 0), load_target(str(tmp_path), 3, 32, 0, frozen=False)]
    for target in targets:
        assert {part.momentum for part in target.modules() if isinstance(part, nn.BatchNorm2d)} == {0.1}


def test_the_papers_recipe_trains_on_crops_and_tests_on_their_centre():
    recipe = replace(RECIPES["paper"], image_size=32)
    pixels = torch.arange(32, dtype=torch.uint8).expand(64, 3, 32, 32)
    crops = augment(pixels.float() / 255, recipe, torch.Generator().manual_seed(0)) * 255
    lefts = crops[:, 0, 0].amin(dim=1).round().int()
    assert crops.shape == (64, 3, 28, 28) and set(lefts.tolist()) == {0, 1, 2, 3, 4}
    assert torch.equal(still(pixels, recipe)[0, 0, 0] * 255, torch.arange(2.0, 30.0))
    assert (RECIPES["paper"].input_size, RECIPES["quick"].input_size) == (224, 32)


def test_the_table_puts_first_what_serves_a_scraper_best(tmp_path: Path):
    measured = {None: (0.9, 0.2), "jpeg-75": (0.85, 0.6), "early-stopping": (0.9, 0.2)}
    rows = [
        Row("resnet-small", "from-scratch", name, measure, seed, last + 0.02 * seed, 0.95, early)
        for measure, lasts in measured.items()
        for name, last in zip(("clean", "protected"), lasts, strict=True)
        for early in ([0.7] if measure == "early-stopping" else [None])
        for seed in (0, 1)
    ]
    card = Scorecard(0.1, rows, detection=Detection(0.98, 0.5, 0.75, 0.2))
    table = card.table()
    assert [row["counter-measure"] for row in table] == ["early-stopping", "jpeg-75", "none"]
    assert table[1]["protected"] == "61.0 % ± 1.4" and table[1]["clean"] == "86.0 % ± 1.4"
    assert (table[1]["drop"], table[0]["early stop"], table[2]["early stop"]) == ("25.0 %", "70.0 %", "\N{EN DASH}")
    assert (
        "reaches 21.0 % ± 1.4 on clean pictures and 70.0 % with early-stopping, the best of 2 ways" in card.headline()
    )
    markdown = card.to_markdown()
    assert markdown.splitlines()[2].startswith("| target | protocol | counter-measure | clean | protected | drop |")
    assert "98.0 % of the cases (chance 50.0 %) and names their noise pattern in 75.0 % (20.0 %)" in markdown


def test_controls_share_the_clusters_epsilon_and_encoding(sets: dict[str, Dataset], tiles: Dataset):
    assert {"clean", "protected", "control-random", "control-blocky"} <= set(sets)
    before = np.stack([np.asarray(image).astype(int) for image in tiles["image"]])
    after = {name: np.stack([np.asarray(image).astype(int) for image in sets[name]["image"]]) for name in sets}
    assert np.array_equal(after["clean"], before)
    for name in set(sets) - {"clean"}:
        assert np.abs(after[name] - before).max() == 16
        patterns = {(after[name] - before)[row].tobytes() for row in range(len(before))}
        assert len(patterns) < len(before)


def test_training_sets_are_what_map_makes_and_each_picture_is_embedded_once(tiles: Dataset, surrogate_folder: str):
    shuffled = tiles.shuffle(seed=1)
    protector = UCProtector(surrogate=surrogate_folder, n_clusters=4, batch_size=16).fit(shuffled)
    embedded: list[int] = []
    protector._ready_surrogate().register_forward_pre_hook(lambda _, inputs: embedded.append(len(inputs[0])))
    made = with_controls(protector, shuffled)
    assert sum(embedded) == len(shuffled)
    mapped = shuffled.map(protector, batched=True)
    assert made["protected"].features == mapped.features
    for row, other in zip(made["protected"], mapped, strict=True):
        assert row["label"] == other["label"] and row["image"].tobytes() == other["image"].tobytes()


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
    clean = sets["clean"]
    with pytest.raises(SettingError, match="lacks 'clean'"):
        score({"protected": sets["protected"]}, tiles)
    with pytest.raises(SettingError, match=r"neither a preset \(resnet-small, resnet-18, "):
        score({"clean": clean}, tiles, targets=["/no/such/model"], recipe=QUICK)
    with pytest.raises(DatasetError, match="Write --label-column NAME"):
        score({"clean": tiles.remove_columns("label")}, tiles)
    with pytest.raises(SettingError, match="'resized-crop', 'pad-crop' or 'crop'"):
        Recipe(augmentation="none")
    with pytest.raises(SettingError, match="'from-scratch', 'finetune' or 'linear-probe'"):
        score({"clean": clean}, tiles, protocols=["zero-shot"])
    with pytest.raises(SettingError, match="'resnet-small' has no published weights to start from"):
        score({"clean": clean}, tiles, protocols=["finetune"])
    with pytest.raises(
        SettingError, match="'leaked-1' compares every training set with the clean one row by row, but 'some' has"
    ):
        score({"clean": clean, "some": tiles.select(range(9))}, tiles, counter_measures=["leaked-1"])


def test_the_evaluate_module_gives_the_same_numbers(card: Scorecard, sets: dict[str, Dataset], tiles: Dataset):
    unlearnability = evaluate.load(uc_hf.module_path("unlearnability"))
    recipe = {"epochs": QUICK.epochs, "batch_size": QUICK.batch_size, "image_size": QUICK.image_size}
    result = unlearnability.compute(
        clean=sets["clean"], protected=sets["protected"], test=tiles, seeds=[0, 1], recipe=recipe
    )
    assert result == card.to_dict()


def test_an_unknown_module_names_those_there_are():
    with pytest.raises(FileNotFoundError, match="it has imperceptibility, unlearnability"):
        uc_hf.module_path("nothing")
