"""The leading trials of a study, updated with each report to detect plateaus."""

import bisect
from collections.abc import Iterable

from hopsearch.study.stopping.fronts import Values, dominates


class Leaders:
    """The trials that no other beats (with one objective: the best, the first among equals), and
    when each trial arrived.

    Attributes:
        values: of each leader, by number; larger is better.
    """

    def __init__(self) -> None:
        self.values: dict[int, Values] = {}
        self._came: list[int] = []

    def come(self, came: int) -> None:
        """Record a trial's first report, after ``came`` epochs of the whole study."""
        bisect.insort(self._came, came)

    def rise(self, number: int, values: Values) -> None:
        """Record a trial's first value, or one that is better than all its earlier ones."""
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
        """Restart from these, since one of the leaders has failed."""
        self.values = dict(leaders)

    def came_after(self, epochs: int) -> int:
        """The number of trials whose first report came after this many epochs of the whole
        study.
        """
        return len(self._came) - bisect.bisect_right(self._came, epochs)
