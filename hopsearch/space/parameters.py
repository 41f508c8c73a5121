"""The three types of parameters: real numbers, whole numbers, and choices."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import Value, When, is_number, passes, read_when, same, shown

# Relative tolerance of bounds and steps: in floating point, 0.1 + 2 * 0.1 is not 0.3.
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Parameter(ABC):
    """Base class. Create a `Float`, an `Int` or a `Categorical`.

    Args:
        when: the condition under which the parameter is active (see `hopsearch.space.conditions`);
            empty: always.
    """

    kind: ClassVar[str]
    when: When = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "when", read_when(self.when, self.kind))

    @abstractmethod
    def contains(self, value: object) -> bool:
        """Whether ``value`` may be suggested."""

    @abstractmethod
    def normalise(self, value: Any) -> Value:
        """The canonical form of a contained value, used in configurations and to detect
        duplicates.
        """

    @abstractmethod
    def values(self) -> Sequence[Value] | None:
        """All values, or None if there are infinitely many."""

    @abstractmethod
    def can_pass(self, test: object) -> bool:
        """Whether any value passes this test of a condition; used to detect misspelt conditions."""

    @abstractmethod
    def describe(self) -> str:
        """The allowed values in words: ``a whole number from 2 to 8``."""

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """Plain data, as in the YAML file."""

    def draw(self, random: Random) -> Value:
        """A value drawn uniformly (in the logarithm, for a real number with ``log``)."""
        values = self.values()
        assert (
            values is not None
        )  # only a `Float` may have infinitely many, and overrides this method
        return random.choice(values)

    def _dict(self, **keys: object) -> dict[str, object]:
        data = {"type": self.kind, **keys, "when": dict(self.when)}
        return {
            key: value
            for key, value in data.items()
            if value is not None and value is not False and value != {}
        }


@dataclass(frozen=True)
class Float(Parameter):
    """A real number from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: sample uniformly in log(value).
        step: only ``low``, ``low + step``, … ``high``.
    """

    kind: ClassVar[str] = "float"
    low: float
    high: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range(self)
        for name in ("low", "high", "step"):  # 1 and 1.0 define the same space: same fingerprint
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else float(value))

    def contains(self, value: object) -> bool:
        """Whether ``value`` is a number in the range and on the step."""
        if not is_number(value):
            return False
        slack = _TOLERANCE * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack and (
            self.step is None or _on_step(value, self.low, self.step)
        )

    def normalise(self, value: Any) -> float:
        """A float, rounded to twelve digits: 0.1 + 0.2 and 0.3 are one value."""
        return float(f"{float(value):.12g}")

    def values(self) -> Sequence[Value] | None:
        """The steps, or None without a step."""
        if self.low == self.high:
            return [self.low]
        if self.step is None:
            return None
        return [
            self.normalise(self.low + k * self.step)
            for k in range(_steps(self.low, self.high, self.step) + 1)
        ]

    def draw(self, random: Random) -> Value:
        """A value drawn uniformly, in the logarithm with ``log``."""
        if self.values() is not None:
            return super().draw(random)
        if not self.log:
            return random.uniform(self.low, self.high)
        return min(
            self.high,
            max(self.low, math.exp(random.uniform(math.log(self.low), math.log(self.high)))),
        )

    def can_pass(self, test: object) -> bool:
        """Whether any value passes ``test``."""
        return _range_can_pass(self, test)

    def describe(self) -> str:
        """In words, with the bounds."""
        return _describe(self, "a number")

    def to_dict(self) -> dict[str, object]:
        """Plain data, as in the YAML file."""
        return self._dict(low=self.low, high=self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Int(Parameter):
    """A whole number from ``low`` to ``high``, both included.

    Args:
        low: smallest value.
        high: largest value.
        log: sample uniformly in log(value).
        step: only ``low``, ``low + step``, … ``high``.
    """

    kind: ClassVar[str] = "int"
    low: int
    high: int
    log: bool = False
    step: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            if is_number(value) and not isinstance(value, int):
                raise SpaceError(
                    self.kind,
                    f"{name} must be a whole number, got {value}",
                    "Round it, or write type: float",
                )
        _check_range(self)

    def contains(self, value: object) -> bool:
        """Whether ``value`` is a whole number in the range and on the step; 4.0 counts as 4."""
        return is_number(value) and value == int(value) and int(value) in self.values()

    def normalise(self, value: Any) -> int:
        """An int."""
        return int(value)

    def values(self) -> range:
        """The whole numbers, as a lazy range."""
        return range(self.low, self.high + 1, self.step or 1)

    def can_pass(self, test: object) -> bool:
        """Whether any value passes ``test``."""
        return _range_can_pass(self, test)

    def describe(self) -> str:
        """In words, with the bounds."""
        return _describe(self, "a whole number")

    def to_dict(self) -> dict[str, object]:
        """Plain data, as in the YAML file."""
        return self._dict(low=self.low, high=self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Categorical(Parameter):
    """One of several unordered choices.

    Args:
        choices: words, numbers, or booleans; no two equal. Booleans do not mix with others:
            ``True`` would equal ``1``.
    """

    kind: ClassVar[str] = "categorical"
    choices: Sequence[Value]

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choices(self.choices)
        object.__setattr__(self, "choices", tuple(self.choices))

    def contains(self, value: object) -> bool:
        """Whether ``value`` is one of the choices."""
        return any(same(choice, value) for choice in self.choices)

    def normalise(self, value: Any) -> Value:
        """The choice as written in the space."""
        return next(choice for choice in self.choices if same(choice, value))

    def values(self) -> Sequence[Value]:
        """The choices."""
        return self.choices

    def can_pass(self, test: object) -> bool:
        """Whether any choice passes ``test``."""
        return any(passes(test, choice) for choice in self.choices)

    def describe(self) -> str:
        """In words, with all choices."""
        return f"one of {', '.join(shown(choice) for choice in self.choices)}"

    def to_dict(self) -> dict[str, object]:
        """Plain data, as in the YAML file."""
        return self._dict(choices=list(self.choices))


def scaled(parameter: Float | Int, value: float) -> float:
    """A value on the parameter's sampling scale: its logarithm, with ``log``."""
    return math.log(value) if parameter.log else float(value)


