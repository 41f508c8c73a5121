"""The driver: runs a search on Ray Tune until its budget is used up, whatever happens to its
workers.
"""

import contextlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from ray import tune

from hopsearch.command_line import signals
from hopsearch.core.errors import UserError
from hopsearch.orchestration.closing import conclude, leave
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.failures.death_causes import Cause
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.adapter import StudyScheduler, StudySearch, StudySearcher, plain_actors
from hopsearch.ray_backend.worker_overseer import Overseer
from hopsearch.ray_backend.workers.ray_errors import death_of
from hopsearch.ray_backend.workers.worker import TrialWorker
from hopsearch.study import Study

_RESTARTS = 3  # restarts of Tune in a row without a new epoch


def run_search(
    dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool = False
) -> None:
    """Run trials on the connected cluster until the budget is used up or nothing is left to try,
    and conclude.

    If it is interrupted or ends in an error, unfinished trials are left open too.

    Args:
        dispatcher: of the search.
        resources: of a trial.
        slots: maximum number of concurrent trials.
        forked: as in `connect`.

    Raises:
        UserError: the search cannot continue and the user must act; all finished epochs are in the
            study.
        RuntimeError: Tune fails repeatedly, or trials end in internal errors.
    """
    try:
        _run_to_the_end(dispatcher, resources, slots, forked)
        conclude(dispatcher)
    except BaseException as error:
        why = (
            "interrupted"
            if isinstance(error, KeyboardInterrupt)
            else "stopped: the search ended in an error"
        )
        # a full disk, or another process has taken the study over
        with signals.held(), contextlib.suppress(UserError, OSError):
            leave(dispatcher, why)
        raise


def _run_to_the_end(
    dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool
) -> None:
    idle = 0
    while not dispatcher.queue.finished:
        before = dispatcher.study.epochs
        failure: Exception | None = None
        try:
            _fit(dispatcher, resources, slots, forked)
        # e.g. Ray's memory monitor: it ends Tune's whole run, not only the trial
        except Exception as error:
            failure = error
        death = death_of(failure) if failure else None
        dispatcher.requeue(death)
        if death is not None and death.cause == Cause.MEMORY:
            continue  # with fewer concurrent trials, until one does not fit alone
        idle = 0 if dispatcher.study.epochs > before else idle + 1
        if idle >= _RESTARTS and not dispatcher.queue.finished:
            raise RuntimeError(
                f"Ray Tune stopped {_RESTARTS} times in a row without an epoch"
            ) from failure
    if dispatcher.error is not None:
        raise dispatcher.error


def _fit(dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool) -> None:
    # about snapshots that no one reads
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    # about workers that left or were lost, which is reported elsewhere
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    # By default Tune reserves resources for one trial at a time, and a cluster would grow machine
    # by machine.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
    searcher = StudySearcher(dispatcher, resources, slots)
    overseer = Overseer(searcher, dispatcher)
    scratch = Path(tempfile.mkdtemp(prefix="hopsearch-tune-"))
    try:
        with signals.given_back(), plain_actors() if forked else contextlib.nullcontext():
            tune.run(
                tune.with_resources(TrialWorker, tune.PlacementGroupFactory(resources.bundles())),
                name="search",
                num_samples=-1,
                search_alg=StudySearch(searcher, dispatcher),
                scheduler=StudyScheduler(searcher, dispatcher),
                storage_path=str(scratch),
                reuse_actors=True,
                # lost workers are handled by the dispatcher, which hands the trial out again
                max_failures=0,
                raise_on_failed_trial=False,
                verbose=0,
                callbacks=[overseer],
                trial_dirname_creator=lambda trial: trial.trial_id,
                trial_name_creator=lambda trial: trial.trial_id,
            )
    finally:
        overseer.close()
        shutil.rmtree(scratch, ignore_errors=True)


def interrupted(study: Study) -> str:
    """The state of an interrupted search, in a sentence."""
    running = sum(not record.state.ended for record in study.records.values())
    counted = len(study.counted())
    return (
        f"Saved: {counted} trials ({running} to be continued), {study.epochs} epochs. Run the same "
        f"command to resume."
    )
