"""The driver: runs a search on Ray Tune until its budget is spent, whatever happens to its
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
from hopsearch.orchestration.failures.loss_causes import Cause
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.adapter import StudyScheduler, StudySearch, StudySearcher, plain_actors
from hopsearch.ray_backend.worker_overseer import Overseer
from hopsearch.ray_backend.workers.worker import TrialWorker
from hopsearch.ray_backend.workers.worker_deaths import death_of
from hopsearch.study import Study

_RESTARTS = 3  # of Tune in a row without a new epoch


def run_search(
    dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool = False
) -> None:
    """Run trials on the connected cluster until the budget is spent or nothing is left to try, and
    conclude.

    Where it is cut off, by an error or an interruption, trials that are not over are left open too.

    Args:
        dispatcher: the desk.
        resources: what a trial is given.
        slots: how many trials may run at once.
        forked: as in `connect`.

    Raises:
        UserError: the search cannot continue and the user must act; all finished epochs are in the
            study.
        RuntimeError: Tune fails again and again, or trials end in errors of ours.
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
        # a full disk, or the study is another's by now
        with signals.held(), contextlib.suppress(UserError, OSError):
            leave(dispatcher, why)
        raise


def _run_to_the_end(
    dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool
) -> None:
    idle = 0
    while not dispatcher.finished:
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
            continue  # with fewer trials at once, until one does not fit alone
        idle = 0 if dispatcher.study.epochs > before else idle + 1
        if idle >= _RESTARTS and not dispatcher.finished:
            raise RuntimeError(
                f"Ray Tune stopped {_RESTARTS} times in a row without an epoch"
            ) from failure
    if dispatcher.error is not None:
        raise dispatcher.error


def _fit(dispatcher: Dispatcher, resources: TrialResources, slots: int, forked: bool) -> None:
    # of snapshots that no one reads
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    # of workers that left or were lost, which is told elsewhere
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    # By default Tune reserves room for one trial at a time, and a cluster would grow machine by
    # machine.
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
                # a lost worker is the dispatcher's to judge: it hands the trial out again
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
    """What an interrupted search leaves, in a sentence."""
    running = sum(not record.state.ended for record in study.records.values())
    counted = len(study.counted())
    return (
        f"Saved: {counted} trials ({running} to be continued), {study.epochs} epochs. Run the same "
        f"command to resume."
    )
