"""Asking a suspect about pairs, within a budget of questions and with looks at what is known so far.

A new picture is worth more than another view of a known one, so the budget goes to pictures first. Each look uses a
share of the error rate that is fixed before the first question, so stopping early does not raise the rate of false
alarms.
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
"""Smallest number of pair views before the first look."""


@dataclass(frozen=True)
class Plan:
    """What is asked, and when the answers are tested.

    Attributes:
        pairs: number of scenes.
        views: number of views of each pair.
        looks: for each look the number of pair views asked before it, and its share of the error rate. The shares add
            up to one, and the last look has half of it.
    """

    pairs: int
    views: int
    looks: tuple[tuple[int, float], ...]

    @classmethod
    def within(cls, budget: int, pairs: int, *, early: bool) -> "Plan":
        """The plan of a budget.

        Args:
            budget: number of questions, each about one picture.
            pairs: number of scenes at hand.
            early: look whenever the number of answers has doubled; otherwise once, at the end.
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
    """Compares the two answers about a pair by the probability of one label.

    It is the owner's label if an answer has it, and otherwise the suspect's most probable label for the pair. Neither
    depends on which of the two pictures was published.

    Args:
        names: the owner's class names.

    Attributes:
        known: those of them that the suspect has used, in plain spelling.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = {plain(name) for name in names}
        self.known: set[str] = set()

    @property
    def shares_names(self) -> bool:
        """Whether the suspect uses the owner's labels: at least half of them."""
        return bool(self._names) and 2 * len(self.known) >= len(self._names)

    def difference(self, published: Answer, opposite: Answer, label: str | None) -> float:
        """How much more probable the label is on the published picture, in [-1, 1]."""
        one, other = _by_plain_name(published), _by_plain_name(opposite)
        labels = one.keys() | other.keys()
        self.known |= labels & self._names
        name = None if label is None else plain(label)
        if name not in labels:
            name = max(sorted(labels), key=lambda known: one.get(known, 0.0) + other.get(known, 0.0))
        return one.get(name, 0.0) - other.get(name, 0.0)


@dataclass(frozen=True)
class Interview:
    """Questions to one model about pairs; each question shows one picture.

    Attributes:
        suspect: the suspect, or a reference model.
        pairs: the scenes.
        plan: number of pairs and views, and the looks.
        reader: compares the answers.
        journal: keeps the answers; a question whose answer it holds is not asked again.
        name: of the model, in the journal.
        seed: decides at random which picture of a pair is shown first.
    """

    suspect: Suspect
    pairs: Pairs
    plan: Plan
    reader: Reader
    journal: Journal
    name: str
    seed: int

    def looks(self) -> Iterator[np.ndarray]:
        """Ask, and yield at each look the mean difference of each pair that was asked about, float64 [n]."""
        questions = list(product(range(self.plan.views), range(self.plan.pairs)))
        coins = np.random.default_rng(self.seed).random(len(questions)) < 0.5
        known: list[list[float]] = [[] for _ in range(self.plan.pairs)]
        step = max(1, self.suspect.at_once // 2)
        asked = 0
        with Bar(total=len(questions), desc=f"asking {self.name}", unit="pair", leave=False) as bar:
            for look, _ in self.plan.looks:
                while asked < look:
                    part = slice(asked, min(asked + step, look))
                    differences = self._ask(questions[part], coins[part])
                    for (_, scene), difference in zip(questions[part], differences, strict=True):
                        known[scene].append(difference)
                    bar.update(len(differences))
                    asked = part.stop
                yield np.array([np.mean(of_scene) for of_scene in known if of_scene])

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
            before = set(self.reader.known)
            difference = self.reader.difference(published, opposite, scenes[index].label)
            self.journal.add({keys[index]: [difference, sorted(self.reader.known - before)]})
        self.reader.known.update(*(self.journal.get(key)[1] for key in keys))
        return [self.journal.get(key)[0] for key in keys]


def plain(name: str) -> str:
    """A label without the differences in spelling: case, underscores, blanks around it."""
    return name.strip().casefold().replace("_", " ")


def _by_plain_name(answer: Answer) -> Mapping[str, float]:
    return {plain(name): chance for name, chance in answer.items()}
