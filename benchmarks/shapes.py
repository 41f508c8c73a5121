"""Made-up landscapes for what the tables do not have: two parameters, thirty with conditions, a
second objective, a cliff.

A configuration has a quality, 1 at best, and its curve rises to it over 27 epochs. All of them have
a cost, so that each can be searched for one objective or for two.
"""

import math
from dataclasses import replace
from random import Random
from typing import Any

from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Training
from hopsearch.space import Categorical, Fidelity, Float, Int, Space
from hopsearch.space.parameters import Parameter, scaled

EPOCHS = 27
_NOISE = 0.01
_FAMILIES = ("a", "b", "c", "d")
_OFFSETS = {"a": 0.0, "b": 0.02, "c": 0.05, "d": 0.1}
_RATE = "optim.lr"
_WIDTH = "model.width"


def _fidelity() -> Fidelity:
    return Fidelity(1, EPOCHS, 3)


def two_parameters() -> Space:
    """A learning rate and a width."""
    return Space(
        {_RATE: Float(1e-5, 1.0, log=True), _WIDTH: Int(16, 1024, log=True)}, fidelity=_fidelity()
    )


def thirty_parameters() -> Space:
    """Four families with six parameters each, and five that all share."""
    parameters: dict[str, Parameter] = {"model.family": Categorical(_FAMILIES)}
    parameters |= {_RATE: Float(1e-5, 1.0, log=True), _WIDTH: Int(16, 1024, log=True)}
    parameters |= {f"shared.{place}": Float(0.0, 1.0) for place in range(3)}
    for family in _FAMILIES:
        own = {"model.family": family}
        parameters |= {f"{family}.rate_{place}": Float(0.0, 0.9, when=own) for place in range(2)}
        parameters |= {f"{family}.depth_{place}": Int(1, 8, when=own) for place in range(2)}
        parameters[f"{family}.norm"] = Categorical(("none", "layer", "batch"), when=own)
        parameters[f"{family}.gated"] = Categorical((True, False), when=own)
    return Space(parameters, fidelity=_fidelity())


def for_two_objectives(space: Space) -> Space:
    """The same space, searched for the best models of every size."""
    return replace(space, objective="val_acc,n_params", direction="maximize,minimize")


class Shape:
    """A quality that falls with the squared distance to one best configuration, more with some
    parameters than with others.

    Args:
        space: one of this file's.
        cliff: trainings with a learning rate above a bound diverge, the sooner the higher it is.
            The best one is just below.

    Attributes:
        space: see there.
        best: the best quality there is.
    """

    best = 1.0

    def __init__(self, space: Space, cliff: bool = False) -> None:
        self.space, self._cliff = space, cliff

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """Parameters grow with the square of the width, and differ between families."""
        place = _FAMILIES.index(config.get("model.family", "a"))
        return {"n_params": config[_WIDTH] ** 2 * (4 - place)}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """A curve with a little noise, which fades towards the end; it stops where the training
        diverges.
        """
        random, quality = Random(derive(seed, self.space.canonical(config))), self.quality(config)
        values = []
        for epoch in range(1, 1 + self._lasting(config)):
            noise = random.gauss(0, _NOISE) * (1 - epoch / EPOCHS)
            values.append(
                quality * (1 - 0.7 * (math.exp(-epoch / 5) - math.exp(-EPOCHS / 5))) + noise
            )
        return Training(values, [1.0] * EPOCHS)

    def quality(self, config: dict[str, Any]) -> float:
        """What its curve ends with."""
        quality, weight = 1.0 - _OFFSETS[config.get("model.family", "a")], 0.8
        for name in self.space.active(config):
            if name != "model.family":
                quality -= (
                    weight * (_unit(self.space.parameters[name], config[name]) - _best(name)) ** 2
                )
                weight *= 0.85
        return quality

    def _lasting(self, config: dict[str, Any]) -> int:
        """Epochs before it diverges."""
        above = _unit(self.space.parameters[_RATE], config[_RATE]) - _best(_RATE) - 0.02
        return EPOCHS if above <= 0 or not self._cliff else min(EPOCHS, int(2 / above))


def _best(name: str) -> float:
    """Where a parameter is best, from 0 to 1."""
    if name == _RATE:
        return 0.5
    return 0.15 + 0.7 * derive("shapes", name) / 2**31


def _unit(parameter: Parameter, value: Any) -> float:
    """A value on a scale from 0 to 1."""
    if isinstance(parameter, Categorical):
        return parameter.choices.index(value) / (len(parameter.choices) - 1)
    assert isinstance(parameter, Float | Int)
    low, high = scaled(parameter, parameter.low), scaled(parameter, parameter.high)
    return (scaled(parameter, value) - low) / (high - low)
