"""What a trial trains: the contract of a task, and the tasks by name."""

from hopsearch.tasks.contract import Facts, FactsLike, Task
from hopsearch.tasks.registry import TASKS, find_task, task_named_by, task_of

__all__ = ["TASKS", "Facts", "FactsLike", "Task", "find_task", "task_named_by", "task_of"]
