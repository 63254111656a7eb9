"""Suspects are found by their own key, other keys find nothing, and what is done is not done again."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from benchmarks.trace import Bench, arguments, measure
from benchmarks.trials import OWN, PLAIN, Trials, draw, table


WORDS = ["--dataset", "x", "--image-size", "16", "--epochs", "1", "--pictures", "10"]


@pytest.fixture
def bench(tiles: Dataset, surrogate_folder: str, tmp_path: Path) -> Bench:
    words = [*WORDS, "--surrogate", surrogate_folder, "--share", "0.5", "--budget", "60", "--out", str(tmp_path)]
    more = ["--scenario", "relabelled-2", "--nulls", "2", "--null-budget", "40", "--reference"]
    return Bench(tiles.select(range(60)), tiles.select(range(60, 96)), arguments([*words, *more]))


def test_each_claim_is_a_line_and_is_asked_once(bench: Bench, tmp_path: Path) -> None:
    trials = Trials(tmp_path / "trials.jsonl")
    measure(bench, trials)
    lines = trials.read()
    assert [(line["claim"] == OWN, line["reference"]) for line in lines] == [
        (True, False),
        (True, True),
        (False, False),
        (False, False),
    ]
    assert all(0 < line["p"] <= 1 and line["scenes"] == 10 for line in lines)
    measure(bench, trials)
    assert trials.read() == lines
    text = table(lines)
    assert "| relabelled-2 |" in text and "another key, other pictures" in text and " of 1 |" in text
    draw(lines).savefig(tmp_path / "trace.png", dpi=50)


def test_each_owner_protects_and_asks_about_rows_of_his_own(bench: Bench) -> None:
    bench.args.owners = 2
    published = bench.published(4, share=0.25)
    changed = (published.pixels != bench.originals.pixels).flatten(1).any(dim=1).numpy()
    rows = bench.protected(4, share=0.25)
    assert set(np.flatnonzero(changed)) == set(np.concatenate([rows[4], rows[5]])) and len(rows[4]) == 15
    own = [claim for claim in bench.claims(4, share=0.25, scenario=PLAIN) if claim.name == OWN and not claim.reference]
    assert [(claim.trial, claim.key, list(claim.rows)) for claim in own] == [
        (owner, owner, list(rows[owner])) for owner in (4, 5)
    ]


def test_no_two_suspects_are_asked_about_one_key_of_another(bench: Bench) -> None:
    bench.args.nulls = 5
    asked = [
        claim.key
        for training in (0, 1)
        for scenario in (PLAIN, "gray")
        for claim in bench.claims(training, 0.25, scenario)
        if claim.name != OWN and not claim.name.startswith("its own key")
    ]
    assert len(asked) == len(set(asked)) > 4
