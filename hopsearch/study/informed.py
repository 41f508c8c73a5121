"""What a sampler gets to see of a study.

Optuna's samplers know a trial that runs, one that ended, and one that was pruned. Between them they lose what we know: a trial
that runs, or waits at a rung, already has a curve, yet TPE's constant liar counts it among the bad ones.
"""

import copy
from collections.abc import Container

import optuna
from optuna.trial import FrozenTrial, TrialState


class InformedStudy(optuna.Study):
    """Optuna's study, in which a trial that has a curve and has not ended is seen as one that was pruned there.

    It is as good as its last value, as far as it has come: TPE ranks those with more epochs first, then by value. A trial without
    an epoch stays what it is, so that workers asked at the same time do not propose the same point.
    """

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        seen = [_seen(trial) for trial in super()._get_trials(deepcopy, None, use_cache)]
        return [trial for trial in seen if states is None or trial.state in states]


def informed(study: optuna.Study) -> InformedStudy:
    """The same study, as samplers are to see it."""
    return InformedStudy(study.study_name, study._storage)


def _seen(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.RUNNING or not trial.intermediate_values:
        return trial
    shown = copy.copy(trial)
    shown.state = TrialState.PRUNED
    return shown
