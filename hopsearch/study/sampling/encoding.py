"""Numerical encoding of configurations, for surrogate models.

A configuration is a point of the unit cube, with one coordinate per parameter, and a feature
vector, in which distances are measured. Points are sampled and moved in the cube; features are the
model's input: numbers on their (logarithmic) scale, and a one-hot code for words. An inactive
parameter is at the middle of its scale, or all zeros.

Shapes: Q configurations, P parameters, F features.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from hopsearch.space import Categorical, Float, Int, Parameter, Space, Value, scaled
from hopsearch.space.conditions import is_number, passes, same

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_FEW = 16  # most values with equal shares of their axis; above, values are rounded
_LISTED = 64  # most values on which a condition is tested one by one


class Encoding:
    """The coordinates and features of one space.

    Args:
        space: the search space.

    Attributes:
        parameters: P, their number.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._axes = {name: _axis(parameter) for name, parameter in space.parameters.items()}
        self._place = {name: place for place, name in enumerate(space.parameters)}
        self.parameters = len(self._axes)

    def cube(self, params: Mapping[str, object]) -> Floats:
        """The point (P,) of a configuration; 0.5 where a parameter has no value."""
        return np.array(
            [
                axis.place(params[name]) if name in params else 0.5
                for name, axis in self._axes.items()
            ]
        )

    def moved(self, point_P: Floats, params: Mapping[str, object]) -> Floats:
        """The point with the given parameters' values replaced."""
        point_P = point_P.copy()
        for name in params.keys() & self._axes.keys():
            point_P[self._place[name]] = self._axes[name].place(params[name])
        return point_P

    def params(self, point_P: Floats) -> dict[str, Value]:
        """The values of the active parameters at a point, parents first."""
        config = self._space.walk(
            lambda name, _: self._axes[name].value(float(point_P[self._place[name]]))
        )
        # clipped to the range again: a configuration's numbers are rounded
        return {
            name: self._axes[name].within(parameter.normalise(config[name]))
            for name, parameter in self._space.parameters.items()
            if name in config
        }

    def features_of(self, point_QP: Floats) -> Floats:
        """The features of points: (Q, F)."""
        columns = [np.zeros((len(point_QP), 0))]
        active = dict[str, Mask]()
        for (name, axis), place_Q in zip(self._axes.items(), point_QP.T, strict=True):
            active[name] = self._active(self._space.parameters[name], active, point_QP)
            columns.append(axis.features(place_Q, active[name]))
        return np.concatenate(columns, axis=1)

    def _active(self, parameter: Parameter, active: Mapping[str, Mask], point_QP: Floats) -> Mask:
        """Where a parameter is active (Q,), given where its parents are."""
        found_Q = np.ones(len(point_QP), dtype=bool)
        for parent, test in parameter.when.items():
            if parent in active:
                found_Q &= active[parent] & self._axes[parent].passes(
                    test, point_QP[:, self._place[parent]]
                )
            else:
                found_Q &= parent in self._space.fixed and passes(test, self._space.fixed[parent])
        return found_Q


class _Axis(ABC):
    """One parameter's axis of the cube.

    Attributes:
        width: its number of features.
    """

    width = 1

    @abstractmethod
    def place(self, value: Any) -> float:
        """The position of a value, 0 to 1."""

    @abstractmethod
    def value(self, place: float) -> Value:
        """The value at a position."""

    @abstractmethod
    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """Its features: (Q, width)."""

    def within(self, value: Value) -> Value:
        """The value, clipped to the range against rounding errors."""
        return value

    def passes(self, test: object, place_Q: Floats) -> Mask:
        """Where the value passes a condition's test."""
        return np.array([passes(test, self.value(float(place))) for place in place_Q], dtype=bool)


class _Continuous(_Axis):
    """A real number on its scale."""

    def __init__(self, parameter: Float) -> None:
        self._parameter = parameter
        self._low, self._high = (scaled(parameter, end) for end in (parameter.low, parameter.high))

    def place(self, value: Any) -> float:
        """See `_Axis`."""
        return (scaled(self._parameter, value) - self._low) / (self._high - self._low)

    def value(self, place: float) -> Value:
        """See `_Axis`."""
        scaled = self._low + (self._high - self._low) * place
        return self.within(math.exp(scaled) if self._parameter.log else scaled)

    def within(self, value: Value) -> Value:
        """See `_Axis`."""
        return _between(self._parameter, value)

    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """See `_Axis`."""
        return np.where(active_Q, place_Q, 0.5)[:, None]


