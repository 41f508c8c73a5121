"""Settings: frozen pydantic models with actionable error messages. `command_line.words` reads them
from ``key=value`` words.
"""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hopsearch.core.errors import ConfigError
from hopsearch.core.redaction import redact


class Settings(BaseModel):
    """Base of every config: frozen, unknown keys rejected, one docstring per field.

    Build it from user input with `parse`, which turns pydantic's errors into `ConfigError`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )
    sections: ClassVar[Mapping[str, Sequence[type[BaseModel]]]] = {}
    """For a verb that takes trial settings: key sections, mapped to the classes that define them.
    """
    from_data: ClassVar[tuple[str, ...]] = ()
    """Settings of those classes that are determined by the data."""

    @classmethod
    def listings(cls) -> dict[str, list[tuple[str, str]]]:
        """For a verb: additional lists of its ``--help``, by title: names and descriptions."""
        return {}


S = TypeVar("S", bound=Settings)


def parse(
    schema: type[S],
    values: Mapping[str, object],
    place: str,
    below: str = "",
    beside: Iterable[str] = (),
) -> S:
    """Validate nested ``values`` as ``schema``.

    Args:
        schema: the settings class.
        values: nested mapping, as from `hopsearch.command_line.words.read_words` or a YAML file.
        place: origin of the values, the start of an error message.
        below: prefix that the user writes before each key, e.g. ``optim.``.
        beside: further candidates for a misspelt key: sections that are read elsewhere.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong type, or broken rule; the first
            one found.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _explain(error, schema, place, below, list(beside)) from None


def flatten(tree: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested mapping to dotted keys: ``{"optim": {"lr": 1}}`` to ``{"optim.lr": 1}``."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def unflatten(flat: Mapping[str, object]) -> dict[str, Any]:
    """Dotted keys to a nested mapping, the inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, leaf = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word: the nearest known one, else the list of all."""
    names = sorted(set(known))
    near = nearest(word, names)
    return f"Did you mean {near}?" if near else f"Known: {', '.join(names)}"


def choices(word: str, known: Iterable[str]) -> str:
    """A hint for an unknown word whose alternatives fit on one line: the nearest, and the list."""
    names = sorted(set(known))
    near = nearest(word, names)
    listed = f"Known: {', '.join(names) or 'none'}"
    return f"Did you mean {near}? {listed}" if near else listed


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most similar to ``word``, ignoring case; empty if none is similar."""
    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), list(names), n=1, cutoff=0.6)
    return names[near[0]] if near else ""


def brief(value: object) -> str:
    """A value shortened for a message."""
    text = redact(repr(value))  # first: half a URL is not recognised as one
    return text if len(text) <= 80 else f"{text[:77]}…"


def settings_in(annotation: object) -> type[BaseModel] | None:
    """The settings class of a field that is a group of settings."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [
            inner for inner in map(settings_in, typing.get_args(annotation)) if inner is not None
        ]
        return found[0] if len(found) == 1 else None
    return None


def kinds_of(annotation: object) -> set[type]:
    """The plain types a setting may have, except ``None``; for a Literal those of its values;
    ``object`` for anything else.
    """
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return kinds_of(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return set().union(*map(kinds_of, arguments))
    if origin is typing.Literal:
        return {type(value) for value in arguments} - {types.NoneType}
    if annotation is types.NoneType:
        return set()
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return {str}
    return {annotation} if annotation in (str, bool, int, float) else {object}


def _explain(
    error: ValidationError, schema: type[BaseModel], place: str, below: str, beside: Sequence[str]
) -> ConfigError:
    # One error only: the rest often follow from it, and a person fixes one at a time. A misspelt
    # key is the likeliest cause.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in first["loc"]]
    key = below + ".".join(path) if path else below.rstrip(".")
    where = f"{place}: {key}" if key else place
    if first["type"] == "extra_forbidden":
        inner = _inside_groups(schema, path[0]) if len(path) == 1 and not below else []
        if inner:
            return ConfigError(where, "unknown key", f"Did you mean {' or '.join(inner)}?")
        known = [*_known_beside(schema, path), *(beside if len(path) == 1 else ())]
        return ConfigError(where, "unknown key", did_you_mean(path[-1], known))
    if first["type"] == "missing":
        return ConfigError(where, "is required", f"Add {key}=…")
    rule = first["msg"].removeprefix("Value error, ")
    rule, _, hint = rule.partition("; ")  # our own validators write "rule; remedy"
    got = "" if isinstance(first["input"], Mapping) else f", got {brief(first['input'])}"
    return ConfigError(where, f"{rule[:1].lower()}{rule[1:]}{got}", hint)


def _known_beside(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    node: type[BaseModel] = schema
    for part in path[:-1]:
        field = node.model_fields.get(part)
        inner = settings_in(field.annotation) if field else None
        if inner is None:
            # below a union of settings classes, the keys of the last known level are the best
            # available list
            break
        node = inner
    return [field.alias or name for name, field in node.model_fields.items()]


def _inside_groups(schema: type[BaseModel], word: str) -> list[str]:
    """Keys inside setting groups that end in ``word``: candidates when the group was left out."""
    groups = {
        field.alias or name: [settings_in(field.annotation)]
        for name, field in schema.model_fields.items()
    }
    sections = schema.sections if issubclass(schema, Settings) else {}
    every = {**groups, **sections}
    return [
        f"{name}.{word}"
        for name, kinds in every.items()
        if any(kind and word in kind.model_fields for kind in kinds)
    ]
