"""Detects hanging workers outside a search: the ranks of a long training, and an evaluation; by the
rules of `hang_watch`.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import ray

from hopsearch.jobs.job import Progress
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.study import State, TrialRecord

LOOK_EVERY = 5.0  # seconds between two checks for hanging workers
# seconds allowed per image, as a machine may have to decode them all before its first report
_AN_IMAGE = 0.1
_ANSWER = 10.0  # seconds within which a process shows whether it is alive


def to_read(images: int) -> float:
    """Seconds that a worker may take to read this many images, including decoding, before it counts
    as hanging.
    """
    return images * _AN_IMAGE


def awaited(reference: Any, look: Callable[[], None]) -> None:
    """Wait for a result from Ray, and periodically ``look`` whether its worker hangs."""
    while not ray.wait([reference], timeout=LOOK_EVERY)[0]:
        look()


def is_there(actor: Any) -> bool:
    """Whether an actor's process exists, even if it does not answer; a dead one is reported at
    once.
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
    """Detects a hanging rank by the time since the last report of a training's group.

    Earlier runs of the training are ignored: they may have had other machines. An epoch of a group
    that has shrunk may take proportionally longer.

    Args:
        images: number of images that a rank reads before its first epoch.
        clock: seconds.
    """

    def __init__(self, images: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._watch = Watch(clock)
        self._record = TrialRecord(0, State.RUNNING)
        self._least = to_read(images)
        self._world = 1
        self._largest = 1
        self._runs = False

    def begun(self, world: int) -> None:
        """A group of this many ranks has formed."""
        self._world = world
        self._largest = max(world, self._largest)
        self._runs = True
        self._watch.handed_out(0)

    def heard(self, progress: Progress) -> None:
        """The group has reported progress."""
        if progress.failure or progress.paused or progress.done:
            self.gone()
        elif progress.history:
            self._watch.handed_out(0)  # not an epoch: its first is measured from here
        else:
            self._watch.heard(self._record)

    def gone(self) -> None:
        """The group has ended or is being restarted: whatever is awaited now is not an epoch."""
        self._runs = False

    def hangs(self) -> str:
        """Why a rank counts as hanging, in words; empty if none does."""
        if not self._runs:
            return ""
        least = 0.0 if self._watch.was_heard(0) else self._least
        return self._watch.hangs(
            self._record, last=True, least=least, slower=math.ceil(self._largest / self._world)
        )
