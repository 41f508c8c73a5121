"""Training of one model: recipe, optimizer, loop, checkpoints, and the cost of a configuration
before it runs.
"""

from hopsearch.training.checkpoint import CheckpointFolder, load_checkpoint
from hopsearch.training.classes import MOST_CLASSES, confusions, recall_names, results_of
from hopsearch.training.cost import Constraint, Cost, estimate_cost
from hopsearch.training.loop import Evaluation, evaluate
from hopsearch.training.process_ranks import Ranks
from hopsearch.training.recipe.papers import RECIPES, choose_recipe, recipe, viewed
from hopsearch.training.recipe.sections import FROM_DATA, SETTINGS
from hopsearch.training.recipe.setting_errors import on_command_line
from hopsearch.training.recipe.settings import OptimConfig, TrainConfig, TrialConfig, resolve
from hopsearch.training.schedule import opening, require_schedule
from hopsearch.training.trial import METRICS, Paused, Row, TrialRun, pick_device

__all__ = [
    "FROM_DATA",
    "METRICS",
    "MOST_CLASSES",
    "RECIPES",
    "SETTINGS",
    "CheckpointFolder",
    "Constraint",
    "Cost",
    "Evaluation",
    "OptimConfig",
    "Paused",
    "Ranks",
    "Row",
    "TrainConfig",
    "TrialConfig",
    "TrialRun",
    "choose_recipe",
    "confusions",
    "estimate_cost",
    "evaluate",
    "load_checkpoint",
    "on_command_line",
    "opening",
    "pick_device",
    "recall_names",
    "recipe",
    "require_schedule",
    "resolve",
    "results_of",
    "viewed",
]
