"""The writer's running totals, so that no query needs to scan all trials, and its write
operations.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import optuna
from optuna.trial import TrialState

from hopsearch.study.reader import StudyView
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.journal_keys import BROKEN, CHECKPOINTS, FAILURE, LOSSES, MEASURED, OPEN
from hopsearch.study.record.optuna_trials import carrier_of, mark_of
from hopsearch.study.record.trial import State, TrialRecord, from_optuna
from hopsearch.study.stopping.leaders import Leaders


class Writer(StudyView):
    """A study written only by this process: its facts, its totals, and the ends of its trials.

    Args:
        folder, study, identity: as of `StudyView`; ``study`` is open for writing.
    """

    def __init__(self, folder: Path, study: optuna.Study, identity: Identity) -> None:
        super().__init__(folder, study, identity)
        self._storage = study._storage
        self._study_id = study._study_id
        self._open: dict[State, set[int]] = {State.RUNNING: set(), State.PAUSED: set()}
        self._closed = {
            record.number for record in self.records.values() if record.state == State.OPEN
        }
        for record in self.records.values():
            self._enter(record, self._reopened(record))
        self._epochs = super().epochs
        self._wasted = super().wasted_epochs
        self._trained = super().trained_seconds
        self._leaders = Leaders()
        for record in self.counted():
            if record.came:
                self._leaders.come(record.came)
        self._lead_again()

    @property
    def epochs(self) -> int:
        """As in `StudyView`, without a look at all trials."""
        return self._epochs

    @property
    def wasted_epochs(self) -> int:
        """As in `StudyView`, without a look at all trials."""
        return self._wasted

    @property
    def trained_seconds(self) -> float:
        """As in `StudyView`, without a look at all trials."""
        return self._trained

    @property
    def since_best(self) -> int:
        """As in `StudyView`, without a look at all trials."""
        leaders = self._leaders.values
        return (
            self._leaders.came_after(max(self.records[number].rose for number in leaders))
            if leaders
            else 0
        )

    def waiting(self) -> list[TrialRecord]:
        """As in `StudyView`, without a look at all trials."""
        return [self.records[number] for number in sorted(self._open[State.PAUSED])]

    def measure(self, number: int, facts: dict[str, float]) -> None:
        """Record a cost that a trial's worker measured, e.g. ``latency``; it is part of the trial's
        cost from then on.
        """
        record = self.records[number]
        self._set(number, MEASURED, facts)
        record.cost |= facts

    def lose(self, number: int, epochs: int = 0, seconds: float = 0.0, begun: int = 0) -> int:
        """Record that a trial's worker was lost; the trial stays running. Returns how often that
        has happened to it.

        Args:
            number: the trial.
            epochs, seconds, begun: as of `waste`.
        """
        self.records[number].losses += 1
        self.waste(number, epochs, seconds, begun)
        return self.records[number].losses

    def waste(self, number: int, epochs: int, seconds: float, begun: int = 0) -> None:
        """Record training that is not on a trial's curve: lost with a worker, or repeated.

        Args:
            number: the trial.
            epochs: how many; they count in all budgets.
            seconds: their training time.
            begun: how often its next epoch was started so far.
        """
        record = self.records[number]
        record.lost_epochs += epochs
        record.lost_seconds = round(record.lost_seconds + seconds, 4)
        record.lost_at = (record.epoch + 1, begun) if begun else record.lost_at
        lost = {
            "count": record.losses,
            "epochs": record.lost_epochs,
            "seconds": record.lost_seconds,
        }
        self._set(number, LOSSES, lost | dict(zip(("epoch", "begun"), record.lost_at, strict=True)))
        self._book(epochs, seconds)

    def note(self, key: str, value: object) -> None:
        """Store a fact about the whole study: its winner, the seconds it took."""
        self.optuna.set_user_attr(key, value)

    def keep(self, numbers: Sequence[int], rule: Mapping[str, object]) -> None:
        """Record for which ended trials the weights are kept, best first, and by which rule; others
        may be deleted from then on.
        """
        self.note(CHECKPOINTS, {"kept": list(numbers), **rule})

    def conclude(self, why: str) -> Iterator[TrialRecord]:
        """End the search before its trials: running and paused ones stay open until the study is
        resumed.

        In Optuna they are marked complete, with their best values so far, so that other readers of
        the storage see them. The generator may be stopped early: the remaining trials stay running,
        and resume like the open ones.

        Args:
            why: what ended the search, in words.

        Yields:
            Each trial, once closed.
        """
        left = [
            record for record in self.counted() if record.state in (State.RUNNING, State.PAUSED)
        ]
        for record in left:
            if record.number in self._closed or self._close(record, why):
                self._enter(record, State.OPEN)
                record.reason = why
                yield record

    def _close(self, record: TrialRecord, why: str) -> bool:
        # Based on what is stored: after an interrupted write, memory may lag behind.
        theirs = self.carriers.theirs(record.number)
        trial = self._storage.get_trial(self._stored(record.number))
        if trial.state.is_finished() or {FAILURE, BROKEN} & trial.user_attrs.keys():
            return False  # its end has started, and is completed when the study is next opened
        stored = from_optuna(trial, record.number)
        self._set(record.number, OPEN, mark_of(stored, why))
        known = stored.curve and all(
            objective.name in stored.cost for objective in self.objectives[1:]
        )
        values = self._told(stored) if known else None
        self.optuna.tell(theirs, values, state=TrialState.COMPLETE if known else TrialState.PRUNED)
        self._closed.add(record.number)
        return True

    def _reopened(self, record: TrialRecord) -> State:
        if record.state != State.OPEN:
            return record.state
        record.reason = ""
        return State.PAUSED if record.waits else State.RUNNING

    def _book(self, epochs: int, seconds: float) -> None:
        self._epochs += epochs
        self._wasted += epochs
        self._trained += seconds

    def _lead_again(self) -> None:
        self._leaders.again((record.number, self._values(record)) for record in self.front())

    def _end(self, record: TrialRecord, state: State) -> TrialRecord:
        told = {
            State.COMPLETE: TrialState.COMPLETE,
            State.PRUNED: TrialState.PRUNED,
            State.FAILED: TrialState.FAIL,
        }[state]
        values = None
        if record.broken:
            told = TrialState.PRUNED  # samplers ignore failed ones
        if state == State.COMPLETE:
            values = self._told(record)
        self._id(record.number)  # one that was closed is carried on first
        self.optuna.tell(self.carriers.theirs(record.number), values, state=told)
        record.ended = time.time()
        self._enter(record, state)
        return record

    def _told(self, record: TrialRecord) -> list[float]:
        return [
            objective.sign * value
            for objective, value in zip(self.objectives, self._values(record), strict=True)
        ]

    def _enter(self, record: TrialRecord, state: State) -> None:
        record.state = state
        for one, numbers in self._open.items():
            (numbers.add if one == state else numbers.discard)(record.number)

    def _id(self, number: int) -> int:
        """Optuna's id of a trial to write to; a closed one gets a new carrier."""
        if number in self._closed:
            old = self._storage.get_trial(self._stored(number))
            new = self._storage.create_new_trial(
                self._study_id, carrier_of(old, self.records[number])
            )
            self.carriers.add(self._storage.get_trial_number_from_id(new), number)
            self._closed.discard(number)
        return self._stored(number)

    def _stored(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(
            self._study_id, self.carriers.theirs(number)
        )

    def _set(self, number: int, key: str, value: object) -> None:
        self._storage.set_trial_user_attr(self._id(number), key, value)
