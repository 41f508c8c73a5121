"""Tasks by name: those that are shipped, and a user's own by module and class."""

import functools
import importlib

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.space import DEFAULT_TASK, Space, load_space
from hopsearch.tasks.contract import Task
from hopsearch.tasks.images.task import Images

TASKS: dict[str, type[Task]] = {DEFAULT_TASK: Images}
"""The shipped tasks."""


@functools.cache
def find_task(name: str, place: str = "task") -> Task:
    """A task by its name, or by where it is defined: ``my_module:MyTask``. That imports the module,
    and so runs its code.

    Raises:
        ConfigError: unknown name, a module that cannot be imported, or a class that is no task.
    """
    if name in TASKS:
        return TASKS[name]()
    module, colon, attribute = name.partition(":")
    if not colon:
        hint = f"{choices(name, TASKS)}; or give your own as <module>:<class>"
        raise ConfigError(place, f"unknown task, got {name!r}", hint)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        rule = f"{name} must be importable, got: {error}"
        hint = "Put the module's folder on PYTHONPATH, or install it, on every machine"
        raise ConfigError(place, rule, hint) from None
    if not (isinstance(found, type) and issubclass(found, Task)):
        rule = f"{name} must be a subclass of hopsearch.tasks.Task, got {found!r}"
        raise ConfigError(place, rule, "Name a class, not an instance")
    return found()


def task_of(space: Space) -> Task:
    """The task that a space's trials train.

    Raises:
        ConfigError: see `find_task`.
    """
    return find_task(space.task, f"{space.source}: task")


def task_named_by(space: str) -> Task:
    """The task of a search space, by the space's name or file.

    Raises:
        UserError: no such space, or no such task.
    """
    file = load_space(space)
    return find_task(file.parts.task, f"{file.source}: task")
