"""Exact null distributions: no normal approximation, no random draws where all cases can be counted.

A statistic is made of whole numbers first. Its distribution is then a table of probabilities, built by adding one
picture, or one texture, at a time; a p-value is a sum of that table's end and holds its digits however small it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata


LEVELS = 2**16
"""The largest sum of absolute differences, in whole numbers: rounding moves a z-value by less than a thousandth."""

MOST_TEXTURES = 12
"""So many permutations are counted, all 479,001,600 of them; above, some are drawn."""

DRAWS, DRAW_SEED = 99_999, 0
VOTE_LEVELS = 2**10


@dataclass(frozen=True)
class Null:
    """A statistic and what it would be if the suspect knew nothing of the key.

    Attributes:
        observed: of the suspect.
        values: float64 [n], ascending: what the statistic can be.
        chances: float64 [n], how likely each is under the null.
    """

    observed: float
    values: np.ndarray
    chances: np.ndarray

    @property
    def p(self) -> float:
        """The chance of the observed value or a larger one, in (0, 1]."""
        first = int(np.searchsorted(self.values, self.observed - 1e-9 * max(1.0, abs(self.observed))))
        least = np.nextafter(0, 1)  # far out the chances are smaller than a float holds
        return float(np.clip(self.chances[first:].sum(), least, 1))

    @property
    def spread(self) -> float:
        """The null's standard deviation."""
        mean = float(self.values @ self.chances)
        return float(np.sqrt(((self.values - mean) ** 2) @ self.chances))


def sign_flips(differences: np.ndarray) -> Null:
    """The sum of paired differences, each of whose signs is + or - by the toss of a coin under the null.

    Args:
        differences: float64 [n], published minus opposite.

    Returns:
        the sum over pictures beside its distribution over all 2^n signs (Fisher 1935), after the differences are
        rounded to whole parts of their sum.
    """
    total = np.abs(differences).sum()
    if total == 0:
        return Null(0.0, np.zeros(1), np.ones(1))
    whole = np.rint(differences * (LEVELS / total)).astype(np.int64)
    chances = np.ones(1)  # of the sums -reach, -reach + 2, ..., reach
    for step in np.abs(whole[whole != 0]):
        chances = 0.5 * (np.pad(chances, (0, step)) + np.pad(chances, (step, 0)))
    reach = int(np.abs(whole).sum())
    sums = np.arange(-reach, reach + 1, 2)
    scale = total / LEVELS
    return Null(float(whole.sum() * scale), sums * scale, chances)


def normal_scores(differences: np.ndarray) -> np.ndarray:
    """Differences by their place among all: a few large ones do not decide, whatever scale a suspect answers on.

    Args:
        differences: float64 [n].

    Returns:
        float64 [n], each with its sign the absolute normal quantile of its rank by size (van der Waerden 1952, for
        pairs); 0 stays 0. Whatever signs are flipped, the sizes stay, so `sign_flips` of it is exact.
    """
    ranks = rankdata(np.abs(differences))
    return np.sign(differences) * norm.ppf(0.5 + ranks / (2 * len(ranks) + 2))


def unexplained(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """What is left of a suspect's scores when what models that never saw the set say of the pairs is taken off.

    A pair's flip changes the signs of its suspect's score and of the references' alike, and the factors not at all: so
    `sign_flips` of what is left is exact, whatever the references are.

    Args:
        scores: float64 [n], of the suspect.
        references: float64 [n, m], of m models that were not trained on the set.

    Returns:
        float64 [n], the residuals of least squares without an intercept.
    """
    factors, *_ = np.linalg.lstsq(references, scores)
    return scores - references @ factors


def permutations(votes: np.ndarray) -> Null:
    """The sum of a square table's diagonal, beside that of its rows in any other order.

    Args:
        votes: float64 [p, p]: how much texture t (row) moves answers towards cluster c (column).

    Returns:
        the diagonal's sum beside its distribution over all p! orders, after the votes are rounded to `VOTE_LEVELS`
        levels; of more than `MOST_TEXTURES` over `DRAWS` random orders and the given one.
    """
    centred = votes - votes.mean(axis=0) - votes.mean(axis=1, keepdims=True) + votes.mean()
    scale = (np.ptp(centred) or 1.0) / VOTE_LEVELS
    whole = np.rint(centred / scale).astype(np.int64)
    observed = int(np.trace(whole))
    sums, counts = _count_orders(whole) if len(whole) <= MOST_TEXTURES else _draw_orders(whole, observed)
    return Null(observed * scale, sums * scale, counts / counts.sum())


def _count_orders(whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All sums that orders of the rows give and how many orders give each: one column at a time, by rows used."""
    low, high = int(whole.min(axis=0).sum()), int(whole.max(axis=0).sum())
    of_rows = {0: np.zeros(high - low + 1)}
    of_rows[0][0] = 1  # the sum so far minus the least that these columns can give
    for column in range(len(whole)):
        steps = whole[:, column] - whole[:, column].min()
        longer: dict[int, np.ndarray] = {}
        for used, counts in of_rows.items():
            for row, step in enumerate(steps):
                if used >> row & 1:
                    continue
                target = longer.setdefault(used | 1 << row, np.zeros(high - low + 1))
                target[step:] += counts[: len(counts) - step]
        of_rows = longer
    (counts,) = of_rows.values()
    reached = counts.nonzero()[0]
    return reached + low, counts[reached]


def _draw_orders(whole: np.ndarray, observed: int) -> tuple[np.ndarray, np.ndarray]:
    """The sums of random orders and the observed one, which is an order as well (Phipson and Smyth 2010)."""
    columns = np.arange(len(whole))
    rows = np.random.default_rng(DRAW_SEED).permuted(np.tile(columns, (DRAWS, 1)), axis=1)
    sums, counts = np.unique([*whole[rows, columns].sum(axis=1), observed], return_counts=True)
    return sums, counts.astype(np.float64)
