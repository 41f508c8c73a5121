"""How much each searched parameter matters: the share of the objective's variance it explains
(fANOVA, Hutter et al. 2014).
"""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from hopsearch.study.reader import StudyView
from hopsearch.study.record.trial import State

LEAST = 10
"""Minimum number of trials."""
# Half of Optuna's trees, and shallow ones: for a thousand trials, the same shares within a few
# hundredths in a tenth of the time.
_FOREST = partial(FanovaImportanceEvaluator, n_trees=32, max_depth=8, seed=0)


@dataclass(frozen=True)
class Importance:
    """The importance of one parameter.

    Attributes:
        share: of the variance among the trials that have the parameter, 0 to 1.
        trials: the number of those trials.
    """

    share: float
    trials: int


def importances(view: StudyView, epoch: int) -> dict[str, Importance]:
    """Importances by parameter, most important first, for the best value up to ``epoch`` of all
    trials that reached it.

    Values are only comparable after the same number of epochs. A conditional parameter is evaluated
    among the trials that have it, so shares of different groups do not add up.
    """
    reached = [
        record.number
        for record in view.counted()
        if record.epoch >= epoch and record.state != State.FAILED and record.params
    ]
    having = defaultdict[frozenset[int], list[str]](list)
    for name in view.identity.space.parameters:
        having[
            frozenset(number for number in reached if name in view.records[number].params)
        ].append(name)
    stored = {trial.number: trial for trial in view.optuna.get_trials(deepcopy=False)}
    found: dict[str, Importance] = {}
    for numbers, names in having.items():
        if len(numbers) >= LEAST:
            trials = [stored[view.carriers.theirs(number)] for number in sorted(numbers)]
            shares = _shares(trials, [_value(view, number, epoch) for number in sorted(numbers)])
            found |= {
                name: Importance(shares[name], len(numbers)) for name in names if name in shares
            }
    return dict(sorted(found.items(), key=lambda item: -item[1].share))


def _value(view: StudyView, number: int, epoch: int) -> float:
    best = view.records[number].best(view.sign, up_to=epoch)
    assert best is not None  # it reached the epoch
    return best[1]


def _shares(trials: list[FrozenTrial], values: list[float]) -> dict[str, float]:
    if len(set(values)) < 2:
        return {}
    shared = set.intersection(*(set(trial.params) for trial in trials))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        again = optuna.create_study()
        for trial, value in zip(trials, values, strict=True):
            params = {name: trial.params[name] for name in sorted(shared)}
            distributions = {name: trial.distributions[name] for name in sorted(shared)}
            again.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=value)
            )
        found = get_param_importances(again, evaluator=_FOREST(), normalize=False)
        return {name: float(share) for name, share in found.items()}
