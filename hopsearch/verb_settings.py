"""Settings of the training verbs in addition to their own: those of a trial, and the names listed
in ``--help``.
"""

from typing import ClassVar, TypeVar

from pydantic import create_model

from hopsearch.command_line.words import Sections
from hopsearch.core.config import Settings
from hopsearch.space import DEFAULT_TASK, about_space, list_spaces
from hopsearch.study import PRUNERS, SAMPLERS
from hopsearch.tasks import Task
from hopsearch.tasks.images.papers import RECIPES
from hopsearch.tasks.images.settings import FROM_DATA, SETTINGS

Verb = TypeVar("Verb", bound="TrainingVerb")


class TrainingVerb(Settings):
    """Base of the settings of a verb that trains one model."""

    quiet: bool = False
    """Print nothing but errors."""

    sections: ClassVar[Sections] = SETTINGS
    from_data: ClassVar[tuple[str, ...]] = FROM_DATA

    @classmethod
    def listings(cls) -> dict[str, list[tuple[str, str]]]:
        """Presets and recipes, by name."""
        sizes = "<family>_<s|b|l><16|32>_224, e.g. imixer_s16_224 or mlpmixer_b32_224"
        return {"Presets (model=)": [(sizes, "")], "Recipes (recipe=)": [(", ".join(RECIPES), "")]}


class SearchVerb(TrainingVerb):
    """Base of the settings of a verb that searches."""

    @classmethod
    def listings(cls) -> dict[str, list[tuple[str, str]]]:
        """Spaces, samplers, early-stopping rules and recipes, by name."""
        return {
            "Search spaces": [(name, about_space(name)) for name in list_spaces()],
            "Samplers (sampler=)": [(", ".join(SAMPLERS), "")],
            "Early stopping (pruner=)": [(", ".join(PRUNERS), "")],
            "Recipes (recipe=)": [(", ".join(RECIPES), "")],
        }


def of_task(schema: type[Verb], task: Task) -> type[Verb]:
    """A verb's settings where another task than images is trained: its own below ``data.``."""
    if task.name == DEFAULT_TASK:
        return schema
    return create_model(schema.__name__, __base__=schema, data=(task.data, task.data()))
