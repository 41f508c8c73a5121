"""The warm worker: trains trial after trial, keeping torch, the data and compiled kernels
loaded.
"""

from pathlib import Path
from typing import Any

import ray
from ray.tune import Trainable
from ray.tune.result import DONE

from hopsearch.core.errors import CheckpointError, StudyError, UserError
from hopsearch.ray_backend.workers.group import RankGroup

JOB = "job"
PROGRESS = "progress"
CPUS = "cpus"
GPUS = "gpus"


class TrialWorker(Trainable):  # type: ignore[misc]  # Ray has no types
    """Ray Tune's view of a `RankGroup`; jobs and progress cross as JSON text, which Tune neither
    flattens nor renames.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first job; it is built in the first `step`, so that its failures are reported
        like any others.
        """
        self._group = RankGroup(config[CPUS], config[GPUS])
        self._group.start(config[JOB])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next job and keep the processes."""
        self._group.start(new_config[JOB])
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        progress = self._group.advance()
        return {
            PROGRESS: progress.model_dump_json(),
            DONE: progress.done or progress.failure is not None,
        }

    def cleanup(self) -> None:
        """End the other ranks."""
        self._group.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the trial's own checkpoints are in the study's folder, and Ray's experiment
        folder is temporary.
        """

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing, as for `save_checkpoint`."""


def answer(reference: object) -> Any:
    """The result of a `Finisher`; its errors are converted to local ones.

    Raises:
        UserError: the user must act; without the other process's traceback.
        RayActorError, RayTaskError: its machine is gone; an internal error.
    """
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        if isinstance(error.cause, (CheckpointError, OSError)):
            rule = (
                f"its best checkpoint must be readable and its files writable, got: {error.cause}"
            )
            raise StudyError(
                "winner",
                rule,
                "Check the disk, and that all machines can reach the folder, then run it again",
            ) from None
        raise


@ray.remote
class Finisher:
    """An actor that finishes the winner: its remaining epochs, its test accuracy, its files."""

    def __init__(self, job: str, cpus: float, gpus: float) -> None:
        self._group = RankGroup(cpus, gpus)
        self._group.start(job)

    def start(self, job: str) -> str:
        """Start another training in the same processes; returns its first epoch, as `advance`
        does.
        """
        self._group.start(job)
        return self.advance()

    def settle_threads(self, most: int) -> int:
        """See `JobRun.settle_threads`."""
        return self._group.settle_threads(most)

    def advance(self) -> str:
        """One epoch, as `Progress` in JSON."""
        return self._group.advance().model_dump_json()

    def finish(self, target: str, mirror: str) -> dict[str, Any]:
        """See `JobRun.finish`."""
        return self._group.finish(Path(target), mirror)
