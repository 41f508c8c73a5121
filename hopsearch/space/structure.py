"""Dependencies between parameters: ordering, simplification by known values, counting and
enumeration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import holds, passes
from hopsearch.space.parameters import Categorical, Parameter
from hopsearch.space.yaml_places import Where

Parameters = Mapping[str, Parameter]
Items = Sequence[tuple[str, Parameter]]


def parents_first(
    parameters: Parameters, known: Mapping[str, object], source: str
) -> dict[str, Parameter]:
    """Sort so that a condition's parents precede the parameter; otherwise keep the given order.

    Args:
        parameters: name to parameter.
        known: other names a condition may refer to: the fixed values.
        source: start of an error message.

    Raises:
        SpaceError: a condition names an unknown parameter, or is circular.
    """
    ordered: dict[str, Parameter] = {}

    def place(name: str, path: tuple[str, ...]) -> None:
        here = Where(source, ("parameters", name))
        if name in path:
            chain = " -> ".join([*path[path.index(name) :], name])
            raise SpaceError(
                here, f"conditions must not be circular, got {chain}", "Drop one `when`"
            )
        if name in ordered:
            return
        for parent in parameters[name].when:
            if parent in parameters:
                place(parent, (*path, name))
            elif parent not in known:
                hint = did_you_mean(parent, [*parameters, *known])
                raise SpaceError(
                    here / "when" / parent, f"when names an unknown parameter, got {parent!r}", hint
                )
        ordered[name] = parameters[name]

    for name in parameters:
        place(name, ())
    return ordered


def settle(
    parameters: Parameters, known: Mapping[str, object], given: Mapping[str, Any]
) -> tuple[dict[str, Parameter], dict[str, object]]:
    """Simplify a space by known values.

    Tests on known values are evaluated: a parameter that can never be active is dropped, together
    with its children. A given value replaces its parameter; if a condition remains, the parameter
    becomes a single choice under that condition.

    Args:
        parameters: name to parameter, parents first.
        known: values that conditions may refer to: fixed values, facts about the data.
        given: values from the command line; values of other names are kept unchanged.

    Returns:
        The remaining parameters, and ``given`` without those that became a conditional choice.
    """
    left: dict[str, Parameter] = {}
    values = {name: value for name, value in given.items() if name not in parameters}
    for name, parameter in parameters.items():
        settled = {**known, **values}
        possible = all(
            _possible(test, parent, settled, left) for parent, test in parameter.when.items()
        )
        when = {parent: test for parent, test in parameter.when.items() if parent not in settled}
        if name in given and not (possible and when):
            # even if it can never be active: the user's value is passed on, never dropped
            values[name] = given[name]
        elif name in given:
            left[name] = Categorical([given[name]], when=when)
        elif possible:
            left[name] = replace(parameter, when=when)
    return left, values


def count(items: Items, config: Mapping[str, object]) -> int | None:
    """The number of configurations of ``items`` (parents first), or None if infinite."""
    if not items:
        return 1
    name, parameter = items[0]
    rest = items[1:]
    if not holds(parameter.when, config):
        return count(rest, config)
    values = parameter.values()
    if values is None:
        return None
    # Values that are equivalent for all later conditions are counted once and multiplied, so that a
    # space of 10^12 is counted instantly.
    tests = [other.when[name] for _, other in rest if name in other.when]
    alike: dict[tuple[bool, ...], list[object]] = {}
    for value in values if tests else values[:1]:
        alike.setdefault(tuple(passes(test, value) for test in tests), []).append(value)
    total = 0
    for group in alike.values():
        below = count(rest, {**config, name: group[0]})
        if below is None:
            return None
        total += below * (len(group) if tests else len(values))
    return total


def expand(items: Items, config: Mapping[str, object]) -> Iterator[dict[str, object]]:
    """All configurations of ``items`` (parents first); every parameter must have a finite list of
    values.
    """
    if not items:
        yield dict(config)
        return
    name, parameter = items[0]
    rest = items[1:]
    if not holds(parameter.when, config):
        yield from expand(rest, config)
        return
    for value in parameter.values() or ():
        yield from expand(rest, {**config, name: value})


def _possible(test: object, parent: str, settled: Mapping[str, object], left: Parameters) -> bool:
    if parent in settled:
        return passes(test, settled[parent])
    return parent in left and left[parent].can_pass(test)
