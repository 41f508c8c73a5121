"""A trial as a job that can be sent to another process: train an epoch, save, say what came of it.
Knows no Ray.
"""

import base64
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from hopsearch.core.config import Settings
from hopsearch.core.errors import CheckpointError, TaskError, TrialFailure, UserError
from hopsearch.core.redaction import formatted, redact
from hopsearch.core.user_code import own_error
from hopsearch.jobs.kept_metrics import journalled
from hopsearch.space import DEFAULT_TASK
from hopsearch.storage.mirror import Mirror
from hopsearch.storage.mirror_lease import Fence
from hopsearch.tasks import TASKS, find_task
from hopsearch.tasks.contract import Data, Run
from hopsearch.tasks.contract_checks import require_metrics, require_tested, started
from hopsearch.tasks.loading import load_data
from hopsearch.training import CheckpointFolder, Paused, Ranks, Row, TrialConfig

FailureKind = Literal["trial", "search"]
Drawn = dict[int, dict[str, str]]

_TIMED_STEPS = 5
_FASTER = 1.1  # at least, for the price of a result that is not the same to the bit
_OTHERS_GONE = (
    "gloo",
    "Gloo",
    "NCCL",
    "process group",
    "Connection closed by peer",
    "Connection reset by peer",
    "Broken pipe",
)


class Job(Settings):
    """All that a worker needs to train a trial, as plain JSON."""

    number: int
    """The trial's number in the study."""
    task: str = DEFAULT_TASK
    """What a trial trains, by name; see `hopsearch.tasks.find_task`."""
    trial: SerializeAsAny[TrialConfig]
    """What to train."""
    data: SerializeAsAny[Settings]
    """What to train it on."""
    folder: str
    """Where its checkpoints go."""
    fence: Fence | None = None
    """What each write to the mirror is checked against."""
    mirror: str = ""
    """A storage that keeps a copy of the folder, e.g. s3://bucket/path, where the machine may not
    outlive the training.
    """
    fresh: bool = False
    """Whether the trial begins now: what its folder holds is then of a trial whose number was lost
    with a machine.
    """
    objective: str = ""
    """The metric whose best epoch is kept; empty: the task's first."""
    maximize: bool = True
    """Whether larger is better, of a metric that is named."""
    latency: bool = False
    """Whether to measure how long the model takes for one image, on the trial's own device."""
    threads: int = Field(default=1, ge=1)
    """CPU threads."""
    pictures: tuple[int, ...] = ()
    """Epochs after which to draw the model for TensorBoard."""

    @field_validator("trial", "data", mode="before")
    @classmethod
    def _of_the_task(cls, value: object, known: ValidationInfo) -> Any:
        # From JSON: which settings there are, the task says.
        if not isinstance(value, Mapping):
            return value
        task = find_task(known.data["task"])
        schema: type[Settings] = task.config if known.field_name == "trial" else task.data
        return schema.model_validate(value)


class Progress(Settings):
    """What a worker says after an epoch."""

    rows: tuple[Row, ...] = ()
    """Epochs, the newest last; after a restart all of them, so that nothing has to be remembered
    elsewhere.
    """
    pictures: Drawn = Field(default_factory=dict)
    """What was drawn, by epoch and tag, as PNG in base64; after a restart all of it."""
    failure: FailureKind | None = None
    """``trial``: this trial cannot go on. ``search``: none can, the user must act (missing data,
    full disk).
    """
    reason: str = ""
    """Why, in a sentence."""
    failed_epochs: int = 0
    """1 where an epoch had begun that it failed in."""
    failed_seconds: float = 0.0
    """How long that had trained."""
    history: bool = False
    """Whether the rows are what a checkpoint tells: nothing was trained for this word."""
    trace: str = ""
    """The traceback of an error that is nobody's mistake but ours."""
    place: str = ""
    """Where it was raised, if in the code of the user's own task."""
    held: int = 0
    """Bytes of the trial's checkpoints, in its storage where it has one."""
    done: bool = False
    """Whether the trial is at full epochs."""
    paused: bool = False
    """Whether the epoch was left in its middle, on request, and saved there."""

    @property
    def others_gone(self) -> bool:
        """Whether this rank failed only because another one did, or is gone."""
        return bool(self.trace) and any(word in self.reason for word in _OTHERS_GONE)


