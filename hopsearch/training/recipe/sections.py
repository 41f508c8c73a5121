"""The settings of a trial by section, as read by the command line and listed in ``--help``."""

from hopsearch.command_line.words import Sections
from hopsearch.data import AugmentConfig
from hopsearch.models import FAMILIES
from hopsearch.training.recipe.settings import OptimConfig, TrainConfig

FROM_DATA = ("image_size", "channels", "classes")
"""Settings of a model that the data determine."""

SETTINGS: Sections = {
    "model": tuple(FAMILIES.values()),
    "optim": (OptimConfig,),
    "augment": (AugmentConfig,),
    "train": (TrainConfig,),
}
