"""Runs one training or evaluation outside the search on the cluster, and kills its processes if
they hang.
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hopsearch.jobs.job import Job, Progress, failure_of
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.workers.hanging_workers import awaited, to_read
from hopsearch.ray_backend.workers.worker import Finisher, answer
from hopsearch.study import TrialRecord
from hopsearch.training import Row

_ROOM = 15  # seconds to wait for a whole machine
_RESUMES = "the training resumes from the last epoch"


class Seat:
    """The resources and processes of a training on the cluster.

    Args:
        job: the training or evaluation.
        resources: of each process.
        who: name of the training in messages.
        whole: take all cores of one machine, if it is free soon.
    """

    def __init__(self, job: Job, resources: TrialResources, who: str, whole: bool = False) -> None:
        self.job = job
        self.rows = dict[int, Row]()
        self._who = who
        self._placed = False
        self._watch = Watch(time.monotonic)
        self._place, given = _room(resources, whole)
        strategy = PlacementGroupSchedulingStrategy(
            self._place, 0, placement_group_capture_child_tasks=True
        )
        self._actor = Finisher.options(  # type: ignore[attr-defined]  # made by ray.remote
            num_cpus=given.cpus, num_gpus=given.gpus, scheduling_strategy=strategy
        ).remote(job.model_dump_json(), given.cpus, given.gpus)
        self._threads = given.threads

    def start(self, job: Job) -> Any:
        """Start another training in the same processes, which take longer to start than a small
        model takes to train.

        Returns:
            As `advance`, for its first epoch.
        """
        self.job = job
        self.rows = {}
        self._watch.handed_out(job.number)
        return self._actor.start.remote(job.model_dump_json())

    def settle_threads(self, record: TrialRecord, say: Callable[[str], None]) -> int:
        """Train with all available cores, if that is faster; returns the number of threads."""
        if self._threads <= self.job.threads:
            return self.job.threads
        reference = self._actor.settle_threads.remote(self._threads)
        awaited(reference, lambda: self.kill_if_it_hangs(record, say))
        self._watch.handed_out(record.number)
        return int(answer(reference))

    def advance(self) -> Any:
        """A reference to the result of one epoch, to be passed to `take`."""
        return self._actor.advance.remote()

    def kill_if_it_hangs(
        self,
        record: TrialRecord,
        say: Callable[[str], None],
        least: float = 0.0,
        what: str = "epoch",
        then: str = _RESUMES,
    ) -> None:
        """Kill its processes if they have not reported for too long; time spent waiting for a
        machine does not count.

        Args:
            record: the trial.
            say: receives the reason.
            least, what: as in `Watch.hangs`.
            then: how it continues.
        """
        if not self._placed:
            self._placed = placement_group_table(self._place)["state"] == "CREATED"
            self._watch.handed_out(record.number)
        if why := self._watch.hangs(record, last=True, least=least, what=what):
            say(f"{self._who}: {why}; its worker is killed, {then}")
            self.kill()

    def take(self, reference: object, record: TrialRecord) -> Progress:
        """The result of an epoch.

        Args:
            reference: from `advance`.
            record: the trial.

        Raises:
            TaskError: the task's own code raised an error.
            RuntimeError: it ended in an internal error.
            RayActorError, OutOfMemoryError, Leaving: its machine is gone, out of memory, or being
                preempted.
        """
        progress = Progress.model_validate_json(answer(reference))
        if progress.trace:
            raise failure_of(progress, f"training of trial {record.number}")
        self.rows |= {int(row["epoch"]): row for row in progress.rows}
        self._placed = True
        self._watch.heard(record, trained=not progress.history)
        return progress

    def finish(
        self, target: str, mirror: str, record: TrialRecord, images: int, say: Callable[[str], None]
    ) -> dict[str, object]:
        """See `JobRun.finish`; ``images`` is the number of images it may have to decode."""
        reference = self._actor.finish.remote(target, mirror)
        then = "another one evaluates the model"
        self._watch.handed_out(record.number)
        awaited(
            reference,
            lambda: self.kill_if_it_hangs(record, say, to_read(images), "test result", then),
        )
        facts: dict[str, object] = answer(reference)
        return facts

    def kill(self) -> None:
        """Kill its processes; waiting calls fail."""
        ray.kill(self._actor)

    def close(self) -> None:
        """End its processes and release the resources."""
        self.kill()
        remove_placement_group(self._place)


def _room(resources: TrialResources, whole: bool) -> tuple[Any, TrialResources]:
    """A placement group and the resources per process; with ``whole``, all cores of one machine, if
    one becomes free soon.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [
        machine.get("CPU", 0.0) for machine in machines if machine.get("GPU", 0.0) >= resources.gpus
    ]
    if whole and resources.workers == 1 and max(cores, default=0.0) > resources.cpus:
        wide = resources.model_copy(update={"cpus": max(cores)})
        place = placement_group(wide.bundles())
        if place.wait(_ROOM):
            return place, wide
        remove_placement_group(place)  # other tasks are running there
    return placement_group(resources.bundles()), resources
