"""Mediates between the study and the trial runner: hands out jobs, takes in progress, enforces the
budget.

Independent of Ray, so a search can be driven by Ray Tune, by a plain loop in a test, or by a
simulator.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hopsearch.core import paths
from hopsearch.core.config import Settings
from hopsearch.core.errors import StudyError, UserError
from hopsearch.jobs.job import Job, Progress, failure_of
from hopsearch.jobs.kept_metrics import journalled
from hopsearch.orchestration.admission import assess
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.checkpoint_cleanup import CheckpointConfig, Checkpoints
from hopsearch.orchestration.failures.death_causes import CRASH, Cause, Death
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.orchestration.failures.lost_epochs import Booking
from hopsearch.orchestration.failures.lost_workers import Losses
from hopsearch.orchestration.observer import Observer
from hopsearch.orchestration.trial_queue import TrialQueue
from hopsearch.storage.mirror import JournalMirror, Place
from hopsearch.study import Admission, State, Study, TrialRecord
from hopsearch.study.record.journal_keys import SECONDS
from hopsearch.tasks import FactsLike, task_of
from hopsearch.training import Constraint, Row, TrialConfig

_NOTE_SECONDS = 5  # minimum time between two records of the search's duration
_BUGS = 3  # consecutive trials that end in an internal error before the search gives up

_LOG = logging.getLogger(__name__)


@dataclass
class Dispatcher:
    """Hands trials to workers and enforces the budget.

    Attributes:
        study: the single source of truth.
        data, facts: what the trials are trained on.
        budget: see `Budget`; seconds and epochs count over all runs of the study.
        observers: notified of every event.
        threads: CPU threads of a trial.
        place: where the study's copy is, if it has one.
        journal: the copy of its journal, if it has one.
        keeping: which checkpoints are kept.
        say: prints a message to the user.
        error: the user error that ended the search, if any.
        queue: which trials are handed out, and why no more are.
    """

    study: Study
    data: Settings
    facts: FactsLike
    constraint: Constraint
    budget: Budget
    observers: tuple[Observer, ...] = ()
    threads: int = 1
    place: Place = field(default_factory=lambda: Place(Path()))
    journal: JournalMirror | None = None
    keeping: CheckpointConfig = field(default_factory=CheckpointConfig)
    say: Callable[[str], None] = _LOG.info
    clock: Callable[[], float] = time.monotonic
    error: Exception | None = None
    _admitted: tuple[dict[str, object], TrialConfig | None] = field(
        default_factory=lambda: ({}, None)
    )
    _bugs: int = 0
    _noted: float = 0.0  # seconds, as recorded in the study
    _until: float | None = None  # when the search was over, by the clock

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._before = self.study.seconds
        self._noted = self._before
        self.watch = Watch(self.clock)
        self.losses = Losses(self.say)
        self._booking = Booking(self.study, self.watch)
        self.queue = TrialQueue(self.study, self.budget, self.admit, lambda: self.seconds, self.say)
        for number in self.queue.interrupted:
            self._booking.resumed(self.study.records[number])
        self.checkpoints = Checkpoints(self.study, self.place, self.keeping, self.journal, self.say)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this and all earlier runs of the search."""
        return self._before + (self.clock() if self._until is None else self._until) - self._began

    @property
    def left(self) -> list[str]:
        """The remainder of the budgets, in words."""
        return self.budget.left(self.study, self.seconds)

    def admit(self, config: dict[str, object]) -> Admission:
        """The cost of a proposed configuration, and whether it satisfies the constraints; an
        invalid setting is a user error.
        """
        identity = self.study.identity
        admission, trial = assess(config, self.facts, self.constraint, identity)
        self._admitted = (dict(config), trial)
        return admission

    def next_job(self) -> Job | None:
        """The next trial to train: interrupted ones before new ones. None: nothing now."""
        again = bool(self.queue.interrupted)
        record = None
        try:
            record = self.queue.next()
            if record is None:
                self._over()
                return None
            for observer in self.observers:
                observer.begin(record)
            job = self.job(record, fresh=not again and not record.curve)
        except (UserError, OSError) as error:
            self._give_up(error)
            if record is not None:
                self.queue.out.discard(record.number)
            return None
        self.watch.handed_out(record.number)
        return job

    def take(self, number: int, progress: Progress) -> bool:
        """Take in a worker's progress; returns whether the trial continues."""
        try:
            return self._take(number, progress)
        except (UserError, OSError) as error:
            self._give_up(error)
            self.queue.out.discard(number)
            return False

    def _give_up(self, error: Exception) -> None:
        # Tune would attribute an exception in its callbacks to the trial; a full disk affects the
        # whole search.
        if not isinstance(error, UserError):
            error = StudyError(
                str(self.study.folder),
                f"cannot write to the study folder: {error}",
                "Free some space and run it again",
            )
        self._stop(str(error), error)

    def _over(self) -> None:
        if self.queue.stopped or self.queue.out:
            return
        retired = self.study.retire()
        for record in retired:
            self._ended(record)
        if retired:
            self.say(f"paused trials that were not promoted: {len(retired)}")
        if not self.queue.full:
            self._stop(
                "every configuration of the space has been tried or violates the constraints"
            )

    def _take(self, number: int, progress: Progress) -> bool:
        if number not in self.queue.out:
            return False  # Tune reports a trial's end once more
        record = self.study.records[number]
        known = record.epoch
        self.watch.heard(record, trained=not progress.history)
        for row in progress.rows:
            if record.state == State.RUNNING and int(row["epoch"]) > record.epoch:
                self._report(record, row)
            elif not progress.history:
                self._booking.again(number, row["seconds"])
        if record.epoch > known:
            self.losses.new_epoch(number)
        if progress.rows:
            self.checkpoints.saved(number, progress.held)
        self.show(record, progress)
        if progress.failure == "search":
            self._booking.failed(record, progress.failed_epochs, progress.failed_seconds)
            self._stop(progress.reason, UserError(f"trial {number}", progress.reason))
        elif progress.failure == "trial" and record.state == State.RUNNING:
            self.study.fail(
                number,
                progress.reason,
                not progress.trace,
                progress.failed_epochs,
                progress.failed_seconds,
            )
            self._note_bug(record, progress)
        if record.state.ended:
            self._ended(record)
        elif record.state == State.PAUSED:
            self.checkpoints.sweep()
        self._note_time()
        goes_on = self.queue.goes_on(record)
        if not goes_on:
            self.queue.out.discard(number)
            self.watch.gone(number)
        return goes_on

    def show(self, record: TrialRecord, progress: Progress) -> None:
        """Tell the observers of progress."""
        for observer in self.observers:
            observer.rows(record, progress.rows)
            if progress.pictures:
                observer.pictures(record, progress.pictures)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is used up: workers must then leave in the middle of an epoch."""
        return self.budget.seconds is not None and self.seconds >= self.budget.seconds

    def lose(self, number: int, death: Death = CRASH) -> None:
        """A worker was lost: its trial continues from its checkpoint, unless it has caused several
        losses without progress.

        Args:
            number: the trial.
            death: why the worker is gone.
        """
        try:
            if number in self.queue.out:
                self.queue.out.discard(number)
                self._lose(self.study.records[number], death)
        except (UserError, OSError) as error:
            self._give_up(error)

    def _lose(self, record: TrialRecord, death: Death) -> None:
        self._booking.lost(record, saved=death.cause == Cause.LEFT)
        self.watch.gone(record.number)
        # At the end of a search, workers that do not respond are killed.
        reason = (
            ""
            if self.queue.stopped
            else self.losses.verdict(record.number, death, len(self.queue.out))
        )
        if reason:
            self._ended(self.study.fail(record.number, reason, learn=death.cause == Cause.MEMORY))
        else:
            self.queue.put_back(record.number)

    def stop_clock(self) -> None:
        """Stop the search's clock; what follows, such as the winner's training, is not charged to
        it.
        """
        if self._until is None:
            self._until = self.clock()

    def requeue(self, death: Death | None = None) -> None:
        """Nothing handed out has returned: hand it out again.

        Args:
            death: why one of the workers was lost, if that ended the run.
        """
        if death is not None and death.cause == Cause.MEMORY and self.queue.out:
            self.lose(max(self.queue.out), death)  # the youngest: Ray's monitor kills that one
        for number in sorted(self.queue.out):
            self._booking.lost(self.study.records[number], saved=False)
            self.watch.gone(number)
            self.queue.put_back(number)

    def job(self, record: TrialRecord, fresh: bool = False) -> Job:
        """The job that trains a record's configuration; see `Job.fresh`."""
        identity = self.study.identity
        return Job(
            number=record.number,
            task=identity.space.task,
            trial=self._trial(record),
            data=self.data,
            folder=str(self.checkpoints.folder(record.number).resolve()),
            mirror=self.place.below(str(paths.trial(record.number))),
            fence=self.place.fence,
            fresh=fresh,
            objective=self.study.objective,
            maximize=self.study.sign > 0,
            latency=bool(
                self.constraint.max_latency
                or any(costs.name == "latency" for costs in self.study.objectives)
            ),
            threads=self.threads,
            pictures=self.study.identity.space.fidelity.rungs[1:],  # most trials end at the first
        )

    def _trial(self, record: TrialRecord) -> TrialConfig:
        # A new trial's settings were resolved to admit it, before it had a seed.
        values, trial = self._admitted
        if trial is not None and values == record.config:
            return trial.model_copy(update={"seed": record.seed})
        identity = self.study.identity
        task = task_of(identity.space)
        return task.resolve(record.config, self.facts, record.seed, identity.recipe)

    def _report(self, record: TrialRecord, row: Row) -> None:
        value = row.get(self.study.objective)
        if value is None:
            known = ", ".join(sorted(row))
            error = StudyError(
                self.study.identity.name,
                f"objective {self.study.objective!r} must be a metric",
                f"Known: {known}",
            )
            self._stop(str(error), error)
        elif value != value or abs(value) == float("inf"):
            reason = f"diverged: {self.study.objective} is {value}"
            self.study.fail(record.number, reason, epochs=1, seconds=row["seconds"])
        else:
            if "latency" in row:
                if "latency" not in record.cost:
                    self.study.measure(record.number, {"latency": row["latency"]})
                if broken := self.constraint.too_slow(record.cost["latency"]):
                    self.study.exclude(
                        record.number, "latency", *broken, epochs=1, seconds=row["seconds"]
                    )
                    return
            epoch = int(row["epoch"])
            newest = str(
                (self.checkpoints.folder(record.number) / f"epoch_{epoch:04d}.pt").relative_to(
                    self.study.folder
                )
            )
            seconds = record.seconds + row["seconds"]
            metrics = [metric.name for metric in self.study.identity.metrics]
            kept = journalled(row, self.study.objective, metrics)
            self.study.report(record.number, epoch, value, seconds, newest, *kept)

    def _note_bug(self, record: TrialRecord, progress: Progress) -> None:
        self._bugs = self._bugs + 1 if progress.trace else 0
        if progress.trace:
            self.checkpoints.folder(record.number).mkdir(parents=True, exist_ok=True)
            (self.checkpoints.folder(record.number) / "error.txt").write_text(
                progress.trace, encoding="utf-8"
            )
        if self._bugs >= _BUGS:
            self._stop(f"{_BUGS} trials in a row ended in an error", failure_of(progress))

    def _ended(self, record: TrialRecord) -> None:
        self.queue.out.discard(record.number)
        for observer in self.observers:
            observer.end(record)
        self.checkpoints.sweep()

    def note_seconds(self) -> None:
        """Record the wall-clock seconds of this study's runs."""
        self.study.note(SECONDS, round(self.seconds, 2))

    def _note_time(self) -> None:
        # Also while no trial ends: a search that is killed repeatedly would otherwise restart its
        # time budget each time.
        if self.seconds >= self._noted + _NOTE_SECONDS:
            self._noted = self.seconds
            self.note_seconds()

    def _stop(self, why: str, error: Exception | None = None) -> None:
        self.queue.stop(why)
        self.error = self.error or error
