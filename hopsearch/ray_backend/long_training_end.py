"""The end of a long training: writes the best epoch's model, and tests it once."""

from collections.abc import Callable
from pathlib import Path

from hopsearch.core.errors import StudyError
from hopsearch.jobs.job import Job
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.workers.ray_errors import LOST, death_of
from hopsearch.ray_backend.workers.watched_training import Seat
from hopsearch.study import State, TrialRecord

_TRIES = 3


def finish_training(
    job: Job,
    resources: TrialResources,
    target: Path,
    mirror: str,
    images: int,
    say: Callable[[str], None],
) -> dict[str, object]:
    """Write the best epoch's model into ``target``, and a copy into ``mirror``, with its test
    accuracy; see `JobRun.finish`.

    Args:
        job: the training's job.
        resources: of a rank; one is enough.
        target, mirror: destinations of the model.
        images: number of images that may have to be decoded.
        say: receives a message about a hanging worker.

    Raises:
        StudyError: its worker was lost repeatedly.
    """
    record = TrialRecord(0, State.RUNNING)
    detail = ""
    for _ in range(_TRIES):
        seat = Seat(job, resources.model_copy(update={"workers": 1}), "training")
        try:
            return seat.finish(str(target.resolve()), mirror, record, images, say)
        except LOST as error:  # its machine is gone, or it was killed since it hung
            detail = death_of(error).detail
        finally:
            seat.close()
    rule = f"the evaluation's worker was lost {_TRIES} times in a row: {detail}"
    raise StudyError(str(target), rule, "Run the same command again; completed epochs are saved")
