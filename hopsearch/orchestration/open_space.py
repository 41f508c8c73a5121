"""Prepares a search space for a data set, and validates it against the trials' settings and
metrics.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, NamedTuple

from pydantic import Field

from hopsearch.core.config import Settings, choices
from hopsearch.core.errors import ConfigError, SpaceError
from hopsearch.data import DataFacts
from hopsearch.models import measured
from hopsearch.space import Fidelity, Space, Where, load_space, read_objectives
from hopsearch.training.classes import recall_names
from hopsearch.training.recipe.known_optimizers import OWN_SETTINGS
from hopsearch.training.recipe.papers import choose_recipe, fit_lengths, recipe
from hopsearch.training.recipe.setting_errors import names_its_place
from hopsearch.training.recipe.settings import TrialConfig, resolve
from hopsearch.training.schedule import after_warmup, rates, remarks, require_schedule
from hopsearch.training.trial import METRICS


class FidelityConfig(Settings):
    """How long trials train and when they are compared, overriding the space's file."""

    min_epochs: int | None = Field(default=None, gt=0)
    """Epochs before a trial may first be stopped: the first rung."""
    max_epochs: int | None = Field(default=None, gt=0)
    """Epochs of a trial that is not stopped early; same as train.epochs."""
    reduction: int | None = Field(default=None, ge=2)
    """The factor η: one trial in η continues from a rung, and the next rung is η times higher."""

    def into(self, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """The given settings, with these added.

        Raises:
            ConfigError: fidelity.max_epochs and train.epochs differ.
        """
        asked = {
            f"fidelity.{name}": value for name, value in self.model_dump(exclude_none=True).items()
        }
        most, epochs = asked.pop("fidelity.max_epochs", None), fixed.get("train.epochs")
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
def open_space(name: str, facts: DataFacts, fixed: dict[str, Any], recipe_name: str) -> Opened:
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
    about = {
        "image_size": facts.image_size,
        "channels": facts.channels,
        "classes": len(facts.classes),
        "n_train": facts.n_train,
    }
    space = load_space(name).resolve({f"data.{key}": value for key, value in about.items()})
    space, families = _with_epochs(space, fixed, recipe_name)
    chosen, why = choose_recipe(recipe_name, families, "command line")
    space, uncropped = _without_padding(space, chosen, fixed)
    points = _corners(space)
    trials = [resolve(point, facts, 0, chosen, space.source) for point in points]
    for trial in trials:
        require_schedule(trial, facts, space.source)
    for point in _with_each_optimizer(space):
        resolve(point, facts, 0, chosen, space.source)
    shortened = fit_lengths(chosen, recipe(chosen, ""), points[0])[1]
    noted = dict.fromkeys(remark for trial in trials for remark in remarks(trial, facts))
    by_family: dict[str, list[TrialConfig]] = {}
    for trial in trials:
        by_family.setdefault(trial.model.family, []).append(trial)
    of_family = {family: rates(ones) for family, ones in sorted(by_family.items())}
    fidelity, moved = after_warmup(space.fidelity, trials)
    said = (why, _overruled(space, chosen), uncropped, shortened, *noted, *_told(of_family))
    return Opened(
        space,
        chosen,
        of_family,
        Later(fidelity, moved) if moved else None,
        tuple(filter(None, said)),
    )


def open_search(
    name: str,
    facts: DataFacts,
    fixed: dict[str, Any],
    recipe_name: str,
    objective: str | None,
    direction: str | None,
) -> Opened:
    """Like `open_space`, with objectives: the space's own if ``objective`` and ``direction`` are
    None.

    Raises:
        UserError: as `open_space`, or a metric that not every trial reports.
    """
    opened = open_space(name, facts, fixed, recipe_name)
    space = opened.space
    if objective or direction:
        wanted = objective or space.objective
        guess = "minimize" if wanted.partition(",")[0].endswith("loss") else "maximize"
        read_objectives(wanted, direction or guess, "command line")
        space = replace(space, objective=wanted, direction=direction or guess)
    require_metric(space, facts, opened.recipe, "command line" if objective else space.source)
    return replace(opened, space=space)


def _told(of_family: dict[str, str]) -> list[str]:
    together: dict[str, list[str]] = {}
    for family, sentence in of_family.items():
        together.setdefault(sentence, []).append(family)
    return [
        f"learning rate of {', '.join(families)}: {sentence}"
        for sentence, families in together.items()
    ]


def _with_epochs(space: Space, fixed: dict[str, Any], recipe_name: str) -> tuple[Space, list[str]]:
    """The space with given values, with full epochs as given or from the recipe; and its
    families.
    """
    asked: dict[str, int] = {
        name: fixed.pop(name)
        for name in ("fidelity.min_epochs", "fidelity.reduction")
        if name in fixed
    }
    space = space.override(fixed)
    found = space.parameters.get("model.family")
    values = (found.values() if found else None) or [space.fixed.get("model.family", "imixer")]
    families = [str(family) for family in values]
    chosen, _ = choose_recipe(recipe_name, families, "command line")
    epochs = fixed.get("train.epochs", recipe(chosen, families[0]).get("train.epochs"))
    fidelity = _with_fidelity(space.fidelity, asked, epochs)
    if fidelity != space.fidelity:
        space = Space.from_dict(space.to_dict() | {"fidelity": fidelity.to_dict()}, space.source)
    return space.override({"train.epochs": space.fidelity.max_epochs}), families


def _without_padding(space: Space, chosen: str, fixed: dict[str, Any]) -> tuple[Space, str]:
    """Do not search the padded crop if the recipe uses resized crops: the two are exclusive."""
    name, other = "augment.crop_pad", "augment.resized_crop"
    cut = {**recipe(chosen, ""), **space.fixed}.get(other)
    if name not in space.parameters or cut in (None, "null"):
        return space, ""
    return space.override(
        {name: 0}
    ), f"{name} is 0, not searched: recipe={chosen} crops with {other} instead"


def _overruled(space: Space, chosen: str) -> str:
    settings = recipe(chosen, "")
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


def require_metric(space: Space, facts: DataFacts, recipe_name: str, place: str) -> None:
    """Check that every trial of the space reports the objective, as far as known in advance.

    Raises:
        SpaceError: a metric that not every trial reports; its place starts with ``place``.
    """
    wanted, here = space.objectives[0].name, Where(place, ("objective",))
    every = [*METRICS, *recall_names(facts.classes)]
    if wanted in every:
        return
    models = [
        resolve(point, facts, 0, recipe_name, space.source).model for point in _corners(space)
    ]
    without = [model for model in models if wanted not in measured(model)]
    if not without:
        return
    if len(without) < len(models):
        one = without[0]
        about = f"{one.family} with n_iter {one.n_iter}" if hasattr(one, "n_iter") else one.family
        rule = f"must be reported by every trial, got {wanted!r}, which {about} has not"
        raise SpaceError(
            Where(place, ("objective",)),
            rule,
            "Use val_acc or val_loss, or fix the model settings that determine it",
        )
    known = [*every, *(name for model in models for name in measured(model))]
    raise SpaceError(
        here, f"must be a metric reported every epoch, got {wanted!r}", choices(wanted, set(known))
    )


def _corners(space: Space) -> list[dict[str, Any]]:
    """One configuration per value of a discrete parameter: enough to cover every family and every
    bound once.
    """
    sizes = [
        len(values)
        for parameter in space.parameters.values()
        if (values := parameter.values()) is not None
    ]

    def pick(turn: int, end: str) -> dict[str, Any]:
        def value(name: str, parameter: Any) -> Any:
            values = parameter.values()
            return getattr(parameter, end) if values is None else values[turn % len(values)]

        return space.walk(value)

    turns = range(min(16, max(sizes, default=1)))
    return [pick(turn, end) for turn in turns for end in ("low", "high")] + [
        space.walk(lambda _, parameter: _last(parameter))
    ]


def _with_each_optimizer(space: Space) -> Iterator[dict[str, Any]]:
    """Configurations of each searched optimizer, with random values of settings that some
    optimizers lack.

    The condition of such a setting may involve any parameter.
    """
    own = any(f"optim.{key}" in space.parameters for key in OWN_SETTINGS)
    searched = space.parameters.get("optim.name") if own else None
    random = Random(0)

    def value(word: Any, name: str, parameter: Any) -> Any:
        return word if name == "optim.name" else parameter.draw(random)

    for word in (searched.values() if searched else None) or ():
        for _ in range(20):
            yield space.walk(functools.partial(value, word))


def _last(parameter: Any) -> Any:
    values = parameter.values()
    return parameter.high if values is None else values[-1]
