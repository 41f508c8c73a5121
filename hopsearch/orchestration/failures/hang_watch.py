"""Detects hanging workers by the time since their last report.

A worker may be silent for ten times the longest epoch of its own trial, and at least a minute. A
trial without epochs, or a new worker, which must read the data and compile, is compared with the
others' first reports instead: ten times their longest, more for a model with more flops, and at
least ten minutes. Until a worker has reported, nothing can be judged. A worker that resumes a trial
first replays the trial's history, instantly: that is not an epoch. It is then judged by the trial's
earlier epochs.
"""

import math
from collections.abc import Callable

from hopsearch.study import TrialRecord

_FACTOR = 10
_LEAST = 60.0  # seconds of silence always allowed, for a worker that has reported
_LEAST_AT_FIRST = 600.0  # and for one that has not


class Watch:
    """Tracks when each worker last reported.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, float] = {}
        self._heard: set[int] = set()
        self._epochs: dict[int, float] = {}  # the longest of each trial
        # seconds until a first report, and the flops of that model
        self._starts: list[tuple[float, float]] = []

    def handed_out(self, number: int) -> None:
        """A trial was given to a worker."""
        self._since[number] = self._clock()
        self._heard.discard(number)

    def heard(self, record: TrialRecord, trained: bool = True) -> None:
        """A trial's worker has reported.

        Args:
            record: the trial.
            trained: an epoch; False for the history of a trial that resumes.
        """
        number = record.number
        now = self._clock()
        waited = now - self._since.get(number, now)
        if trained and number in self._heard:
            self._epochs[number] = max(waited, self._epochs.get(number, 0.0))
        elif trained:
            self._starts.append((waited, _flops(record)))
        self._heard.add(number)
        self._since[number] = now

    def gone(self, number: int) -> None:
        """A trial's worker is gone, or the trial is over."""
        self._since.pop(number, None)
        self._heard.discard(number)

    def was_heard(self, number: int) -> bool:
        """Whether a trial's worker has reported since it was given the trial."""
        return number in self._heard

    def silent(self, number: int) -> float:
        """Seconds since a trial's worker last reported."""
        return self._clock() - self._since.get(number, self._clock())

    def allowed(self, record: TrialRecord) -> float | None:
        """How long a trial's worker may be silent; None if there is no reference."""
        number = record.number
        before = record.seconds / record.epoch if record.epoch else 0.0
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
        """Why a trial's worker counts as hanging, in words; empty if it does not.

        Args:
            record: the trial.
            last: the search only waits for running trials: then ten minutes are the limit without a
                reference.
            least: seconds of silence allowed in any case.
            slower: factor by which an epoch may take longer than known ones.
            what: what is waited for.
        """
        allowed = self.allowed(record)
        silent = self.silent(record.number)
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
            f"no {what} for {silent:.0f} s; {allowed:.0f} s are allowed, {_FACTOR} times {known} "
            f"or the minimum"
        )


def _flops(record: TrialRecord) -> float:
    return max(1.0, float(record.cost.get("flops", 1.0)))
