"""What a trial trains: the contract of a task, all that the author of one needs, and the tasks by
name.
"""

from hopsearch.core.config import Settings
from hopsearch.core.metrics import Kind, Metric
from hopsearch.tasks.contract import Data, Facts, FactsLike, Task
from hopsearch.tasks.registry import TASKS, find_task, task_named_by, task_of
from hopsearch.training import Cost, TrialConfig, TrialRun

__all__ = [
    "TASKS",
    "Cost",
    "Data",
    "Facts",
    "FactsLike",
    "Kind",
    "Metric",
    "Settings",
    "Task",
    "TrialConfig",
    "TrialRun",
    "find_task",
    "task_named_by",
    "task_of",
]
