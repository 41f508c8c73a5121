"""Samplers by name. `gp` is ours, see `study.sampling.gp`; the others are Optuna's, made
independent of restarts.

`tpe_gp`, the default, uses one of the two at random for each proposal: which is better depends on
the problem and is not known in advance (`benchmarks/results/outside_quality.md`).

A new sampler is created for every trial, seeded by (study seed, trial number), and sees only the
study's records. So a search that was killed and resumed makes the same proposals as without the
interruption. Sobol points (``qmc``) need one seed for the whole sequence; Optuna stores the
position in the study. ``grid`` has no randomness at all.
"""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.core.seeds import derive
from hopsearch.space import Categorical, Float, Int, Parameter, Space
from hopsearch.study.sampling.sampler_view import SamplerView

optuna.logging.set_verbosity(optuna.logging.WARNING)


def _tpe(space: Space, seed: int, number: int) -> BaseSampler:
    # constant_liar: running trials count as bad, so concurrent workers do not get the same point.
    # group: conditional parameters are modelled jointly with those active at the same time.
    # prior_weight: the uniform prior counts as five good trials instead of one. With this weight,
    # TPE does not fixate on the families it happened to try first; see
    # benchmarks/results/search_quality.md.
    return TPESampler(
        seed=derive(seed, "tpe", number),
        multivariate=True,
        constant_liar=True,
        group=space.conditional,
        prior_weight=5.0,
    )


def _random(space: Space, seed: int, number: int) -> BaseSampler:
    return RandomSampler(seed=derive(seed, "random", number))


def _gp(space: Space, seed: int, number: int) -> BaseSampler:
    if number < _GP_FROM:
        return RandomSampler(seed=derive(seed, "gp", number))
    # local import: scipy's optimisers take a third of a second, which other samplers do not need
    from hopsearch.study.sampling.gp import RungGP

    return RungGP(
        space,
        seed,
        number,
        {name: distribution(parameter) for name, parameter in space.parameters.items()},
        _GP_FROM,
    )


_GP_FROM = 16
"""Trials that gp needs before its first non-random proposal."""


def _tpe_gp(space: Space, seed: int, number: int) -> BaseSampler:
    return SAMPLERS[proposer("tpe_gp", seed, number)](space, seed, number)


def proposer(sampler: str, seed: int, number: int) -> str:
    """The name of the sampler that is asked for a trial: one of two for ``tpe_gp``, else the
    same.
    """
    if sampler != "tpe_gp":
        return sampler
    return "tpe" if derive(seed, "tpe_gp", number) % 2 else "gp"


class _CmaEs(CmaEsSampler):
    """Draws by the trial's number; by ours, since Optuna's differs once a search continued after a
    budget had ended it.
    """

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, object]:
        """As in Optuna."""
        if isinstance(study, SamplerView):
            trial = copy.copy(trial)
            trial.number = study.ours(trial.number)
        return super().sample_relative(study, trial, search_space)


def _cmaes(space: Space, seed: int, number: int) -> BaseSampler:
    return _CmaEs(seed=derive(seed, "cmaes", number), warn_independent_sampling=False)


def _qmc(space: Space, seed: int, number: int) -> BaseSampler:
    return QMCSampler(
        scramble=True,
        seed=derive(seed, "qmc"),
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
    )


def _nsgaii(space: Space, seed: int, number: int) -> BaseSampler:
    return NSGAIISampler(seed=derive(seed, "nsgaii", number), population_size=_POPULATION)


def _nsgaiii(space: Space, seed: int, number: int) -> BaseSampler:
    return NSGAIIISampler(seed=derive(seed, "nsgaiii", number), population_size=_POPULATION)


_POPULATION = 20  # Optuna's 50 would be a whole search of ours before the first child


SAMPLERS: dict[str, Callable[[Space, int, int], BaseSampler]] = {
    "tpe_gp": _tpe_gp,
    "tpe": _tpe,
    "gp": _gp,
    "random": _random,
    "cmaes": _cmaes,
    "qmc": _qmc,
    "nsgaii": _nsgaii,
    "nsgaiii": _nsgaiii,
    # the study walks the grid itself; Optuna's GridSampler cannot end a search that asks and tells
    "grid": _random,
}


CONSTRAINED = ("tpe", "tpe_gp")
"""Samplers that receive violated constraints in Optuna's way; others would warn. gp looks at what
was refused itself.
"""

LEARNING = ("tpe_gp", "tpe", "gp")
"""Samplers that learn from trials of another study. The genetic ones and cmaes look at those only
that they proposed themselves; random, qmc and grid at none."""

GENETIC = ("nsgaii", "nsgaiii")
"""Samplers that breed only from complete trials."""


def make_sampler(
    name: str, space: Space, seed: int, number: int, place: str = "sampler"
) -> BaseSampler:
    """The sampler of that name for one trial.

    Args:
        name: one of `SAMPLERS`.
        space: what is searched.
        seed: the study's seed.
        number: the trial's future number.
        place: start of an error message.

    Raises:
        ConfigError: unknown name, or a single-objective sampler with several objectives.
    """
    if name not in SAMPLERS:
        raise ConfigError(place, f"unknown sampler {name!r}", choices(name, SAMPLERS))
    if name == "cmaes" and len(space.objectives) > 1:
        raise ConfigError(
            place, f"cmaes takes one objective, got {space.objective}", "Use sampler=tpe or nsgaii"
        )
    with warnings.catch_warnings():
        # group= has been experimental in Optuna since 2.8
        warnings.simplefilter("ignore", ExperimentalWarning)
        # Optuna 6 will remove prior_weight= without a replacement; pyproject.toml requires version
        # 5.
        warnings.filterwarnings("ignore", "`prior_weight` has been deprecated", FutureWarning)
        return SAMPLERS[name](space, seed, number)


def suggest_value(trial: optuna.Trial, name: str, parameter: Parameter) -> Any:
    """Optuna's value for a parameter of ours."""
    if isinstance(parameter, Categorical):
        return trial.suggest_categorical(name, parameter.choices)
    if isinstance(parameter, Int):
        return trial.suggest_int(
            name, parameter.low, parameter.high, step=parameter.step or 1, log=parameter.log
        )
    assert isinstance(parameter, Float)
    return trial.suggest_float(
        name, parameter.low, parameter.high, step=parameter.step, log=parameter.log
    )


def distribution(parameter: Parameter) -> BaseDistribution:
    """The Optuna distribution that `suggest_value` uses for a parameter."""
    if isinstance(parameter, Categorical):
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter, Int):
        return IntDistribution(
            parameter.low, parameter.high, step=parameter.step or 1, log=parameter.log
        )
    assert isinstance(parameter, Float)
    return FloatDistribution(parameter.low, parameter.high, step=parameter.step, log=parameter.log)
