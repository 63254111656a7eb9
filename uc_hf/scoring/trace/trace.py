"""Was this model trained on my set? Top to bottom: open, find the published copies, ask, test."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from uc_hf.data import images
from uc_hf.data.checks import undecoded
from uc_hf.data.columns import class_names, image_column, is_missing, label_column
from uc_hf.data.images import Picture
from uc_hf.errors import DatasetError, SettingError
from uc_hf.protecting.commitment import digest
from uc_hf.protecting.protector import Protector
from uc_hf.scoring.trace.answers import Suspect
from uc_hf.scoring.trace.asking import Interview, Plan, Reader
from uc_hf.scoring.trace.evidence import Commitment, Evidence, Test
from uc_hf.scoring.trace.exact import normal_scores, permutations, sign_flips, unexplained
from uc_hf.scoring.trace.journal import Journal
from uc_hf.scoring.trace.pairs import Pairs, Published, find_pairs
from uc_hf.scoring.trace.suspects import open_suspect
from uc_hf.scoring.trace.votes import ask_votes


BUDGET = 20_000
"""Default number of questions: 500 pairs in 18 views take 18,000."""

UNSEEN = 20
"""Largest number of unseen pictures to which every texture is applied."""

LEAST = 20
"""Fewest questions that allow a p-value below 0.001."""

SHARES = {"pairs": 0.8, "textures": 0.2}
"""Share of the error rate for each test. Pairs get more: they still work if few of the pictures were trained on."""


def trace(
    model: Any,
    *,
    protector: Protector,
    originals: datasets.Dataset,
    published: datasets.Dataset | None = None,
    unseen: datasets.Dataset | None = None,
    references: Sequence[Any] = (),
    budget: int = BUDGET,
    stop_at: float | None = None,
    image: str | None = None,
    label: str | None = None,
    token: str | None = None,
    journal: Path | None = None,
    commitment: Commitment | None = None,
    seed: int = 0,
) -> Evidence:
    """Test exactly, by the owner's key, whether a model was trained on a protected set.

    Examples:
        >>> evidence = trace("them/classifier", protector=key, originals=ds["train"])  # doctest: +SKIP
        >>> print(evidence.sentence())  # doctest: +SKIP

    Args:
        model: the name of an image classifier on the Hub, a folder, an endpoint's address, a pipeline, or a function
            from a list of PIL pictures to probabilities; see `uc_hf.scoring.trace.suspects`.
        protector: the key that the set was protected with.
        originals: the rows as they were before.
        published: the rows as they were published; originals without a copy among them are left out. None takes every
            original to be published.
        unseen: pictures that no suspect was trained on; each texture is applied to them, for a second test.
        references: models that were not trained on the published set, in any form that `model` takes; the best is your
            own, trained on the originals. The part of the suspect's scores that theirs explain is subtracted, which
            makes weaker effects visible. The p-value is exact with and without them.
        budget: largest number of questions to the suspect, each about one picture.
        stop_at: p-value at or below which the trace stops early. None spends the whole budget, and no interim look
            raises the p-value.
        image: the column of images; None for the one that the protector was fitted on, or the only one.
        label: the column of the owner's labels; None for the only ClassLabel or a usual name, if there is one.
        token: sent to an endpoint that requires one.
        journal: a file that keeps the answers; the same call continues with it.
        commitment: the commitment to the key that the owner has published.
        seed: of the sample of pictures and the order of questions.

    Returns:
        the evidence: a sentence, p-values, what they assume, the power.

    Raises:
        SettingError: the protector gives pictures no phase of their own, the budget is too small, `stop_at` is not in
            (0, 1), or the journal belongs to another trace.
        DatasetError: no original has a published copy.
        ImageError: a picture that cannot be read.
        SuspectError: the model cannot be asked.
    """
    _check(protector, budget, stop_at)
    labels, names = _labels(originals, label)
    suspect = open_suspect(model, names, token)
    known_innocent = [open_suspect(reference, names) for reference in references]
    pictures = [] if unseen is None else _pictures(unseen, min(UNSEEN, budget // (4 * len(protector.fitted.sizes))))
    left = budget - len(pictures) * len(protector.fitted.sizes)
    known = None if published is None else Published(published, image_column(published.features))
    column = _image_column(originals, image, protector)
    pairs = find_pairs(protector, originals, column, labels, known, left // 2, seed)
    plan = Plan.within(left, len(pairs), early=stop_at is not None)
    facts = _facts(suspect, known_innocent, pairs, plan, pictures, seed)
    answers = Journal(journal, facts)
    tests: list[Test] = []

    def evidence(stopped: bool = False) -> Evidence:
        return Evidence(
            suspect=suspect.name,
            tests=tests,
            scenes=plan.pairs,
            commitment=commitment or Commitment(facts["key"]),
            own_labels=reader.shares_names,
            references=[other.name for other in known_innocent],
            repeats=pairs.repeats,
            strangers=pairs.strangers,
            stopped_early=stopped,
        )

    def looks(asked: Suspect, reader: Reader, name: str) -> Iterator[np.ndarray]:
        return map(normal_scores, Interview(asked, pairs, plan, reader, answers, name, seed).looks())

    reader = Reader(names)
    others = [looks(other, Reader(names), f"reference {number}") for number, other in enumerate(known_innocent)]
    whole = SHARES["pairs"] if pictures else 1.0
    own = looks(suspect, reader, "the suspect")
    for (asked, share), scores, *explained in zip(plan.looks, own, *others, strict=True):
        left_over = unexplained(scores, np.array(explained).T) if explained else scores
        tests.append(Test("pairs", sign_flips(left_over), whole * share, len(scores), 2 * asked))
        if stop_at is not None and evidence().p <= stop_at:
            return evidence(stopped=asked < plan.looks[-1][0] or bool(pictures))
    if pictures:
        votes = ask_votes(suspect, pairs, pictures, answers, named=reader.shares_names)
        questions = len(pictures) * len(votes)
        tests.append(Test("textures", permutations(votes), SHARES["textures"], len(votes), questions))
    return evidence()


def _check(protector: Protector, budget: int, stop_at: float | None) -> None:
    if not protector.fitted.noise.testifies:
        raise SettingError(
            f"this {type(protector).__name__} gives no picture a phase of its own, and a trace tests "
            "phases. Sets that `uc-hf protect` makes now can be traced, but for those of look='tint'."
        )
    if budget < LEAST:
        raise SettingError(f"budget={budget} is too small: write at least {LEAST}, or no p-value can be small.")
    if stop_at is not None and not 0 < stop_at < 1:
        raise SettingError(f"stop_at={stop_at} is not a p-value above 0 and below 1: write for example 0.001.")


def _image_column(originals: datasets.Dataset, asked: str | None, protector: Protector) -> str:
    fitted_on = protector.fitted.column
    return image_column(originals.features, asked or (fitted_on if fitted_on in originals.features else None))


def _labels(originals: datasets.Dataset, asked: str | None) -> tuple[str | None, list[str]]:
    """The column of labels and the names of its classes; None and no names where there is none."""
    try:
        column = label_column(originals.features, asked)
        feature, labels = originals.features[column], originals.with_format(None)[column]
        labelled = [row for row, label in enumerate(labels) if not is_missing(feature, label)]
        return column, class_names(originals.select(labelled), column)
    except DatasetError:
        if asked is not None:
            raise
        return None, []


def _pictures(dataset: datasets.Dataset, limit: int) -> list[Picture]:
    column = image_column(dataset.features)
    chosen = np.random.default_rng(0).permutation(len(dataset))[:limit]
    return [images.decode(value) for value in undecoded(dataset, column).select(chosen)[column]]


def _facts(
    suspect: Suspect, references: Sequence[Suspect], pairs: Pairs, plan: Plan, unseen: Sequence[Picture], seed: int
) -> dict[str, Any]:
    """What has to be equal for the answers of one trace to be valid in another."""
    shown = hashlib.sha256()
    for picture in unseen:
        shown.update(repr(picture.pixels.shape).encode() + picture.pixels.tobytes())
    return {
        "suspect": [suspect.name, suspect.version],
        "references": [[reference.name, reference.version] for reference in references],
        "key": digest(pairs.protector),
        "originals": hashlib.sha256(repr(pairs.scenes).encode()).hexdigest(),
        "unseen": shown.hexdigest(),
        "plan": [plan.pairs, plan.views, [list(look) for look in plan.looks], len(unseen)],
        "seed": seed,
    }
