"""Every early-stopping rule by hand: small tables of who came where with what, and what must
follow.
"""

import pytest

from hopsearch.core.errors import ConfigError
from hopsearch.space import Fidelity
from hopsearch.study import PRUNERS, Verdict, make_pruner
from hopsearch.study.stopping.rung_values import Arrival, Evidence

FIDELITY = Fidelity(1, 27, 3)
GO, STOP, PAUSE = Verdict.GO, Verdict.STOP, Verdict.PAUSE


class Desk:
    """A rule with what it has seen; `come` asks for a verdict and adds the trial to the evidence,
    as the study does.
    """

    def __init__(self, name: str, fidelity: Fidelity = FIDELITY) -> None:
        self.rule = make_pruner(name, fidelity)
        self.evidence = Evidence(self.rule.bracket)

    def come(self, number: int, epoch: int, *values: float, since: int = 0) -> Verdict:
        arrival = Arrival(number, epoch, values, since)
        verdict = self.rule.verdict(arrival, self.evidence)
        self.evidence.add(arrival, verdict == PAUSE)
        return verdict

    def promote(self, over: bool = False) -> tuple[int, int] | None:
        chosen = self.rule.promotion(self.evidence, over)
        if chosen:
            self.evidence.leave(*chosen)
        return chosen


def epochs(name: str, number: int = 0) -> list[int]:
    return [
        epoch for epoch in range(1, 27) if make_pruner(name, FIDELITY).decides_at(epoch, number)
    ]


class TestAsha:
    def test_looks_at_the_rungs(self):
        assert epochs("asha") == [1, 3, 9]

    def test_the_best_of_those_so_far_goes_on(self):
        desk = Desk("asha")
        assert [
            desk.come(number, 1, value) for number, value in enumerate((0.5, 0.4, 0.6, 0.3))
        ] == [GO, STOP, GO, STOP]

    def test_the_best_third_goes_on(self):
        desk = Desk("asha")
        for number, value in enumerate((0.9, 0.1, 0.1, 0.1, 0.1)):
            desk.come(number, 1, value)
        assert desk.come(5, 1, 0.5) == GO  # second of six
        assert desk.come(6, 1, 0.05) == STOP

    def test_rungs_are_apart(self):
        desk = Desk("asha")
        desk.come(0, 1, 0.9)
        assert desk.come(1, 3, 0.1) == GO


class TestAshaPromotion:
    def test_nobody_goes_on_before_there_are_rivals(self):
        desk = Desk("asha_promotion")
        assert [desk.come(number, 1, value) for number, value in enumerate((0.5, 0.4))] == [
            PAUSE,
            PAUSE,
        ]
        assert desk.promote() is None
        assert desk.come(2, 1, 0.3) == PAUSE
        assert desk.promote() == (0, 1)  # the best of three
        assert desk.promote() is None

    def test_who_is_among_the_best_at_once_does_not_wait(self):
        desk = Desk("asha_promotion")
        assert [desk.come(number, 1, value) for number, value in enumerate((0.5, 0.4, 0.6))] == [
            PAUSE,
            PAUSE,
            GO,
        ]

    def test_higher_rungs_first(self):
        desk = Desk("asha_promotion")
        for number in range(9):
            desk.come(number, 1, -number)
        for number in range(3):
            desk.come(number, 3, -number)
        assert desk.promote() == (0, 3)
        assert desk.promote() == (0, 1)  # in this made-up evidence it waits below too

    def test_one_reaches_the_end_when_the_search_is_over(self):
        desk = Desk("asha_promotion")
        desk.come(0, 1, 0.5)
        desk.come(1, 1, 0.6)
        assert desk.promote() is None
        assert desk.promote(over=True) == (1, 1)
        desk.come(1, 3, 0.7)
        assert desk.promote(over=True) == (1, 3)
        # nobody waits at the highest rung, and below it is somebody else's turn no more
        assert desk.promote(over=True) is None

    def test_of_two_that_are_equal_the_earlier_goes_on(self):
        desk = Desk("asha_promotion")
        assert [desk.come(number, 1, 0.5) for number in (7, 3, 5)] == [PAUSE, PAUSE, PAUSE]
        assert desk.evidence.rung(1).standing() == [7, 3, 5]
        assert desk.promote() == (7, 1)
        assert desk.promote() is None  # one of three