def cause(failed: Sequence[Progress]) -> Progress:
    """Of the failures of several ranks the one that tells most: what is known of the trial, then an
    error of one's own.
    """
    return min(failed, key=lambda progress: (progress.others_gone, bool(progress.trace)))


def failure_of(progress: Progress, what_ended: str = "") -> Exception:
    """The error that ends a training or a search after one with a traceback: the user's to correct,
    if the user's own code raised it.

    Args:
        progress: the failure.
        what_ended: which training, if there are several.
    """
    what = progress.reason.removeprefix("error: ")
    if progress.place:
        hint = (
            "Correct it, or the settings that it was given, then run the same command again; "
            "error.txt in the trial's folder has the traceback"
        )
        return TaskError(progress.place, what, hint)
    which = f"{what_ended}: " if what_ended else ""
    return RuntimeError(f"{which}{progress.reason}\n{progress.trace}")


class JobRun:
    """A `Job` being worked on in this process.

    The first `advance` builds the trial and, where there is a checkpoint, only tells its history.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.folder = CheckpointFolder(Path(job.folder))
        self._mirror = Mirror(job.mirror, job.fence) if job.mirror else None
        self._pictures = Path(job.folder) / "pictures.json"
        self._task = find_task(job.task)
        first = self._task.metrics[0]
        self._objective = job.objective or first.name
        self._maximize = job.maximize if job.objective else first.maximize
        self._run: Run | None = None
        self._stepped = 0.0  # when the current epoch began

    def advance(self, stop: Callable[[], bool] | None = None) -> Progress:
        """Train one epoch and save it; never raises for what is a fact about the trial or the
        user's to mend.

        Among several ranks, all must call it; one that fails leaves the group, so that the others
        do not wait for it.

        Args:
            stop: see `TrialRun.step`; a paused epoch is saved too.
        """
        progress = self._told(stop)
        if progress.failure:
            Ranks().leave()
        return progress

    def _told(self, stop: Callable[[], bool] | None) -> Progress:
        self._stepped = 0.0
        try:
            return self._advance(stop)
        except TrialFailure as failure:
            return self._failed("trial", f"{failure.reason}: {failure}")
        except (UserError, CheckpointError, OSError) as error:
            return self._failed("search", redact(str(error)))
        # a bug of one configuration must not end the search; it is shown with its traceback
        except Exception as error:
            if self.job.task not in TASKS and (mistake := own_error(error)):
                return self._failed("trial", f"error: {mistake.rule}", formatted(error), mistake)
            summary = f"error: {type(error).__name__}: {redact(str(error))}".splitlines()[0]
            return self._failed("trial", summary, formatted(error))

    def _failed(
        self, what: FailureKind, reason: str, trace: str = "", mistake: TaskError | None = None
    ) -> Progress:
        begun = self._stepped > 0
        seconds = time.perf_counter() - self._stepped if begun else 0.0
        return Progress(
            failure=what,
            reason=reason,
            trace=trace,
            place=str(mistake.place) if mistake else "",
            failed_epochs=int(begun),
            failed_seconds=seconds,
        )

    def settle_threads(self, most: int) -> int:
        """Train with ``most`` threads from now on, if a few steps show that to be clearly faster;
        before the first `advance`.

        A small model may be slower with more. The result is then the same but for the order in
        which sums are rounded.

        Returns:
            The number of threads.
        """
        data = load_data(self._task, self.job.data)
        times = {}
        for threads in (self.job.threads, most):
            torch.set_num_threads(threads)
            run = started(self._task, self.job.trial, data)
            if run.device.type != "cpu":
                return self.job.threads
            times[threads] = run.time_epoch(_TIMED_STEPS)
        if times[most] * _FASTER < times[self.job.threads]:
            self.job = self.job.model_copy(update={"threads": most})
        return self.job.threads

    def finish(self, target: Path, mirror: str = "") -> dict[str, object]:
        """Take the best epoch's weights, read the test split once, and write the winner's files.

        Args:
            target: folder of what the task publishes: ``model.safetensors`` and ``config.json``.
            mirror: a storage for a copy of them.

        Returns:
            ``epoch`` of the weights, ``epochs`` trained, the task's metrics of both splits, the
            objective, ``metrics`` (what else the journal would keep of the weights' epoch), and
            what else the task keeps of a winner, see `TrialRun.results`.

        Raises:
            CheckpointError: the trial's best checkpoint is gone.
            TaskError: the task's own code raised an error, or gave no metrics of the test split.
        """
        if self._run is not None and self._run.ranks.world > 1:  # the others have no part in this
            self._run.ranks.leave()
            self._run = None
        run, data = self._built()
        best = self.folder.load_best()
        if best is None:
            raise CheckpointError(
                str(self.folder.path),
                "the best epoch's checkpoint does not exist",
                "Run the command again",
            )
        epochs = run.epoch
        run.load_state_dict(best)
        try:
            with run.evaluating():
                results = run.results(data)
            require_tested(self._task, results)
            self._task.publish(run, target)
        except Exception as error:  # from another process only a user's error is shown as one
            raise own_error(error) or error from None
        if mirror:
            Mirror(mirror, self.job.fence).push(target)
        row = run.history[-1]
        noted = {name: row[name] for name in (*results, self._objective) if name in row}
        metrics = [metric.name for metric in self._task.metrics]
        return {
            "epoch": run.epoch,
            "epochs": epochs,
            # with other threads a sum may round otherwise: the journal's value stands
            **results,
            **noted,
            "metrics": journalled(row, self._objective, metrics)[0],
        }

    def _advance(self, stop: Callable[[], bool] | None) -> Progress:
        if self._run is None:
            run, _ = self._built()
            if run.history:
                return Progress(
                    rows=tuple(run.history),
                    pictures=self._drawn(),
                    held=self._held(),
                    done=run.done,
                    history=True,
                )
        run, _ = self._built()
        first = run.ranks.rank == 0
        if first:
            self._log(run.epoch + 1)
        self._stepped = time.perf_counter()
        try:
            row = run.step(stop)
        except Paused:
            self._save(run)
            return Progress(paused=True)
        require_metrics(self._task, row)
        if self.job.latency and run.epoch == 1:
            row["latency"] = run.measure_latency()
        drawn = self._draw(run)
        self._save(run)
        return Progress(rows=(row,), pictures=drawn, held=self._held(), done=run.done)

    def _save(self, run: Run) -> None:
        if run.ranks.rank == 0:
            run.save(self.folder, self._objective, self._maximize)
            if self._mirror:
                self._mirror.push(self.folder.path)

    def _held(self) -> int:
        return self.folder.size(linked=self._mirror is None)

    def _draw(self, run: Run) -> Drawn:
        if run.epoch not in self.job.pictures or run.ranks.rank > 0:
            return {}
        self.folder.path.mkdir(parents=True, exist_ok=True)
        try:
            with run.evaluating():
                found = self._task.draw(run)
            drawn = {run.epoch: {tag: base64.b64encode(png).decode() for tag, png in found.items()}}
        except Exception as error:  # no picture is worth a trial
            (self.folder.path / "pictures.error.txt").write_text(formatted(error), encoding="utf-8")
            return {}
        self._pictures.write_text(json.dumps(self._drawn() | drawn), encoding="utf-8")
        return drawn

    def _drawn(self) -> Drawn:
        try:
            return {
                int(epoch): pictures
                for epoch, pictures in json.loads(
                    self._pictures.read_text(encoding="utf-8")
                ).items()
            }
        except (OSError, ValueError):  # none yet, or cut off when the process was killed
            return {}

    def _log(self, epoch: int) -> None:
        # Who began which epoch: what was trained twice after a crash can be counted, and a bad
        # machine be found.
        self.folder.path.mkdir(parents=True, exist_ok=True)
        with (self.folder.path / "epochs.log").open("a", encoding="utf-8") as file:
            file.write(f"{epoch} {socket.gethostname()} {os.getpid()}\n")

    def _built(self) -> tuple[Run, Data]:
        # remembered by the process: only the first trial of a worker waits for it
        data = load_data(self._task, self.job.data)
        if self._run is None:
            torch.set_num_threads(self.job.threads)
            self._run = started(self._task, self.job.trial, data)
            if self._run.ranks.rank == 0:
                self._settle_folder()
            self._run.load_newest(self.folder)
        return self._run, data

    def _settle_folder(self) -> None:
        if self.job.fresh:
            self.folder.remove()
            self._pictures.unlink(missing_ok=True)
            if self._mirror:
                self._mirror.clear()
            return
        self.folder.tidy()
        if self._mirror:
            self._mirror.pull(self.folder.path)
