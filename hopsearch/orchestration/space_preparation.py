"""Prepares a search space for a data set, and validates it against the trials' settings and
metrics.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from pydantic import Field

from hopsearch.core.config import Settings, choices
from hopsearch.core.errors import ConfigError, SpaceError
from hopsearch.space import (
    Fidelity,
    Float,
    Parameter,
    Space,
    Value,
    Where,
    load_space,
    read_objectives,
)
from hopsearch.tasks import FactsLike, Task, find_task, task_of
from hopsearch.tasks.contract_checks import known_of
from hopsearch.tasks.setting_errors import names_its_place
from hopsearch.training import TrialConfig
from hopsearch.training.known_optimizers import OWN_SETTINGS
from hopsearch.training.schedule import after_warmup, rates

# What an epoch reports of how it trains: the best trial by one of these is merely the cheapest, or
# the one with the most extreme setting.
_UNLEARNT = ("seconds", "lr", "peak_lr")


class FidelityConfig(Settings):
    """How long trials train and when they are compared, overriding the space's file."""

    min_epochs: int | None = Field(default=None, gt=0)
    """Epochs before a trial may first be stopped: the first rung."""
    max_epochs: int | None = Field(default=None, gt=0)
    """Epochs of a trial that is not stopped early; same as train.epochs."""
    reduction: int | None = Field(default=None, ge=2)
    """The factor η: one trial in η continues from a rung, and the next rung is η times higher."""

    def into(self, fixed: Mapping[str, object]) -> dict[str, object]:
        """The given settings, with these added.

        Raises:
            ConfigError: fidelity.max_epochs and train.epochs differ.
        """
        asked = {
            f"fidelity.{name}": value for name, value in self.model_dump(exclude_none=True).items()
        }
        most = asked.pop("fidelity.max_epochs", None)
        epochs = fixed.get("train.epochs")
        if most is not None and epochs not in (None, most):
            rule = f"fidelity.max_epochs and train.epochs must agree, got {most} and {epochs}"
            raise ConfigError("command line", rule, "Set one of the two")
        return {**fixed, **asked} | ({"train.epochs": most} if most is not None else {})


class Later(NamedTuple):
    """Rungs moved after the warm-up, and why."""

    fidelity: Fidelity
    why: str


@dataclass(frozen=True)
class Opened:
    """A prepared space, and messages about it.

    Attributes:
        space: for these data, with given values fixed.
        recipe: the base recipe of all its trials.
        rates: learning rates, one sentence per family.
        later: other rungs for a new study, if the first would be inside the warm-up.
        said: sentences about what was chosen or changed, and about the learning rates.
    """

    space: Space
    recipe: str
    rates: dict[str, str]
    later: Later | None
    said: tuple[str, ...]


@names_its_place
def open_space(name: str, facts: FactsLike, fixed: dict[str, object], recipe_name: str) -> Opened:
    """The space for this data, with the command line's values fixed, validated against the settings
    classes.

    Args:
        name: of a shipped space, or a file.
        facts: the data.
        fixed: settings to fix instead of searching them.
        recipe_name: as requested; ``paper`` becomes the recipe of the families' paper.

    Raises:
        UserError: an unknown space, a value invalid for any trial, an inconsistent schedule, or a
            recipe that differs between the families of the space.
    """
    file = load_space(name)
    task = find_task(file.parts.task, f"{file.source}: task")
    space = file.resolve({f"data.{key}": value for key, value in known_of(task, facts).items()})
    space = space.with_objective(task.metrics[0].name, task.metrics[0].direction)
    space, families = _with_epochs(task, space, fixed, recipe_name)
    chosen, why = task.choose_recipe(recipe_name, families, "command line")
    space, adapted = task.adapt(space, chosen)
    points = _corners(space)
    trials = [task.resolve(point, facts, 0, chosen, space.source) for point in points]
    for trial in trials:
        task.require_schedule(trial, facts, space.source)
    for point in _with_each_optimizer(space):
        task.resolve(point, facts, 0, chosen, space.source)
    noted = dict.fromkeys(remark for trial in trials for remark in task.remarks(trial, facts))
    by_family: dict[str, list[TrialConfig]] = {}
    for point, trial in zip(points, trials, strict=True):
        by_family.setdefault(_family(point, trial, task), []).append(trial)
    of_family = {family: rates(ones) for family, ones in sorted(by_family.items())}
    fidelity, moved = after_warmup(space.fidelity, trials)
    said = (why, _overruled(task, space, chosen), *adapted, *noted, *_told(of_family))
    return Opened(
        space,
        chosen,
        of_family,
        Later(fidelity, moved) if moved else None,
        tuple(filter(None, said)),
    )


