"""One trial as plain torch: optimizer, schedule, loop, checkpoints; a task says what is trained."""

from hopsearch.training.checkpoint import CheckpointFolder, load_checkpoint
from hopsearch.training.cost import Constraint, Cost
from hopsearch.training.device import pick_device
from hopsearch.training.process_ranks import Ranks
from hopsearch.training.trial_config import OptimConfig, TrainConfig, TrialConfig
from hopsearch.training.trial_run import Paused, Row, TrialRun

__all__ = [
    "CheckpointFolder",
    "Constraint",
    "Cost",
    "OptimConfig",
    "Paused",
    "Ranks",
    "Row",
    "TrainConfig",
    "TrialConfig",
    "TrialRun",
    "load_checkpoint",
    "pick_device",
]
