"""A place on the cluster for one training or evaluation outside the search, watched: its processes
are killed where they hang.
"""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.workers.hanging_workers import awaited, to_read
from hopsearch.ray_backend.workers.worker import Finisher, answer
from hopsearch.study import TrialRecord
from hopsearch.training import Row
from hopsearch.training.process.job import Job, Progress

_ROOM = 15  # seconds to wait for a whole machine
_RESUMES = "the training resumes from the last epoch"


class Seat:
    """A training's place on the cluster, and its processes.

    Args:
        job: what is trained or evaluated.
        resources: what each process is given.
        who: whose, in what is said.
        whole: take all cores of one machine, if it is free soon.
    """

    def __init__(self, job: Job, resources: TrialResources, who: str, whole: bool = False) -> None:
        self.job, self.rows, self._who, self._placed = job, dict[int, Row](), who, False
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
        """Take another training: the processes are kept, which take longer to start than a small
        model to train.

        Returns:
            As `advance`, of its first epoch.
        """
        self.job, self.rows = job, {}
        self._watch.handed_out(job.number)
        return self._actor.start.remote(job.model_dump_json())

    def settle_threads(self, record: TrialRecord, say: Callable[[str], None]) -> int:
        """Train with all the cores there are, if that is faster; returns how many threads."""
        if self._threads <= self.job.threads:
            return self.job.threads
        reference = self._actor.settle_threads.remote(self._threads)
        awaited(reference, lambda: self.kill_if_it_hangs(record, say))
        self._watch.handed_out(record.number)
        return int(answer(reference))

    def advance(self) -> Any:
        """A reference to what comes of one epoch, to be given to `take`."""
        return self._actor.advance.remote()

    def kill_if_it_hangs(
        self,
        record: TrialRecord,
        say: Callable[[str], None],
        least: float = 0.0,
        what: str = "epoch",
        then: str = _RESUMES,
    ) -> None:
        """End its processes if nothing was heard of them for too long; the time that it waits for a
        machine does not count.

        Args:
            record: the trial.
            say: told why.
            least, what: as of `Watch.hangs`.
            then: how it continues.
        """
        if not self._placed:
            self._placed = placement_group_table(self._place)["state"] == "CREATED"
            self._watch.handed_out(record.number)
        if why := self._watch.hangs(record, last=True, least=least, what=what):
            say(f"{self._who}: {why}; its worker is killed, {then}")
            self.kill()

    def take(self, reference: Any, record: TrialRecord) -> Progress:
        """What came of an epoch.

        Args:
            reference: as of `advance`.
            record: the trial.

        Raises:
            RuntimeError: it ended in an error of ours.
            RayActorError, OutOfMemoryError, Leaving: its machine is gone or short of memory, or
                about to be gone.
        """
        progress = Progress.model_validate_json(answer(reference))
        if progress.trace:
            raise RuntimeError(
                f"the training of trial {self.job.number} ended in an error:\n{progress.trace}"
            )
        self.rows |= {int(row["epoch"]): row for row in progress.rows}
        self._placed = True
        self._watch.heard(record, trained=not progress.history)
        return progress

    def finish(
        self, target: str, mirror: str, record: TrialRecord, images: int, say: Callable[[str], None]
    ) -> dict[str, Any]:
        """See `JobRun.finish`; ``images`` is how many it may have to decode."""
        reference, then = (
            self._actor.finish.remote(target, mirror),
            "another one evaluates the model",
        )
        self._watch.handed_out(record.number)
        awaited(
            reference,
            lambda: self.kill_if_it_hangs(record, say, to_read(images), "test accuracy", then),
        )
        facts: dict[str, Any] = answer(reference)
        return facts

    def kill(self) -> None:
        """End its processes; whoever waits for them is told that they are gone."""
        ray.kill(self._actor)

    def close(self) -> None:
        """End its processes and give the place back."""
        self.kill()
        remove_placement_group(self._place)


def _room(resources: TrialResources, whole: bool) -> tuple[Any, TrialResources]:
    """A placement group, and what it gives each process; with ``whole`` all cores of one machine,
    if it is free soon.
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
        remove_placement_group(place)  # others are at work there
    return placement_group(resources.bundles()), resources
