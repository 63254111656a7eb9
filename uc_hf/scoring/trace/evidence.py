"""The result of a trace: one sentence, and what it rests on."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import norm

from uc_hf.scoring.trace.exact import Null


SURE = 0.01
"""The p-value at or below which `uc_hf` speaks of evidence."""

POWER = 0.95
"""The power for which effects and numbers of pictures are stated: an effect is found in 19 of 20 cases."""

NAMES = {
    "pairs": "published pictures against their opposites",
    "textures": "textures' votes",
}

ASSUMPTIONS = {
    "pairs": "The phase of each picture's noise was drawn from the key, and who trained the suspect did not know it.",
    "textures": "Which cluster has which texture was drawn from the key, and who trained the suspect did not know it.",
    "asking": "The suspect answers each question by the picture alone.",
    "key": "The key was made before the suspect was trained: the commitment shows it.",
}


@dataclass(frozen=True)
class Test:
    """One test at one look.

    Attributes:
        name: "pairs" or "textures".
        null: the statistic beside its exact null distribution.
        share: this test's share of the error rate; all shares add up to one.
        witnesses: number of independent observations: scenes, or textures.
        questions: number asked for this test so far.
    """

    name: str
    null: Null
    share: float
    witnesses: int
    questions: int

    @property
    def p(self) -> float:
        """The p-value of this test alone."""
        return self.null.p

    @property
    def z(self) -> float:
        """The statistic in standard deviations of its null, whose mean is 0."""
        return self.null.observed / (self.null.spread or 1.0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, without the distribution."""
        return {
            "test": NAMES[self.name],
            "p": self.p,
            "share_of_error_rate": self.share,
            "statistic": self.null.observed,
            "standard_deviation_under_null": self.null.spread,
            "witnesses": self.witnesses,
            "questions": self.questions,
            "assumption": ASSUMPTIONS[self.name],
        }


@dataclass(frozen=True)
class Commitment:
    """The owner's commitment to the key.

    Attributes:
        digest: digest of the key that was used.
        date: date of publication by the card or the file; None without a commitment.
        where: where it was found; None without a commitment.
    """

    digest: str
    date: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class Evidence:
    """The result of `uc_hf.trace`.

    Attributes:
        suspect: its name.
        tests: in the order in which they were made; the test of pairs once for each look.
        scenes: number of scenes that were asked about.
        commitment: to the key.
        own_labels: whether the suspect uses the owner's labels; otherwise its own answers served as labels.
        references: names of models that have not seen the set, whose answers were subtracted.
        repeats: number of originals left out because an earlier one shows the same scene.
        strangers: number of originals left out because the published set lacks their copy.
        stopped_early: whether the evidence sufficed before the budget was spent.
    """

    suspect: str
    tests: list[Test]
    scenes: int
    commitment: Commitment
    own_labels: bool
    references: Sequence[str] = ()
    repeats: int = 0
    strangers: int = 0
    stopped_early: bool = False

    @property
    def p(self) -> float:
        """The p-value over all tests and looks: the smallest p / share of the error rate (weighted Bonferroni).

        Under the null it is at most a with probability at most a, however the tests depend on each other.
        """
        return min(1.0, min(test.p / test.share for test in self.tests))

    @property
    def found(self) -> bool:
        """Whether p is small enough to count as evidence."""
        return self.p <= SURE

    @property
    def questions(self) -> int:
        """Number of questions in all tests."""
        return sum(max(t.questions for t in self.tests if t.name == name) for name in {t.name for t in self.tests})

    @property
    def least_effect(self) -> float | None:
        """The smallest effect that so many scenes show in 19 of 20 cases, in the unit of `observed_effect`.

        Computed for normally distributed differences: a guide, not a p-value.
        """
        pairs = self._last_look
        return None if pairs is None else _needed_z(pairs) / np.sqrt(pairs.witnesses)

    @property
    def observed_effect(self) -> float | None:
        """The mean difference of a pair, in standard deviations of a single pair's difference."""
        pairs = self._last_look
        return None if pairs is None else pairs.z / np.sqrt(pairs.witnesses)

    @property
    def scenes_needed(self) -> int | None:
        """Number of scenes with which an effect of the observed size is found in 19 of 20 cases."""
        pairs = self._last_look
        if pairs is None or pairs.z <= 0:
            return None
        return math.ceil(pairs.witnesses * (_needed_z(pairs) / pairs.z) ** 2)

    @property
    def _last_look(self) -> Test | None:
        return next((test for test in reversed(self.tests) if test.name == "pairs"), None)

    def sentence(self) -> str:
        """The result in one sentence."""
        what = f"{p_text(self.p)} on {self.scenes:,} pictures and {self.questions:,} questions"
        if self.found:
            return f"{self.suspect} was trained on this set: {what}."
        return f"No evidence that {self.suspect} was trained on this set: {what}."

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        used = {test.name for test in self.tests}
        return {
            "sentence": self.sentence(),
            "found": self.found,
            "p": self.p,
            "combined_by": "weighted Bonferroni over tests and looks",
            "scenes": self.scenes,
            "questions": self.questions,
            "stopped_early": self.stopped_early,
            "owner_s_labels": self.own_labels,
            "references": list(self.references),
            "left_out_as_repeats": self.repeats,
            "left_out_as_not_published": self.strangers,
            "tests": [test.to_dict() for test in self.tests],
            "power": {
                "of_19_in_20_at_p": SURE,
                "least_effect_in_standard_deviations": self.least_effect,
                "observed_effect_in_standard_deviations": self.observed_effect,
                "pictures_needed_for_the_observed_effect": self.scenes_needed,
            },
            "assumptions": [text for name, text in ASSUMPTIONS.items() if name in used or name in ("asking", "key")],
            "commitment": asdict(self.commitment),
        }


def _needed_z(test: Test) -> float:
    """The z-value at which a test is below its share of `SURE` in 19 of 20 cases."""
    return float(norm.isf(SURE * test.share) + norm.ppf(POWER))


def p_text(p: float) -> str:
    """A p-value as it is written: "p = 2e-9", "p = 0.31", "p < 1e-300"."""
    if p < 1e-300:
        return "p < 1e-300"
    return f"p = {p:.1g}".replace("e-0", "e-") if p < 0.001 else f"p = {p:.2g}"