def open_search(
    name: str,
    facts: FactsLike,
    fixed: dict[str, object],
    recipe_name: str,
    objective: str | None,
    direction: str | None,
) -> Opened:
    """Like `open_space`, with objectives: the space's own if ``objective`` and ``direction`` are
    None.

    Raises:
        UserError: as `open_space`, a metric that not every trial reports or that says nothing of
            what a trial has learnt, or one without a direction.
    """
    opened = open_space(name, facts, fixed, recipe_name)
    space = opened.space
    place = "command line" if objective else space.source
    wanted = objective or space.objective
    first = wanted.partition(",")[0].strip()
    given = direction or ("" if objective else load_space(name).parts.direction)
    better = given or task_of(space).direction(first)
    if objective or direction:
        read_objectives(wanted, better or "maximize", "command line")
    space = replace(space, objective=wanted, direction=better or "maximize")
    require_metric(space, facts, opened.recipe, place)
    if not better:
        rule = f"must be given for {first!r}, of which neither way is better by itself"
        raise SpaceError(Where(place, ("direction",)), rule, "Set it to maximize or minimize")
    return replace(opened, space=space)


def _told(of_family: dict[str, str]) -> list[str]:
    together: dict[str, list[str]] = {}
    for family, sentence in of_family.items():
        together.setdefault(sentence, []).append(family)
    return [
        f"learning rate of {', '.join(families)}: {sentence}"
        for sentence, families in together.items()
    ]


def _family(point: Mapping[str, object], trial: TrialConfig, task: Task) -> str:
    """What a kind of model is called: its family, where the task has several, else the task."""
    return str(getattr(trial.model, "family", point.get("model.family", task.name)))


def _with_epochs(
    task: Task, space: Space, fixed: dict[str, Any], recipe_name: str
) -> tuple[Space, list[str]]:
    """The space with given values, its full epochs those that are given, else the recipe's; and its
    families.
    """
    asked: dict[str, int] = {
        name: fixed.pop(name)
        for name in ("fidelity.min_epochs", "fidelity.reduction")
        if name in fixed
    }
    space = space.override(fixed)
    found = space.parameters.get("model.family")
    values: Sequence[object] = (found.values() if found else None) or [
        space.fixed.get("model.family", "imixer")
    ]
    families = [str(family) for family in values]
    chosen, _ = task.choose_recipe(recipe_name, families, "command line")
    epochs = fixed.get("train.epochs", task.recipe(chosen, families[0]).get("train.epochs"))
    fidelity = _with_fidelity(space.fidelity, asked, epochs)
    if fidelity != space.fidelity:
        space = Space.from_dict(space.to_dict() | {"fidelity": fidelity.to_dict()}, space.source)
    return space.override({"train.epochs": space.fidelity.max_epochs}), families


def _overruled(task: Task, space: Space, chosen: str) -> str:
    settings = task.recipe(chosen, "")
    other = {key: value for key, value in settings.items() if space.fixed.get(key, value) != value}
    own = [f"{key}={space.fixed[key]} (recipe: {value})" for key, value in other.items()]
    searched = [key for key in settings if key in space.parameters]
    told = [f"fixed: {', '.join(own)}"] * bool(own) + [f"searched: {', '.join(searched)}"] * bool(
        searched
    )
    return (
        f"recipe={chosen} is overridden by the space or the command line; {'; '.join(told)}"
        if told
        else ""
    )


