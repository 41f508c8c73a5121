"""What a sampler gets to see of a study.

Optuna's samplers know a trial that runs, one that ended, and one that was pruned. Between them they lose what we know: a trial
that runs, or waits at a rung, already has a curve, yet TPE's constant liar counts it among the bad ones; and with several
objectives, or in a genetic sampler, a pruned trial counts for nothing.
"""

import copy
from collections.abc import Container, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.space import Objective
from hopsearch.study.samplers import GENETIC

_UNFINISHED = (TrialState.RUNNING, TrialState.PRUNED)


class InformedStudy(optuna.Study):
    """Optuna's study, in which a trial that has a curve and has not ended is seen as one that was pruned there.

    It is as good as its last value, as far as it has come: TPE ranks those with more epochs first, then by value. A trial without
    an epoch stays what it is, so that workers asked at the same time do not propose the same point. Where nobody looks at pruned
    trials, they are seen as complete, with the values that they have.
    """

    objectives: Sequence[Objective] = ()
    as_complete: bool = False

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        seen = [self._seen(trial) for trial in super()._get_trials(deepcopy, None, use_cache)]
        return [trial for trial in seen if states is None or trial.state in states]

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state not in _UNFINISHED or not trial.intermediate_values:
            return trial
        if not self.as_complete:
            return trial if trial.state == TrialState.PRUNED else _changed(trial, TrialState.PRUNED)
        first, *costs = self.objectives
        known = trial.user_attrs.get("cost", {}) | trial.user_attrs.get("measured", {})
        if any(objective.name not in known for objective in costs):
            return trial
        shown = _changed(trial, TrialState.COMPLETE)
        best = max(first.sign * value for value in trial.intermediate_values.values())
        shown.values = [first.sign * best, *(known[objective.name] for objective in costs)]
        return shown


def informed(study: optuna.Study, sampler: str, objectives: Sequence[Objective]) -> InformedStudy:
    """The same study, as a sampler is to see it."""
    seen = InformedStudy(study.study_name, study._storage)
    seen.objectives, seen.as_complete = objectives, len(objectives) > 1 or sampler in GENETIC
    return seen


def _changed(trial: FrozenTrial, state: TrialState) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = state
    return shown
