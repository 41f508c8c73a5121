"""The sampler's view of a study.

Optuna's samplers distinguish running, complete and pruned trials, and lose information: TPE counts
a running or paused trial among the bad ones, although it has a curve, and ranks any complete trial
above any stopped one, whatever their values. Genetic samplers, Gaussian processes, and all
multi-objective samplers ignore stopped trials. No sampler considers failed ones, so each would
propose diverging configurations again.
"""

import copy
import math
from collections.abc import Container, Mapping, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.core.seeds import derive
from hopsearch.space import Objective
from hopsearch.study.record.journal_keys import BROKEN, FAILURE, REASON, REJECTED
from hopsearch.study.record.optuna_trials import Carriers, carried
from hopsearch.study.record.trial import State, costs_of
from hopsearch.study.sampling.projection import projected

_HALVING = 10  # trials, as for the prior's share
BLAMED = ("diverged", "out_of_memory")
"""Prefixes of failure reasons caused by the configuration."""
_UNFINISHED = (TrialState.RUNNING, TrialState.PRUNED)


class SamplerView(optuna.Study):
    """Optuna's study, in which a trial that reached a rung is complete, with its expected value at
    the highest one.

    So values of different epochs are never compared; see `projection`. A trial that has not reached
    a rung stays unchanged, so that concurrent workers do not get the same point.

    A trial that failed because of its configuration (diverged, out of memory, a limit violated) is
    shown as complete, with the worst value of all trials in every objective. One whose machine was
    lost is uninformative and left out.

    Trials inherited from another study are put on one scale among themselves, with their final
    epochs as rungs. Each is shown with the value at the same quantile of this study, since other
    data have other values (Salinas et al. 2020, A Quantile-based Approach for Hyperparameter
    Transfer Learning, section 4). The number of inherited trials shown is halved after every ten
    trials of this study: what was best there need not be best here.

    Args:
        study_name, storage: as of Optuna's study.
        objectives: of our study.
        rungs: epochs at which trials are compared, full epochs last.
    """

    def __init__(
        self,
        study_name: str,
        storage: optuna.storages.BaseStorage,
        objectives: Sequence[Objective],
        rungs: Sequence[int],
    ) -> None:
        super().__init__(study_name, storage)
        self._objectives = objectives
        self._rungs = rungs
        # the storage's trials when `_shown` was made; changed ones are replaced in it
        self._known: list[FrozenTrial] = []
        self._shown: list[FrozenTrial] = []
        # by number, see `best_by_rung`
        self._curves: dict[int, tuple[FrozenTrial, list[float]]] = {}

    @property
    def objectives(self) -> Sequence[Objective]:
        """The objectives: the first is reported every epoch, the others are costs."""
        return self._objectives

    def ours(self, theirs: int) -> int:
        """Our number of one of Optuna's trials."""
        return Carriers(super()._get_trials(deepcopy=False)).ours(theirs)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        stored = super()._get_trials(False, None, use_cache)
        # A sampler reads the trials several times per proposal, and nothing changes in between.
        if len(stored) != len(self._known) or any(
            new is not old for new, old in zip(stored, self._known, strict=True)
        ):
            self._known = stored
            self._shown = self._as_seen(carried(stored))
        seen = [trial for trial in self._shown if states is None or trial.state in states]
        return copy.deepcopy(seen) if deepcopy else seen

    def _as_seen(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        theirs = [trial for trial in trials if trial.user_attrs.get(REJECTED) == State.INHERITED]
        own = [trial for trial in trials if trial.user_attrs.get(REJECTED) != State.INHERITED]
        ends = sorted(
            {max(trial.intermediate_values) for trial in theirs if trial.intermediate_values}
        )
        complete = self._projected(own, self._rungs) | self._projected(theirs, ends)
        seen = self._with_failures([complete.get(trial.number, trial) for trial in trials])
        others = [trial for trial in seen if inherited(trial)]
        if others:
            valued = [trial for trial in seen if trial.values and not inherited(trial)]
            fading = sorted(others, key=lambda trial: derive("inherited", trial.number))
            gone = {
                trial.number
                for trial in fading[round(len(fading) * 0.5 ** (len(valued) / _HALVING)) :]
            }
            self._translate(others, valued)
            seen = [trial for trial in seen if trial.number not in gone]
        return seen

    def _projected(
        self, trials: Sequence[FrozenTrial], rungs: Sequence[int]
    ) -> dict[int, FrozenTrial]:
        """Trials that reached a rung, as complete, by number."""
        costs = {
            trial.number: self._costs(trial)
            for trial in trials
            if trial.state in (*_UNFINISHED, TrialState.COMPLETE)
        }
        curves = {
            trial.number: self._best_by_rung(trial, rungs)
            for trial in trials
            if costs.get(trial.number) is not None
        }
        came = [
            trial
            for trial in trials
            if trial.number in curves and not math.isnan(curves[trial.number][0])
        ]
        if not came:
            return {}
        sign = self._objectives[0].sign
        value_N = sign * projected(np.array([curves[trial.number] for trial in came]))
        values = zip(came, value_N.tolist(), strict=True)
        return {
            trial.number: _complete(trial, [value, *(costs[trial.number] or ())])
            for trial, value in values
        }

    def _costs(self, trial: FrozenTrial) -> list[float] | None:
        """The objectives after the first; None if one is not measured yet."""
        known = costs_of(trial.user_attrs)
        names = [objective.name for objective in self._objectives[1:]]
        return [known[name] for name in names] if all(name in known for name in names) else None

    def _best_by_rung(self, trial: FrozenTrial, rungs: Sequence[int]) -> list[float]:
        known = self._curves.get(trial.number)
        if known is None or known[0] is not trial:
            best = best_by_rung(trial.intermediate_values, self._objectives[0].sign, rungs)
            known = self._curves[trial.number] = trial, best
        return known[1]

    def _with_failures(self, seen: list[FrozenTrial]) -> list[FrozenTrial]:
        known = [
            trial.values
            for trial in seen
            if trial.state == TrialState.COMPLETE and not inherited(trial)
        ]
        if not known:
            return seen
        signs = [objective.sign for objective in self._objectives]
        worst = [
            sign * min(sign * values[place] for values in known) for place, sign in enumerate(signs)
        ]
        return [_complete(trial, worst) if at_fault(trial) else trial for trial in seen]

    def _translate(self, others: list[FrozenTrial], own: list[FrozenTrial]) -> None:
        if own:
            theirs = sorted(trial.values[0] for trial in others)
            quantiles = [
                (np.searchsorted(theirs, trial.values[0]) + 0.5) / len(theirs) for trial in others
            ]
            for trial, value in zip(
                others, np.quantile([trial.values[0] for trial in own], quantiles), strict=True
            ):
                trial.values = [float(value), *trial.values[1:]]


def best_by_rung(curve: Mapping[int, float], sign: int, rungs: Sequence[int]) -> list[float]:
    """The best value up to each rung, larger is better; NaN at rungs that the curve has not
    reached.

    Args:
        curve: values by epoch; non-finite ones are ignored.
        sign: 1 if larger values are better, −1 if smaller ones are.
        rungs: epochs, ascending.
    """
    epochs = sorted(curve)
    found = []
    best = -math.inf
    place = 0
    for rung in rungs:
        while place < len(epochs) and epochs[place] <= rung:
            value = sign * curve[epochs[place]]
            best = max(best, value) if math.isfinite(value) else best
            place += 1
        came = bool(epochs) and rung <= epochs[-1] and math.isfinite(best)
        found.append(best if came else math.nan)
    return found


def _complete(trial: FrozenTrial, values: Sequence[float]) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.COMPLETE
    shown.values = list(values)
    return shown


def at_fault(trial: FrozenTrial) -> bool:
    """Whether a trial failed because of its configuration."""
    failure = trial.user_attrs.get(FAILURE)
    if failure is not None:
        return bool(failure["learn"]) and trial.state.is_finished()
    reason = str(trial.user_attrs.get(REASON, ""))  # in a study of an older version
    return bool(trial.user_attrs.get(BROKEN)) or (
        trial.state == TrialState.FAIL and reason.startswith(BLAMED)
    )


def inherited(trial: FrozenTrial) -> bool:
    """Whether a trial was inherited from another study, and has a value."""
    return bool(trial.values) and trial.user_attrs.get(REJECTED) == State.INHERITED


def sampler_view(
    study: optuna.Study, objectives: Sequence[Objective], rungs: Sequence[int]
) -> SamplerView:
    """The study as a sampler should see it."""
    return SamplerView(study.study_name, study._storage, objectives, rungs)
