"""Judges from when workers were last heard of whether one of them hangs.

How long a worker may be silent: ten times the longest epoch of its own trial, and at least a
minute. A trial that has no epoch yet, or a new worker, which must read the data and compile, is
measured by the others' first words instead: ten times their longest, more for a model with more
flops, and at least ten minutes. As long as no worker was heard of nothing can be judged. A worker
that resumes a trial first repeats the trial's history, in no time: that is no epoch. It is then
measured by what the trial's epochs took before.
"""

import math
from collections.abc import Callable

from hopsearch.study import TrialRecord

_FACTOR = 10
_LEAST = 60.0  # seconds of silence that are always allowed, by a worker that was heard of
_LEAST_AT_FIRST = 600.0  # and by one that was not


class Watch:
    """Keeps when each worker was last heard of.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}
        self._heard: set[int] = set()
        self._epochs: dict[int, float] = {}  # the longest of each trial
        # seconds until a first word, and the flops of that model
        self._starts: list[tuple[float, float]] = []

    def handed_out(self, number: int) -> None:
        """A trial was given to a worker."""
        self._since[number] = self._clock()
        self._heard.discard(number)

    def heard(self, record: TrialRecord, trained: bool = True) -> None:
        """Its worker has reported.

        Args:
            record: the trial.
            trained: an epoch; False for the history of a trial that resumes.
        """
        number, now = record.number, self._clock()
        waited = now - self._since.get(number, now)
        if trained and number in self._heard:
            self._epochs[number] = max(waited, self._epochs.get(number, 0.0))
        elif trained:
            self._starts.append((waited, _flops(record)))
        self._heard.add(number)
        self._since[number] = now

    def gone(self, number: int) -> None:
        """Its worker is gone, or the trial is over."""
        self._since.pop(number, None)
        self._heard.discard(number)

    def was_heard(self, number: int) -> bool:
        """Whether its worker has reported since the trial was given to it."""
        return number in self._heard

    def silent(self, number: int) -> float:
        """Seconds since its worker was last heard of."""
        return self._clock() - self._since.get(number, self._clock())

    def allowed(self, record: TrialRecord) -> float | None:
        """How long its worker may be silent; None if there is nothing to judge by."""
        number, before = record.number, record.seconds / record.epoch if record.epoch else 0.0
        if number in self._heard:
            longest = self._epochs.get(number) or max(
                (before, *(seconds for seconds, _ in self._starts))
            )
            return max(_LEAST, _FACTOR * longest)
        if not self._starts and not before:
            return None
        longest = max(
            (
                before,
                *(seconds * max(1.0, _flops(record) / flops) for seconds, flops in self._starts),
            )
        )
        return max(_LEAST_AT_FIRST, _FACTOR * longest)

    def hangs(
        self,
        record: TrialRecord,
        last: bool = False,
        least: float = 0.0,
        slower: float = 1.0,
        what: str = "epoch",
    ) -> str:
        """Why its worker counts as hanging, in words; empty if it does not.

        Args:
            record: the trial.
            last: the search waits for those that run and nothing else: then ten minutes are enough
                where nothing is known.
            least: seconds that it may be silent in any case.
            slower: how many times longer an epoch may take than those that are known.
            what: is waited for.
        """
        allowed, silent = self.allowed(record), self.silent(record.number)
        if allowed is None:
            allowed = _LEAST_AT_FIRST if last else math.inf
        allowed = max(least, allowed * slower)
        if silent <= allowed:
            return ""
        known = (
            "its longest epoch"
            if record.number in self._epochs
            else "the longest wait for another rank's"
        )
        return (
            f"no {what} for {silent:.0f} s, where {allowed:.0f} s are allowed, {_FACTOR} times "
            f"{known} or the least"
        )


def _flops(record: TrialRecord) -> float:
    return max(1.0, float(record.cost.get("flops", 1.0)))
