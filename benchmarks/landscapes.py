"""What the search benchmarks search: recorded tables, and functions with a known optimum. See
`PROBLEMS`.
"""

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import cocoex
import numpy as np
from shapes import Shape, thirty_parameters, two_parameters
from sklearn.ensemble import ExtraTreesRegressor

from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Landscape, Training
from hopsearch.orchestration.simulation.tables import TableLandscape
from hopsearch.space import Fidelity, Float, Int, Space

TABLES = Path(__file__).parent / "tables"


class Forest:
    """A recorded table continued by a regression: extremely randomised trees over the rows, all
    epochs at once.

    Unlike the nearest row, it answers a model-based sampler consistently: what is between two rows
    is between their curves.

    Attributes:
        space: the table's.
        best: the best of a thousand configurations drawn at random, and of the rows, as the forest
            sees them.
    """

    def __init__(self, rows: TableLandscape) -> None:
        self.space, self._rows = rows.space, rows
        codes, curves = [], []
        for repeats in rows.rows:
            for row in repeats:
                codes.append(rows.encode(row["params"]))
                curves.append(row["val_acc"])
        # An inactive parameter is a value of its own, below all others.
        self._trees = ExtraTreesRegressor(60, min_samples_leaf=2, random_state=0).fit(
            np.nan_to_num(codes, nan=-1.0), curves
        )
        drawn = [self.space.draw(Random(derive("forest", number))) for number in range(1000)]
        known = [repeats[0]["params"] for repeats in rows.rows]
        self.best = float(self._predict([*drawn, *known]).max())
        self._seen: dict[str, list[float]] = {}

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """The forest's curve."""
        key = self.space.canonical(config)
        if key not in self._seen:
            self._seen[key] = [float(value) for value in self._predict([config])[0]]
        return Training(self._seen[key], [1.0] * len(self._seen[key]))

    def _predict(self, configs: list[dict[str, Any]]) -> Any:
        active = [{name: config[name] for name in self.space.active(config)} for config in configs]
        return self._trees.predict(
            np.nan_to_num([self._rows.encode(params) for params in active], nan=-1.0)
        )


# Hartmann's function in six dimensions (Dixon & Szegö 1978), maximised; its best is 3.32237 at a
# known point.
_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A = (
    (10, 3, 17, 3.5, 1.7, 8),
    (0.05, 10, 17, 0.1, 8, 14),
    (3, 3.5, 1.7, 10, 17, 8),
    (17, 8, 0.05, 10, 0.1, 14),
)
_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)
_BEST = 3.32237


@dataclass(frozen=True)
class Problem:
    """What is searched, and when it is found.

    Attributes:
        space, landscape: see there.
        best: the best value there is.
        target: a search has found it when it has a value within so much of ``best``.
    """

    space: Space
    landscape: Landscape
    best: float
    target: float


_UP_TO = {"digits_few": 10462, "digits": 5769, "cifar10": 1032}
"""The last configuration of a table that is searched: tables grow, and results are to be had
again.
"""


def table(name: str) -> Problem:
    """A recorded table: within half a point of its best."""
    landscape = _read(name).fresh()
    return Problem(_unaided(landscape.space), landscape, landscape.best, 0.005)


@functools.cache
def forest(name: str) -> Problem:
    """A table continued by a regression: within half a point of its best."""
    landscape = Forest(_read(name))
    return Problem(_unaided(landscape.space), landscape, landscape.best, 0.005)


def _unaided(space: Space) -> Space:
    # The papers' settings as first points are knowledge that the others are not given.
    return replace(space, first=())


def hartmann(x: list[float]) -> float:
    """Of a point in [0, 1]^6; 1 is the best."""
    sums = (
        sum(a * (xi - p) ** 2 for a, xi, p in zip(_A[i], x, _P[i], strict=True)) for i in range(4)
    )
    return sum(alpha * math.exp(-s) for alpha, s in zip(_ALPHA, sums, strict=True)) / _BEST