class TestHyperband:
    def test_brackets_follow_from_numbers_in_their_proportions(self):
        rule = make_pruner("hyperband", FIDELITY)
        brackets = [rule.bracket(number) for number in range(1000)]
        assert brackets == [rule.bracket(number) for number in range(1000)]
        shares = [brackets.count(bracket) / 1000 for bracket in range(4)]
        weights = [27 / 4, 9 / 3, 3 / 2, 1]
        assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=0.05)

    def test_a_bracket_skips_its_first_rungs(self):
        rule = make_pruner("hyperband", FIDELITY)
        by_bracket = {rule.bracket(number): number for number in range(100)}
        assert {bracket: epochs("hyperband", number) for bracket, number in by_bracket.items()} == {
            0: [1, 3, 9],
            1: [3, 9],
            2: [9],
            3: [],
        }

    def test_trials_of_other_brackets_are_no_rivals(self):
        desk = Desk("hyperband")
        first = next(number for number in range(100) if desk.rule.bracket(number) == 1)
        other = next(number for number in range(100) if desk.rule.bracket(number) == 0)
        desk.come(other, 3, 0.9)
        assert desk.come(first, 3, 0.1) == GO


class TestDelayedAsha:
    def test_better_and_better_trials_wait_for_a_place(self):
        values = [0.1 * number for number in range(9)]
        at_once, delayed = Desk("asha_promotion"), Desk("delayed_asha")
        assert [at_once.come(number, 1, value) for number, value in enumerate(values)].count(
            GO
        ) == 7
        assert [delayed.come(number, 1, value) for number, value in enumerate(values)].count(
            GO
        ) == 3
        assert delayed.promote() is None

    def test_a_place_that_is_left_goes_to_the_best_that_waits(self):
        desk = Desk("delayed_asha")
        assert [desk.come(number, 1, value) for number, value in enumerate((0.9, 0.8, 0.1))] == [
            PAUSE,
            PAUSE,
            PAUSE,
        ]
        assert desk.promote() == (0, 1)
        assert [desk.come(number, 1, 0.2) for number in (3, 4)] == [PAUSE, PAUSE]
        assert desk.promote() is None  # five came
        assert desk.come(5, 1, 0.0) == PAUSE
        assert desk.promote() == (1, 1)
        assert desk.promote() is None

    def test_one_that_fails_leaves_its_place(self):
        desk = Desk("delayed_asha")
        for number in range(4):
            desk.come(number, 1, -number)
        assert desk.promote() == (0, 1)
        desk.evidence.drop(0, [1])
        assert desk.promote() == (1, 1)

    def test_one_that_ends_takes_no_place(self):
        desk = Desk("delayed_asha")
        for number in range(6):
            desk.come(number, 1, -number)
        for number in range(2, 6):  # the search was over once, and goes on
            desk.evidence.leave(number, 1, ended=True)
        desk.evidence.add(Arrival(6, 1, (-9.0,), 0), paused=False, stopped=True)  # by another rule
        assert [desk.promote(), desk.promote(), desk.promote()] == [(0, 1), (1, 1), None]

    def test_when_all_is_over_the_best_of_the_highest_rung_goes_on(self):
        desk = Desk("delayed_asha")
        desk.come(0, 1, 0.5)
        assert desk.promote() is None
        assert desk.promote(over=True) == (0, 1)


class TestPasha:
    def fill(self, desk: Desk, upper: tuple[float, ...]) -> list[Verdict]:
        """Nine at the first rung, in falling order, and three of them at the second with ``upper``;
        verdicts of the latter.
        """
        for number in range(9):
            desk.come(number, 1, 0.9 - 0.1 * number)
        return [desk.come(number, 3, value) for number, value in enumerate(upper)]

    def test_a_stable_order_ends_the_growth(self):
        desk = Desk("pasha")
        assert self.fill(desk, (0.95, 0.9, 0.8)) == [PAUSE, PAUSE, PAUSE]
        # only the first rung still promotes
        assert desk.rule.promotion(desk.evidence, over=False) == (0, 1)

    def test_another_order_raises_the_cap(self):
        desk = Desk("pasha")
        assert self.fill(desk, (0.8, 0.9, 0.95)) == [PAUSE, PAUSE, GO]

    def test_a_swap_within_the_tolerance_does_not(self):
        desk = Desk("pasha")
        # 0.005 of a spread of 0.8
        for number, value in enumerate((0.900, 0.895, 0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1)):
            desk.come(number, 1, value)
        for number, value in ((0, 0.90), (1, 0.91), (2, 0.6)):
            desk.come(number, 3, value)
        chosen = desk.rule.promotion(desk.evidence, over=False)
        assert chosen is None or chosen[1] == 1

    def test_a_cap_once_raised_stays(self):
        desk = Desk("pasha")
        self.fill(desk, (0.95, 0.9, 0.8))
        desk.come(0, 9, 0.97)
        assert desk.promote() == (0, 3)


