import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from tests.scoring.trace.keys import Stranger, Trained, with_key
from uc_hf import UCProtector
from uc_hf.data.images import decode
from uc_hf.errors import DatasetError, SettingError, SuspectError
from uc_hf.scoring.trace.asking import Interview, Plan, Reader
from uc_hf.scoring.trace.exact import normal_scores, sign_flips
from uc_hf.scoring.trace.journal import Journal
from uc_hf.scoring.trace.pairs import find_pairs
from uc_hf.scoring.trace.trace import trace as trace_in_all_views
from uc_hf.scoring.trace.votes import with_every_texture


PAIRS = 96
ONE_VIEW = 2 * PAIRS
trace = partial(trace_in_all_views, budget=ONE_VIEW)


@pytest.fixture(scope="module")
def key(fitted: UCProtector) -> UCProtector:
    return with_key(fitted, b"the owner's")


@pytest.fixture(scope="module")
def pictures(tiles: Dataset) -> Dataset:
    return tiles.shuffle(seed=1)


@pytest.fixture(scope="module")
def published(key: UCProtector, pictures: Dataset) -> Dataset:
    return pictures.map(key, batched=True)


@pytest.fixture(scope="module")
def thief(published: Dataset) -> Trained:
    seen = [decode(picture).pixels for picture in published["image"]]
    return Trained(seen, published["label"])


def test_a_model_that_was_trained_on_the_set_is_found(key, pictures, thief):
    evidence = trace(thief, protector=key, originals=pictures)
    assert evidence.found
    assert evidence.p < 1e-6
    assert evidence.sentence().startswith("Trained was trained on this set: p = ")
    assert evidence.sentence().endswith(f"on {PAIRS} pictures and {ONE_VIEW} questions.")


def test_a_model_that_was_not_is_no_evidence(key, pictures):
    evidence = trace(Stranger(), protector=key, originals=pictures)
    assert not evidence.found
    assert evidence.sentence().startswith("No evidence that Stranger was trained on this set")


def test_another_owner_finds_nothing_in_the_same_model(fitted, pictures, thief):
    assert trace(thief, protector=with_key(fitted, b"another's"), originals=pictures).p > 0.05


def test_p_values_of_strangers_are_uniform(key, fitted, pictures):
    pairs = find_pairs(key, pictures, "image", "label", None, limit=8, seed=0)
    plan = Plan.within(16, 8, early=False)

    def p_value(other: int) -> float:
        own = replace(pairs, protector=with_key(fitted, b"%d" % other))
        interview = Interview(suspect, own, plan, Reader(list("abcd")), Journal(None, {}), "the suspect", seed=other)
        (differences,) = interview.looks()
        return sign_flips(normal_scores(differences)).p

    def suspect(shown):
        return [dict(zip("abcd", answer, strict=True)) for answer in Stranger()(shown)]

    suspect.at_once = 32
    p_values = np.array([p_value(other) for other in range(200)])
    for level, most in ((0.01, 8), (0.05, 20), (0.2, 56)):  # 99.9 % of binomial draws are below these
        assert (p_values <= level).sum() <= most
    assert 0.44 < p_values.mean() < 0.58


def test_labels_of_the_scrapers_own_are_no_hiding_place(key, pictures, published):
    seen = [decode(picture).pixels for picture in published["image"]]
    relabelled = Trained(seen, [label % 2 for label in published["label"]])
    evidence = trace(
        lambda shown: [dict(zip("wxyz", a, strict=True)) for a in relabelled(shown)], protector=key, originals=pictures
    )
    assert evidence.found
    assert not evidence.own_labels


def test_nor_is_one_word_that_the_owner_uses_too(key, pictures, thief):
    first, *_ = pictures.features["label"].names

    def scraper(shown):
        return [dict(zip([first, "x", "y", "z"], answer, strict=True)) for answer in thief(shown)]

    evidence = trace(scraper, protector=key, originals=pictures)
    assert evidence.p < 1e-6
    assert not evidence.own_labels


def test_a_label_alone_is_an_answer(key, pictures, published):
    seen = [decode(picture).pixels for picture in published["image"]]
    surer = Trained(seen, published["label"], surer=0.6)
    evidence = trace(
        lambda shown: ["abcd"[answer.argmax()] for answer in surer(shown)], protector=key, originals=pictures
    )
    assert evidence.found
    assert evidence.own_labels


def test_pictures_without_labels_are_witnesses_too(key, pictures, thief):
    evidence = trace(thief, protector=key, originals=pictures.remove_columns("label"))
    assert evidence.found
    some = pictures.map(lambda row, number: {"label": row["label"] if number % 2 else -1}, with_indices=True)
    assert trace(thief, protector=key, originals=some).found


def test_only_what_was_published_is_asked_about(key, pictures, published, thief):
    evidence = trace(thief, protector=key, originals=pictures, published=published.select(range(30)))
    assert (evidence.scenes, evidence.strangers) == (30, PAIRS - 30)
    assert evidence.found


def test_a_published_set_that_is_not_this_keys_work_is_refused(key, pictures, thief):
    with pytest.raises(DatasetError, match="another protector's"):
        trace(thief, protector=key, originals=pictures, published=pictures)


def test_one_scene_is_one_witness(key, pictures, thief):
    twice = Dataset.from_dict(
        {name: [*pictures[name], *pictures[name]] for name in ("image", "label")},
        features=pictures.select_columns(["image", "label"]).features,
    )
    evidence = trace_in_all_views(thief, protector=key, originals=twice, budget=4 * ONE_VIEW)
    assert evidence.scenes == PAIRS
    assert evidence.repeats == PAIRS


