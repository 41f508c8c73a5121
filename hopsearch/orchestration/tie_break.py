"""Breaks ties for the winner: trials that do not differ significantly are retrained, and the best
mean wins.

Independent of Ray: it lists the missing trainings, and takes in their results. Every result is
stored in the study immediately, so an interrupted election resumes where it stopped.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pydantic import Field, model_validator

from hopsearch.core import paths
from hopsearch.core.config import Settings
from hopsearch.core.errors import StudyError
from hopsearch.core.seeds import derive
from hopsearch.jobs.job import Job
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.storage.mirror import Mirror
from hopsearch.study import StudyView, TrialRecord
from hopsearch.study.record.journal_keys import ELECTION, REPEATS
from hopsearch.study.significance import candidates
from hopsearch.study.winner_choice import elect
from hopsearch.training import Row


class FinishConfig(Settings):
    """What is done for the winner after the search. Retrainings with fresh seeds use at most the
    last quarter of the budgets; the rest is outside them.
    """

    enabled: bool = True
    """Train the winner to full epochs and test it once; finish=false is short for
    finish.enabled=false.
    """
    repeats: int = Field(default=1, ge=1)
    """Trainings with fresh seeds for each of the tied best trials; the best mean wins. 1: the
    search's own training decides, and ties are only reported.
    """
    candidates: int = Field(default=3, ge=2)
    """Maximum number of trials to retrain."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> Any:
        # the form used before finish had settings
        return {"enabled": value} if isinstance(value, bool) else value


def trainings_again(config: FinishConfig) -> Callable[[StudyView], int] | None:
    """A function that counts the retrainings with fresh seeds that decide on a study's winner,
    given its current trials, including completed ones. None if the settings request none.
    """
    if not config.enabled or config.repeats == 1:
        return None

    def count(view: StudyView) -> int:
        again = _again(candidates(view, config.candidates), config)
        return len(_missing(again, config, {}))

    return count


def trainings_left(view: StudyView, config: FinishConfig) -> int:
    """How many retrainings with fresh seeds are still missing, given the study's current trials."""
    again = _again(candidates(view, 1 if config.repeats == 1 else config.candidates), config)
    return len(_missing(again, config, view.optuna.user_attrs.get(REPEATS, {})))


def _again(tied: list[TrialRecord], config: FinishConfig) -> list[TrialRecord]:
    return tied[: config.candidates] if config.repeats > 1 else tied[:1]


def _missing(
    again: Sequence[TrialRecord], config: FinishConfig, known: Mapping[str, object]
) -> list[tuple[TrialRecord, int]]:
    if len(again) < 2:
        return []
    # One of each before the second of any, so that early results are comparable.
    pairs = [(record, repeat) for repeat in range(1, config.repeats + 1) for record in again]
    return [
        (record, repeat) for record, repeat in pairs if f"{record.number}:{repeat}" not in known
    ]


class Retraining(TypedDict):
    """What the study keeps of a training with a fresh seed: its best value, None if it failed, and
    why.
    """

    value: float | None
    epochs: int
    seconds: float
    reason: NotRequired[str]


class Election:
    """The choice of a winner.

    Args:
        dispatcher: of a search that has ended; at least one trial must have a value.
        config: how many retrainings decide.

    Attributes:
        tied: trials that do not differ significantly from the best, best first.
        candidates: trials to retrain; only the best if none are.
    """

    def __init__(self, dispatcher: Dispatcher, config: FinishConfig) -> None:
        self._dispatcher = dispatcher
        self._study = dispatcher.study
        self._config = config
        if not self._study.ranked():
            hint = (
                f"For the reasons, see python -m hopsearch.report study={self._study.identity.name}"
            )
            raise StudyError(
                str(self._study.folder), "a winner needs a trial with a value, got none", hint
            )
        self.tied = candidates(self._study, 1 if config.repeats == 1 else config.candidates)
        self.candidates = _again(self.tied, config)
        self._known: dict[str, Retraining] = dict(self._study.optuna.user_attrs.get(REPEATS, {}))

    def missing(self) -> list[Job]:
        """The trainings still to do; none if the gap to the second is clear, or if only one is
        requested.
        """
        return [
            self._job(record, repeat)
            for record, repeat in _missing(self.candidates, self._config, self._known)
        ]

    def record(self, job: Job) -> TrialRecord:
        """The trial that a retraining repeats."""
        return self._study.records[job.number]

    def take(self, job: Job, rows: Sequence[Row], reason: str = "") -> None:
        """Record the best value of an ended training, and delete its files.

        Args:
            job: the training's job.
            rows: its epochs.
            reason: why it failed, if it did.
        """
        key = Path(job.folder).name.replace("_", ":")
        values = [row[self._study.objective] for row in rows]
        best = (
            None
            if reason or not values
            else self._study.sign * max(self._study.sign * value for value in values)
        )
        seconds = round(sum(row["seconds"] for row in rows), 2)
        self._known[key] = {"value": best, "epochs": len(rows), "seconds": seconds}
        if reason:
            self._known[key]["reason"] = reason
        self._study.note(REPEATS, self._known)
        shutil.rmtree(job.folder, ignore_errors=True)
        if job.mirror:
            Mirror(job.mirror, job.fence).clear()

    def decide(self) -> TrialRecord:
        """The winner; the choice is recorded in the study."""
        asked = self._config.repeats if len(self.candidates) > 1 else 1
        by_trial = {
            record.number: [
                self._known[f"{record.number}:{repeat}"]["value"] for repeat in range(1, asked + 1)
            ]
            for record in self.candidates
            if asked > 1
        }
        election = elect(self._study, self.tied, by_trial)
        if election != self._study.optuna.user_attrs.get(ELECTION):
            self._study.note(ELECTION, election)
        return self._study.records[election["chosen"]]

    def _job(self, record: TrialRecord, repeat: int) -> Job:
        job = self._dispatcher.job(record)
        place = paths.repeat(record.number, repeat)
        seed = derive(record.seed, "repeat", repeat)
        folder = str((self._study.folder / place).resolve())
        mirror = self._dispatcher.place.below(str(place)) if job.mirror else ""
        trial = job.trial.model_copy(update={"seed": seed})
        return job.model_copy(
            update={
                "trial": trial,
                "folder": folder,
                "mirror": mirror,
                "pictures": (),
                "latency": False,
            }
        )
