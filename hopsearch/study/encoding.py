"""Configurations as numbers, for models that learn from them.

A configuration is a point of the unit cube with a coordinate a parameter, and a vector of features that distances are taken
between. The cube is where points are drawn and moved; features are what a model sees: numbers on their (logarithmic) scale, and a
place of its own for each word. A parameter that is not active in a configuration is at the middle of its scale, or no word.

Shapes: Q configurations, P parameters, F features.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hopsearch.space import Categorical, Float, Int, Parameter, Space, Value
from hopsearch.space.conditions import is_number, same

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_FEW = 16


class Encoding:
    """The coordinates and features of one space.

    Args:
        space: what is searched.

    Attributes:
        parameters: P, how many there are.
        features: F.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._axes = [_axis(parameter) for parameter in space.parameters.values()]
        parents = {name for parameter in space.parameters.values() for name in parameter.when}
        self._parents = [(p, self._axes[p]) for p, name in enumerate(space.parameters) if name in parents]
        self._active: dict[tuple[Any, ...], Mask] = {}
        self.parameters, self.features = len(self._axes), sum(axis.width for axis in self._axes)

    def cube(self, params: Mapping[str, Any]) -> Floats:
        """The point (P,) of a configuration; 0.5 where a parameter has no value."""
        names = self._space.parameters
        return np.array(
            [axis.place(params[name]) if name in params else 0.5 for name, axis in zip(names, self._axes, strict=True)]
        )

    def params(self, point_P: Floats) -> dict[str, Value]:
        """The values of the active parameters at a point, parents first."""
        coordinate = dict(zip(self._space.parameters, zip(self._axes, point_P, strict=True), strict=True))

        def at(name: str, _: Parameter) -> Value:
            axis, place = coordinate[name]
            return axis.value(float(place))

        config = self._space.walk(at)
        return {name: config[name] for name in self._space.parameters if name in config}

    def features_of(self, point_QP: Floats) -> Floats:
        """What a model sees of points: (Q, F)."""
        active_QP = self._active_of(point_QP)
        columns = [axis.features(point_QP[:, p], active_QP[:, p]) for p, axis in enumerate(self._axes)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(point_QP), 0))

    def _active_of(self, point_QP: Floats) -> Mask:
        # The same for all points whose parents have the same values, of which there are few.
        if not self._parents:
            return np.broadcast_to(self._active_where(()), point_QP.shape)
        keys = [tuple(axis.value(float(point_P[p])) for p, axis in self._parents) for point_P in point_QP]
        return np.array([self._active_where(key) for key in keys])

    def _active_where(self, key: tuple[Value, ...]) -> Mask:
        if key not in self._active:
            names = list(self._space.parameters)
            given = {names[p]: value for (p, _), value in zip(self._parents, key, strict=True)}
            active = set(self._space.active(given))
            self._active[key] = np.array([name in active for name in names])
        return self._active[key]


class _Number:
    """A number on its scale, or a choice among ordered numbers: one feature from 0 to 1.

    Args:
        values: all there are, in order; None for infinitely many.
        position_V: where each of them lies on the scale from 0 to 1; of the two ends, where ``values`` is None.
        ends: the lowest and highest value, in the logarithm with ``log``.
    """

    width = 1

    def __init__(self, values: Sequence[Value] | None, position_V: Floats, ends: tuple[float, float], log: bool) -> None:
        self._values, self._position_V, self._ends, self._log = values, position_V, ends, log
        # Few values have equal shares of the axis; many are rounded to.
        self._shares = values is not None and len(values) <= _FEW

    def place(self, value: Any) -> float:
        """Where a value lies on its axis of the cube."""
        if self._values is not None:
            index = next(index for index, known in enumerate(self._values) if known == value)
            return (index + 0.5) / len(self._values) if self._shares else float(self._position_V[index])
        low, high = self._ends
        scaled = math.log(value) if self._log else float(value)
        return (scaled - low) / (high - low)

    def value(self, place: float) -> Value:
        """The value at a place."""
        if self._values is not None:
            return self._values[int(self._index(np.array([place]))[0])]
        low, high = self._ends
        scaled = low + (high - low) * place
        return math.exp(scaled) if self._log else scaled

    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """(Q, 1)."""
        position_Q = place_Q if self._values is None else self._position_V[self._index(place_Q)]
        return np.where(active_Q, position_Q, 0.5)[:, None]

    def _index(self, place_Q: Floats) -> npt.NDArray[np.int64]:
        count = len(self._position_V)
        if self._shares:
            return np.clip((place_Q * count).astype(np.int64), 0, count - 1)
        above_Q = np.clip(np.searchsorted(self._position_V, place_Q), 1, count - 1)
        nearer_below_Q = place_Q - self._position_V[above_Q - 1] < self._position_V[above_Q] - place_Q
        return np.asarray(above_Q - nearer_below_Q, dtype=np.int64)


class _Words:
    """A choice without an order: any two are as far from each other as the two ends of a number."""

    def __init__(self, values: Sequence[Value]) -> None:
        self._values, self.width = values, len(values)

    def place(self, value: Any) -> float:
        """As of `_Number`."""
        return (next(index for index, known in enumerate(self._values) if same(known, value)) + 0.5) / self.width

    def value(self, place: float) -> Value:
        """As of `_Number`."""
        return self._values[min(self.width - 1, int(place * self.width))]

    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """(Q, number of choices)."""
        index_Q = np.clip((place_Q * self.width).astype(np.int64), 0, self.width - 1)
        return np.eye(self.width)[index_Q] * active_Q[:, None] * math.sqrt(0.5)


def _axis(parameter: Parameter) -> _Number | _Words:
    if isinstance(parameter, Categorical):
        choices = list(parameter.choices)
        if not all(is_number(choice) for choice in choices) or choices != sorted(choices):  # type: ignore[type-var]
            return _Words(choices)
        return _Number(choices, np.linspace(0, 1, len(choices)), (0, 1), False)
    assert isinstance(parameter, Float | Int)
    values = parameter.values()
    ends = tuple(math.log(end) if parameter.log else float(end) for end in (parameter.low, parameter.high))
    known = np.array(list(ends) if values is None else values, dtype=float)
    if values is not None and parameter.log:
        known = np.log(known)
    width = ends[1] - ends[0]
    position_V = (known - ends[0]) / width if width else np.full(len(known), 0.5)
    return _Number(values, position_V, (ends[0], ends[1]), parameter.log)
