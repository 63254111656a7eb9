"""A scorecard in one word: by the target that the noise stops least, with the rule and the best control beside it."""

from dataclasses import replace

import pytest

from uc_hf.scoring.results import Row, Scorecard
from uc_hf.scoring.verdict import judge


def card_of(**lasts: float) -> Scorecard:
    """A scorecard of two seeds, guessing at 10 %, with training sets as keywords (control_x for "control-x")."""
    rows = [
        Row("resnet-small", "from-scratch", name.replace("_", "-"), None, seed, last + 0.01 * seed, last + 0.02)
        for name, last in lasts.items()
        for seed in (0, 1)
    ]
    return Scorecard(0.1, rows)


@pytest.mark.parametrize(
    ("protected", "word"), [(0.15, "protected"), (0.45, "partly protected"), (0.59, "not protected")]
)
def test_the_word_is_the_share_of_what_the_originals_teach_that_is_lost(protected: float, word: str):
    verdict = judge(card_of(clean=0.7, protected=protected))
    assert verdict is not None and verdict.word == word
    assert verdict.share == pytest.approx((0.7 - protected) / 0.605) and "two thirds" in verdict.why


def test_originals_that_teach_nothing_cannot_be_judged():
    verdict = judge(card_of(clean=0.14, protected=0.1))
    assert verdict is not None and verdict.word == "cannot tell" and verdict.share is None
    assert "Train longer" in verdict.why


def test_a_target_that_the_originals_teach_too_little_neither_decides_nor_leads():
    weak = card_of(clean=0.7, protected=0.15)
    untaught = [replace(row, target="vit-small", last=0.1) for row in weak.rows]
    for rows in ([*weak.rows, *untaught], [*untaught, *weak.rows]):
        card = Scorecard(0.1, rows)
        verdict, headline = judge(card), card.headline()
        assert verdict is not None and verdict.word == "protected" and verdict.judge == "resnet-small, from-scratch"
        assert "too little there to tell: vit-small, from-scratch (10.0 %)" in verdict.why
        assert "Only this network could tell" in verdict.why and headline.startswith("A resnet-small ")
    nobody = judge(Scorecard(0.1, untaught))
    assert nobody is not None and nobody.word == "cannot tell"


def test_the_target_that_the_noise_stops_least_decides():
    weak = card_of(clean=0.7, protected=0.15)
    strong = [
        Row("resnet-18", "finetune", name, None, 0, last, last) for name, last in (("clean", 0.9), ("protected", 0.8))
    ]
    card = Scorecard(0.1, [*weak.rows, *strong])
    verdict = judge(card)
    assert verdict is not None and verdict.word == "not protected" and verdict.judge == "resnet-18, finetune"
    assert card.headline().startswith("A resnet-18 trained on the protected set reaches 80.0 %")


def test_without_a_plain_training_the_counter_measure_that_is_worst_for_the_publisher_decides():
    lasts = {"jpeg-75": (0.6, 0.15), "pgd-4": (0.4, 0.39)}
    of_each = [
        [
            Row("resnet-small", "from-scratch", name, measure, 0, last, last)
            for name, last in zip(("clean", "protected"), pair, strict=True)
        ]
        for measure, pair in lasts.items()
    ]
    first, second = (judge(Scorecard(0.1, [*rows, *others])) for rows, others in (of_each, of_each[::-1]))
    assert first is not None and first.word == "not protected" and first == second
    assert "teach resnet-small, from-scratch, with pgd-4 is lost (from 40.0 % to 39.0 %" in first.why


def test_one_network_alone_is_said_to_be_one():
    alone = card_of(clean=0.7, protected=0.15)
    other = [replace(row, target="resnet-18") for row in alone.rows]
    of_one, of_two = judge(alone), judge(Scorecard(0.1, [*alone.rows, *other]))
    assert of_one is not None and "Only this network was asked" in of_one.why
    assert of_two is not None and "Only this network was asked" not in of_two.why


def test_the_best_control_stands_beside_it():
    ahead = judge(card_of(clean=0.7, protected=0.15, control_random=0.6, control_grating=0.3))
    level = judge(card_of(clean=0.7, protected=0.15, control_random=0.6, control_grating=0.15))
    assert ahead is not None and ahead.control == "control-grating" and "is ahead of it" in ahead.why
    assert level is not None and "is not ahead of it, so the clusters do the work" in level.why


def test_one_seed_cannot_tell_whether_a_control_is_behind():
    two_seeds = card_of(clean=0.7, protected=0.15, control_random=0.6)
    verdict = judge(replace(two_seeds, rows=two_seeds.rows[::2]))
    assert verdict is not None and "one seed cannot tell which of the two is ahead" in verdict.why
    assert "is ahead of it" not in verdict.why


def test_without_both_sets_there_is_no_verdict():
    assert judge(card_of(clean=0.7)) is None


def test_a_percentage_is_never_rounded_to_another_one():
    assert "12.5 %" in card_of(clean=0.7, protected=0.12).headline()
