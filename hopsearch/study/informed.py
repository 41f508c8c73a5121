"""What a sampler gets to see of a study.

Optuna's samplers know a trial that runs, one that ended, and one that was pruned. Between them they lose what we know: TPE counts
a trial that runs or waits at a rung among the bad ones, though it has a curve, and puts any that ended before any that was
stopped, whatever their values. Genetic samplers, Gaussian processes, and all with several objectives look at no stopped trial.
No sampler looks at a failed one, so each would propose again what diverges.
"""

import copy
from collections.abc import Container, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from hopsearch.seeds import derive
from hopsearch.space import Objective
from hopsearch.study.carriers import Carriers, carried
from hopsearch.study.records import State

_HALVING = 10  # trials, as of a prior's chance
BLAMED = ("diverged", "out_of_memory")
"""First words of the reasons for which a trial fails by its own fault."""
_UNFINISHED = (TrialState.RUNNING, TrialState.PRUNED)


class InformedStudy(optuna.Study):
    """Optuna's study, in which a trial that has a curve is seen as complete, with its best value so far.

    That this is better than a rank by epochs was measured: `benchmarks/results/search_quality.md`. A trial without an epoch stays
    what it is, so that workers asked at the same time do not propose the same point.

    A trial that failed by its own fault (diverged, out of memory, a limit broken) is seen as complete, with the worst value that
    any trial of the study has, in every objective. One whose machine was lost says nothing of its configuration and is left out.

    A trial taken over from another study is seen with the value that has the same quantile here as its own has there, since other
    data have other values (Salinas et al. 2020, A Quantile-based Approach for Hyperparameter Transfer Learning, section 4). Of
    those trials half as many are seen after every ten of this study: what was best there need not be best here.
    """

    objectives: Sequence[Objective] = ()

    def ours(self, theirs: int) -> int:
        """Our number of one of Optuna's trials."""
        return Carriers(super()._get_trials(deepcopy=False)).ours(theirs)

    def __init__(self, study_name: str, storage: optuna.storages.BaseStorage) -> None:
        super().__init__(study_name, storage)
        self._stopped: dict[int, FrozenTrial] = {}  # a pruned trial does not change any more

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        seen = self._with_failures([self._seen(trial) for trial in carried(super()._get_trials(deepcopy, None, use_cache))])
        others = [trial for trial in seen if inherited(trial)]
        if others:
            own = [trial for trial in seen if trial.values and not inherited(trial)]
            fading = sorted(others, key=lambda trial: derive("inherited", trial.number))
            gone = {trial.number for trial in fading[round(len(fading) * 0.5 ** (len(own) / _HALVING)) :]}
            self._translate(others, own)
            seen = [trial for trial in seen if trial.number not in gone]
        return [trial for trial in seen if states is None or trial.state in states]

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state not in _UNFINISHED or not trial.intermediate_values:
            return trial
        if trial.number in self._stopped:
            return self._stopped[trial.number]
        first, *costs = self.objectives
        known = trial.user_attrs.get("cost", {}) | trial.user_attrs.get("measured", {})
        if any(objective.name not in known for objective in costs):
            return trial
        best = max(first.sign * value for value in trial.intermediate_values.values())
        shown = _complete(trial, [first.sign * best, *(known[objective.name] for objective in costs)])
        if trial.state == TrialState.PRUNED and trial.user_attrs.get("rejected") != State.INHERITED:  # theirs are translated anew
            self._stopped[trial.number] = shown
        return shown

    def _with_failures(self, seen: list[FrozenTrial]) -> list[FrozenTrial]:
        known = [trial.values for trial in seen if trial.state == TrialState.COMPLETE and not inherited(trial)]
        if not known:
            return seen
        signs = [objective.sign for objective in self.objectives]
        worst = [sign * min(sign * values[place] for values in known) for place, sign in enumerate(signs)]
        return [_complete(trial, worst) if at_fault(trial) else trial for trial in seen]

    def _translate(self, others: list[FrozenTrial], own: list[FrozenTrial]) -> None:
        if own:
            theirs = sorted(trial.values[0] for trial in others)
            quantiles = [(np.searchsorted(theirs, trial.values[0]) + 0.5) / len(theirs) for trial in others]
            for trial, value in zip(others, np.quantile([trial.values[0] for trial in own], quantiles), strict=True):
                trial.values = [float(value), *trial.values[1:]]


def _complete(trial: FrozenTrial, values: Sequence[float]) -> FrozenTrial:
    shown = copy.copy(trial)
    shown.state = TrialState.COMPLETE
    shown.values = list(values)
    return shown


def at_fault(trial: FrozenTrial) -> bool:
    """Whether a trial failed and its configuration is to blame."""
    failure = trial.user_attrs.get("failure")
    if failure is not None:
        return bool(failure["learn"]) and trial.state.is_finished()
    reason = str(trial.user_attrs.get("reason", ""))  # in a study of an older version
    return bool(trial.user_attrs.get("broken")) or (trial.state == TrialState.FAIL and reason.startswith(BLAMED))


def inherited(trial: FrozenTrial) -> bool:
    """Whether a trial was taken over from another study."""
    return bool(trial.values) and trial.user_attrs.get("rejected") == State.INHERITED


def informed(study: optuna.Study, objectives: Sequence[Objective]) -> InformedStudy:
    """The same study, as a sampler is to see it."""
    seen = InformedStudy(study.study_name, study._storage)
    seen.objectives = objectives
    return seen