class _Discrete(_Axis):
    """One of a finite number of values, by index. If there are few, they have equal shares of the
    axis.

    Args:
        count: the number of values.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def passes(self, test: object, place_Q: Floats) -> Mask:
        """See `_Axis`."""
        if self._count > _LISTED:
            return super().passes(test, place_Q)
        known = np.array(
            [passes(test, self._at(index)) for index in range(self._count)], dtype=bool
        )
        return np.asarray(known[self._index(place_Q)])

    def place(self, value: Any) -> float:
        """See `_Axis`."""
        return (self._find(value) + 0.5) / self._count

    def value(self, place: float) -> Value:
        """See `_Axis`."""
        return self._at(int(self._index(np.array([place]))[0]))

    def _index(self, place_Q: Floats) -> npt.NDArray[np.int64]:
        return np.clip((place_Q * self._count).astype(np.int64), 0, self._count - 1)

    @abstractmethod
    def _at(self, index: int) -> Value:
        """The value of an index."""

    @abstractmethod
    def _find(self, value: Any) -> int:
        """The index of a value."""


class _Steps(_Discrete):
    """A number in steps, on its scale."""

    def __init__(self, parameter: Float | Int) -> None:
        self._parameter = parameter
        self._step = float(parameter.step or 1)
        super().__init__(1 + math.floor((parameter.high - parameter.low) / self._step + 1e-9))
        self._low, high = (
            scaled(parameter, end) for end in (parameter.low, self._number(self._count - 1))
        )
        self._range = high - self._low

    def place(self, value: Any) -> float:
        """See `_Axis`."""
        if self._count <= _FEW:
            return super().place(value)
        return (scaled(self._parameter, self._number(self._find(value))) - self._low) / self._range

    def within(self, value: Value) -> Value:
        """See `_Axis`."""
        return _between(self._parameter, value)

    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """See `_Axis`."""
        number_Q = self._parameter.low + self._step * self._index(place_Q)
        scaled_Q = np.log(number_Q) if self._parameter.log else number_Q
        position_Q = (scaled_Q - self._low) / self._range if self._range else 0.5
        return np.where(active_Q, position_Q, 0.5)[:, None]

    def _index(self, place_Q: Floats) -> npt.NDArray[np.int64]:
        if self._count <= _FEW:
            return super()._index(place_Q)
        scaled_Q = self._low + self._range * place_Q
        number_Q = np.exp(scaled_Q) if self._parameter.log else scaled_Q
        return np.clip(
            np.rint((number_Q - self._parameter.low) / self._step).astype(np.int64),
            0,
            self._count - 1,
        )

    def _number(self, index: int) -> float:
        return float(self._parameter.low + index * self._step)

    def _at(self, index: int) -> Value:
        return self._parameter.normalise(self._number(index))

    def _find(self, value: Any) -> int:
        return round((float(value) - self._parameter.low) / self._step)


class _Choices(_Discrete):
    """A choice: among ordered numbers, equally spaced; or among words, any two as far apart as the
    two ends of a numeric range.
    """

    def __init__(self, parameter: Categorical) -> None:
        super().__init__(len(parameter.choices))
        self._choices = list(parameter.choices)
        numbers = all(is_number(choice) for choice in self._choices)
        self._ordered = numbers and self._choices == sorted(self._choices)  # type: ignore[type-var]
        self.width = 1 if self._ordered else self._count

    def features(self, place_Q: Floats, active_Q: Mask) -> Floats:
        """See `_Axis`."""
        if self._ordered:
            position_Q = self._index(place_Q) / max(1, self._count - 1)
            return np.where(active_Q, position_Q, 0.5)[:, None]
        return np.eye(self._count)[self._index(place_Q)] * active_Q[:, None] * math.sqrt(0.5)

    def _at(self, index: int) -> Value:
        return self._choices[index]

    def _find(self, value: Any) -> int:
        return next(index for index, known in enumerate(self._choices) if same(known, value))


def _axis(parameter: Parameter) -> _Axis:
    if isinstance(parameter, Categorical):
        return _Choices(parameter)
    assert isinstance(parameter, Float | Int)
    if isinstance(parameter, Int) or parameter.step is not None or parameter.low == parameter.high:
        return _Steps(parameter)
    return _Continuous(parameter)


def _between(parameter: Float | Int, value: Any) -> Value:
    within: Value = min(parameter.high, max(parameter.low, value))
    return within
