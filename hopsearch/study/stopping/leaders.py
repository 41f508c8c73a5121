"""Who leads a study, kept up to date report by report: a plateau is asked for after each of
them.
"""

import bisect
from collections.abc import Iterable

from hopsearch.study.stopping.fronts import Values, dominates


class Leaders:
    """The trials that no other beats (of one objective: the best, the first of equals), and when
    each trial came.

    Attributes:
        values: of each leader, by number; larger is better.
    """

    def __init__(self) -> None:
        self.values: dict[int, Values] = {}
        self._came: list[int] = []

    def come(self, came: int) -> None:
        """A trial has reported its first epoch, after ``came`` epochs of the whole study."""
        bisect.insort(self._came, came)

    def rise(self, number: int, values: Values) -> None:
        """A trial has reported its first value, or one that is better than all before."""
        others = {other: known for other, known in self.values.items() if other != number}
        if any(dominates(known, values) for known in others.values()):
            return
        if len(values) == 1 and any(
            other < number and known == values for other, known in others.items()
        ):
            return
        beaten = {
            other for other, known in others.items() if dominates(values, known) or len(values) == 1
        }
        self.values = {other: known for other, known in others.items() if other not in beaten} | {
            number: values
        }

    def again(self, leaders: Iterable[tuple[int, Values]]) -> None:
        """Start anew from these, since one of the leaders has failed."""
        self.values = dict(leaders)

    def came_after(self, epochs: int) -> int:
        """How many trials reported their first epoch after so many epochs of the whole study."""
        return len(self._came) - bisect.bisect_right(self._came, epochs)
