"""Values of different epochs on one scale."""

import numpy as np
import pytest

from hopsearch.study.projection import projected

NAN = np.nan


def test_measured_values_stay_what_they_are():
    best_NR = np.array([[0.1, 0.5, 0.9], [0.3, 0.4, 0.7]])
    assert projected(best_NR).tolist() == [0.9, 0.7]


def test_a_rung_that_ranks_keeps_its_trials_apart_and_one_that_says_nothing_does_not():
    random = np.random.default_rng(0)
    below_N = random.random(200)
    for noise, apart in ((0.0, True), (1e3, False)):
        above_N = below_N + 1 + noise * random.random(200)
        stopped_M = np.array([0.0, 1.0])
        best_NR = np.stack([np.concatenate([below_N, stopped_M]), np.concatenate([above_N, [NAN, NAN]])], axis=1)
        low, high = projected(best_NR)[200:]
        spread = above_N.std()
        assert (high - low > spread) == apart
        if not apart:
            assert abs(low - above_N.mean()) < 0.3 * spread
            assert abs(high - above_N.mean()) < 0.3 * spread


def test_those_who_were_chosen_by_their_values_do_not_bend_it():
    """A line fitted to the better half is the one of all: what is missing is missing because of what it starts from."""
    random = np.random.default_rng(1)
    below_N = random.standard_normal(4000)
    above_N = 0.5 * below_N + random.standard_normal(4000) + 3
    chosen_N = below_N > 0
    best_NR = np.stack([below_N, np.where(chosen_N, above_N, NAN)], axis=1)
    expected_N = 0.5 * below_N + 3
    assert np.abs(projected(best_NR) - expected_N)[~chosen_N].mean() < 0.1


@pytest.mark.parametrize(
    ("best_NR", "value_N"),
    [
        ([[0.2]], [0.2]),
        ([[0.2, NAN, NAN], [0.4, NAN, NAN]], [0.2, 0.4]),  # nobody came further
        ([[0.2, NAN], [0.2, 0.5]], [0.5, 0.5]),  # all alike below
        ([[0.2, NAN], [0.3, 0.5]], [0.4, 0.5]),  # one that went on says what others gain
    ],
    ids=["one", "lowest", "equal", "one went on"],
)
def test_few_trials(best_NR, value_N):
    assert projected(np.array(best_NR)).tolist() == pytest.approx(value_N)


def test_trials_pass_several_rungs_in_steps():
    best_NR = np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [0.5, 1.5, NAN], [0.25, NAN, NAN]])
    assert projected(best_NR).tolist() == pytest.approx([2.0, 3.0, 2.5, 2.25])