class HartmannCurves:
    """Hartmann's function as learning curves of 27 epochs: the last is the function, the first
    epochs are another one.

    Args:
        misleading: the early epochs are the function of the point with its coordinates in another
            order, hardly related to the last; otherwise they are a blurred form of it.
    """

    def __init__(self, misleading: bool) -> None:
        self._misleading = misleading

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """A little noise of its own at every epoch, but the last."""
        x = [config[f"x{i}"] for i in range(6)]
        final, random = hartmann(x), Random(derive(seed, *x))
        early = (
            hartmann(x[3:] + x[:3])
            if self._misleading
            else hartmann([0.5 + 0.8 * (xi - 0.5) for xi in x])
        )
        values = []
        for epoch in range(1, 28):
            known = ((epoch - 1) / 26) ** 0.5
            values.append((1 - known) * (0.7 * early + random.gauss(0, 0.02)) + known * final)
        return Training(values, [1.0] * 27)


def synthetic(misleading: bool) -> Problem:
    """Three quarters of the best, where a random point has a tenth."""
    space = Space({f"x{i}": Float(0.0, 1.0) for i in range(6)}, fidelity=Fidelity(1, 27, 3))
    return Problem(space, HartmannCurves(misleading), 1.0, 0.25)


class Coco:
    """A function of coco's bbob-mixint suite in five dimensions, all but the last of them whole
    numbers, one epoch a trial.
    """

    def __init__(self, function: int, instance: int) -> None:
        options = f"dimensions:5 function_indices:{function}"
        self._function = cocoex.Suite("bbob-mixint", f"instances:{instance}", options)[0]
        bounds = zip(self._function.lower_bounds, self._function.upper_bounds, strict=True)
        whole = self._function.number_of_integer_variables
        self.space = Space(
            {
                f"x{i}": Int(int(low), int(high)) if i < whole else Float(low, high)
                for i, (low, high) in enumerate(bounds)
            },
            fidelity=Fidelity(1, 1, 3),
        )
        self._zero, self._one = 0.0, 1.0
        random = Random(derive("coco", function, instance))
        drawn = [-self._function(list(self.space.draw(random).values())) for _ in range(30 * 256)]
        self._zero = statistics.median(drawn)
        # The best of 256 random points, in the median of thirty tries, is 1; a random point is 0.
        self._one = statistics.median(
            max(drawn[turn * 256 : (turn + 1) * 256]) for turn in range(30)
        )

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """The function's value, scaled."""
        value = -self._function([config[f"x{i}"] for i in range(5)])
        return Training([(value - self._zero) / (self._one - self._zero)], [1.0])


# sphere, Rastrigin, Rosenbrock, Rastrigin turned, Schwefel, Gallagher: one of each kind
_COCO = (1, 3, 8, 15, 20, 22)


def mixint(seed: int) -> Problem:
    """Another function, or instance of it, each seed: as good as the best of 256 random points."""
    coco = Coco(_COCO[seed % len(_COCO)], 1 + seed // len(_COCO) % 5)
    return Problem(coco.space, coco, 1.0, 0.0)


def shape(space: Space, target: float) -> Problem:
    """A made-up quality over a space of few or many parameters."""
    landscape = Shape(space)
    return Problem(space, landscape, landscape.best, target)


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "digits_few": lambda seed: table("digits_few"),
    "digits": lambda seed: table("digits"),
    "cifar10": lambda seed: table("cifar10"),
    "digits_few_forest": lambda seed: forest("digits_few"),
    "cifar10_forest": lambda seed: forest("cifar10"),
    "hartmann": lambda seed: synthetic(misleading=False),
    "hartmann_misleading": lambda seed: synthetic(misleading=True),
    "mixint": mixint,
    "two_parameters": lambda seed: shape(two_parameters(), 0.0005),
    "thirty_parameters": lambda seed: shape(thirty_parameters(), 0.15),
}
"""By name, from a seed."""


@functools.cache
def _read(name: str) -> TableLandscape:
    return TableLandscape(TABLES / f"{name}.jsonl.gz", up_to=_UP_TO[name])
