"""The classification of images by mixers: what this service was built for, and the first task."""

from hopsearch.tasks.images.class_imbalance import (
    MOST_CLASSES,
    confusions,
    recall_names,
    results_of,
)
from hopsearch.tasks.images.classification_metrics import METRICS
from hopsearch.tasks.images.classifier_config import (
    FROM_DATA,
    SETTINGS,
    ImageTrainConfig,
    ImageTrialConfig,
    resolve,
)
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.cost_estimate import estimate_cost
from hopsearch.tasks.images.evaluation import Evaluation, evaluate
from hopsearch.tasks.images.recipes import RECIPES, choose_recipe, recipe, viewed
from hopsearch.tasks.images.task import Images
from hopsearch.tasks.images.training_remarks import opening, require_schedule

__all__ = [
    "FROM_DATA",
    "METRICS",
    "MOST_CLASSES",
    "RECIPES",
    "SETTINGS",
    "Evaluation",
    "ImageTrainConfig",
    "ImageTrialConfig",
    "ImageTrialRun",
    "Images",
    "choose_recipe",
    "confusions",
    "estimate_cost",
    "evaluate",
    "opening",
    "recall_names",
    "recipe",
    "require_schedule",
    "resolve",
    "results_of",
    "viewed",
]