def _with_fidelity(before: Fidelity, asked: Mapping[str, int], epochs: int | None) -> Fidelity:
    most = epochs if epochs is not None else before.max_epochs
    least = asked.get("fidelity.min_epochs", min(before.min_epochs, most))
    if least > most:
        rule = f"must be at most the epochs of a trial, got {least} and {most}"
        raise ConfigError(
            "command line: fidelity.min_epochs", rule, "Lower it, or raise train.epochs"
        )
    return Fidelity(least, most, asked.get("fidelity.reduction", before.reduction))


def require_metric(space: Space, facts: FactsLike, recipe_name: str, place: str) -> None:
    """Check that every trial of the space reports the objective, as far as known in advance.

    Raises:
        SpaceError: a metric that not every trial reports, or one that a trial need not learn
            anything for; its place starts with ``place``.
    """
    wanted = space.objectives[0].name
    here = Where(place, ("objective",))
    task = task_of(space)
    if wanted in (*_UNLEARNT, task.throughput):
        rule = f"must measure what a trial has learnt, got {wanted!r}, which needs no learning"
        best = task.metrics[0].name
        raise SpaceError(here, rule, f"Write {best}, or {best},latency for fast models")
    if wanted in task.reported(facts):
        return
    trials = [task.resolve(point, facts, 0, recipe_name, space.source) for point in _corners(space)]
    columns = [task.reported(facts, trial) for trial in trials]
    without = [trial for trial, names in zip(trials, columns, strict=True) if wanted not in names]
    if not without:
        return
    if len(without) < len(trials):
        one: Any = without[0].model
        family = _family({}, without[0], task)
        about = f"{family} with n_iter {one.n_iter}" if hasattr(one, "n_iter") else family
        rule = f"must be reported by every trial, got {wanted!r}, which {about} has not"
        raise SpaceError(
            Where(place, ("objective",)),
            rule,
            f"Use one of {', '.join(each.name for each in task.metrics)}, or fix the model "
            f"settings that determine it",
        )
    known = {name for names in columns for name in names}
    raise SpaceError(
        here, f"must be a metric reported every epoch, got {wanted!r}", choices(wanted, known)
    )


def _corners(space: Space) -> list[dict[str, object]]:
    """One configuration per value of a discrete parameter: enough to cover every family and every
    bound once.
    """
    sizes = [
        len(values)
        for parameter in space.parameters.values()
        if (values := parameter.values()) is not None
    ]

    def pick(turn: int, end: str) -> dict[str, object]:
        def value(name: str, parameter: Parameter) -> Value:
            values = parameter.values()
            if values is not None:
                return values[turn % len(values)]
            assert isinstance(parameter, Float)
            return parameter.low if end == "low" else parameter.high

        return space.walk(value)

    turns = range(min(16, max(sizes, default=1)))
    return [pick(turn, end) for turn in turns for end in ("low", "high")] + [
        space.walk(lambda _, parameter: _last(parameter))
    ]


def _with_each_optimizer(space: Space) -> Iterator[dict[str, object]]:
    """Configurations of each searched optimizer, with random values of settings that some
    optimizers lack.

    The condition of such a setting may involve any parameter.
    """
    own = any(f"optim.{key}" in space.parameters for key in OWN_SETTINGS)
    searched = space.parameters.get("optim.name") if own else None
    random = Random(0)

    def value(word: Value, name: str, parameter: Parameter) -> Value:
        return word if name == "optim.name" else parameter.draw(random)

    for word in (searched.values() if searched else None) or ():
        for _ in range(20):
            yield space.walk(functools.partial(value, word))


def _last(parameter: Parameter) -> Value:
    values = parameter.values()
    if values is not None:
        return values[-1]
    assert isinstance(parameter, Float)
    return parameter.high
