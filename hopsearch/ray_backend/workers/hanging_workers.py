"""Workers outside a search that do not answer: one long training's group of ranks, and an
evaluation; judged as `hang_watch` says.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import ray

from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.study import State, TrialRecord
from hopsearch.training.process.job import Progress

LOOK_EVERY = 5.0  # seconds between two looks whether a worker hangs
# seconds that reading one may take, where a machine may have to decode them all before its first
# word
_AN_IMAGE = 0.1
_ANSWER = 10.0  # seconds in which a process that is there, or is gone, shows it


def to_read(images: int) -> float:
    """Seconds that a worker may take for reading so many images, decoding included, before it
    counts as hanging.
    """
    return images * _AN_IMAGE


def awaited(reference: Any, look: Callable[[], None]) -> None:
    """Wait for an answer of Ray's, and ``look`` now and then whether who is to give it hangs."""
    while not ray.wait([reference], timeout=LOOK_EVERY)[0]:
        look()


def is_there(actor: Any) -> bool:
    """Whether an actor's process is there, be it that it does not answer; one that is gone says so
    at once.
    """
    ping = actor.__ray_ready__.remote()
    if not ray.wait([ping], timeout=_ANSWER)[0]:
        return True
    try:
        ray.get(ping)
    except ray.exceptions.RayActorError:
        return False
    return True


class GroupWatch:
    """Judges from when a training's group was last heard of whether one of its ranks hangs.

    Earlier runs of the training say nothing: they may have had other machines. An epoch of a group
    that has become smaller may take longer by as much.

    Args:
        images: that a rank reads before its first epoch.
        clock: seconds.
    """

    def __init__(self, images: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch, self._record = Watch(clock), TrialRecord(0, State.RUNNING)
        self._least, self._world, self._largest, self._runs = to_read(images), 1, 1, False

    def begun(self, world: int) -> None:
        """A group of so many ranks has come together."""
        self._world, self._largest, self._runs = world, max(world, self._largest), True
        self._watch.handed_out(0)

    def heard(self, progress: Progress) -> None:
        """The group has told of its progress."""
        if progress.failure or progress.paused or progress.done:
            self.gone()
        elif progress.history:
            self._watch.handed_out(0)  # no epoch: its first is measured from here
        else:
            self._watch.heard(self._record)

    def gone(self) -> None:
        """The group is over, or being started anew: whatever is waited for now, it is not an
        epoch.
        """
        self._runs = False

    def hangs(self) -> str:
        """Why a rank counts as hanging, in words; empty if none does."""
        if not self._runs:
            return ""
        least = 0.0 if self._watch.was_heard(0) else self._least
        return self._watch.hangs(
            self._record, last=True, least=least, slower=math.ceil(self._largest / self._world)
        )
