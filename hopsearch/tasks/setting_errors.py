"""Locates errors: an error about a trial's settings names the place where the setting was
written.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from hopsearch.core.config import flatten, parse
from hopsearch.core.errors import ConfigError, UserError
from hopsearch.space import Where, load_space
from hopsearch.training import TrainConfig

T = TypeVar("T")
_DIVIDE = "patch_size must divide image_size"
Opens = Callable[[str, Any, dict[str, object], str], T]


def names_its_place(opens: Opens[T]) -> Opens[T]:
    """Decorator for functions that build trials from a space, given values and a recipe: errors
    about a setting name where it was written.

    That is the command line for a given value, file and line for one of the space.
    """

    @functools.wraps(opens)
    def wrapped(name: str, facts: object, fixed: dict[str, object], recipe_name: str) -> T:
        given = dict(fixed)
        if "train.epochs" in given:  # it determines the rungs, before any trial is built
            parse(TrainConfig, {"epochs": given["train.epochs"]}, "command line", below="train.")
        try:
            return opens(name, facts, fixed, recipe_name)
        except ConfigError as error:
            raise _placed(error, given, load_space(name).source, facts) from None

    return wrapped


def on_command_line(error: ConfigError, given: Mapping[str, object]) -> UserError:
    """The error, with the command line as its place if it is about one of the given values."""
    return _placed(error, given, "", None)


def _placed(
    error: ConfigError, given: Mapping[str, object], source: str, facts: object
) -> UserError:
    head, *keys = error.place.split(": ")
    key = ".".join(keys)
    flat = flatten(given)
    marks = getattr(source, "marks", {})
    if "unknown section" in error.rule:
        every = [*flat, *(str(path[1]) for path in marks if len(path) == 2)]
        names = [name for name in every if name == key or name.startswith(f"{key}.")]
    else:
        names = [key] if "." in key else [key, *_named(error.rule, key)]
    for name in names:
        if name in flat:
            return ConfigError(f"command line: {name}", error.rule, error.hint)
    for name in names:
        for section in ("fixed", "parameters"):
            if (section, name) in marks:
                rule = _why(name, section, error.rule, facts)
                hint = error.hint or _other_family(name, flat)
                return ConfigError(Where(source, (section, name)), rule, hint)
    # the space uses the family's default patches
    if facts and error.rule.startswith(_DIVIDE):
        rule = error.rule.replace(
            _DIVIDE, "the default patch_size must divide the side of the images"
        )
        return ConfigError("data.image_size", f"{rule} px", error.hint)
    return ConfigError(f"{head}: {key}" if key else head, error.rule, error.hint)


def _named(rule: str, section: str) -> list[str]:
    """The settings that a rule mentions, in order."""
    words = re.findall(r"[A-Za-z_]\w*(?:\.\w+)*", rule)
    return [word if "." in word else f"{section}.{word}" for word in words]


def _why(name: str, section: str, rule: str, facts: object) -> str:
    if name == "model.patch_size" and section == "parameters" and facts and _DIVIDE in rule:
        return (
            f"{rule} (either set for these images, or the default if none of its "
            f"alternatives fits them)"
        )
    return rule


def _other_family(name: str, given: Mapping[str, object]) -> str:
    """The remedy if a space's value suits its own family, but another family was given."""
    family = given.get("model.family")
    if family is None or not name.startswith("model."):
        return ""
    return (
        f"this space was not written for model.family={family}: set {name}= too, or use another "
        f"space"
    )
