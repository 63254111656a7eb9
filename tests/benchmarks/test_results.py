"""The figures of the pages are those of the scorecards."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import results
from uc_hf.reports.page import TIMES
from uc_hf.scoring.results import Row, Scorecard


ROOT = Path(__file__).parents[2]
LOG = ROOT / "docs" / "log"
BY_HAND = [page for page in sorted((ROOT / "docs").rglob("*.md")) if LOG not in page.parents]


JUDGE = ("resnet-small", "from-scratch")


def line(rows: list[Row], **options: object) -> results.Line:
    given = {"name": "n", "files": {}, "card": Scorecard(0.1, rows), "protected": "protected", "surrogate": None}
    return results.Line(**(given | {"counter_measure": None, "judge": JUDGE, "seen": {}} | options))  # type: ignore[arg-type]


def row(train_set: str, last: float, seed: int = 0, counter_measure: str | None = None) -> Row:
    return Row(*JUDGE, train_set, counter_measure, seed, last, peak=last + 0.1)


def test_the_tables_of_the_pages_are_up_to_date() -> None:
    assert [page.name for page in results.PAGES if results.filled(page) != page.read_text()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *BY_HAND], ids=lambda page: str(page.relative_to(ROOT)))
def test_no_accuracy_is_typed_by_hand_outside_the_log(page: Path) -> None:
    assert re.findall(r"\d[\d.]* ?%", results.BLOCK.sub("", page.read_text())) == []


def test_a_cell_is_a_mean_over_draws_with_their_deviation_or_over_seeds() -> None:
    drawn = [row("protected (tiny)", 0.1), row("protected (tiny)", 0.3, seed=1), row("protected (tiny, draw 1)", 0.4)]
    assert results.cell(line(drawn), "last", "protected") == "30.0 % ± 14.1"
    assert results.cell(line(drawn[:2]), "last", "protected") == "20.0 % ± 14.1"
    assert results.cell(line(drawn[2:]), "last", "protected") == "40.0 %"
    assert results.cell(line(drawn), "draws", "protected") == f"2 {TIMES} 1 to 2"
    assert results.cell(line(drawn), "peak", "protected") == "40.0 %"


def test_scatter_tells_the_draw_of_the_noise_from_the_seed_of_the_training() -> None:
    lasts = {"": (0.1, 0.3), ", draw 1": (0.3, 0.5), ", draw 2": (0.2, 0.4)}
    rows = [row(f"protected (tiny{of})", last, seed) for of, two in lasts.items() for seed, last in enumerate(two)]
    shown = {what: results.cell(line(rows), what, "protected") for what in ("worst draw", "over seeds")}
    assert shown == {"worst draw": "10.0", "over seeds": "14.1"}
    seen_once = line(rows[:1] + rows[2:])
    assert results.cell(seen_once, "over seeds", "protected") == results.DASH


def test_sets_of_other_surrogates_variants_and_counter_measures_are_left_out() -> None:
    rows = [row("protected (tiny)", 0.2), row("protected (tiny, 5 to 11 px)", 0.4), row("protected (clip)", 0.6)]
    rows.append(row("protected (tiny)", 0.8, counter_measure="gray"))
    assert results.cell(line(rows, surrogate="tiny"), "last", "protected") == "20.0 %"
    assert results.cell(line(rows, surrogate="tiny", counter_measure="gray"), "last", "protected") == "80.0 %"


def test_each_judge_has_a_row_of_its_own_the_worst_for_the_publisher_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row("clean", 0.9), row("protected (tiny)", 0.4)]
    rows += [
        replace(row(of, last), target="models/lite", protocol="finetune")
        for of, last in (("clean", 0.5), ("protected (tiny)", 0.3))
    ]
    Scorecard(0.1, rows).save(tmp_path / "card.json")
    monkeypatch.setattr(results, "SCORECARDS", tmp_path)
    found = list(results.lines({"name": "set", "file": "card.json"}, every_judge=True))
    assert [(of.name, results.cell(of, "last", "protected")) for of in found] == [
        ("set, lite, finetune", "30.0 %"),
        ("set, resnet-small, from scratch", "40.0 %"),
    ]
    [only] = results.lines({"name": "set", "file": "card.json"})
    assert results.cell(only, "last", "protected") == "40.0 %"


def test_the_best_control_is_the_one_that_protects_most_and_what_was_not_run_is_a_dash() -> None:
    rows = [row("clean", 0.9), row("control-random (tiny)", 0.7), row("control-grating (tiny)", 0.5)]
    assert results.cell(line(rows), "best control", "") == "50.0 %"
    assert results.cell(line(rows), "drop", "control-grating") == "40.0"
    assert [results.cell(line(rows), *what) for what in (("last", "protected"), ("psnr", ""))] == [results.DASH] * 2
    assert results.cell(line(rows, seen={"psnr": 25.26, "jod": 7.104}), "jod", "") == "7.10"


def test_a_lead_is_paired_by_draws_and_exact() -> None:
    names = [f" (tiny{draw})" for draw in ("", ", draw 1", ", draw 2")]
    rows = [row(f"protected{name}", 0.1 * number) for number, name in enumerate(names)]
    rows += [row(f"control-family{name}", 0.1 * number + 0.05) for number, name in enumerate(names)]
    assert results.cell(line(rows), "lead", "control-family") == "5.0 ± 0.0 (p = 0.12)"
    assert results.cell(line(rows[:1] + rows[3:4]), "lead", "control-family") == results.DASH
    lacks_a_control = line([*rows, row("protected (tiny, draw 3)", 0.9)])
    assert results.cell(lacks_a_control, "lead", "control-family") == "5.0 ± 0.0 (p = 0.12)"


def test_all_sets_together_have_the_pairs_of_each_that_has_several() -> None:
    names = [f" (tiny{draw})" for draw in ("", ", draw 1")]
    sets = [
        [
            row(f"{kind}{name}", 0.1 + more)
            for name in names
            for kind, more in (("protected", 0), ("control-family", by))
        ]
        for by in (0.1, 0.2)
    ]
    found = [*map(line, sets), line(sets[0][:2])]
    assert results.together(found, "lead", "control-family") == "15.0 ± 5.8 (p = 0.062)"
    assert results.together(found, "last", "clean") == results.DASH
