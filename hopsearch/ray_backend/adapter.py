"""The adapter between Ray Tune and the study: Tune requests trials and decisions, the study
answers.

Tune's own search state and snapshots are never read back, so both classes pickle as empty.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray.tune.execution import tune_controller
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher, SearchGenerator

from hopsearch.jobs.job import Progress
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.workers.ray_errors import death_of
from hopsearch.ray_backend.workers.sealed_job import seal
from hopsearch.ray_backend.workers.worker import CPUS, GPUS, JOB, PROGRESS


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray has no types
    """Passes the dispatcher's jobs to Tune, and lost workers back to the dispatcher.

    Args:
        dispatcher: of the search.
        resources: of a trial.
        slots: maximum number of concurrent trials.
    """

    def __init__(self, dispatcher: Dispatcher, resources: TrialResources, slots: int) -> None:
        super().__init__(metric=PROGRESS, mode="max")
        self._dispatcher = dispatcher
        self._resources = resources
        self._slots = slots
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, object] | str | None:
        """A job; None if there is none now; FINISHED if no more can come."""
        if self._dispatcher.queue.finished:
            return str(Searcher.FINISHED)
        if len(self._dispatcher.queue.out) >= min(
            self._slots, self._dispatcher.losses.room or self._slots
        ):
            return None
        job = self._dispatcher.next_job()
        if job is None:
            return str(Searcher.FINISHED) if self._dispatcher.queue.finished else None
        self._numbers[trial_id] = job.number
        return {JOB: seal(job), CPUS: self._resources.cpus, GPUS: self._resources.gpus}

    def number_of(self, trial_id: str) -> int:
        """The study's number of one of Tune's trials."""
        return self._numbers[trial_id]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Only errors matter: workers report everything else in their progress; an error is a lost
        worker.
        """
        if error and trial_id in self._numbers:
            self._dispatcher.lose(self._numbers[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the truth."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the study is the truth."""

    def __getstate__(self) -> dict[str, object]:
        return {}


class StudySearch(SearchGenerator):  # type: ignore[misc]  # Ray has no types
    """Tells Tune that the search is over as soon as nothing is left to hand out, and that it is not
    when a trial returns.

    Tune keeps a warm worker, and so a machine, for a possible next trial; during the last trials
    one would be idle.
    """

    def __init__(self, searcher: StudySearcher, dispatcher: Dispatcher) -> None:
        super().__init__(searcher)
        self._dispatcher = dispatcher

    def is_finished(self) -> bool:
        """Whether no trial is waiting for a worker."""
        return not self._dispatcher.queue.waiting


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray has no types
    """Passes progress to the dispatcher and its verdict back to Tune."""

    def __init__(self, searcher: StudySearcher, dispatcher: Dispatcher) -> None:
        super().__init__()
        self._searcher = searcher
        self._dispatcher = dispatcher

    def on_trial_result(
        self, tune_controller: object, trial: Trial, result: dict[str, object]
    ) -> str:
        """Report, decide."""
        return self._take(trial, result)

    def on_trial_complete(
        self, tune_controller: object, trial: Trial, result: dict[str, object]
    ) -> None:
        """Tune sends a trial's last result here and not to `on_trial_result`."""
        self._take(trial, result)

    def on_trial_error(self, tune_controller: object, trial: Trial) -> None:
        """Tune calls this first, then tells the searcher that there was an error; only the trial's
        file says which.
        """
        self._dispatcher.lose(
            self._searcher.number_of(trial.trial_id),
            death_of(Path(trial.error_file).read_text(encoding="utf-8", errors="replace")),
        )

    def _take(self, trial: Trial, result: dict[str, Any]) -> str:
        number = self._searcher.number_of(trial.trial_id)
        goes_on = self._dispatcher.take(number, Progress.model_validate_json(result[PROGRESS]))
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def __getstate__(self) -> dict[str, object]:
        return {}


class _PlainActors(_ActorClassCache):  # type: ignore[misc]  # Ray has no types
    def get(self, trainable_cls: type) -> Any:
        if trainable_cls not in self._cache:
            self._cache[trainable_cls] = ray.remote(trainable_cls)
        return self._cache[trainable_cls]


@contextlib.contextmanager
def plain_actors() -> Iterator[None]:
    """Let Tune's actors use the environment of the cluster's processes.

    Tune gives them a separate environment, so Ray starts new processes for them and leaves existing
    ones idle (observed in 2.60). On a cluster of our own, that environment adds nothing.
    """
    before = tune_controller._ActorClassCache
    tune_controller._ActorClassCache = _PlainActors
    try:
        yield
    finally:
        tune_controller._ActorClassCache = before
