"""The evidence of stopping rules: the values of trials at each epoch at which they are compared.

Kept sorted as trials arrive, since every decision needs a rank: the cost of a decision grows only
logarithmically with the study.
"""

import bisect
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hopsearch.study.stopping.fronts import Fronts, Values
from hopsearch.study.stopping.rank_agreement import RankAgreement, Tau


@dataclass(frozen=True)
class Arrival:
    """A trial at an epoch where it is judged.

    Attributes:
        number: the trial.
        epoch: its epoch.
        values: its best values so far.
        since: epochs since its last improvement.
    """

    number: int
    epoch: int
    values: Values
    since: int


class Rung:
    """The trials of one bracket that reached one epoch.

    Attributes:
        values: by number, in order of arrival; without trials that have failed since.
        waiting: numbers of trials that were paused here and have neither continued nor ended.
        witnesses: numbers of trials that continued whatever their value; without those that have
            failed since.
    """

    def __init__(self) -> None:
        self.values: dict[int, Values] = {}
        self.waiting: set[int] = set()
        self.witnesses: set[int] = set()
        self._gone: set[int] = set()
        # By the first objective: (-value, turn), so that the best is first, and the earlier of two
        # equals.
        self._numbers: list[int] = []
        self._turns: dict[int, int] = {}
        self._places: list[tuple[float, int]] = []
        self._queue: list[tuple[float, int]] = []
        self._fronts: Fronts | None = None  # used with several objectives

    def __len__(self) -> int:
        return len(self.values)

    def add(self, number: int, values: Values, paused: bool, stopped: bool = False) -> None:
        """Add a trial, which may wait or end here."""
        turn = len(self._numbers)
        place = (-values[0], turn)
        self.values[number] = values
        self._turns[number] = turn
        self._numbers.append(number)
        bisect.insort(self._places, place)
        if not paused and not stopped:
            self._gone.add(number)
        if paused:
            self.waiting.add(number)
            bisect.insort(self._queue, place)
        if len(values) > 1:
            self._fronts = self._fronts or Fronts()
            self._fronts.add(turn, values, paused)

    def leave(self, number: int, ended: bool = False) -> None:
        """A waiting trial continues, or has ended."""
        if number in self.waiting and not ended:
            self._gone.add(number)
        self.waiting.discard(number)
        if self._fronts is not None and number in self._turns:
            self._fronts.leave(self._turns[number])

    def drop(self, number: int) -> None:
        """Remove a failed trial: those ranked behind it move up."""
        if number not in self.values:
            return
        self.leave(number)
        self._gone.discard(number)
        self.witnesses.discard(number)
        self._places.remove((-self.values.pop(number)[0], self._turns[number]))
        if self._fronts is not None:  # trials dominated only by it may move up by several fronts
            self._fronts = Fronts()
            for other, values in self.values.items():
                self._fronts.add(self._turns[other], values, other in self.waiting)

    @property
    def gone(self) -> int:
        """How many have continued from here, not counting those that failed since."""
        return len(self._gone)

    @property
    def came(self) -> int:
        """How many trials ever reached this epoch, including those that failed since."""
        return len(self._numbers)

    def rank(self, values: Values, behind: bool = False) -> int:
        """The rank of a trial with these values, 1 for the best; ahead of its equals, or ``behind``
        them.
        """
        if len(values) > 1:
            return self._fronts.rank(values, behind) if self._fronts is not None else 1
        return 1 + bisect.bisect_left(self._places, (-values[0], math.inf if behind else -1))

    @property
    def several(self) -> bool:
        """Whether there are several objectives."""
        return self._fronts is not None

    @property
    def range(self) -> float:
        """The distance between best and worst, in the first objective."""
        return self._places[-1][0] - self._places[0][0] if self._places else 0.0

    @property
    def median(self) -> float:
        """The median of the first objective; needs at least one trial."""
        above = self._places[(len(self) - 1) // 2][0]
        below = self._places[len(self) // 2][0]
        return -above if len(self) % 2 else (-above - below) / 2

    def since(self, turn: int) -> list[tuple[int, int]]:
        """Turns and numbers of trials that arrived after this many others and have not failed."""
        later = enumerate(self._numbers[turn:], start=turn)
        return [(place, number) for place, number in later if number in self.values]

    def standing(self) -> list[int]:
        """All numbers, best first."""
        turns = (
            self._fronts.standing()
            if self._fronts is not None
            else [turn for _, turn in self._places]
        )
        return [self._numbers[turn] for turn in turns]

    def first_waiting(self) -> tuple[int, int] | None:
        """Number and rank of the best waiting trial, if any."""
        if not self.waiting:
            return None
        if self._fronts is not None:
            turn, rank = self._fronts.first_waiting()
            return self._numbers[turn], rank
        while self._numbers[self._queue[0][1]] not in self.waiting:  # it has left
            del self._queue[0]
        place = self._queue[0]
        return self._numbers[place[1]], 1 + bisect.bisect_left(self._places, place)


class StableOrder:
    """Whether trials have the same order at a rung as at a lower one, by the first objective.

    The range of values below only grows, and with it the tolerance. So a pair that agreed once
    agrees for good, and only new arrivals are compared with the others.
    """

    def __init__(self, below: Rung, above: Rung) -> None:
        self._below = below
        self._above = above
        self._compared = 0
        self._held = True
        # order at the rung above, of trials that reached the one below
        self._order: list[tuple[float, int]] = []
        self._firsts: list[float] = []  # their values below

    def holds(self, tolerance: float) -> bool:
        """Whether the two rungs agree on the order, within this share of the range below."""
        slack = tolerance * self._below.range
        if self._above.several and self._compared < self._above.came:
            known = self._below.values
            self._firsts = [
                known[number][0] for number in self._above.standing() if number in known
            ]
            self._held = False  # each arrival may change the order of all
        elif not self._above.several:
            for turn, number in self._above.since(self._compared):
                self._held = self._compare(number, turn, slack) and self._held
        self._compared = self._above.came
        if not self._held:
            best_after = itertools.accumulate(reversed(self._firsts), max)
            self._held = all(
                first + slack >= best
                for first, best in zip(reversed(self._firsts), best_after, strict=True)
            )
        return self._held

    def _compare(self, number: int, turn: int, slack: float) -> bool:
        if number not in self._below.values:
            return True
        first = self._below.values[number][0]
        place = (-self._above.values[number][0], turn)
        index = bisect.bisect(self._order, place)
        better = self._firsts[:index]
        worse = self._firsts[index:]
        self._order.insert(index, place)
        self._firsts.insert(index, first)
        return min(better, default=math.inf) + slack >= first and first + slack >= max(
            worse, default=-math.inf
        )


class _Compared:
    """A rung and a higher one; new arrivals are compared lazily.

    Attributes:
        ranks: of the trials that reached both.
    """

    def __init__(self, below: Rung, above: Rung, witnesses: bool) -> None:
        self._below = below
        self._above = above
        self._witnesses = witnesses
        self._seen = 0
        self.ranks = RankAgreement()

    @property
    def tau(self) -> Tau:
        known = self._below.values
        for _, number in self._above.since(self._seen):
            if number in known and (number in self._below.witnesses) == self._witnesses:
                self.ranks.add(number, known[number][0], self._above.values[number][0])
        self._seen = self._above.came
        return self.ranks.tau


class Evidence:
    """All rungs of a study, divided by a rule's brackets.

    Args:
        bracket: maps a trial's number to its bracket; trials compete only within it.
    """

    def __init__(self, bracket: Callable[[int], int]) -> None:
        self._bracket = bracket
        self._rungs: dict[tuple[int, int], Rung] = {}
        self._agreements: dict[tuple[int, int], StableOrder] = {}
        self._ranks: dict[tuple[int, int, bool], _Compared] = {}

    def rung(self, epoch: int, bracket: int = 0) -> Rung:
        """The rung at ``epoch``; an empty one if no trial has reached it yet."""
        return self._rungs.setdefault((epoch, bracket), Rung())

    def of(self, arrival: Arrival) -> Rung:
        """The rung that a trial has reached."""
        return self.rung(arrival.epoch, self._bracket(arrival.number))

    def add(
        self, arrival: Arrival, paused: bool, stopped: bool = False, witness: bool = False
    ) -> None:
        """Add a trial that reached a rung and continued (a witness whatever its value), was
        stopped, or was paused.
        """
        rung = self.of(arrival)
        rung.add(arrival.number, arrival.values, paused, stopped)
        if witness:
            rung.witnesses.add(arrival.number)

    def tau(self, lower: int, upper: int, witnesses: bool) -> Tau:
        """How well one epoch ranks trials as a later one does, by the first objective.

        Args:
            lower, upper: the two epochs, of the first bracket.
            witnesses: over those that continued from the lower one whatever their value; else over
                those selected there, which differ less, so that their τ is lower.
        """
        key = lower, upper, witnesses
        if key not in self._ranks:
            self._ranks[key] = _Compared(self.rung(lower), self.rung(upper), witnesses)
        return self._ranks[key].tau

    def stable(self, lower: int, upper: int, tolerance: float) -> bool:
        """Whether trials have the same order at one epoch as at an earlier one, by the first
        objective.

        Args:
            lower, upper: the two epochs, of the first bracket.
            tolerance: share of the lower rung's range of values within which two trials count as
                equal.
        """
        key = lower, upper
        if key not in self._agreements:
            self._agreements[key] = StableOrder(self.rung(lower), self.rung(upper))
        return self._agreements[key].holds(tolerance)

    def leave(self, number: int, epoch: int, ended: bool = False) -> None:
        """A trial paused at ``epoch`` continues, or has ended."""
        self.rung(epoch, self._bracket(number)).leave(number, ended)

    def drop(self, number: int, epochs: Iterable[int]) -> None:
        """Remove a failed trial that reached these epochs: it frees its places."""
        for epoch in epochs:
            self.rung(epoch, self._bracket(number)).drop(number)
        for compared in self._ranks.values():
            compared.ranks.drop(number)
        # the range of values may have shrunk, and with it the tolerance
        self._agreements.clear()
