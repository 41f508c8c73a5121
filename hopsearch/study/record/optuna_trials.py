"""The mapping between Optuna's trials and ours.

Optuna cannot reopen an ended trial. So when a budget or an interruption ends a search, each
unfinished trial is closed there, as complete with its best value so far, and marked as open. When
the search resumes, a new Optuna trial carries it on, with all its data. Our trials keep their
numbers: they count only those of Optuna's trials that do not carry another.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from hopsearch.study.record.journal_keys import (
    CONTINUES,
    DECISION,
    FAILURE,
    OPEN,
    PROMOTION,
    STARTED,
)
from hopsearch.study.record.trial import TrialRecord


class Carriers:
    """Our trial numbers and Optuna's.

    Args:
        trials: all Optuna trials, in order of their numbers.
    """

    def __init__(self, trials: Iterable[FrozenTrial]) -> None:
        self._theirs: list[int] = []  # by our number
        self._ours: dict[int, int] = {}
        for trial in trials:
            self.add(trial.number, trial.user_attrs.get(CONTINUES))

    def add(self, theirs: int, continues: int | None = None) -> int:
        """Register a new Optuna trial; returns our number."""
        if continues is None:
            self._theirs.append(theirs)
            continues = len(self._theirs) - 1
        else:
            self._theirs[continues] = theirs
        self._ours[theirs] = continues
        return continues

    def ours(self, theirs: int) -> int:
        """Our number of an Optuna trial, which may be new."""
        return self._ours[theirs] if theirs in self._ours else self.add(theirs)

    def theirs(self, ours: int) -> int:
        """The number of the Optuna trial that currently carries one of ours."""
        return self._theirs[ours]


def carried(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Each of our trials once, as samplers should see it: at its first position and number, with
    its current state; open ones count as running.
    """
    if not any(OPEN in trial.user_attrs or CONTINUES in trial.user_attrs for trial in trials):
        return list(trials)
    seen: list[FrozenTrial] = []
    for trial in trials:
        continues = trial.user_attrs.get(CONTINUES)
        shown = trial
        if continues is not None or is_open(trial):
            shown = copy.copy(trial)
        if is_open(trial):
            shown.state = TrialState.RUNNING
            shown.values = None
        if continues is None:
            seen.append(shown)
        else:
            shown.number = seen[continues].number
            shown._trial_id = seen[continues]._trial_id
            seen[continues] = shown
    return seen


def is_open(trial: FrozenTrial) -> bool:
    """Whether it was closed only because its search ended."""
    mark: Mapping[str, object] | None = trial.user_attrs.get(OPEN)
    if mark is None or not trial.state.is_finished() or FAILURE in trial.user_attrs:
        return False
    made = sum(key.startswith((DECISION, PROMOTION)) for key in trial.user_attrs)
    # If the process was killed between the mark and the end, the trial continued as usual; whatever
    # ended it later left a trace.
    return bool(mark["epoch"] == max(trial.intermediate_values, default=0) and mark["made"] == made)


def mark_of(record: TrialRecord, why: str) -> dict[str, object]:
    """The attribute that marks a trial as open; see `is_open`."""
    return {"why": why, "epoch": record.epoch, "made": len(record.made)}


def carrier_of(trial: FrozenTrial, record: TrialRecord) -> FrozenTrial:
    """A new Optuna trial that continues the closed ``trial``."""
    attrs = {key: value for key, value in trial.user_attrs.items() if key != OPEN}
    return FrozenTrial(
        number=-1,
        trial_id=-1,
        state=TrialState.RUNNING,
        value=None,
        datetime_start=datetime.now(),
        datetime_complete=None,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs=attrs | {CONTINUES: record.number, STARTED: record.started},
        system_attrs=trial.system_attrs,
        intermediate_values=trial.intermediate_values,
    )
