"""The sampler that knows fidelities: it proposes where a Gaussian process over configurations and rungs expects most improvement.

Each trial counts with its values at the rungs that it came to, and never with a mixture of them; see `surrogate`. Improvement is
looked for at the highest rung that a few trials have come to. Trials that run and have no value yet count as if they had what is
expected of them, so that workers asked at the same time do not propose the same point. With several objectives each proposal
weighs them anew (ParEGO: Knowles 2006, augmented Tchebycheff).

Shapes: N observations, Q candidates, P parameters, F features, K objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from scipy.stats import norm, rankdata

from hopsearch.seeds import derive
from hopsearch.space import Objective, Space
from hopsearch.study.encoding import Encoding, Floats
from hopsearch.study.informed import InformedStudy, at_fault, inherited
from hopsearch.study.surrogate import Observed, Surrogate

_STARTUP = 16  # trials with a value before the process is asked
_CHANCE = (
    1 / 3
)  # share of the later ones that are drawn at random all the same, as in BOHB (Falkner et al. 2018, arXiv 1807.01774)
_RUNG = 4  # trials that must have come to a rung before improvement is looked for there
_MOST = 400  # observations that the process is conditioned on
_DRAWN, _NEAR = 400, 40  # candidates drawn at random, and of each width around each of the best
_WIDTHS = (0.02, 0.07, 0.2)  # of the steps around them, as shares of a parameter's range
_MOVED = 0.5  # chance that a step changes a parameter
_BEST, _ROUNDS = 5, 3  # places around which candidates are looked for, and how often the best candidates are refined
_AUGMENTED = 0.05  # weight of the objectives' sum beside the worst of them


@dataclass(frozen=True)
class _Seen:
    """One trial, as far as it says anything.

    Attributes:
        point_P: its place in the cube.
        scores_LK: by rung from the lowest, each objective's value there, larger is better; empty where it has none yet.
        lowest: the rung of the first of them.
    """

    number: int
    point_P: Floats
    scores_LK: Floats
    lowest: int


class RungGP(BaseSampler):
    """The sampler for one trial.

    Args:
        space: what is searched.
        seed: the study's.
        number: the trial's.
        distributions: what Optuna calls the parameters.
    """

    def __init__(self, space: Space, seed: int, number: int, distributions: dict[str, BaseDistribution]) -> None:
        self._space, self._distributions, self._encoding = space, distributions, Encoding(space)
        self._random = np.random.default_rng(derive(seed, "gp", number))

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All parameters."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A configuration: a value for each parameter that is active in it."""
        assert isinstance(study, InformedStudy)
        return self._encoding.params(self._propose(study, trial.number))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Of a parameter that was not sampled with the others: there is none."""
        raise AssertionError(param_name)

    def _propose(self, study: InformedStudy, number: int) -> Floats:
        seen = self._seen(study, number)
        valued = [one for one in seen if len(one.scores_LK)]
        # Where low rungs mislead, or the process has settled on a place too early, what chance finds brings it back.
        if len(valued) < _STARTUP or self._random.random() < _CHANCE:
            return self._random.random(self._encoding.parameters)
        offset = int(any(one.lowest < 0 for one in valued))  # another study is a rung of its own, below all others
        observed = self._observed(valued, offset)
        surrogate = Surrogate(observed, len(self._space.fidelity.rungs) + offset)
        waiting = [one for one in seen if not len(one.scores_LK)]
        if waiting:
            surrogate = surrogate.believing(self._believed(surrogate, waiting, offset))
        counts = np.bincount(observed.rung_N, minlength=surrogate.rungs)
        rung = max((rung for rung in range(offset, surrogate.rungs) if counts[rung] >= _RUNG), default=offset)
        return self._best(surrogate, rung, valued)

    def _seen(self, study: InformedStudy, number: int) -> list[_Seen]:
        found = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number == number or trial.state == TrialState.WAITING or not trial.params:
                continue
            scores_LK, lowest = _scores(trial, study.objectives, self._space.fidelity.rungs)
            if len(scores_LK) or trial.state in (
                TrialState.RUNNING,
                TrialState.COMPLETE,
            ):
                found.append(_Seen(trial.number, self._encoding.cube(trial.params), scores_LK, lowest))
        return found

    def _observed(self, valued: list[_Seen], offset: int) -> Observed:
        lengths = [len(one.scores_LK) for one in valued]
        point_NP = np.repeat([one.point_P for one in valued], lengths, axis=0)
        trial_N = np.repeat([one.number for one in valued], lengths)
        rung_N = np.concatenate([one.lowest + offset + np.arange(length) for one, length in zip(valued, lengths, strict=True)])
        value_N = self._single(np.concatenate([one.scores_LK for one in valued]))
        observed = Observed(self._encoding.features_of(point_NP), trial_N, rung_N, value_N)
        if len(value_N) <= _MOST:
            return observed
        best_N = np.argsort(-value_N, kind="stable")[: _MOST // 2]
        return observed.take(np.union1d(best_N, np.arange(len(value_N) - _MOST // 2, len(value_N))))

    def _single(self, score_NK: Floats) -> Floats:
        """One value of all objectives, by their ranks, as a normal distribution has them."""
        rank_NK = rankdata(score_NK, axis=0) / len(score_NK)
        if rank_NK.shape[1] > 1:
            weight_K = self._random.dirichlet(np.ones(rank_NK.shape[1]))
            weighted_NK = rank_NK * weight_K
            rank_NK = (weighted_NK.min(axis=1) + _AUGMENTED * weighted_NK.sum(axis=1))[:, None]
        return np.asarray(ndtri((rankdata(rank_NK[:, 0]) - 0.5) / len(rank_NK)))

    def _believed(self, surrogate: Surrogate, waiting: list[_Seen], offset: int) -> Observed:
        features_QF = self._encoding.features_of(np.array([one.point_P for one in waiting]))
        rung_Q = np.full(len(waiting), offset)
        value_Q = surrogate.expected(features_QF, offset)
        return Observed(features_QF, np.array([one.number for one in waiting]), rung_Q, value_Q)

    def _best(self, surrogate: Surrogate, rung: int, valued: list[_Seen]) -> Floats:
        own = [one for one in valued if one.lowest >= 0] or valued
        known_QP = np.array([one.point_P for one in own])
        known_QF = self._encoding.features_of(known_QP)
        known_Q, _ = surrogate.at(known_QF, rung, np.array([one.number for one in own]))
        best_BP = known_QP[np.argsort(-known_Q, kind="stable")[:_BEST]]
        taken = {row.tobytes() for row in known_QF}

        def improvement(point_QP: Floats) -> Floats:
            features_QF = self._encoding.features_of(point_QP)
            mean_Q, spread_Q = surrogate.at(features_QF, rung)
            away_Q = (mean_Q - known_Q.max()) / spread_Q
            expected_Q = spread_Q * (away_Q * norm.cdf(away_Q) + norm.pdf(away_Q))
            return np.where([row.tobytes() in taken for row in features_QF], -1.0, expected_Q)

        drawn_QP = self._random.random((_DRAWN, self._encoding.parameters))
        point_QP = np.concatenate([drawn_QP, *(self._near(best_BP, width) for width in _WIDTHS)])
        improvement_Q = improvement(point_QP)
        for _ in range(_ROUNDS):
            kept = np.argsort(-improvement_Q, kind="stable")[:_BEST]
            near_QP = self._near(point_QP[kept], _WIDTHS[0] * 2)
            improvement_Q = np.concatenate([improvement_Q[kept], improvement(near_QP)])
            point_QP = np.concatenate([point_QP[kept], near_QP])
        return np.asarray(point_QP[int(np.argmax(improvement_Q))])

    def _near(self, centre_BP: Floats, width: float) -> Floats:
        shape = (len(centre_BP), _NEAR, centre_BP.shape[1])
        moved = self._random.random(shape) < _MOVED
        step = width * self._random.standard_normal(shape)
        return np.clip((centre_BP[:, None] + step * moved).reshape(-1, centre_BP.shape[1]), 0.0, 1.0 - 1e-12)


def _scores(trial: FrozenTrial, objectives: Sequence[Objective], rungs: Sequence[int]) -> tuple[Floats, int]:
    """Each objective's values by rung, and the first rung; of a failed trial the worst there is."""
    signs = np.array([objective.sign for objective in objectives], dtype=float)
    nothing = np.zeros((0, len(objectives)))
    if at_fault(trial) or inherited(trial):
        return (nothing if trial.values is None else (signs * trial.values)[None]), -int(inherited(trial))
    first, *costs = objectives
    known = trial.user_attrs.get("cost", {}) | trial.user_attrs.get("measured", {})
    if any(objective.name not in known for objective in costs):
        return nothing, 0
    reached = [rung for rung in rungs if trial.intermediate_values and rung <= max(trial.intermediate_values)]
    best = [max(first.sign * value for epoch, value in trial.intermediate_values.items() if epoch <= rung) for rung in reached]
    rest = [objective.sign * known[objective.name] for objective in costs]
    return np.array([[value, *rest] for value in best]).reshape(-1, len(objectives)), 0
