"""The multi-fidelity sampler: proposes where a Gaussian process over configurations and rungs
expects most improvement.

Each trial contributes its values at the rungs that it reached, never a mixture of them; see
`surrogate`. Improvement is maximised at the highest rung that a few trials have reached. Running
trials without a value are assumed to have their expected values, so that concurrent workers do not
get the same point. With several objectives, each proposal draws new weights (ParEGO: Knowles 2006,
augmented Tchebycheff).

Shapes: N observations, Q candidates, P parameters, F features, K objectives.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtr, ndtri
from threadpoolctl import ThreadpoolController

from hopsearch.core.seeds import derive
from hopsearch.space import Objective, Space, Value
from hopsearch.study.record.journal_keys import REJECTED
from hopsearch.study.record.trial import State, costs_of
from hopsearch.study.sampling.encoding import Encoding, Floats
from hopsearch.study.sampling.rank_values import ranks
from hopsearch.study.sampling.sampler_view import SamplerView, at_fault, best_by_rung, inherited
from hopsearch.study.sampling.surrogate import Observed, Surrogate

# share of later proposals that are random, as in BOHB (Falkner et al. 2018, arXiv 1807.01774)
_CHANCE = 1 / 3
_RUNG = 4  # trials needed at a rung before improvement is maximised there
_MOST = 360  # most observations that the process is conditioned on
# random candidates, and candidates per step width around each of the best
_DRAWN = 400
_NEAR = 40
_WIDTHS = (0.02, 0.07, 0.2)  # step widths, as shares of a parameter's range
_MOVED = 0.5  # chance that a step changes a parameter
# points around which candidates are searched, and rounds of refinement of the best candidates
_BEST = 5
_ROUNDS = 3
_AUGMENTED = 0.05  # weight of the objectives' sum relative to the worst of them


@dataclass(frozen=True)
class _Seen:
    """The observations of one trial.

    Attributes:
        point_P: its point in the cube.
        scores_LK: by rung from the lowest, each objective's value there, larger is better; empty if
            it has none yet.
        lowest: the rung of the first of them; -1 for another study's trials.
        refused: it failed because of its configuration, or violates a constraint.
    """

    number: int
    point_P: Floats
    scores_LK: Floats
    lowest: int
    refused: bool


class RungGP(BaseSampler):
    """The sampler for one trial.

    Args:
        space: what is searched.
        seed: the study's.
        number: the trial's.
        distributions: Optuna's distributions of the parameters.
        startup: trials with a value needed before the process is used; until then, points are
            random.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        number: int,
        distributions: dict[str, BaseDistribution],
        startup: int,
    ) -> None:
        self._space = space
        self._distributions = distributions
        self._encoding = Encoding(space)
        self._startup = startup
        self._random = np.random.default_rng(derive(seed, "gp", number))
        self._independent = RandomSampler(seed=derive(seed, "gp", number))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters."""
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Value]:
        """A configuration: one value per active parameter, given those already fixed for this
        trial.
        """
        assert isinstance(study, SamplerView)
        # matrices are small, and results must not depend on the number of cores
        with _libraries().limit(limits=1, user_api="blas"):
            point_P = self._propose(study, trial.number)
        return self._encoding.params(
            self._encoding.moved(point_P, trial.system_attrs.get("fixed_params", {}))
        )

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A random value, for a parameter that the configuration does not include."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, study: SamplerView, number: int) -> Floats:
        seen = self._seen(study, number)
        valued = [one for one in seen if len(one.scores_LK)]
        # Random points help when low rungs mislead, or when the process has converged too early.
        if len(valued) < self._startup or self._random.random() < _CHANCE:
            return self._random.random(self._encoding.parameters)
        # another study is treated as an extra rung below all others
        offset = int(any(one.lowest < 0 for one in valued))
        observed = self._observed(valued, offset)
        surrogate = Surrogate(observed, len(self._space.fidelity.rungs) + offset)
        waiting = [one for one in seen if not len(one.scores_LK) and not one.refused]
        if waiting:
            surrogate = surrogate.believing(self._believed(surrogate, waiting, offset))
        counts = np.bincount(
            [len(one.scores_LK) for one in valued if one.lowest == 0 and not one.refused]
        )
        came = np.cumsum(counts[::-1])[::-1]  # at least this many rungs
        rung = max(
            (length - 1 for length in range(1, len(came)) if came[length] >= _RUNG), default=0
        )
        return self._best(surrogate, rung + offset, seen)

    def _seen(self, study: SamplerView, number: int) -> list[_Seen]:
        found = []
        for trial in study.get_trials(deepcopy=False):
            if trial.number == number or trial.state == TrialState.WAITING or not trial.params:
                continue
            refused = at_fault(trial) or trial.user_attrs.get(REJECTED) == State.INFEASIBLE
            scores_LK, lowest = _scores(trial, study.objectives, self._space.fidelity.rungs)
            if (
                refused
                or len(scores_LK)
                or trial.state in (TrialState.RUNNING, TrialState.COMPLETE)
            ):
                point_P = self._encoding.cube(trial.params)
                found.append(
                    _Seen(
                        trial.number, point_P, scores_LK[: 0 if refused else None], lowest, refused
                    )
                )
        return self._with_worst(found)

    def _with_worst(self, seen: list[_Seen]) -> list[_Seen]:
        """Rejected trials, with the worst value at each rung that others reached."""
        known = [one.scores_LK for one in seen if one.lowest == 0 and len(one.scores_LK)]
        longest = max((len(scores_LK) for scores_LK in known), default=0)
        worst = [
            np.min([scores_LK[rung] for scores_LK in known if len(scores_LK) > rung], axis=0)
            for rung in range(longest)
        ]
        return [
            replace(one, scores_LK=np.array(worst)) if one.refused and worst else one
            for one in seen
        ]

    def _observed(self, valued: list[_Seen], offset: int) -> Observed:
        lengths = [len(one.scores_LK) for one in valued]
        point_NP = np.repeat([one.point_P for one in valued], lengths, axis=0)
        trial_N = np.repeat([one.number for one in valued], lengths)
        rung_N = np.concatenate(
            [
                one.lowest + offset + np.arange(length)
                for one, length in zip(valued, lengths, strict=True)
            ]
        )
        value_N = self._single(np.concatenate([one.scores_LK for one in valued]))
        kept = _kept(value_N)
        return Observed(
            self._encoding.features_of(point_NP[kept]), trial_N[kept], rung_N[kept], value_N[kept]
        )

    def _single(self, score_NK: Floats) -> Floats:
        """A scalar from all objectives: their ranks, mapped to a normal distribution."""
        rank_NK = np.stack([ranks(score_N) for score_N in score_NK.T], axis=1) / len(score_NK)
        single_N = rank_NK[:, 0]
        if rank_NK.shape[1] > 1:
            weighted_NK = rank_NK * self._random.dirichlet(np.ones(rank_NK.shape[1]))
            single_N = weighted_NK.min(axis=1) + _AUGMENTED * weighted_NK.sum(axis=1)
        return np.asarray(ndtri((ranks(single_N) - 0.5) / len(single_N)))

    def _believed(self, surrogate: Surrogate, waiting: list[_Seen], offset: int) -> Observed:
        features_QF = self._encoding.features_of(np.array([one.point_P for one in waiting]))
        rung_Q = np.full(len(waiting), offset)
        value_Q = surrogate.expected(features_QF, offset)
        return Observed(features_QF, np.array([one.number for one in waiting]), rung_Q, value_Q)

    def _best(self, surrogate: Surrogate, rung: int, seen: list[_Seen]) -> Floats:
        own = [one for one in seen if one.lowest == 0 and len(one.scores_LK) and not one.refused]
        own = own or [one for one in seen if len(one.scores_LK)]
        known_QP = np.array([one.point_P for one in own])
        known_Q, _ = surrogate.at(
            self._encoding.features_of(known_QP), rung, np.array([one.number for one in own])
        )
        best_BP = known_QP[np.argsort(-known_Q, kind="stable")[:_BEST]]
        tried_QP = np.array([one.point_P for one in seen if one.lowest == 0]).reshape(
            -1, self._encoding.parameters
        )
        taken = set(_keys(self._encoding.features_of(tried_QP)))

        def improvement(point_QP: Floats) -> Floats:
            features_QF = self._encoding.features_of(point_QP)
            mean_Q, spread_Q = surrogate.at(features_QF, rung)
            away_Q = (mean_Q - known_Q.max()) / spread_Q
            expected_Q = spread_Q * (
                away_Q * ndtr(away_Q) + np.exp(-0.5 * away_Q**2) / math.sqrt(2 * math.pi)
            )
            return np.where([key in taken for key in _keys(features_QF)], -1.0, expected_Q)

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
        return np.clip(
            (centre_BP[:, None] + step * moved).reshape(-1, centre_BP.shape[1]), 0.0, 1.0
        )


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _scores(
    trial: FrozenTrial, objectives: Sequence[Objective], rungs: Sequence[int]
) -> tuple[Floats, int]:
    """Each objective's values by rung, and the first rung; another study's trial has its value
    converted to this study.
    """
    if inherited(trial):
        signs = np.array([objective.sign for objective in objectives], dtype=float)
        return (signs * trial.values)[None], -1
    first, *costs = objectives
    known = costs_of(trial.user_attrs)
    if any(objective.name not in known for objective in costs):
        return np.zeros((0, len(objectives))), 0
    rest = [objective.sign * known[objective.name] for objective in costs]
    best = [
        value
        for value in best_by_rung(trial.intermediate_values, first.sign, rungs)
        if not math.isnan(value)
    ]
    return np.array([[value, *rest] for value in best], dtype=float).reshape(-1, len(objectives)), 0


def _kept(value_N: Floats) -> npt.NDArray[np.int64]:
    """The observations used if there are too many: the best third, the newest third, and an even
    sample of the others.
    """
    count = len(value_N)
    third = _MOST // 3
    if count <= _MOST:
        return np.arange(count)
    chosen = np.union1d(
        np.argsort(-value_N, kind="stable")[:third], np.arange(count - third, count)
    )
    rest = np.setdiff1d(np.arange(count), chosen)
    evenly = rest[np.linspace(0, len(rest) - 1, _MOST - len(chosen)).astype(np.int64)]
    return np.asarray(np.union1d(chosen, evenly))


def _keys(features_QF: Floats) -> list[bytes]:
    return [row.tobytes() for row in np.round(features_QF, 9) + 0.0]