def test_looking_early_saves_questions_and_is_paid_for(key, pictures, published):
    seen = [decode(picture).pixels for picture in published["image"]]
    evidence = trace(
        Trained(seen, published["label"], surer=0.9),
        protector=key,
        originals=pictures,
        budget=4 * ONE_VIEW,
        stop_at=1e-4,
    )
    assert evidence.found
    assert evidence.stopped_early
    assert evidence.questions < 4 * ONE_VIEW
    last = evidence.tests[-1]
    assert evidence.p == pytest.approx(last.p / last.share)


@pytest.mark.parametrize(("budget", "pairs"), [(20, 500), (999, 500), (20_000, 500), (20_000, 3), (10**6, 500)])
@pytest.mark.parametrize("early", [False, True])
def test_a_plan_keeps_to_its_budget_and_its_error_rate(budget, pairs, early):
    plan = Plan.within(budget, pairs, early=early)
    assert 2 * plan.pairs * plan.views <= budget
    assert plan.looks[-1][0] == plan.pairs * plan.views
    assert sum(share for _, share in plan.looks) == pytest.approx(1)
    assert len(plan.looks) == 1 or early


def test_an_interrupted_trace_goes_on_and_asks_nothing_twice(key, pictures, thief, tmp_path: Path):
    asked: list[bytes] = []

    def counted(shown, until=float("inf")):
        if len(asked) >= until:
            raise ConnectionError
        asked.extend(picture.tobytes() for picture in shown)
        return thief(shown)

    whole = trace(thief, protector=key, originals=pictures)
    journal = tmp_path / "answers.jsonl"
    with pytest.raises(ConnectionError):
        trace(named("thief", partial(counted, until=64)), protector=key, originals=pictures, journal=journal)
    with journal.open("a") as file:
        file.write('{"view 0 of')  # the power went off
    evidence = trace(named("thief", counted), protector=key, originals=pictures, journal=journal)
    assert evidence.p == whole.p
    assert len(asked) == len(set(asked)) == ONE_VIEW


def test_a_journal_keeps_to_its_plan(key, pictures, thief, tmp_path: Path):
    journal = tmp_path / "answers.jsonl"
    trace(thief, protector=key, originals=pictures, journal=journal)
    with pytest.raises(SettingError, match="plan"):
        trace(thief, protector=key, originals=pictures, journal=journal, budget=2 * ONE_VIEW)


def test_nor_are_answers_about_other_unseen_pictures_taken(key, pictures, thief, tmp_path: Path):
    asked = partial(trace, thief, protector=key, originals=pictures, journal=tmp_path / "answers.jsonl")
    asked(unseen=pictures.select(range(4)), budget=2 * ONE_VIEW)
    with pytest.raises(SettingError, match="unseen differ"):
        asked(unseen=pictures.select(range(4, 8)), budget=2 * ONE_VIEW)


def test_the_textures_that_are_asked_about_differ_by_the_key_alone_not_in_strength(key, pictures, published):
    pairs = find_pairs(key, pictures, "image", None, None, 4, 0)
    original = pairs.original(0)
    changes = [np.abs(copy - original.pixels.astype(int)).mean() for copy in with_every_texture(pairs, original)]
    assert min(changes) > 0.7 * max(changes)


def test_the_journal_does_not_tell_the_key(key, pictures, thief, tmp_path: Path):
    journal = tmp_path / "answers.jsonl"
    trace(thief, protector=key, originals=pictures, journal=journal)
    facts = json.loads(journal.read_text().splitlines()[0])["trace"]
    assert set(facts) == {"suspect", "key", "originals", "plan", "seed", "references", "unseen"}
    assert len(facts["key"]) == 64


def test_a_protector_without_phases_is_refused(fitted, pictures, thief):
    for without in (fitted.with_noise(fitted.canvases()), fitted.with_look("tint")):
        with pytest.raises(SettingError, match="phase of its own"):
            trace(thief, protector=without, originals=pictures)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (lambda shown: np.full((len(shown), 4), 3.0), "not a probability"),
        (lambda shown: [0.5], "returned 1 answers"),
        (lambda shown: [None] * len(shown), "not understood"),
    ],
)
def test_answers_that_mean_nothing_are_refused(key, pictures, answers, message):
    with pytest.raises(SuspectError, match=message):
        trace(answers, protector=key, originals=pictures)


def test_evidence_as_json_says_what_it_rests_on(key, pictures, thief):
    told = json.loads(json.dumps(trace(thief, protector=key, originals=pictures).to_dict()))
    assert told["found"]
    assert told["combined_by"].startswith("weighted Bonferroni")
    assert any("key" in assumption for assumption in told["assumptions"])
    assert told["power"]["pictures_needed_for_the_observed_effect"] < PAIRS


def named(name, function):
    function = partial(function)
    function.__name__ = name
    return function


class Blurred(Trained):
    """Of the same kind as another model: it is as sure of a picture as that one, but for its own noise and memory."""

    def __call__(self, pictures):
        noise = np.random.default_rng(7).random((len(pictures), 4))
        answers = super().__call__(pictures) + 0.2 * noise / noise.sum(axis=1, keepdims=True)
        return answers / answers.sum(axis=1, keepdims=True)


def test_a_model_that_never_saw_the_set_explains_what_is_the_pictures_own(key, pictures, published):
    seen = [decode(picture).pixels for picture in published["image"]]
    weak = Trained(seen, published["label"], surer=0.05)
    alone = trace(weak, protector=key, originals=pictures)
    beside = trace(weak, protector=key, originals=pictures, references=[Blurred([], [])])
    assert beside.p < alone.p / 10
    assert beside.references == ["Blurred"]
    assert trace(weak, protector=key, originals=pictures, references=[weak]).p > 0.5
