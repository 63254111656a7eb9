"""Asking a suspect about pairs, within a budget of questions and with looks at what is known so far.

More pictures show more than more views of the same ones, so the budget buys pictures first. Each look costs some of
the test's error rate, fixed before the first question, so that looking early keeps the rate of false alarms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from uc_hf.data.progress import Bar
from uc_hf.scoring.trace.answers import Answer, Suspect
from uc_hf.scoring.trace.journal import Journal
from uc_hf.scoring.trace.pairs import Pairs
from uc_hf.scoring.trace.views import VIEWS


FIRST_LOOK = 64
"""Pairs, at the least, that are asked about before the first look."""


@dataclass(frozen=True)
class Plan:
    """What will be asked, and when it is looked at.

    Attributes:
        pairs: scenes.
        views: of each pair.
        looks: for each look the number of pair views asked before it, and its share of the error rate: the shares add
            up to one, and the last look has half of it.
    """

    pairs: int
    views: int
    looks: tuple[tuple[int, float], ...]

    @classmethod
    def within(cls, budget: int, pairs: int, *, early: bool) -> "Plan":
        """The plan of a budget.

        Args:
            budget: questions, each about one picture.
            pairs: scenes at hand.
            early: look each time twice as much is known; else once, at the end.
        """
        pairs = min(pairs, budget // 2)
        views = min(len(VIEWS), budget // (2 * pairs))
        looks = [pairs * views]
        while early and looks[0] // 2 >= FIRST_LOOK:
            looks.insert(0, looks[0] // 2)
        shares = [2.0 ** -(len(looks) - place) for place in range(len(looks))]
        shares[0] *= 2 if len(looks) > 1 else 1
        if len(looks) == 1:
            shares = [1.0]
        return cls(pairs, views, tuple(zip(looks, shares, strict=True)))


class Reader:
    """Reads pairs of answers.

    The label that is looked for is the owner's where the suspect uses the owner's names, and otherwise the one that it
    gives the pair as a whole. Either way the two pictures are read alike, whichever was published.

    Args:
        names: the owner's class names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = {plain(name) for name in names}
        self.shares_names = False

    def difference(self, published: Answer, opposite: Answer, label: str | None) -> float:
        """How much more probable the label is on the published picture, in [-1, 1]."""
        one, other = _by_plain_name(published), _by_plain_name(opposite)
        told = one.keys() | other.keys()
        self.shares_names = self.shares_names or bool(told & self._names)
        if label is None or not self.shares_names:
            name = max(sorted(told), key=lambda known: one.get(known, 0.0) + other.get(known, 0.0))
        else:
            name = plain(label)
        return one.get(name, 0.0) - other.get(name, 0.0)


@dataclass(frozen=True)
class Interview:
    """Questions to one model about pairs; each picture is asked about by itself.

    Attributes:
        suspect: or a model that it is compared with.
        pairs: scenes.
        plan: how many, in how many views.
        reader: of the answers.
        journal: keeps them; those that it holds are not asked for again.
        name: of the questions in the journal.
        seed: of the coin that decides which picture of a pair is asked about first.
    """

    suspect: Suspect
    pairs: Pairs
    plan: Plan
    reader: Reader
    journal: Journal
    name: str
    seed: int

    def looks(self) -> Iterator[np.ndarray]:
        """Ask, and give at each look the mean difference of every pair that was asked about, float64 [n]."""
        questions = list(product(range(self.plan.views), range(self.plan.pairs)))
        coins = np.random.default_rng(self.seed).random(len(questions)) < 0.5
        known: list[list[float]] = [[] for _ in range(self.plan.pairs)]
        step = max(1, self.suspect.at_once // 2)
        asked = 0
        with Bar(total=len(questions), desc=f"asking {self.name}", unit="pair", leave=False) as bar:
            for look, _ in self.plan.looks:
                while asked < look:
                    part = slice(asked, min(asked + step, look))
                    told = self._ask(questions[part], coins[part])
                    for (_, scene), difference in zip(questions[part], told, strict=True):
                        known[scene].append(difference)
                    bar.update(len(told))
                    asked = part.stop
                yield np.array([np.mean(differences) for differences in known if differences])

    def _ask(self, questions: Sequence[tuple[int, int]], coins: np.ndarray) -> list[float]:
        """The difference of each pair in its view; only those that the journal lacks are asked about."""
        scenes = [self.pairs.scenes[scene] for _, scene in questions]
        keys = [
            f"{self.name}, row {scene.row}, view {view}" for scene, (view, _) in zip(scenes, questions, strict=True)
        ]
        missing = [index for index, key in enumerate(keys) if self.journal.get(key) is None]
        shown = []
        for index in missing:
            view, scene = questions[index]
            two = [Image.fromarray(VIEWS[view](pixels)) for pixels in self.pairs.pair(scene)]
            shown += two if coins[index] else two[::-1]
        answers = self.suspect(shown) if shown else []
        for place, index in enumerate(missing):
            published, opposite = answers[2 * place : 2 * place + 2][:: 1 if coins[index] else -1]
            difference = self.reader.difference(published, opposite, scenes[index].label)
            self.journal.add({keys[index]: [difference, self.reader.shares_names]})
        self.reader.shares_names = self.reader.shares_names or any(self.journal.get(key)[1] for key in keys)
        return [self.journal.get(key)[0] for key in keys]


def plain(name: str) -> str:
    """A label without what people write differently."""
    return name.strip().casefold().replace("_", " ")


def _by_plain_name(answer: Answer) -> Mapping[str, float]:
    return {plain(name): chance for name, chance in answer.items()}
