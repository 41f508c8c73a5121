"""Supervises the workers of a search between their reports: enforces the time budget, and replaces
hanging workers.
"""

import time

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put
from ray.tune import Callback
from ray.tune.experiment import Trial

from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.ray_backend.adapter import StudySearcher
from hopsearch.ray_backend.workers.spot_notice import leave_key

_EVERY = 0.5  # seconds between two checks
_GRACE = 20.0  # seconds for workers to leave in the middle of an epoch once the time is over


class Overseer(Callback):  # type: ignore[misc]  # Ray has no types
    """Called at each of Tune's steps, which continue while workers are silent.

    Args:
        searcher: maps Tune's trials to ours.
        dispatcher: of the search.
    """

    def __init__(self, searcher: StudySearcher, dispatcher: Dispatcher) -> None:
        self._searcher = searcher
        self._dispatcher = dispatcher
        self._looked = 0.0
        self._asked: float | None = None  # time at which workers were asked to leave
        self._running: set[str] = set()
        self._killed: set[str] = set()

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: object) -> None:
        """Check the workers periodically."""
        now = time.monotonic()
        if now - self._looked < _EVERY:
            return
        self._looked = now
        live = {
            trial.trial_id: trial
            for trial in trials
            if trial.status == Trial.RUNNING and trial.trial_id not in self._killed
        }
        for name in live.keys() - self._running:  # it has been waiting for a machine until now
            number = self._searcher.number_of(name)
            # otherwise it has trained an epoch since the last check
            if not self._dispatcher.watch.was_heard(number):
                self._dispatcher.watch.handed_out(number)
        self._running |= live.keys()
        late = self._late(now)
        for name, trial in live.items():
            number = self._searcher.number_of(name)
            record = self._dispatcher.study.records[number]
            why = late or self._dispatcher.watch.hangs(
                record, last=bool(self._dispatcher.queue.stopped)
            )
            if why:
                self._dispatcher.say(
                    f"trial {number}: {why}; its worker is killed and the trial resumes from its "
                    f"last epoch"
                )
                self._killed.add(name)
                ray.kill(trial.temporary_state.ray_actor)

    def _late(self, now: float) -> str:
        if not self._dispatcher.queue.why_stop() or not self._dispatcher.out_of_time:
            return ""
        if self._asked is None:
            self._asked = now
            _internal_kv_put(leave_key(), b"now", overwrite=True)
        return (
            f"the time limit passed {now - self._asked:.0f} s ago"
            if now - self._asked > _GRACE
            else ""
        )

    def close(self) -> None:
        """The search is over; workers started from now on, e.g. the winner's, may stay."""
        if self._asked is not None:
            _internal_kv_del(leave_key())

    def __getstate__(self) -> dict[str, object]:
        return {}
