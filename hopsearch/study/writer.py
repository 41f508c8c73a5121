"""Writes a study, from its single writer process: ask, report, finish, and resume after any
interruption.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from hopsearch.study.create import load_or_create
from hopsearch.study.persistence.database import engine_of
from hopsearch.study.persistence.database_lease import DatabaseLease
from hopsearch.study.persistence.stores import MEMORY, StudyLock, open_storage
from hopsearch.study.record import journal_keys
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.trial import Failure, Promotion, State, TrialRecord
from hopsearch.study.sampling.priors import Prior
from hopsearch.study.sampling.proposals import Admit, Proposals
from hopsearch.study.sampling.sampler_view import sampler_view
from hopsearch.study.sampling.samplers import make_sampler
from hopsearch.study.stopping.decisions import Made, decide, in_order, take_in
from hopsearch.study.stopping.finalists import finalist
from hopsearch.study.stopping.pruners import make_pruner
from hopsearch.study.stopping.rung_judgements import Judgement, changes, stored
from hopsearch.study.stopping.rung_values import Evidence
from hopsearch.study.warm_start import WarmStart
from hopsearch.study.writer_state import Writer

_LOG = logging.getLogger(__name__)


class Study(Writer):
    """The single source of truth of a search, durable after every call. A context manager: it holds
    the study's lock.

    Args:
        folder: the study's folder, created if it does not exist.
        identity: what the study is; an existing one must be the same.
        sampler, pruner: by name; a resumed study may use others.
        database: an Optuna storage URL instead of the journal in ``folder``.
        prior: prior beliefs about good values; a resumed study may use others.
        warm_start: another study to learn from; read when this one is created, and stored in it.
        guard: called before every write to the journal; raises if this process may no longer write.
        say: receives messages: about waiting for or taking over a lock, and about judgements of
            rungs made on opening.

    Raises:
        StudyError: unwritable, open elsewhere, or a different study (the message lists the
            differences).
        ConfigError: unknown sampler or pruner.
    """

    def __init__(
        self,
        folder: Path,
        identity: Identity,
        sampler: str,
        pruner: str,
        database: str | None = None,
        prior: Prior | None = None,
        warm_start: WarmStart | None = None,
        guard: Callable[[], None] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        (prior or Prior()).check(identity.space)
        self._pruner = make_pruner(pruner, identity.space.fidelity)
        # an unknown name is rejected before anything is written
        make_sampler(sampler, identity.space, identity.seed, 0)
        self._lock = StudyLock(folder)
        self._lease: DatabaseLease | None = None
        try:
            storage = open_storage(folder, database, writer=True, guard=guard)
            if database and database != MEMORY:
                self._lease = DatabaseLease(engine_of(storage), identity.name, database, say)
            study = load_or_create(
                storage, folder, identity, warm_start.trials() if warm_start else []
            )
            super().__init__(folder, study, identity)
            seen = sampler_view(study, self.objectives, identity.space.fidelity.rungs)
            self._proposals = Proposals(
                seen, identity, sampler, self.records, self.carriers, str(folder), prior or Prior()
            )
            self._evidence = Evidence(self._pruner.bracket)
            self._made = 0
            for record, made in in_order(self.records.values()):
                take_in(self._evidence, record, made, self.objectives)
                self._made = made.order + 1
            self._judgements = super().judgements
            known = len(self._judgements)
            # another rule may have been used before, or the process was killed before recording
            # this
            self._judge()
            for judgement in self._judgements[known:]:
                say(judgement.words(identity.space.fidelity.rungs))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        if self._lease:
            self._lease.release()
        self._lock.release()

    @property
    def count(self) -> int:
        """How many trials count towards ``trials=``."""
        return self._proposals.count

    @property
    def judgements(self) -> list[Judgement]:
        """As in `StudyView`, without reading the storage."""
        return self._judgements

    def next(
        self, admit: Admit, trials: int, reach: int | None = None, pace: float = 0.0
    ) -> TrialRecord | None:
        """The next trial for a free worker: a promoted paused trial, or a new one while there are
        fewer than ``trials``.

        Args:
            admit: computes a configuration's cost and says whether the constraints hold.
            trials: of the study in all.
            reach: epochs that the worker can still train before a budget ends, if known. With few
                left, a paused trial that is ahead at the rungs trains to full epochs, see
                `finalists`.
            pace: the seconds per epoch assumed by ``reach``; a trial too slow to finish is not
                continued. 0 if epochs themselves are counted.

        Returns:
            None if there is nothing to train now. Running trials may lead to more work; if none are
            running, the search is over, and paused trials can be ended with `retire`.

        Raises:
            StudyError: no configuration of the space meets the constraints.
        """
        fresh = self.count < trials
        record = (
            self._send_on(reach, pace) if fresh and reach is not None else None
        ) or self.promote(over=False)
        if record is None and fresh:
            record = self.ask(admit)
        return record or self.promote(over=self._settled())

    def ask(self, admit: Admit) -> TrialRecord | None:
        """A new trial to train, or None if no new admissible configuration is left.

        Args:
            admit: computes a configuration's cost and says whether the constraints hold.

        Raises:
            StudyError: no configuration of the space meets the constraints.
        """
        record = self._proposals.ask(admit)
        if record is not None:
            self._enter(record, State.RUNNING)
        return record

    def promote(self, over: bool) -> TrialRecord | None:
        """The paused trial that the rule promotes, if any.

        Args:
            over: no new trial will start, and no running one will report again.
        """
        return self._go_on(self._pruner.promotion(self._evidence, over), over)

    def _send_on(self, reach: int, pace: float) -> TrialRecord | None:
        fidelity = self.identity.space.fidelity
        chosen = finalist(self._evidence, fidelity, reach)
        if (
            chosen is not None
            and pace
            and self.records[chosen[0]].seconds_to(fidelity.max_epochs) > reach * pace
        ):
            return None
        return self._go_on(chosen, over=False, reach=reach)

    def _go_on(
        self, chosen: tuple[int, int] | None, over: bool, reach: int = 0
    ) -> TrialRecord | None:
        if chosen is None:
            return None
        record = self.records[chosen[0]]
        self._note_promotion(
            record, Promotion(chosen[1], self._made, self._pruner.name, over, reach=reach)
        )
        self._enter(record, State.RUNNING)
        return record

    def retire(self) -> list[TrialRecord]:
        """End the paused trials that will not be promoted, after the search is over. Returns
        them.
        """
        waiting = self.waiting()
        for record in waiting:
            self._note_promotion(
                record,
                Promotion(record.epoch, self._made, self._pruner.name, over=True, retired=True),
            )
            self._end(record, State.PRUNED)
        return waiting

    def resume(self, admit: Admit) -> list[TrialRecord]:
        """Trials that were running when the study was last closed, in order; pending decisions are
        made first.

        Args:
            admit: as in `ask`, for a trial whose proposal was interrupted.
        """
        for record in list(self.records.values()):
            if self._proposals.cut_off(record):
                again = self._proposals.go_on(record, admit)
                self._enter(again, again.state)
            elif record.state == State.RUNNING and record.reason:
                self._end(record, State.FAILED)
            elif record.state == State.RUNNING and record.curve:
                self._settle(record)
        return [record for record in self.counted() if record.state == State.RUNNING]

    def report(
        self,
        number: int,
        epoch: int,
        value: float,
        seconds: float,
        checkpoint: str = "",
        metrics: Mapping[str, float] | None = None,
        peak: Mapping[str, float] | None = None,
    ) -> TrialRecord:
        """Record a trial's objective after an epoch, decide, and end the trial if due.

        A known epoch is ignored, so a worker may repeat reports after a restart.

        Args:
            number: the trial.
            epoch: the trial's own count of epochs, from 1.
            value: the objective, finite.
            seconds: training time of the trial so far.
            checkpoint: path of the checkpoint that holds this epoch, relative to the study's
                folder.
            metrics: other metrics of this epoch; the study keeps those of the newest epoch.
            peak: the same; the study keeps those of the best epoch.

        Returns:
            The record; its state tells whether to continue.
        """
        record = self.records[number]
        if record.state != State.RUNNING or epoch <= record.epoch:
            return record
        kept = _short(metrics)
        spent = self._epochs + epoch - record.epoch
        best = record.best(self.sign)
        rises = best is None or self.sign * (value - best[1]) > 0
        came = record.came or spent
        rose = spent if rises else record.rose
        top = _short(peak) if rises else record.peak
        progress = {
            "seconds": round(seconds, 4),
            "checkpoint": checkpoint,
            "came": came,
            "rose": rose,
        }
        self._set(
            number,
            journal_keys.PROGRESS,
            progress | ({"metrics": kept} if kept else {}) | ({"peak": top} if top else {}),
        )
        self._storage.set_trial_intermediate_value(self._id(number), epoch, value)
        self._trained += seconds - record.seconds
        self._epochs = spent
        record.rose = rose
        record.peak = top
        record.curve[epoch] = value
        record.seconds = seconds
        record.checkpoint = checkpoint
        record.metrics = kept
        if not record.came:
            record.came = came
            self._leaders.come(came)
        if rises:
            self._leaders.rise(number, self._values(record))
        self._settle(record)
        return record

    def fail(
        self, number: int, reason: str, learn: bool = True, epochs: int = 0, seconds: float = 0.0
    ) -> TrialRecord:
        """End a trial that cannot continue: diverged, out of memory, an error. Its places in the
        rungs are freed.

        Args:
            number: the trial.
            reason: why, in words.
            learn: whether the configuration is to blame: the sampler then takes it for the worst.
            epochs: trained or started since the last report; they count in every budget.
            seconds: what these took.
        """
        record = self.records[number]
        made = Failure(reason, self._made, learn, epochs, round(seconds, 4))
        # first: if it is cut off after this, `resume` ends the trial
        self._set(number, journal_keys.FAILURE, asdict(made))
        record.reason = reason
        record.failure = made
        self._take_in(record, made)
        self._book(epochs, seconds)
        self._end(record, State.FAILED)
        if number in self._leaders.values:
            self._lead_again()
        return record

    def exclude(
        self,
        number: int,
        name: str,
        reason: str,
        excess: float,
        epochs: int = 0,
        seconds: float = 0.0,
    ) -> TrialRecord:
        """End a trial that violates a limit which can only be measured where it trains; the sampler
        learns from it.

        Args:
            number: the trial.
            name: what is limited.
            reason: the broken rule.
            excess: by how much, relative.
            epochs, seconds: as of `fail`.
        """
        self._id(number)  # a closed one is reopened first
        self._proposals.learn(number, name, excess)
        self._set(number, journal_keys.BROKEN, excess)
        self.records[number].broken = excess
        return self.fail(number, reason, epochs=epochs, seconds=seconds)

    def _settle(self, record: TrialRecord) -> None:
        # Also runs after a restart: the process may have ended between a report and the decision on
        # it.
        epoch = record.epoch
        if epoch in record.promotions and record.promotions[epoch].retired:
            self._end(record, State.PRUNED)
            return
        if epoch >= self.identity.space.fidelity.max_epochs:
            self._end(record, State.COMPLETE)
            return
        if epoch not in record.decisions and self._pruner.decides_at(epoch, record.number):
            made = decide(self._pruner, record, epoch, self.objectives, self._evidence, self._made)
            self._set(record.number, f"{journal_keys.DECISION}{epoch}", asdict(made))
            record.decisions[epoch] = made
            _LOG.debug("trial %d: %s", record.number, made)
            self._take_in(record, made)
        if epoch in record.decisions and record.decisions[epoch].stop:
            self._end(record, State.PRUNED)
        elif record.waits:
            self._enter(record, State.PAUSED)

    def _settled(self) -> bool:
        last = self.identity.space.fidelity.max_epochs
        return not any(
            self._pruner.decides_at(epoch, number)
            for number in self._open[State.RUNNING]
            for epoch in range(self.records[number].epoch + 1, last)
        )

    def _note_promotion(self, record: TrialRecord, made: Promotion) -> None:
        self._set(record.number, f"{journal_keys.PROMOTION}{made.epoch}", asdict(made))
        record.promotions[made.epoch] = made
        self._take_in(record, made)

    def _take_in(self, record: TrialRecord, made: Made) -> None:
        take_in(self._evidence, record, made, self.objectives)
        self._made = made.order + 1
        self._judge()

    def _judge(self) -> None:
        if new := changes(self._judgements, self._pruner, self._evidence, self._made):
            self._judgements = [*self._judgements, *new]
            self.note(journal_keys.JUDGEMENTS, stored(self._judgements))


def _short(metrics: Mapping[str, float] | None) -> dict[str, float]:
    # Five digits: the journal is read completely, and often.
    return {
        name: float(f"{known:.5g}")
        for name, known in (metrics or {}).items()
        if math.isfinite(known)
    }
