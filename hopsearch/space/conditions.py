"""Conditions: when a parameter is active in a configuration.

A condition is plain data, as in the YAML file: a mapping from names to tests, all of which must
pass.

    when: {model.family: imixer}             equal to a value
    when: {model.family: [imixer, symmixer]} one of several values
    when: {model.n_iter: {min: 1, max: 4}}   a number between bounds; either may be omitted
    when: {data.image_size: {multiple_of: 8}}

Names are parameters (searched or fixed) or facts about the data, `FACTS`, which are known before
the search starts. All facts begin with ``data.``; which there are, the task says.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import SpaceError

Value = str | int | float | bool | None
"""The value of a parameter: a YAML (and JSON) scalar."""

When = Mapping[str, object]
"""A condition: name to test. Empty: always."""

FACTS = ("data.image_size", "data.channels", "data.classes", "data.n_train")
"""Facts about images that conditions may use: pixels per side, colour channels, classes, training
images.
"""

_DATA = "data."
_BOUNDS = ("min", "max", "multiple_of")


def is_fact(name: str) -> bool:
    """Whether a name in a condition is a fact about the data."""
    return name.startswith(_DATA)


def shown(value: object) -> str:
    """A value in YAML notation: ``true``, ``0.1``, ``"word"``; for messages."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):  # a date, or a YAML anchor that contains itself
        return repr(value)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether ``value`` is a finite number; booleans do not count, although they are ints in
    Python.
    """
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    )


def same(a: object, b: object) -> bool:
    """Equality that distinguishes ``True`` from ``1``; ``1`` and ``1.0`` are equal."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def read_when(when: object, place: str) -> dict[str, object]:
    """Validate the form of a condition and return it as plain dicts and lists.

    Raises:
        SpaceError: not a mapping, an empty test, an unknown bound, or a bound that is not a number.
    """
    if not isinstance(when, Mapping):
        raise SpaceError(
            place,
            f"when must map names to tests, got {shown(when)}",
            "Write when: {model.n_iter: {min: 1}}",
        )
    return {str(name): _read_test(str(name), test, place) for name, test in when.items()}


def holds(when: When, config: Mapping[str, object]) -> bool:
    """Whether every test of ``when`` passes; a name missing from ``config`` fails its test."""
    return all(name in config and passes(test, config[name]) for name, test in when.items())


def passes(test: object, value: object) -> bool:
    """Whether ``value`` passes one test of a condition."""
    if isinstance(test, Mapping):
        return (
            is_number(value)
            and test.get("min", value) <= value <= test.get("max", value)
            and ("multiple_of" not in test or value % test["multiple_of"] == 0)
        )
    if isinstance(test, list):
        return any(same(one, value) for one in test)
    return same(test, value)


def _read_test(name: str, test: object, place: str) -> Any:
    if isinstance(test, Mapping):
        return _read_bounds(name, test, place)
    if isinstance(test, list | tuple):
        if not test or not all(isinstance(one, Value) for one in test):
            raise SpaceError(
                place,
                f"when {name} must list values, got {shown(test)}",
                f"Write when: {{{name}: [1, 2]}}",
            )
        return list(test)
    if not isinstance(test, Value):
        raise SpaceError(
            place,
            f"when {name} must be a value, a list or bounds, got {shown(test)}",
            "Quote it if it is a word",
        )
    return test


def _read_bounds(name: str, test: Mapping[Any, Any], place: str) -> dict[str, object]:
    if not test:
        raise SpaceError(
            place, f"when {name} must have a bound, got {{}}", f"Write when: {{{name}: {{min: 1}}}}"
        )
    for key, bound in test.items():
        if key not in _BOUNDS:
            raise SpaceError(
                place,
                f"when {name} has the unknown key {shown(key)}",
                did_you_mean(str(key), _BOUNDS),
            )
        if not is_number(bound):
            raise SpaceError(
                place, f"when {name} {key} must be a number, got {shown(bound)}", "Write a number"
            )
    low = test.get("min")
    high = test.get("max")
    if low is not None and high is not None and low > high:
        raise SpaceError(
            place, f"when {name} must have min <= max, got min={low}, max={high}", "Swap them"
        )
    if test.get("multiple_of", 1) <= 0:
        raise SpaceError(
            place,
            f"when {name} must have multiple_of > 0, got {test['multiple_of']}",
            "Set a positive number",
        )
    return dict(test)
