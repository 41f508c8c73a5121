"""Ranks by several objectives: non-dominated sorting, and crowding distance within a front.

After Deb et al. 2002 (NSGA-II), sections III.A and III.B. Values are oriented so that larger is
better.
"""

import bisect
import math
import operator
from collections.abc import Iterator, Sequence

Values = tuple[float, ...]
"""Values of a trial at an epoch, one per objective; larger is better."""

_Member = tuple[Values, int]
# Negated values and a number: sorted, the best in the first objective comes first, and the earlier
# of two equals. In this order only earlier members can dominate later ones. Along a front of two
# objectives, the second increases from member to member.


def dominates(a: Values, b: Values) -> bool:
    """Whether ``a`` is at least as good in every objective and better in one."""
    return a != b and all(x >= y for x, y in zip(a, b, strict=True))


def fronts(points: Sequence[Values]) -> list[list[int]]:
    """Indices by non-domination: the first front is not dominated, the second only by the first,
    and so on.
    """
    found: list[list[_Member]] = []
    for member in sorted((_negated(values), index) for index, values in enumerate(points)):
        place = _place(found, member[0])
        if place == len(found):
            found.append([])
        found[place].append(member)
    return [[index for _, index in front] for front in found]


def crowding_distances(points: Sequence[Values]) -> list[float]:
    """For each point of a front, the sides of the box between its neighbours, relative to the
    front's extent; infinite for the ends.
    """
    distances = [0.0] * len(points)
    for axis in range(len(points[0])):
        order = sorted(range(len(points)), key=lambda index: points[index][axis])
        span = points[order[-1]][axis] - points[order[0]][axis]
        distances[order[0]] = distances[order[-1]] = math.inf
        for before, index, after in zip(order, order[1:], order[2:], strict=False):
            distances[index] += (points[after][axis] - points[before][axis]) / span if span else 0.0
    return distances


class Fronts:
    """Trials by fronts, updated incrementally (Li et al. 2014, "Efficient non-domination level
    update").

    A trial is identified by its turn: the first arrival has the lowest.
    """

    def __init__(self) -> None:
        self._fronts: list[list[_Member]] = []
        self._waiting: list[set[int]] = []  # per front, the turns of waiting trials
        self._latest = -1  # turn

    def add(self, turn: int, values: Values, paused: bool) -> None:
        """Add a trial, which may be waiting; trials that it dominates move a front down, and push
        others.
        """
        new = _negated(values)
        self._latest = max(self._latest, turn)
        coming = [(new, turn)]
        waiting = {turn} if paused else set()
        place = _place(self._fronts, new)
        while coming:
            if place == len(self._fronts):
                self._fronts.append([])
                self._waiting.append(set())
            front = self._fronts[place]
            beaten = {index for values, _ in coming for index in _beaten(front, values)}
            going = [front[index] for index in sorted(beaten)]
            for one in going:
                del front[bisect.bisect_left(front, one)]
            for one in coming:
                bisect.insort(front, one)
            leaving = self._waiting[place].intersection(turn for _, turn in going)
            self._waiting[place] -= leaving
            self._waiting[place] |= waiting
            coming = going
            waiting = leaving
            place = place + 1

    def leave(self, turn: int) -> None:
        """A trial no longer waits."""
        for waiting in self._waiting:
            waiting.discard(turn)

    def rank(self, values: Values, behind: bool) -> int:
        """The rank of a trial with these values, 1 for the best; ahead of its equals, or ``behind``
        them.
        """
        new = _negated(values)
        turn = self._latest + 1 if behind else -1
        place = _place(self._fronts, new)
        front = self._fronts[place] if place < len(self._fronts) else []
        beaten = set(_beaten(front, new))
        front = sorted(
            [(new, turn), *(member for index, member in enumerate(front) if index not in beaten)]
        )
        return self._before(place) + 1 + _best_first(front).index(turn)

    def standing(self) -> list[int]:
        """All turns, best first."""
        return [turn for front in self._fronts for turn in _best_first(front)]

    def first_waiting(self) -> tuple[int, int]:
        """Turn and rank of the best waiting trial; there must be one."""
        place = next(place for place, waiting in enumerate(self._waiting) if waiting)
        order = enumerate(_best_first(self._fronts[place]), start=self._before(place) + 1)
        return next((turn, rank) for rank, turn in order if turn in self._waiting[place])

    def _before(self, place: int) -> int:
        return sum(len(front) for front in self._fronts[:place])


def _negated(values: Values) -> Values:
    return tuple(-value for value in values)


def _place(ordered: Sequence[list[_Member]], new: Values) -> int:
    # The first front without a dominating member: every earlier front has one, since each front
    # dominates the next.
    return bisect.bisect_left(ordered, True, key=lambda front: not _dominated(front, new))


def _dominated(front: list[_Member], new: Values) -> bool:
    end = bisect.bisect_left(front, (new, -1))
    # with two objectives, the last has the best second one
    nearest = range(end - 1, -1 if len(new) > 2 else max(-1, end - 2), -1)
    return any(_reaches(front[index][0], new) for index in nearest)


def _beaten(front: list[_Member], new: Values) -> Iterator[int]:
    # Indices of those that it dominates; with two objectives they are adjacent.
    for index in range(bisect.bisect_right(front, (new, math.inf)), len(front)):
        if _reaches(new, front[index][0]):
            yield index
        elif len(new) <= 2:
            return


def _reaches(a: Values, b: Values) -> bool:
    return all(map(operator.le, a, b))


def _best_first(front: Sequence[_Member]) -> list[int]:
    loneliness = crowding_distances([_negated(values) for values, _ in front])
    order = sorted(zip(loneliness, front, strict=True), key=lambda pair: (-pair[0], pair[1][1]))
    return [turn for _, (_, turn) in order]
