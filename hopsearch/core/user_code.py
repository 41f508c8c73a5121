"""Code of the user's own, such as a task's module: errors raised there are told from bugs of
hopsearch.
"""

import sysconfig
import traceback
from pathlib import Path

from hopsearch.core.errors import HopsearchError, TaskError

_HERE = Path(__file__).parents[1]
_STDLIB = Path(sysconfig.get_path("stdlib"))
_NAMED: dict[str, str] = {}  # the root of each module that a user named, and the task


def name_module(module: str, task: str) -> None:
    """Remember that ``module`` is a user's own: it defines ``task``."""
    _NAMED[module.partition(".")[0]] = task


def own_error(error: BaseException) -> TaskError | None:
    """The error as a sentence, if the user's own code raised it: the innermost frame that is not a
    library's is not hopsearch's, and hopsearch called it.
    """
    if not _NAMED or isinstance(error, HopsearchError):
        return None
    frames = list(traceback.walk_tb(error.__traceback__))
    paths = [Path(frame.f_code.co_filename) for frame, _ in frames]
    if not any(_HERE in path.parents and path.parent.name != "command_line" for path in paths):
        return None
    for (frame, line), path in zip(reversed(frames), reversed(paths), strict=True):
        if _HERE in path.parents:
            return None
        root = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if root in _NAMED or not _is_library(path):
            task = _NAMED.get(root) or list(_NAMED.values())[-1]
            return _told(error, f"task {task}: {path.name}:{line}", frame.f_code.co_name)
    return None


def _is_library(path: Path) -> bool:
    folders = {"site-packages", "dist-packages"}
    return not path.is_absolute() or _STDLIB in path.parents or bool(folders & set(path.parts))


def _told(error: BaseException, place: str, function: str) -> TaskError:
    said = " ".join(f"{type(error).__name__}: {error}".split())
    if function == "<module>":
        rule = f"the module must be importable, got {said}"
        return TaskError(place, rule, "Correct it, or install what it needs on every machine")
    rule = f"{function} must not raise an error, got {said}"
    hint = "Correct it, or the settings that it was given, then run the same command again"
    return TaskError(place, rule, hint)
