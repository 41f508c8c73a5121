"""Values of different epochs on one scale."""

import numpy as np
import pytest

from hopsearch.study.sampling.projection import projected

NAN = np.nan


def missing(above_N, gone_N):
    """What is known where only these went on."""
    return np.where(gone_N, above_N, NAN)


def test_measured_values_stay_what_they_are():
    best_NR = np.array([[0.1, 0.5, 0.9], [0.3, 0.4, 0.7]])
    assert projected(best_NR).tolist() == [0.9, 0.7]


@pytest.mark.parametrize(("noise", "apart"), [(0.0, True), (1e3, False)])
def test_a_rung_that_ranks_keeps_its_trials_apart_and_one_that_says_nothing_does_not(noise, apart):
    random = np.random.default_rng(0)
    below_N = random.permutation(np.linspace(0, 1, 200))
    above_N = below_N + 1 + noise * random.random(200)
    went_on_N = random.random(200) < 0.5
    value_N = projected(np.stack([below_N, missing(above_N, went_on_N)], axis=1))
    stopped_N = ~went_on_N
    spread = value_N[stopped_N].std() / above_N.std()
    assert (spread > 0.8) == apart
    assert (spread < 0.3) != apart
    assert np.median(value_N[stopped_N]) == pytest.approx(
        np.median(above_N[went_on_N]), abs=0.1 * above_N.std()
    )


def test_those_who_were_chosen_by_their_values_do_not_bend_it():
    """From the better half alone it is found what the others would have had."""
    random = np.random.default_rng(1)
    below_N = random.standard_normal(4000)
    above_N = 0.5 * below_N + 0.5 * random.standard_normal(4000) + 3
    chosen_N = below_N > 0
    expected_N = projected(np.stack([below_N, missing(above_N, chosen_N)], axis=1))
    away_M = (expected_N - (0.5 * below_N + 3))[~chosen_N]
    assert abs(np.median(away_M)) < 0.15  # of a standard deviation of 0.7 above


@pytest.mark.parametrize(
    ("best_NR", "value_N"),
    [
        ([[0.2]], [0.2]),
        ([[0.2, NAN, NAN], [0.4, NAN, NAN]], [0.2, 0.4]),  # nobody came further
        ([[0.2, NAN], [0.2, 0.5]], [0.5, 0.5]),  # all alike below
        ([[0.2, NAN], [0.3, 0.5]], [0.42, 0.5]),  # one that went on says what others gain
    ],
    ids=["one", "lowest", "equal", "one went on"],
)
def test_few_trials(best_NR, value_N):
    assert projected(np.array(best_NR)).tolist() == pytest.approx(value_N)


def test_trials_pass_several_rungs_in_steps():
    best_NR = np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.5, 1.5, NAN], [0.25, NAN, NAN]])
    third, fourth = projected(best_NR)[2:]
    assert 2.0 < fourth < third < 3.0


def test_nobody_is_expected_above_the_best_that_was_measured():
    random = np.random.default_rng(2)
    below_N = random.random(60)
    above_N = below_N + 0.5
    went_on_N = np.arange(60) < 5
    assert (
        projected(np.stack([below_N, missing(above_N, went_on_N)], axis=1)).max()
        == above_N[went_on_N].max()
    )


def test_one_wild_value_lifts_nobody():
    """A loss of 50 after the first epoch that recovers: those that were stopped there stay behind
    those that went on.
    """
    random = np.random.default_rng(3)
    first_N = -random.uniform(2.0, 2.3, 16)
    second_N = first_N + 0.8
    first_N[0] = -50.0
    stopped_M = -random.uniform(2.3, 2.8, 20)
    best_NR = np.stack(
        [np.concatenate([first_N, stopped_M]), np.concatenate([second_N, np.full(20, NAN)])], axis=1
    )
    value_N = projected(best_NR)
    assert value_N[16:].max() <= np.quantile(second_N, 0.4)


def test_how_far_apart_the_values_of_a_rung_are_says_nothing():
    """Near chance all are close together at first: those that were stopped stay behind those that
    went on all the same.
    """
    random = np.random.default_rng(4)
    below_N = random.permutation(np.linspace(0.100, 0.105, 60))
    above_N = 0.1 + 160 * (below_N - 0.100)
    went_on_N = below_N > np.quantile(below_N, 2 / 3)
    value_N = projected(np.stack([below_N, missing(above_N, went_on_N)], axis=1))
    assert value_N[~went_on_N].max() < np.quantile(value_N[went_on_N], 0.3)
    stretched_N = projected(np.stack([np.exp(1e3 * below_N), missing(above_N, went_on_N)], axis=1))
    assert stretched_N == pytest.approx(value_N)


def test_values_as_large_as_numbers_can_be():
    assert np.isfinite(projected(np.array([[-1e300, -1.0], [-2.0, -1.5], [-3.0, NAN]]))).all()
