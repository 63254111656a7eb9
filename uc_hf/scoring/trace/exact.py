"""Exact null distributions: no normal approximation, and no random draws where all cases can be counted.

A statistic is rounded to whole numbers first. Its distribution is then a table of probabilities, built by adding one
picture or texture at a time. A p-value is the sum of that table's tail, and accurate however small it is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata


LEVELS = 2**16
"""Sum of the absolute differences as whole numbers; rounding changes a z-value by less than 0.001."""

MOST_TEXTURES = 12
"""Largest number of textures whose permutations are all counted: 12! = 479,001,600. Of more, some are drawn."""

DRAWS, DRAW_SEED = 99_999, 0
VOTE_LEVELS = 2**10


@dataclass(frozen=True)
class Null:
    """A statistic and what it would be if the suspect knew nothing of the key.

    Attributes:
        observed: the suspect's value.
        values: float64 [n], ascending: the values that the statistic can take.
        chances: float64 [n], probability of each value under the null.
    """

    observed: float
    values: np.ndarray
    chances: np.ndarray

    @property
    def p(self) -> float:
        """The probability of the observed value or a larger one, in (0, 1]."""
        first = int(np.searchsorted(self.values, self.observed - 1e-9 * max(1.0, abs(self.observed))))
        least = np.nextafter(0, 1)  # far out the chances are smaller than a float holds
        return float(np.clip(self.chances[first:].sum(), least, 1))

    @property
    def spread(self) -> float:
        """The null's standard deviation."""
        mean = float(self.values @ self.chances)
        return float(np.sqrt(((self.values - mean) ** 2) @ self.chances))


def sign_flips(differences: np.ndarray) -> Null:
    """The sum of paired differences; under the null each sign is + or - with probability 1/2.

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
    """Differences by rank: a few large ones do not decide, whatever the scale of a suspect's answers.

    Args:
        differences: float64 [n].

    Returns:
        float64 [n]: the absolute normal quantile of each difference's rank by size, with its sign (van der Waerden
        1952, for pairs); 0 stays 0. Flipping signs leaves the sizes as they are, so `sign_flips` of it is exact.
    """
    ranks = rankdata(np.abs(differences))
    return np.sign(differences) * norm.ppf(0.5 + ranks / (2 * len(ranks) + 2))


def unexplained(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    """The part of a suspect's scores that those of reference models do not explain.

    Flipping a pair changes the signs of the suspect's and the references' scores together, and the factors not at all.
    So `sign_flips` of what is left is exact, whatever the references are.

    Args:
        scores: float64 [n], the suspect's.
        references: float64 [n, m], scores of m models that were not trained on the set.

    Returns:
        float64 [n], the residuals of least squares without an intercept.
    """
    factors, *_ = np.linalg.lstsq(references, scores)
    return scores - references @ factors


def permutations(votes: np.ndarray) -> Null:
    """The sum of a square table's diagonal, beside its distribution over all orders of the rows.

    Args:
        votes: float64 [p, p]: how much texture t (row) moves answers towards cluster c (column).

    Returns:
        the sum and its distribution over all p! orders, after the votes are rounded to `VOTE_LEVELS` levels. With more
        than `MOST_TEXTURES` textures it is over `DRAWS` random orders and the given one.
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
