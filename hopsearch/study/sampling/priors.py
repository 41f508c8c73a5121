"""Prior beliefs about good values, which fade as evidence grows (after PriorBand, Mallik et al.
2023, arXiv 2306.12370).

Half of the first proposals are drawn around the believed values, and fewer as trials come in, so a
wrong belief costs only a few trials; the sampler makes the others.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hopsearch.core.errors import SpaceError
from hopsearch.core.seeds import derive
from hopsearch.space import Categorical, Float, Int, Parameter, Space, Value, Where, scaled

_FIRST = 0.5  # share of the first proposals drawn from the prior
_HALVES = 10.0  # trials after which that share is halved
_WIDTH = 0.2  # standard deviation of a belief about a number, as a share of its (logarithmic) range
_SURE = 0.6  # probability of a believed choice; the others share the rest


@dataclass(frozen=True)
class Prior:
    """Beliefs by parameter; parameters without one are drawn from their whole range.

    Args:
        values: dotted name to the believed value.
    """

    values: Mapping[str, Any] = field(default_factory=dict)

    def check(self, space: Space) -> None:
        """Reject a belief that no configuration can satisfy.

        Raises:
            SpaceError: an unknown parameter, one that is not searched, or a value outside its
                range.
        """
        for name, value in self.values.items():
            space.check({name: value}, complete=False, place=Where("prior"))
            values = space.parameters[name].values() if name in space.parameters else [value]
            # an inactive parameter with a given value is a choice of one
            if values is not None and len(values) == 1:
                rule = f"a prior needs a searched parameter, got one that is fixed to {value}"
                raise SpaceError(f"prior: {name}", rule, f"Remove prior.{name} or the fixed value")

    def chance(self, trials: int) -> float:
        """The probability that the next proposal is drawn from the prior, after this many
        trials.
        """
        return _FIRST * 0.5 ** (trials / _HALVES) if self.values else 0.0

    def draw(self, space: Space, seed: int, number: int, trials: int) -> dict[str, object] | None:
        """The searched values of trial ``number``, or None if it is the sampler's turn; determined
        by the study's seed.
        """
        random = Random(derive(seed, "prior", number))
        if random.random() >= self.chance(trials):
            return None

        def suggest(name: str, parameter: Parameter) -> Value:
            return (
                _near(parameter, self.values[name], random)
                if name in self.values
                else parameter.draw(random)
            )

        config = space.walk(suggest)
        return {name: config[name] for name in space.active(config)}


def _near(parameter: Parameter, belief: Value, random: Random) -> Value:
    if isinstance(parameter, Categorical):
        others = [choice for choice in parameter.choices if choice != belief]
        return belief if not others or random.random() < _SURE else random.choice(others)
    assert isinstance(parameter, Float | Int)
    assert isinstance(belief, float | int)
    low = scaled(parameter, parameter.low)
    high = scaled(parameter, parameter.high)
    centre = scaled(parameter, belief)
    drawn = min(high, max(low, random.gauss(centre, _WIDTH * (high - low))))
    value = min(
        float(parameter.high),
        max(float(parameter.low), math.exp(drawn) if parameter.log else drawn),
    )
    if (values := parameter.values()) is not None:
        return min(values, key=lambda one: abs(float(one) - value))  # type: ignore[arg-type]
    return value
