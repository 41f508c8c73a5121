"""Settings of the training verbs in addition to their own: those of a trial, and the names listed
in ``--help``.
"""

from typing import ClassVar

from hopsearch.command_line.words import Sections
from hopsearch.core.config import Settings
from hopsearch.space import about_space, list_spaces
from hopsearch.study import PRUNERS, SAMPLERS
from hopsearch.training import FROM_DATA, RECIPES, SETTINGS


class TrainingVerb(Settings):
    """Base of the settings of a verb that trains one model."""

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
