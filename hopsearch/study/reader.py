"""Reads a study: its records, its best trial, and the audit of its decisions."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage

from hopsearch.core.config import choices
from hopsearch.core.errors import StudyError
from hopsearch.space import Objective
from hopsearch.study.audit import audit
from hopsearch.study.persistence.database import sqlite_file
from hopsearch.study.persistence.stores import JOURNAL, integrity, open_storage, studies_beside
from hopsearch.study.record.identity import Identity
from hopsearch.study.record.journal_keys import CHECKPOINTS, IDENTITY, JUDGEMENTS, SECONDS, WINNER
from hopsearch.study.record.optuna_trials import Carriers, is_open
from hopsearch.study.record.trial import State, TrialRecord, from_optuna
from hopsearch.study.stopping.decisions import arrival
from hopsearch.study.stopping.fronts import Values, fronts
from hopsearch.study.stopping.rung_judgements import Judgement, read

_LOG = logging.getLogger(__name__)


class StudyView:
    """The study in ``folder``, for reading; another process may write to it meanwhile.

    Args:
        folder: the study's folder.
        study: Optuna's study.

    Attributes:
        folder: the study's folder.
        identity: what the study is.
        records: every trial by number, as of opening.
        carriers: the mapping between Optuna's trials and these.
    """

    def __init__(self, folder: Path, study: optuna.Study, identity: Identity) -> None:
        self.folder = folder
        self.identity = identity
        self.optuna = study
        self.records: dict[int, TrialRecord] = {}
        self.refresh()
        _LOG.debug("opened study %s: %d trials", folder, len(self.records))

    @classmethod
    def open(cls, folder: Path, database: str | None = None) -> "StudyView":
        """Open an existing study for reading; never writes.

        Raises:
            StudyError: there is no study, or its storage cannot be read.
        """
        view = cls._begun(folder, database)
        if view is None and database:
            names = optuna.get_all_study_names(open_storage(folder, database, writer=False))
            raise StudyError(
                f"database={database}",
                f"must contain study {folder.name}, got none",
                choices(folder.name, names),
            )
        if view is None:
            raise StudyError(
                str(folder), f"must contain a study, got an empty {JOURNAL}", studies_beside(folder)
            )
        return view

    @classmethod
    def find(cls, folder: Path, database: str | None = None) -> "StudyView | None":
        """As `open`; None if no study exists yet. Creates nothing, not even the file of a new
        database.

        Raises:
            StudyError: its storage cannot be read.
            ConfigError: ``database`` is not a valid address.
        """
        file = sqlite_file(database) if database else folder / JOURNAL
        if file and not file.exists():
            return None
        return cls._begun(folder, database)

    @classmethod
    def _begun(cls, folder: Path, database: str | None) -> "StudyView | None":
        study = load_study(open_storage(folder, database, writer=False), folder.name)
        stored = study.user_attrs.get(IDENTITY) if study else None
        return (
            None
            if study is None or stored is None
            else cls(folder, study, Identity.from_dict(stored))
        )

    @property
    def integrity(self) -> str:
        """The integrity of the storage, in a sentence; see
        `hopsearch.study.persistence.stores.integrity`.
        """
        return integrity(self.optuna._storage)

    def refresh(self) -> None:
        """Read the trials again from the storage."""
        trials = self.optuna.get_trials(deepcopy=False)
        self.carriers = Carriers(trials)
        self.records.clear()
        for trial in trials:
            if trial.state != optuna.trial.TrialState.WAITING:
                number = self.carriers.ours(trial.number)
                self.records[number] = from_optuna(trial, number, is_open(trial))

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives; the first is the metric reported every epoch."""
        return self.identity.space.objectives

    @property
    def objective(self) -> str:
        """Name of the first objective, the metric reported every epoch."""
        return self.objectives[0].name

    @property
    def sign(self) -> int:
        """1 if that metric is maximised, -1 if it is minimised."""
        return self.objectives[0].sign

    def counted(self) -> list[TrialRecord]:
        """The trials that count towards ``trials=``, in order of their numbers."""
        return [record for _, record in sorted(self.records.items()) if record.state.counted]

    def waiting(self) -> list[TrialRecord]:
        """The trials that are paused, in order of their numbers."""
        return [
            record for _, record in sorted(self.records.items()) if record.state == State.PAUSED
        ]

    def ranked(self) -> list[TrialRecord]:
        """Trials with a value, best first; failed trials have none. With several objectives, front
        by front (see `fronts`).
        """
        return self.rank(self.counted())

    def rank(self, records: Iterable[TrialRecord]) -> list[TrialRecord]:
        """The ``records`` that count and have a value, best first; see `ranked`."""
        valued = [
            record
            for record in records
            if record.state.counted and record.curve and record.state != State.FAILED
        ]
        valued.sort(key=lambda record: (-self.sign * self.value(record), record.number))
        if len(self.objectives) == 1:
            return valued
        return [
            valued[index]
            for front in fronts([self._values(record) for record in valued])
            for index in sorted(front)
        ]

    def front(self, among: Iterable[TrialRecord] | None = None) -> list[TrialRecord]:
        """The Pareto front of all trials, or of those in ``among``, best first; with one objective,
        only the best trial.
        """
        ranked = self.ranked() if among is None else self.rank(among)
        if len(self.objectives) == 1 or not ranked:
            return ranked[:1]
        return [
            ranked[index]
            for index in sorted(fronts([self._values(record) for record in ranked])[0])
        ]

    def _values(self, record: TrialRecord) -> Values:
        return arrival(record, record.epoch, self.objectives).values

    def value(self, record: TrialRecord) -> float:
        """The best value on the trial's curve."""
        best = record.best(self.sign)
        if best is None:
            raise StudyError(
                f"trial {record.number}",
                "must have a value, got an empty curve",
                "Let it train an epoch",
            )
        return best[1]

    @property
    def epochs(self) -> int:
        """Epochs trained over all trials, including lost and failed ones."""
        return sum(
            record.epochs_trained
            for record in self.records.values()
            if record.state != State.INHERITED
        )

    @property
    def wasted_epochs(self) -> int:
        """Trained epochs that are on no curve: lost with a worker, repeated, or the one in which a
        trial failed.
        """
        return sum(record.epochs_trained - record.epoch for record in self.records.values())

    @property
    def trained_seconds(self) -> float:
        """Training seconds summed over all trials."""
        return sum(record.seconds_trained for record in self.records.values())

    @property
    def since_best(self) -> int:
        """How many trials reported their first epoch since the best value (of several objectives:
        the front's newest).
        """
        leaders = self.front()
        newest = max((record.rose for record in leaders), default=0)
        return sum(record.came > newest for record in self.counted()) if leaders else 0

    @property
    def winner(self) -> dict[str, Any] | None:
        """Facts about the finished winner: trial, validation and test accuracy, folder."""
        found: dict[str, Any] | None = self.optuna.user_attrs.get(WINNER)
        return found

    @property
    def kept(self) -> list[int] | None:
        """Ended trials whose weights are kept, best first; None if never recorded. Running trials
        always keep theirs.
        """
        found: dict[str, Any] | None = self.optuna.user_attrs.get(CHECKPOINTS)
        return None if found is None else list(found["kept"])

    @property
    def dropped(self) -> list[int]:
        """Ended trials whose weights were deleted, in order; they can only be retrained."""
        kept = self.kept
        if kept is None:
            return []
        ended = (record for record in self.counted() if record.state.ended and record.curve)
        return [record.number for record in ended if record.number not in kept]

    @property
    def judgements(self) -> list[Judgement]:
        """The search's judgements of its rungs, in order."""
        return read(self.optuna.user_attrs.get(JUDGEMENTS, ()))

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of all runs of this study, each up to its last finished trial."""
        return float(self.optuna.user_attrs.get(SECONDS, 0.0))

    def audit(self) -> list[str]:
        """Recompute every recorded decision from the study's records and report differences; see
        `study.audit`.

        Returns:
            One line per difference; empty if all decisions follow from the records.
        """
        return audit(self.records, self.judgements, self.identity.space)


def load_study(storage: BaseStorage, name: str) -> optuna.Study | None:
    """The study of that name in a storage; for a journal its only study, whatever its folder is
    called; None if there is none yet.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names and (len(names) != 1 or not isinstance(storage, JournalStorage)):
        return None
    return optuna.load_study(study_name=name if name in names else names[0], storage=storage)
