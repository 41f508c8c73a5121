"""Reads a task's data once in a process, however many trials and epochs ask for them."""

import threading

from hopsearch.core.config import Settings
from hopsearch.tasks.contract import Data, Task

_REMEMBERED = 4  # data sets, the newest; a worker uses one
_loaded: dict[tuple[type[Task], str], Data] = {}
_LOADING = threading.Lock()  # concurrent calls from two threads read only once


def load_data(task: Task, config: Settings) -> Data:
    """`Task.load`; a second call with the same settings returns the same object."""
    key = (type(task), config.model_dump_json())
    with _LOADING:
        data = _loaded.pop(key) if key in _loaded else task.load(config)
        _loaded[key] = data
        while len(_loaded) > _REMEMBERED:
            del _loaded[next(iter(_loaded))]
    return data


def forget_data() -> None:
    """Read again what is asked for next: it may have changed."""
    with _LOADING:
        _loaded.clear()