KINDS: dict[str, type[Parameter]] = {kind.kind: kind for kind in (Float, Int, Categorical)}
"""Parameter classes by the word used in ``type:``."""


def _check_range(parameter: Float | Int) -> None:
    kind = parameter.kind
    low = parameter.low
    high = parameter.high
    log = parameter.log
    step = parameter.step
    for name, value in (("low", low), ("high", high), ("step", step)):
        if not is_number(value) and not (name == "step" and value is None):
            raise SpaceError(
                kind,
                f"{name} must be a number, got {shown(value)}",
                "Write a number, such as 4 or 1e-4",
            )
    if not isinstance(log, bool):
        raise SpaceError(
            kind, f"log must be true or false, got {shown(log)}", "Write log: true, or drop it"
        )
    if low > high:
        raise SpaceError(kind, f"low <= high must hold, got low={low}, high={high}", "Swap them")
    if log and low <= 0:
        raise SpaceError(
            kind, f"log needs low > 0, got low={low}", "Raise low above 0, or drop log"
        )
    if step is None:
        return
    if log:
        raise SpaceError(
            kind,
            f"step and log must not be combined, got step={step}, log=true",
            "Drop one of the two",
        )
    if step <= 0:
        raise SpaceError(
            kind, f"step > 0 must hold, got step={step}", "Set a positive step, or drop it"
        )
    # samplers shorten such a range silently, or with a warning on every trial
    if not _on_step(high, low, step):
        last = low + math.floor((high - low) / step) * step
        rule = f"high must be low plus a multiple of step, got low={low}, high={high}, step={step}"
        raise SpaceError(kind, rule, f"Write high: {last:.12g}")


def _check_choices(choices: object) -> None:
    kind = Categorical.kind
    if not isinstance(choices, list | tuple):
        raise SpaceError(
            kind, f"choices must be a list, got {shown(choices)}", "Write choices: [32, 64]"
        )
    if not choices:
        raise SpaceError(
            kind,
            "choices must hold at least one value, got []",
            "Add values, or drop the parameter",
        )
    for index, choice in enumerate(choices):
        if not isinstance(choice, Value) or (
            isinstance(choice, float) and not math.isfinite(choice)
        ):
            raise SpaceError(
                kind,
                f"choices must be words, finite numbers or true/false, got {shown(choice)}",
                "Write it as a word",
            )
        if any(same(choice, earlier) for earlier in choices[:index]):
            raise SpaceError(
                kind, f"choices must differ, got {shown(choice)} twice", "Drop one of the two"
            )
    if 0 < sum(isinstance(choice, bool) for choice in choices) < len(choices):
        rule = f"choices must not mix true/false with other values, got {shown(list(choices))}"
        raise SpaceError(kind, rule, "Write 0 for off, or quote the word")


def _steps(low: float, high: float, step: float) -> int:
    return round((high - low) / step)


def _on_step(value: float, low: float, step: float) -> bool:
    steps = (value - low) / step
    return abs(steps - round(steps)) <= _TOLERANCE * max(1.0, abs(steps), abs(low / step))


def _range_can_pass(parameter: Float | Int, test: object) -> bool:
    # Bounds are compared as intervals: exact for a Float; for an Int except for `multiple_of`,
    # which would need enumeration.
    if isinstance(test, dict):
        return bool(
            test.get("min", parameter.low) <= parameter.high
            and test.get("max", parameter.high) >= parameter.low
        )
    return any(parameter.contains(value) for value in (test if isinstance(test, list) else [test]))


def _describe(parameter: Float | Int, noun: str) -> str:
    step = f" in steps of {parameter.step:.12g}" if parameter.step is not None else ""
    return (
        f"{noun} from {parameter.low:.12g} to "
        f"{parameter.high:.12g}{step}{' (log)' if parameter.log else ''}"
    )
