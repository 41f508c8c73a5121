"""The rule that predicts: what its regressions say, who goes on for it, and what it does where it
cannot predict.
"""

import time
from random import Random

import numpy as np
import pytest

from hopsearch.space import Fidelity
from hopsearch.study import Verdict, make_pruner
from hopsearch.study.stopping.extrapolation import FEWEST, Step, chances, steps, targets
from hopsearch.study.stopping.rung_values import Arrival, Evidence

FIDELITY = Fidelity(1, 27, 3)
GO, PAUSE, WITNESS = Verdict.GO, Verdict.PAUSE, Verdict.WITNESS


class TestChain:
    def test_a_step_is_a_line_with_errors(self):
        random = np.random.default_rng(0)
        below_N = random.normal(size=4000)
        step = Step.fitted(below_N, 1 + 0.5 * below_N + 0.1 * random.normal(size=4000))
        assert (step.slope, step.noise) == (
            pytest.approx(0.5, abs=0.01),
            pytest.approx(0.1, abs=0.01),
        )
        mean_N, variance_N = step.after(np.array([2.0]), np.array([0.04]))
        assert mean_N[0] == pytest.approx(2, abs=0.02)
        assert variance_N[0] == pytest.approx(0.25 * 0.04 + 0.01, rel=0.05)

    def test_it_never_says_the_opposite(self):
        assert Step.fitted(np.arange(9.0), -np.arange(9.0)).slope == 0
        assert Step.fitted(np.ones(9), np.arange(9.0)).slope == 0

    def test_as_many_steps_as_there_are_trials_for(self):
        def values(count):
            return {number: float(number) for number in range(count)}

        assert len(steps([values(20), values(9), values(FEWEST), values(FEWEST - 1)])) == 2
        assert steps([values(20), values(FEWEST - 1), values(FEWEST - 1)]) == []

    def test_chances_are_right_though_only_the_best_went_on(self):
        """Over made-up studies in which a third was chosen at each rung; a single regression to the
        end promises far too much.
        """
        promised, at_once, kept = [], [], []
        for seed in range(100):
            random = np.random.default_rng(seed)
            first_N = random.normal(size=300)
            second_N = first_N + 0.7 * random.normal(size=300)
            third_N = second_N + 0.5 * random.normal(size=300)
            to_second = np.argsort(-first_N[:270])[:90]
            to_third = to_second[np.argsort(-second_N[to_second])[:30]]
            first, third = (
                dict(enumerate(first_N[:270])),
                {number: third_N[number] for number in to_third},
            )
            chain = steps([first, {number: second_N[number] for number in to_second}, third])
            promised += chances(first_N[270:], np.full(30, 1.0), chain).tolist()
            at_once += chances(first_N[270:], np.full(30, 1.0), steps([first, third])).tolist()
            kept += (third_N[270:] > 1).tolist()
        promised_N, kept_N = np.array(promised), np.array(kept)
        for low, high in ((0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1)):
            among = (promised_N >= low) & (promised_N < high)
            assert among.sum() > 100
            assert kept_N[among].mean() == pytest.approx(promised_N[among].mean(), abs=0.08)
        assert promised_N.mean() == pytest.approx(kept_N.mean(), abs=0.03)
        assert np.mean(at_once) > 2 * kept_N.mean()

    def test_several_objectives_have_targets_of_their_own(self):
        known_MK = np.array([[0.9, -9.0], [0.5, -1.0]])
        assert targets(np.array([[0.1, -9.0], [0.1, -2.0], [0.1, -0.5]]), known_MK).tolist() == [
            0.9,
            0.5,
            -np.inf,
        ]
        chain = steps([dict(enumerate(np.arange(9.0))), dict(enumerate(np.arange(9.0) ** 1.1))])
        assert chances(np.array([0.0]), np.array([-np.inf]), chain).tolist() == [1.0]


class Desk:
    """A rule with what it has seen; each trial that goes on comes to the later epochs at once."""

    def __init__(self, above, fidelity=FIDELITY) -> None:
        self.rule, self._above = make_pruner("curve", fidelity), above
        self.evidence = Evidence(self.rule.bracket)

    def come(self, number, value, epoch=1):
        arrival = Arrival(number, epoch, (value,), 0)
        verdict = self.rule.verdict(arrival, self.evidence)
        self.evidence.add(arrival, verdict == PAUSE, witness=verdict == WITNESS)
        later = [after for after in range(epoch + 1, 27) if self.rule.decides_at(after, number)]
        if verdict != PAUSE and later:
            self.come(number, self._above(number, value), later[0])
        return verdict


