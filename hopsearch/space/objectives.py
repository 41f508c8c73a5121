"""What a search is for: one metric, or several between which it looks for the best compromises."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hopsearch.core.config import choices
from hopsearch.core.errors import SpaceError
from hopsearch.space.conditions import shown
from hopsearch.space.yaml_places import Where

COSTS = ("n_params", "flops", "memory", "latency")
"""What a configuration costs, whatever its epoch: the first three are computed before it runs,
``latency`` (seconds of one item's forward pass) is measured on the trial's own device. All may
follow the first objective; smaller is better."""

_STORED = {"params": "n_params"}
"""What costs are called in a journal, and were called everywhere at first, to what they are called:
``params`` are the searched values. A journal keeps its words, so that all programs of its format
read it.
"""

_DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class Objective:
    """A metric and which way is better.

    Attributes:
        name: ``val_acc``, ``n_params``, …
        sign: 1 where larger is better, -1 where smaller is.
    """

    name: str
    sign: int


def read_objectives(objective: object, direction: object, source: str) -> tuple[Objective, ...]:
    """Objectives from their words: ``val_acc``, or ``val_acc,n_params`` with ``maximize`` or
    ``maximize,minimize``.

    The first is a metric of every epoch; those after it are `COSTS`, and need no direction.

    Raises:
        SpaceError: no word, a direction that is none, a further objective that is not a cost, or
            one named twice.
    """
    if not isinstance(objective, str) or not objective:
        raise SpaceError(
            Where(source, ("objective",)),
            f"must be the name of a metric, got {shown(objective)}",
            "Write e.g. val_acc",
        )
    names = renamed(objective).split(",")
    directions = read_direction(direction, source)
    if len(directions) > len(names):
        rule = f"must be one per objective, got {len(directions)} for {len(names)}"
        raise SpaceError(Where(source, ("direction",)), rule, "Leave the last out")
    directions += ["minimize"] * (len(names) - len(directions))
    for name in names[1:]:
        if name not in COSTS:
            rule = f"after the first must be a cost, got {shown(name)}"
            raise SpaceError(Where(source, ("objective",)), rule, choices(name, COSTS))
    if names[0] in COSTS:
        rule = f"must start with a metric reported every epoch, got {shown(names[0])}"
        raise SpaceError(
            Where(source, ("objective",)),
            rule,
            f"Put a metric first, e.g. val_acc,{names[0]}; a cost alone needs no training",
        )
    if len(set(names)) < len(names):
        raise SpaceError(
            Where(source, ("objective",)), f"must differ, got {shown(objective)}", "Drop one"
        )
    return tuple(
        Objective(name, 1 if word == "maximize" else -1)
        for name, word in zip(names, directions, strict=True)
    )


def read_direction(direction: Any, source: str) -> list[str]:
    """Directions from their words: ``maximize``, or ``maximize,minimize``.

    Raises:
        SpaceError: a word that is none.
    """
    words = direction.split(",") if isinstance(direction, str) else [direction]
    found = [word.strip() if isinstance(word, str) else word for word in words]
    for word in found:
        if word not in _DIRECTIONS:
            rule = f"must be maximize or minimize, got {shown(word)}"
            raise SpaceError(Where(source, ("direction",)), rule, "Write one of the two")
    return found


def renamed(objective: str) -> str:
    """An objective's words, read from a journal or as they were at first, with the names of
    today.
    """
    words = [word.strip() for word in objective.split(",")]
    return ",".join(_STORED.get(word, word) for word in words)


def stored(objective: str) -> str:
    """The inverse of `renamed`: as a journal has it."""
    words = {today: word for word, today in _STORED.items()}
    return ",".join(words.get(word, word) for word in objective.split(","))


def stored_costs(costs: Mapping[str, float]) -> dict[str, float]:
    """The inverse of `read_costs`: as a journal has them."""
    words = {today: word for word, today in _STORED.items()}
    return {words.get(name, name): value for name, value in costs.items()}


def read_costs(costs: Mapping[str, float]) -> dict[str, float]:
    """Costs as a journal has them, with the names of today."""
    return {_STORED.get(name, name): value for name, value in costs.items()}
