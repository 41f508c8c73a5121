"""A search space made ready for a data set, and checked against what trials can be and what they report."""

from typing import Any

from hopsearch.config import choices
from hopsearch.data import DataFacts
from hopsearch.errors import SpaceError
from hopsearch.models import measured
from hopsearch.space import Space, Where, load_space
from hopsearch.training.blame import names_its_place
from hopsearch.training.classes import recall_names
from hopsearch.training.recipe import recipe, resolve
from hopsearch.training.trial import METRICS


@names_its_place
def open_space(name: str, facts: DataFacts, fixed: dict[str, Any], recipe_name: str) -> Space:
    """The space for this data with the command line's values taken out of the search, checked against the configs.

    Raises:
        UserError: an unknown space, or a value that no trial could have.
    """
    about = {"image_size": facts.image_size, "channels": facts.channels, "classes": len(facts.classes), "n_train": facts.n_train}
    space = load_space(name).resolve({f"data.{key}": value for key, value in about.items()})
    epochs = fixed.pop("train.epochs", None)
    if epochs is None:
        epochs = recipe(recipe_name, "").get("train.epochs")
    if epochs is not None:
        least = min(space.fidelity.min_epochs, epochs)
        fidelity = type(space.fidelity)(least, epochs, space.fidelity.reduction)
        space = Space.from_dict(space.to_dict() | {"fidelity": fidelity.to_dict()}, space.source)
    space = space.override({**fixed, "train.epochs": space.fidelity.max_epochs})
    for point in _corners(space):
        resolve(point, facts, 0, recipe_name, space.source)
    return space


def require_metric(space: Space, facts: DataFacts, recipe_name: str, place: str) -> None:
    """Check that every trial of the space reports the metric that it is searched for, as far as that is known before.

    Raises:
        SpaceError: a metric that no trial reports, or some do not; its place begins with ``place``.
    """
    wanted, here = space.objectives[0].name, Where(place, ("objective",))
    every = [*METRICS, *recall_names(facts.classes)]
    if wanted in every:
        return
    models = [resolve(point, facts, 0, recipe_name, space.source).model for point in _corners(space)]
    without = [model for model in models if wanted not in measured(model)]
    if not without:
        return
    if len(without) < len(models):
        one = without[0]
        about = f"{one.family} with n_iter {one.n_iter}" if hasattr(one, "n_iter") else one.family
        rule = f"must be reported by every trial, got {wanted!r}, which {about} has not"
        raise SpaceError(
            Where(place, ("objective",)), rule, "Take val_acc or val_loss, or fix the model's settings that decide it"
        )
    known = [*every, *(name for model in models for name in measured(model))]
    raise SpaceError(here, f"must be a metric of the epochs, got {wanted!r}", choices(wanted, set(known)))


def _corners(space: Space) -> list[dict[str, Any]]:
    """A configuration a value of each discrete parameter: enough to meet every family and every bound once."""
    sizes = [len(values) for parameter in space.parameters.values() if (values := parameter.values()) is not None]

    def pick(turn: int) -> dict[str, Any]:
        def value(name: str, parameter: Any) -> Any:
            values = parameter.values()
            return parameter.low if values is None else values[turn % len(values)]

        return space.walk(value)

    return [pick(turn) for turn in range(min(16, max(sizes, default=1)))]