def shuffled(number, value):
    return Random(number).random()


def test_looks_at_the_rungs_and_before_the_end():
    def looks(fidelity):
        return [
            epoch
            for epoch in range(1, fidelity.max_epochs)
            if make_pruner("curve", fidelity).decides_at(epoch, 0)
        ]

    assert looks(FIDELITY) == [1, 3, 9, 26]
    assert looks(Fidelity(1, 2, 2)) == [1]
    assert looks(Fidelity(1, 1, 3)) == []


def test_the_first_go_on_whatever_their_values():
    desk = Desk(lambda number, value: value + 1)
    assert [desk.come(number, -number) for number in range(8)] == [WITNESS] * 8
    desk = Desk(lambda number, value: value + 1, Fidelity(9, 27, 3))
    assert desk.rule.verdict(Arrival(0, 9, (0.0,), 0), desk.evidence) == PAUSE, (
        "nobody trains to the end for it"
    )


def test_another_goes_on_for_each_witness_that_fails():
    desk = Desk(shuffled)
    for number in range(8):
        desk.come(number, number)
    desk.evidence.drop(3, [1, 3])
    assert desk.come(8, -99) == WITNESS


def test_where_a_rung_says_nothing_all_go_on():
    """Where it begins to have seen enough, chance makes it choose a little."""
    desk = Desk(shuffled)
    verdicts = [desk.come(number, Random(-number - 1).random()) for number in range(60)]
    assert verdicts[8:].count(GO) > 40


def test_where_it_ranks_hardly_more_than_a_third_do():
    desk = Desk(lambda number, value: value + 0.01 * Random(number).random())
    verdicts = [desk.come(number, Random(-number - 1).random()) for number in range(60)]
    assert 10 <= verdicts[8:].count(GO) <= 24
    assert desk.rule.verdict(Arrival(99, 1, (0.1,), 0), desk.evidence) == PAUSE
    assert desk.rule.verdict(Arrival(99, 1, (2.0,), 0), desk.evidence) == GO


def test_at_the_end_nobody_is_stopped():
    desk = Desk(shuffled)
    for number in range(20):
        desk.come(number, number)
    assert desk.rule.verdict(Arrival(99, 26, (-99.0,), 0), desk.evidence) == GO


def test_before_it_can_predict_it_is_asha_promotion():
    ours, theirs = make_pruner("curve", FIDELITY), make_pruner("asha_promotion", FIDELITY)
    evidence, random = Evidence(ours.bracket), Random(0)
    for number in range(40):
        arrival = Arrival(number, 9, (random.random(),), 0)
        assert ours.verdict(arrival, evidence) == theirs.verdict(arrival, evidence)
        evidence.add(arrival, theirs.verdict(arrival, evidence) == PAUSE)
        chosen = ours.promotion(evidence, over=False)
        assert chosen == theirs.promotion(evidence, over=False)
        if chosen:
            evidence.leave(*chosen)


def test_what_waits_goes_on_once_it_is_known_that_the_rung_says_nothing():
    desk = Desk(shuffled)
    for number in range(100, 110):
        desk.evidence.add(Arrival(number, 1, (-9.0,), 0), paused=True)
    # among the best third of equals
    assert desk.rule.promotion(desk.evidence, over=False) == (100, 1)
    for number in range(8):
        desk.come(number, 5.0)  # all the same: nothing can be said by it
    promoted = 0
    while chosen := desk.rule.promotion(desk.evidence, over=False):
        promoted += chosen[1] == 1
        desk.evidence.leave(*chosen)
    assert promoted == 10


def test_a_decision_among_a_thousand_trials_takes_milliseconds():
    for width in (1, 2):
        rule, random = make_pruner("curve", FIDELITY), Random(0)
        evidence = Evidence(rule.bracket)
        for number in range(1000):
            values = tuple(random.random() for _ in range(width))
            for epoch in (1, 3, 9, 26)[: 1 + (number % 3 == 0) + 2 * (number % 9 == 0)]:
                evidence.add(Arrival(number, epoch, values, 0), paused=number % 3 > 0)
        for number in range(8):
            evidence.rung(1).witnesses.add(number)
        began = time.process_time()
        for number in range(5):
            rule.verdict(Arrival(2000 + number, 1, (0.5,) * width, 0), evidence)
            rule.promotion(evidence, over=False)
        assert (time.process_time() - began) / 5 < 0.1
