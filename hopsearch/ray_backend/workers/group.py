"""The processes of one trial: this one is rank 0, the others are actors in its placement group, all
kept warm between trials.

They connect through torch.distributed, and stay connected until one of them fails; then the group
is formed again.
"""

import datetime
import os
from pathlib import Path

import ray
import torch
import torch.distributed as dist
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in __all__

from hopsearch.jobs.job import JobRun, Progress, cause
from hopsearch.ray_backend.cluster.network_interface import hosted_store, meet_where_ray_does
from hopsearch.ray_backend.workers.sealed_job import unseal
from hopsearch.ray_backend.workers.spot_notice import (
    Notice,
    draining,
    leave_key,
    this_node,
    told_to_leave,
)
from hopsearch.training import Ranks

# timeout of a group operation; a rank that dies is noticed at once
_PATIENCE = datetime.timedelta(minutes=10)


class Leaving(Exception):  # noqa: N818  # not an error: to the study it is a worker lost with everything saved
    """A machine of the group is being preempted."""


class RankProcess:
    """A rank's process: joins a group, takes a job, and works on it in step with the others."""

    def __init__(self, gpus: float) -> None:
        keep_to_assigned_gpus(gpus)
        self._notice = _notice()

    def join(self, rank: int, world: int, host: str, port: int) -> None:
        """Become ``rank`` of a group that meets at ``host:port``."""
        Ranks().leave()
        _meet(rank, TCPStore(host, port, world, is_master=False, timeout=_PATIENCE), world)

    def start(self, job: str) -> None:
        """Take the next job."""
        self._work = JobRun(unseal(job))

    def advance(self) -> str:
        """One epoch, together with the other ranks."""
        return self._work.advance(self._notice).model_dump_json()


class RankGroup:
    """One rank per bundle of the current placement group, at least this process.

    Args:
        cpus, gpus: of a rank.
    """

    def __init__(self, cpus: float, gpus: float) -> None:
        keep_to_assigned_gpus(gpus)
        place = ray.util.get_current_placement_group()
        self._world = len(place.bundle_specs) if place else 1
        self._whole = False
        actor = ray.remote(RankProcess)
        self._others = [
            actor.options(
                num_cpus=cpus,
                num_gpus=gpus,
                scheduling_strategy=PlacementGroupSchedulingStrategy(place, bundle),
            ).remote(gpus)
            for bundle in range(1, self._world)
        ]
        self._work: JobRun | None = None
        self._notice = _notice()

    def start(self, job: str) -> None:
        """Give all ranks the next job."""
        if self._world > 1 and not self._whole:
            self._gather()
        ray.get([rank.start.remote(job) for rank in self._others])
        self._work = JobRun(unseal(job))

    def advance(self) -> Progress:
        """One epoch on all ranks.

        Raises:
            RayActorError: a rank's process or machine is gone; the trial can continue in another
                group.
            Leaving: a machine is being preempted; the step is saved.
        """
        assert self._work is not None, "start comes first"
        theirs = [rank.advance.remote() for rank in self._others]
        told = [self._work.advance(self._notice)]
        told += [Progress.model_validate_json(text) for text in ray.get(theirs)]
        failed = [progress for progress in told if progress.failure]
        self._whole = self._whole and not failed
        if failed and all(progress.others_gone for progress in failed):
            # the ranks lost connection: no fact about the trial
            raise RuntimeError(failed[0].trace)
        if told[0].paused:
            raise Leaving("this machine is being preempted; the trial continues elsewhere")
        return cause(failed) if failed else told[0]

    def settle_threads(self, most: int) -> int:
        """See `JobRun.settle_threads`; for a group of one."""
        assert self._work is not None, "start comes first"
        return self._work.settle_threads(most)

    def finish(self, target: Path, mirror: str) -> dict[str, object]:
        """See `JobRun.finish`; only rank 0 does it."""
        assert self._work is not None, "start comes first"
        self._whole = False
        return self._work.finish(target, mirror)

    def close(self) -> None:
        """End the other ranks' processes."""
        for rank in self._others:
            ray.kill(rank)

    def _gather(self) -> None:
        Ranks().leave()
        host = ray.util.get_node_ip_address()
        store = hosted_store(host, 0, self._world, _PATIENCE)
        coming = [
            rank.join.remote(number, self._world, host, store.port)
            for number, rank in enumerate(self._others, start=1)
        ]
        _meet(0, store, self._world)
        ray.get(coming)
        self._whole = True


def _meet(rank: int, store: TCPStore, world: int) -> None:
    meet_where_ray_does()
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)


def keep_to_assigned_gpus(gpus: float) -> None:
    """Hide GPUs from a process that was assigned none: Ray leaves all visible, and device=auto
    would use one.
    """
    if not gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _notice() -> Notice:
    node = this_node()
    key = leave_key()
    return Notice(lambda: draining(node) or told_to_leave(key))
