"""The settings of a trial by the first part of their names: what the command line reads and
``--help`` lists.
"""

from hopsearch.command_line.words import Sections
from hopsearch.data import AugmentConfig
from hopsearch.models import FAMILIES
from hopsearch.training.recipe.settings import OptimConfig, TrainConfig

FROM_DATA = ("image_size", "channels", "classes")
"""Settings of a model that the data decide."""

SETTINGS: Sections = {
    "model": tuple(FAMILIES.values()),
    "optim": (OptimConfig,),
    "augment": (AugmentConfig,),
    "train": (TrainConfig,),
}
