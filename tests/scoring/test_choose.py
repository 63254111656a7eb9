"""Without a recipe, the pictures decide at which size and for how long targets are trained."""

import io
from pathlib import Path

import pytest
from datasets import Dataset, Features, Image
from PIL import Image as PILImage

from uc_hf.errors import SettingError
from uc_hf.scoring import choose
from uc_hf.scoring.choose import check_size, choose_length, choose_size, median_short_side
from uc_hf.scoring.recipes import Recipe
from uc_hf.scoring.results import Scorecard
from uc_hf.scoring.scorecard import score


def pictures_of(*sizes: tuple[int, int]) -> Dataset:
    values = []
    for size in sizes:
        file = io.BytesIO()
        PILImage.new("RGB", size, "teal").save(file, "PNG")
        values.append({"bytes": file.getvalue(), "path": None})
    return Dataset.from_dict({"image": values}, features=Features({"image": Image()}))


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "device_kind", lambda: "cpu")


def test_the_size_is_the_median_short_side_up_to_what_the_device_can_do():
    assert median_short_side(pictures_of((40, 30), (90, 64), (64, 200)), None) == 64
    assert choose_size(Recipe(), 64).recipe.image_size == 64
    assert choose_size(Recipe(), 3000).recipe.image_size == 128
    assert choose_size(Recipe(), 3000).notes == ()


def test_a_size_far_below_a_scrapers_is_warned_of():
    (note,) = check_size(Recipe(image_size=32), 600).notes
    assert "trained at 32 px" in note and "Write --image-size 224" in note
    assert check_size(Recipe(image_size=32), 32).notes == ()


def test_training_is_as_long_as_the_originals_need():
    settled = {10: 0.5, 20: 0.6, 40: 0.61}
    assert choose_length(Recipe(), lambda tried: settled[tried.epochs]).recipe.epochs == 20
    rising = {10: 0.5, 20: 0.6, 40: 0.7}
    chosen = choose_length(Recipe(), lambda tried: rising[tried.epochs])
    assert chosen.recipe.epochs == 40 and "still rose at 40 epochs, the largest number" in chosen.notes[0]


def test_a_scorecard_without_a_recipe_says_what_was_chosen_and_a_second_run_keeps_it(
    tiles: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(choose, "LENGTHS", {"cpu": (1, 2)})
    path = tmp_path / "scorecard.json"
    sets = {"clean": tiles.select(range(48)), "protected": tiles.select(range(48, 96))}
    card = score(sets, tiles, seeds=[0], resume=path)
    side = median_short_side(tiles, None)
    assert card.recipe["image_size"] == side and card.recipe["epochs"] in (1, 2) and card.recipe["threads"] >= 1
    monkeypatch.setattr(choose, "choose_length", None)  # not asked again
    assert score(sets, tiles, seeds=[0], resume=path) == Scorecard.load(path) == card
    with pytest.raises(SettingError, match="another recipe"):
        score(sets, tiles, seeds=[0], recipe=Recipe(epochs=9), resume=path)