class TestMedian:
    def test_starts_after_five_and_stops_below_the_median(self):
        desk = Desk("median")
        assert {
            desk.come(number, 2, value) for number, value in enumerate((0.1, 0.2, 0.3, 0.4, 0.5))
        } == {GO}
        assert desk.come(5, 2, 0.29) == STOP
        assert desk.come(6, 2, 0.31) == GO

    def test_several_objectives_keep_the_better_half(self):
        desk = Desk("median")
        for number in range(6):
            desk.come(number, 2, float(number), float(number))
        assert desk.come(6, 2, -1.0, -1.0) == STOP
        assert desk.come(7, 2, 9.0, 9.0) == GO

    def test_every_epoch(self):
        assert epochs("median") == list(range(1, 27))


class TestPatience:
    def test_stops_a_curve_that_does_not_rise(self):
        desk = Desk("patience")
        assert [desk.come(0, 5 + since, 0.5, since=since) for since in range(6)] == [GO] * 5 + [
            STOP
        ]

    def test_waits_reduction_epochs_where_trainings_are_short(self):
        desk = Desk("patience", Fidelity(1, 9, 3))
        assert [desk.come(0, 1 + since, 0.5, since=since) for since in range(4)] == [
            GO,
            GO,
            GO,
            STOP,
        ]


class TestOneEpoch:
    def test_all_wait_and_the_best_three_go_on(self):
        desk = Desk("one_epoch")
        assert {
            desk.come(number, 1, value) for number, value in enumerate((0.1, 0.5, 0.3, 0.4, 0.2))
        } == {PAUSE}
        assert desk.promote() is None
        assert [desk.promote(over=True) for _ in range(4)] == [(1, 1), (3, 1), (2, 1), None]

    def test_looks_once(self):
        assert epochs("one_epoch") == [1]


def test_none_never_looks():
    assert epochs("none") == []


@pytest.mark.parametrize("name", sorted(PRUNERS))
def test_a_verdict_is_a_function_of_the_evidence(name):
    """The same evidence gives the same verdict and changes nothing."""
    desk = Desk(name)
    for number, value in enumerate((0.5, 0.1, 0.7, 0.3, 0.9, 0.2)):
        desk.come(number, 1, value)
    arrival = Arrival(9, 1, (0.6,), 0)
    before = dict(desk.evidence.rung(1).values), set(desk.evidence.rung(1).waiting)
    assert desk.rule.verdict(arrival, desk.evidence) == desk.rule.verdict(arrival, desk.evidence)
    assert desk.rule.promotion(desk.evidence, over=True) == desk.rule.promotion(
        desk.evidence, over=True
    )
    assert (desk.evidence.rung(1).values, desk.evidence.rung(1).waiting) == before


def test_unknown():
    with pytest.raises(ConfigError, match=r"pruner: unknown pruner 'ahsa'\. Did you mean asha\?"):
        make_pruner("ahsa", FIDELITY)


class TestSeveralObjectives:
    POINTS = ((0.9, -5.0), (0.8, -3.0), (0.7, -4.0), (0.5, -1.0), (0.4, -2.0), (0.4, -2.0))

    def test_asha_keeps_the_front(self):
        desk = Desk("asha")
        verdicts = [desk.come(number, 1, *point) for number, point in enumerate(self.POINTS)]
        assert verdicts[0] == GO
        assert verdicts[-1] == STOP

    def test_promotion_takes_from_the_front(self):
        desk = Desk("asha_promotion")
        for number, point in enumerate(self.POINTS):
            desk.evidence.add(Arrival(number, 1, point, 0), paused=True)
        assert [desk.promote(), desk.promote(), desk.promote()] == [(0, 1), (3, 1), None]
