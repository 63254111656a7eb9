"""A second framework on exported sets: the same trainings again for the same seed, in the one scorecard schema."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from datasets import Dataset

from benchmarks import blackbox
from uc_hf.errors import SettingError
from uc_hf.scoring.results import Scorecard


RECIPE = replace(blackbox.RECIPE, epochs=3, batch_size=16, learning_rate=0.05)
HAS_PADDLE = find_spec("paddle") is not None


@pytest.mark.skipif(not HAS_PADDLE, reason="needs PaddlePaddle: pip install 'uc_hf[paddle]'")
def test_paddle_learns_from_files_and_goes_on_where_it_stopped(tiles: Dataset, tmp_path: Path) -> None:
    sets = {"clean": tiles, "protected": tiles.select(range(48))}
    card = blackbox.measure(sets, tiles, 1, tmp_path / "card.json", RECIPE)
    assert [row.train_set for row in card.rows] == ["clean", "protected"]
    clean = card.rows[0]
    assert clean.target == blackbox.TARGET and clean.last == clean.curve[-1] and clean.peak == max(clean.curve) > 0.3
    assert set(card.sets) == {"clean", "protected", "test"} and card.recipe["framework"].startswith("paddlepaddle ")
    assert Scorecard.load(tmp_path / "card.json") == card

    longer = blackbox.measure(sets, tiles, 2, tmp_path / "card.json", RECIPE)
    assert longer.rows[:2] == card.rows and [row.seed for row in longer.rows] == [0, 0, 1, 1]
    again = blackbox.measure(sets, tiles, 1, tmp_path / "again.json", RECIPE)
    assert again == card
    with pytest.raises(SettingError, match="another recipe"):
        blackbox.measure(sets, tiles, 1, tmp_path / "card.json", replace(RECIPE, epochs=4))


@pytest.mark.skipif(HAS_PADDLE, reason="PaddlePaddle is here")
def test_without_paddle_the_command_says_what_to_install(tiles: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"uc_hf\[paddle\]"):
        blackbox.measure({"clean": tiles}, tiles, 1, tmp_path / "card.json")
