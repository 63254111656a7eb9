import itertools

import numpy as np
import pytest
from scipy.stats import binomtest, wilcoxon

from uc_hf.scoring.trace.exact import normal_scores, permutations, sign_flips, unexplained


def test_sign_flips_count_every_sign():
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    sums = [np.dot(signs, np.abs(differences)) for signs in itertools.product((-1, 1), repeat=12)]
    assert sign_flips(differences).p == pytest.approx(np.mean(np.array(sums) >= differences.sum() - 1e-3), abs=2e-3)


def test_of_equal_differences_they_are_the_binomial_test():
    differences = np.array([1.0] * 70 + [-1.0] * 30)
    assert sign_flips(differences).p == pytest.approx(binomtest(70, 100, alternative="greater").pvalue, rel=1e-9)


def test_of_ranks_they_are_the_signed_rank_test():
    ranks = np.array([-1.0, 3, 4, -2, 8, 5, 7, -6])  # their sum is 36: the whole numbers are exact
    exact = wilcoxon(ranks, alternative="greater", method="exact").pvalue
    assert sign_flips(ranks * 2.0**-3).p == pytest.approx(exact, abs=1 / 256)


def test_digits_hold_however_small_the_p_value_is():
    assert sign_flips(np.ones(200)).p == pytest.approx(2.0**-200)
    assert 0 < sign_flips(np.ones(5000)).p < 1e-300


def test_who_answers_alike_to_everything_is_no_evidence():
    assert sign_flips(np.zeros(50)).p == 1


def test_half_of_what_chance_gives_is_below_its_middle():
    assert sign_flips(np.array([1.0, -1.0, 2.0, -2.0])).p > 0.5


def test_orders_of_textures_are_all_counted():
    votes = np.random.default_rng(1).normal(size=(5, 5)) + 0.8 * np.eye(5)
    columns = np.arange(5)
    sums = np.array([votes[list(rows), columns].sum() for rows in itertools.permutations(range(5))])
    assert permutations(votes).p == pytest.approx(np.mean(sums >= np.trace(votes) - 1e-9))


def test_textures_that_all_point_to_their_cluster_give_the_least_p_value_that_there_is():
    assert permutations(np.eye(10)).p == pytest.approx(1 / 3_628_800)


def test_of_many_textures_some_orders_are_drawn():
    assert permutations(np.eye(40)).p == pytest.approx(1e-5)
    assert permutations(np.random.default_rng(0).normal(size=(40, 40))).p > 0.001


def test_a_bias_towards_one_cluster_or_texture_is_no_vote():
    votes = np.random.default_rng(2).normal(size=(6, 6))
    biased = votes + 10 * np.arange(6) - 5 * np.arange(6)[:, None]
    assert permutations(biased).p == pytest.approx(permutations(votes).p)


def test_references_keep_the_test_exact():
    rng = np.random.default_rng(3)
    scores, references = rng.normal(size=40), rng.normal(size=(40, 2))
    flips = rng.choice([-1.0, 1.0], 40)
    left = unexplained(scores, references)
    assert unexplained(scores * flips, references * flips[:, None]) == pytest.approx(left * flips)


def test_scores_by_rank_do_not_depend_on_the_scale_of_the_answers():
    differences = np.random.default_rng(4).normal(0.2, 1, 60)
    assert normal_scores(differences**3) == pytest.approx(normal_scores(differences))
    assert normal_scores(np.zeros(3)) == pytest.approx(np.zeros(3))
