"""A trial's config where images are classified: all about a training that is not the data."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, SerializeAsAny

from hopsearch.command_line.words import Sections
from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError
from hopsearch.data import AugmentConfig, DataFacts
from hopsearch.models import FAMILIES, ModelConfig, parse_model
from hopsearch.tasks.images.recipes import fit_lengths, recipe
from hopsearch.training.trial_config import OptimConfig, TrainConfig, TrialConfig, read_sections


class ImageTrainConfig(TrainConfig):
    """Length and execution of one training of a classifier."""

    class_weights: Literal["none", "balanced"] = "none"
    """balanced: all classes have equal weight in the training loss, however few images they have;
    none: all images do.
    """


class ImageTrialConfig(TrialConfig):
    """One trial that classifies images."""

    model: SerializeAsAny[ModelConfig]
    """The family's own config."""
    augment: AugmentConfig = AugmentConfig()
    """Augmentation, mixing and label smoothing."""
    train: ImageTrainConfig = ImageTrainConfig()
    """Length and execution."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of images, augmentation and drop-path."""


SECTIONS: tuple[str, ...] = ("model", "optim", "augment", "train")

SETTINGS: Sections = {
    "model": tuple(FAMILIES.values()),
    "optim": (OptimConfig,),
    "augment": (AugmentConfig,),
    "train": (ImageTrainConfig,),
}
"""The settings of a trial by the first part of their names: what the command line reads and
``--help`` lists.
"""

FROM_DATA = ("image_size", "channels", "classes")
"""Settings of a model that the data determine."""


def resolve(
    values: Mapping[str, object],
    facts: DataFacts,
    seed: int,
    recipe_name: str = "default",
    place: str = "config",
) -> ImageTrialConfig:
    """Build a trial's config from dotted values: values override the recipe, sizes are the data's.

    Args:
        values: dotted names and values; must have ``model.family``.
        facts: the data set's image size, channels and classes fill the model's.
        seed: the trial's seed.
        recipe_name: see `hopsearch.tasks.images.recipes.recipe`.
        place: start of an error message.

    Raises:
        ConfigError: unknown name, wrong type, or a broken rule.
    """
    family = str(values.get("model.family", "imixer"))
    settings, _ = fit_lengths(recipe_name, recipe(recipe_name, family, place), values)
    tree = read_sections({"model.family": family} | settings | dict(values), SECTIONS, place)
    sizes = {
        "image_size": facts.image_size,
        "channels": facts.channels,
        "classes": len(facts.classes),
    }
    for key, value in sizes.items():
        if tree["model"].get(key, value) != value:
            rule = f"is determined by the data, which have {value}, got {tree['model'][key]!r}"
            raise ConfigError(
                f"{place}: model: {key}", rule, "Leave it out; data.image_size= resizes the images"
            )
    parts = {
        "model": parse_model(tree["model"] | sizes, f"{place}: model"),
        "optim": parse(OptimConfig, tree.get("optim", {}), f"{place}: optim"),
        "augment": parse(AugmentConfig, tree.get("augment", {}), f"{place}: augment"),
        "train": parse(ImageTrainConfig, tree.get("train", {}), f"{place}: train"),
    }
    return parse(ImageTrialConfig, parts | {"seed": seed}, place)
