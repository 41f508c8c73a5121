"""What a stopping rule may look at: with which values trials came to each epoch at which they are compared.

Values are oriented so that larger is better, one a objective. With several objectives trials are ranked by non-dominated sorting,
and within a front by how much of it would be left empty without them (Deb et al. 2002, NSGA-II, sections III.A and III.B).
"""

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Values = tuple[float, ...]
"""Of a trial at an epoch, one an objective, larger is better."""


@dataclass(frozen=True)
class Arrival:
    """A trial at an epoch where it is looked at.

    Attributes:
        number: the trial.
        epoch: its epoch.
        values: its best so far.
        since: epochs since it was last better than ever before.
    """

    number: int
    epoch: int
    values: Values
    since: int


class Rung:
    """The trials of one bracket that came to one epoch.

    Attributes:
        values: by number, in the order of their coming.
        waiting: numbers of those that were paused here and have neither gone on nor ended.
    """

    def __init__(self) -> None:
        self.values: dict[int, Values] = {}
        self.waiting: set[int] = set()
        # Of one objective: (-value, turn), so that the best is first, and the earlier of two that are equal. Kept in order, since
        # every decision asks for a rank. With several objectives ranks are worked out each time.
        self._numbers: list[int] = []
        self._places: list[tuple[float, int]] = []
        self._queue: list[tuple[float, int]] = []
        self._several = False

    def __len__(self) -> int:
        return len(self.values)

    def add(self, number: int, values: Values, paused: bool) -> None:
        """A trial came, and perhaps waits here."""
        place = (-values[0], len(self._numbers))
        self.values[number], self._several = values, len(values) > 1
        self._numbers.append(number)
        bisect.insort(self._places, place)
        if paused:
            self.waiting.add(number)
            bisect.insort(self._queue, place)

    def leave(self, number: int) -> None:
        """A trial that waited goes on, or has ended."""
        self.waiting.discard(number)

    def rank(self, values: Values) -> int:
        """Where a trial with these values would stand, 1 for the best; it is put ahead of its equals."""
        if len(values) == 1:
            return 1 + bisect.bisect_left(self._places, (-values[0], -1))
        return 1 + best_first([values, *self.values.values()]).index(0)

    def standing(self) -> list[int]:
        """All numbers, best first."""
        if self._several:
            return [self._numbers[turn] for turn in best_first(list(self.values.values()))]
        return [self._numbers[turn] for _, turn in self._places]

    def first_waiting(self) -> tuple[int, int] | None:
        """Number and rank of the best that waits, if any does."""
        if not self.waiting:
            return None
        if self._several:
            order = self.standing()
            return next((number, rank) for rank, number in enumerate(order, start=1) if number in self.waiting)
        while self._numbers[self._queue[0][1]] not in self.waiting:  # it has left
            del self._queue[0]
        place = self._queue[0]
        return self._numbers[place[1]], 1 + bisect.bisect_left(self._places, place)


class Evidence:
    """All rungs of a study, as one rule's brackets divide them.

    Args:
        bracket: from a trial's number to its bracket; trials compete within it only.
    """

    def __init__(self, bracket: Callable[[int], int]) -> None:
        self._bracket = bracket
        self._rungs: dict[tuple[int, int], Rung] = {}

    def rung(self, epoch: int, bracket: int = 0) -> Rung:
        """The rung at ``epoch``; an empty one where nobody has come yet."""
        return self._rungs.setdefault((epoch, bracket), Rung())

    def of(self, arrival: Arrival) -> Rung:
        """The rung that a trial has come to."""
        return self.rung(arrival.epoch, self._bracket(arrival.number))

    def add(self, arrival: Arrival, paused: bool) -> None:
        """A trial came to a rung and was let go on, stopped, or paused."""
        self.of(arrival).add(arrival.number, arrival.values, paused)

    def leave(self, number: int, epoch: int) -> None:
        """A trial that was paused at ``epoch`` goes on, or has ended."""
        self.rung(epoch, self._bracket(number)).leave(number)


def best_first(points: Sequence[Values]) -> list[int]:
    """Indices of ``points``, best first: by front, then the loneliest of a front first; equal ones in their own order."""
    if not points or len(points[0]) == 1:
        return sorted(range(len(points)), key=lambda index: (-points[index][0], index))
    order: list[int] = []
    for front in fronts(points):
        loneliness = crowding_distances([points[index] for index in front])
        order += [index for _, index in sorted(zip(loneliness, front, strict=True), key=lambda pair: (-pair[0], pair[1]))]
    return order


def dominates(a: Values, b: Values) -> bool:
    """Whether ``a`` is at least as good in every objective and better in one."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def fronts(points: Sequence[Values]) -> list[list[int]]:
    """Indices by non-domination: the first front is dominated by nobody, the second by the first only, and so on."""
    # Sorted, a point can be dominated by earlier ones only, so that a front is found by looking at itself (Kung et al. 1975).
    left = sorted(range(len(points)), key=lambda index: (tuple(-value for value in points[index]), index))
    found: list[list[int]] = []
    while left:
        front: list[int] = []
        rest: list[int] = []
        for index in left:
            dominated = any(dominates(points[other], points[index]) for other in front)
            (rest if dominated else front).append(index)
        found.append(front)
        left = rest
    return found


def crowding_distances(points: Sequence[Values]) -> list[float]:
    """Of each point of a front, the sides of the box between its neighbours, relative to the front's; ends are infinite."""
    distances = [0.0] * len(points)
    for axis in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda index: points[index][axis])
        span = points[order[-1]][axis] - points[order[0]][axis]
        distances[order[0]] = distances[order[-1]] = math.inf
        for before, index, after in zip(order, order[1:], order[2:], strict=False):
            distances[index] += (points[after][axis] - points[before][axis]) / span if span else 0.0
    return distances
