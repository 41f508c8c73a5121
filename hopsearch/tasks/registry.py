"""Tasks by name: those that are shipped, and a user's own by module and class."""

import functools
import importlib
from pathlib import Path

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.core.user_code import name_module, own_error
from hopsearch.space import DEFAULT_TASK, Space, load_space
from hopsearch.tasks.contract import Task
from hopsearch.tasks.contract_checks import require_class
from hopsearch.tasks.density.density_task import Density
from hopsearch.tasks.images.task import Images

TASKS: dict[str, type[Task]] = {DEFAULT_TASK: Images, Density.name: Density}
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
    if not (colon and module and attribute):
        hint = f"{choices(name, TASKS)}; or give your own as <module>:<class>"
        raise ConfigError(place, f"unknown task, got {name!r}", hint)
    name_module(module, name)
    try:
        found = getattr(importlib.import_module(module), attribute)
    # whatever the module's code does: it may also raise any error, or exit
    except (Exception, SystemExit) as error:
        if mistake := own_error(error):
            raise mistake from error
        rule = f"{name} must be importable, got: {_said(error)}"
        hint = "Put the module's folder on PYTHONPATH, or install it, on every machine"
        if module.endswith(".py"):
            stem = Path(module).stem
            hint = f"Write {stem}:{attribute}, with the file's folder on PYTHONPATH"
        raise ConfigError(place, rule, hint) from None
    if not (isinstance(found, type) and issubclass(found, Task)):
        rule = f"{name} must be a subclass of hopsearch.tasks.Task, got {found!r}"
        raise ConfigError(place, rule, "Name a class, not an instance")
    require_class(found, place)
    try:
        return found()
    except TypeError as error:
        rule = f"{found.__name__} must be made without arguments, got: {error}"
        raise ConfigError(place, rule, "Give every argument of __init__ a default") from None


def _said(error: BaseException) -> str:
    known = isinstance(error, (ImportError, AttributeError))
    return str(error) if known else f"{type(error).__name__}: {error}"


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
