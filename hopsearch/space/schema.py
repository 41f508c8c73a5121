"""Builds parameters from plain YAML or JSON data; every error names its place and remedy."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from typing import Any

from hopsearch.core.config import choices, did_you_mean, flatten
from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import Value, read_when, shown
from hopsearch.space.fidelity import Fidelity
from hopsearch.space.objectives import read_direction, read_objectives
from hopsearch.space.parameters import KINDS, Parameter
from hopsearch.space.yaml_places import Where

SPACE_KEYS = ("task", "objective", "direction", "fidelity", "fixed", "parameters", "first")
DEFAULT_TASK = "images"
"""What the trials of a space train that names no task."""


def items_of(task: str) -> str:
    """What a task's data are called in sentences. A study that is read knows its task by name
    alone.
    """
    return "images" if task == DEFAULT_TASK else "items"


_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Parts:
    """A space as written, before it is resolved for a data set.

    Args:
        parameters: name to its alternatives; the first that fits the data is used.
        fixed: name to value.
        first: (condition on the data, point) pairs.
        task: what trials train: a name, or ``module:Class``.
        objective: the metric that a trial reports; several as ``val_acc,n_params``; empty: the
            task's own.
        direction: ``maximize`` or ``minimize``; several as ``maximize,minimize``; empty: the
            task's own.
        fidelity: epochs and rungs.
    """

    parameters: dict[str, tuple[Parameter, ...]]
    fixed: dict[str, object]
    first: tuple[tuple[dict[str, object], dict[str, Value]], ...]
    task: str
    objective: str
    direction: str
    fidelity: Fidelity


def read_parts(data: object, source: str) -> Parts:
    """Parse the plain data of a space.

    Raises:
        SpaceError: the first error found; its place starts with ``source``.
    """
    top = Where(source)
    if not isinstance(data, Mapping):
        raise SpaceError(
            top,
            f"must be a mapping, got {noun(data)}",
            f"Start with one of the keys {', '.join(SPACE_KEYS)}",
        )
    _refuse_unknown(data, SPACE_KEYS, top)
    parameters = data.get("parameters")
    if not isinstance(parameters, Mapping):
        rule = f"must map parameter names to their ranges, got {noun(parameters)}"
        raise SpaceError(
            top / "parameters", rule, "Add e.g. model.depth: {type: int, low: 2, high: 8}"
        )
    objective, direction = _aims(data, source)
    return Parts(
        parameters={
            _name(name, top / "parameters"): _alternatives(spec, top / "parameters" / name)
            for name, spec in parameters.items()
        },
        fixed=_fixed(data.get("fixed"), top / "fixed"),
        first=_first(data.get("first"), top / "first"),
        task=_task(data.get("task", DEFAULT_TASK), top / "task"),
        objective=objective,
        direction=direction,
        fidelity=_fidelity(data.get("fidelity"), top / "fidelity"),
    )


def _aims(data: Mapping[str, Any], source: str) -> tuple[str, str]:
    objective = data.get("objective", "")
    direction = data.get("direction", "")
    if isinstance(objective, list) and all(isinstance(name, str) for name in objective):
        objective = ",".join(objective)
    if "objective" in data:
        read_objectives(objective, data.get("direction", "maximize"), source)
    elif "direction" in data:
        read_direction(direction, source)
    return objective, direction


def _task(name: object, place: Where) -> str:
    if not isinstance(name, str) or not name:
        rule = f"must be the name of a task, got {noun(name)}"
        raise SpaceError(place, rule, "Write images or density, or your own as <module>:<class>")
    return name


def _alternatives(spec: object, place: Where) -> tuple[Parameter, ...]:
    if isinstance(spec, list):
        if not spec:
            raise SpaceError(
                place,
                "a list of alternatives must not be empty, got []",
                "Add one, or drop the parameter",
            )
        return tuple(_parameter(one, place / number) for number, one in enumerate(spec, start=1))
    return (_parameter(spec, place),)


def _parameter(spec: object, place: Where) -> Parameter:
    if not isinstance(spec, Mapping):
        raise SpaceError(
            place,
            f"must be a mapping with a type, got {noun(spec)}",
            "Write e.g. {type: int, low: 2, high: 8}",
        )
    if "type" not in spec:
        nested = next(
            (key for key, value in spec.items() if isinstance(value, Mapping) and key != "when"),
            None,
        )
        hint = (
            f"Write names with dots: {place.path[1]}.{nested}"
            if nested
            else f"Add type: {' | '.join(KINDS)}"
        )
        raise SpaceError(place, "type is required", hint)
    kind = KINDS.get(spec["type"]) if isinstance(spec["type"], str) else None
    if kind is None:
        raise SpaceError(
            place / "type",
            f"unknown type, got {shown(spec['type'])}",
            choices(str(spec["type"]), KINDS),
        )
    keys = {field.name: field for field in fields(kind)}
    _refuse_unknown(spec, ("type", *keys), place)
    for name, field in keys.items():
        if name not in spec and field.default is MISSING and field.default_factory is MISSING:
            raise SpaceError(place, f"{name} is required", f"Add {name}: …")
    with _placed(place):
        return kind(**{key: value for key, value in spec.items() if key != "type"})


def _fixed(data: object, place: Where) -> dict[str, object]:
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        raise SpaceError(
            place,
            f"must map names to values, got {noun(data)}",
            "Write e.g. {model.family: imixer}",
        )
    return flatten({_name(name, place): value for name, value in data.items()})


def _first(data: object, place: Where) -> tuple[tuple[dict[str, object], dict[str, Value]], ...]:
    if data is None:
        return ()
    if not isinstance(data, list):
        raise SpaceError(
            place, f"must be a list of points, got {noun(data)}", "Write - {model.depth: 4}"
        )
    points = []
    for number, point in enumerate(data, start=1):
        here = place / number
        if not isinstance(point, Mapping):
            raise SpaceError(
                here, f"must map names to values, got {noun(point)}", "Write - {model.depth: 4}"
            )
        with _placed(here):
            when = read_when(point.get("when", {}), "when")
        points.append(
            (when, {_name(name, here): value for name, value in point.items() if name != "when"})
        )
    return tuple(points)


def _fidelity(data: object, place: Where) -> Fidelity:
    if data is None:
        return Fidelity()
    if not isinstance(data, Mapping):
        rule = f"must be a mapping, got {noun(data)}"
        raise SpaceError(place, rule, "Write {min_epochs: 1, max_epochs: 27, reduction: 3}")
    _refuse_unknown(data, tuple(field.name for field in fields(Fidelity)), place)
    with _placed(place):
        return Fidelity(**data)


def _name(name: Any, place: Where) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpaceError(
            place / name, f"names must be dotted words, got {shown(name)}", "Write e.g. model.depth"
        )
    return name


def _refuse_unknown(data: Mapping[Any, Any], known: tuple[str, ...], place: Where) -> None:
    for key in data:
        if key not in known:
            raise SpaceError(
                place / key, f"unknown key, got {shown(key)}", did_you_mean(str(key), known)
            )


def noun(data: object) -> str:
    """A short description of an unexpected value."""
    if data is None:
        return "nothing"
    text = shown(data)
    return text if len(text) <= 60 else f"{text[:60]}…"


@contextmanager
def _placed(place: Where) -> Iterator[None]:
    # A parameter does not know its own name, so the place adds it.
    try:
        yield
    except SpaceError as error:
        raise SpaceError(place.key(error.rule), error.rule, error.hint) from None
