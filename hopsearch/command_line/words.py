"""Parses the command line's ``key=value`` arguments according to the settings' types.

* A text setting takes the value literally: ``study=007``, ``data=[old]``, ``study=null``; left out,
it has its default. * A switch takes ``true`` or ``false``, and also ``yes``, ``no``, ``on``,
``off``. * Everything else is read as YAML 1.2 (`core.yaml_reader`): ``1e-3`` is a number, ``null``
means "none" for a setting that may be none. The same holds for the values of ``prior.*`` and for
unknown names.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hopsearch.core.config import brief, kinds_of, settings_in, unflatten
from hopsearch.core.errors import ConfigError
from hopsearch.core.yaml_reader import read_value, read_words_in

Sections = Mapping[str, Sequence[type[BaseModel]]]
"""Settings that are read elsewhere: key sections, mapped to the classes that define them."""

_SWITCH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_GROUPED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9_]*)?")


def read_words(
    words: Sequence[str],
    schema: type[BaseModel] | None = None,
    sections: Sections | None = None,
    shorthand: Mapping[str, str] | None = None,
    place: str = "command line",
) -> dict[str, object]:
    """Read ``key=value`` words with dotted keys into a nested dict.

    Args:
        words: e.g. ``["space=imixer", "optim.lr=1e-3"]``.
        schema: the settings class; without it all values are read as YAML.
        sections: settings in addition to those of ``schema``.
        shorthand: abbreviations of longer keys, e.g. ``{"data": "data.source"}``.
        place: start of an error message.

    Raises:
        ConfigError: a word that is not key=value, a key without a value, a duplicate key, or a
            value that cannot be parsed.
    """
    given: dict[str, object] = {}
    for word in words:
        key, text = _split(word, place)
        key = (shorthand or {}).get(key, key)
        for name, value in _values(key, text, _fields(key, schema, sections or {}), place):
            _add(given, name, value, place)
    return unflatten(given)


def _split(word: str, place: str) -> tuple[str, str]:
    if not word.isprintable() and any("\ud800" <= one <= "\udfff" for one in word):
        raise ConfigError(
            place,
            f"every argument must be UTF-8 text, got {brief(word)}",
            "Encode or rename it in UTF-8",
        )
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(
            place,
            f"every argument must have the form key=value, got {brief(word)}",
            "See --help for the keys",
        )
    if key.startswith("-"):
        rule = f"settings are written without leading dashes, got {brief(word)}"
        raise ConfigError(place, rule, f"Write {key.lstrip('-').replace('-', '_')}={text}")
    if not all(part.strip() == part != "" for part in key.split(".")):
        raise ConfigError(
            place,
            f"a key must be names separated by dots, got {brief(key)}",
            "Write e.g. model.depth=4",
        )
    if not text.strip():
        rule = f"{key} must have a value, got nothing after ="
        raise ConfigError(place, rule, f"Write it without spaces around =, or leave {key}= out")
    return key, text


def _values(
    key: str, text: str, fields: Sequence[FieldInfo] | type[BaseModel], place: str
) -> Iterator[tuple[str, Any]]:
    """The settings in an argument: one, or several for a group in braces."""
    try:
        if isinstance(fields, type):
            group = read_words_in(text)
            if not isinstance(group, dict):
                names = ", ".join(
                    f"{key}.{field.alias or name}" for name, field in fields.model_fields.items()
                )
                raise ConfigError(
                    f"{place}: {key}",
                    f"is a group of settings, not a single one, got {brief(text)}",
                    f"Set one of them: {names}",
                )
            for name, word in group.items():
                yield from _values(f"{key}.{name}", str(word), _below(fields, [name]), place)
        else:
            yield key, _value(text, fields, f"{place}: {key}")
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ConfigError(
            f"{place}: {key}",
            f"must be YAML: {problem}, got {brief(text)}",
            "Close brackets and quotes",
        ) from None


def _value(text: str, fields: Sequence[FieldInfo], place: str) -> Any:
    kinds: set[type] = set().union(*(kinds_of(field.annotation) for field in fields))
    if kinds == {str}:
        return text
    if kinds == {bool} and text.strip().lower() in _SWITCH:
        return _SWITCH[text.strip().lower()]
    if kinds and kinds <= {int, float} and _GROUPED.fullmatch(text.strip()):
        raise ConfigError(
            place, f"must be a number, got {brief(text)}", f"Write {text.strip().replace('_', '')}"
        )
    value = read_value(text)
    return (
        int(value) if kinds == {int} and isinstance(value, float) and value.is_integer() else value
    )


def _fields(
    key: str, schema: type[BaseModel] | None, sections: Sections
) -> Sequence[FieldInfo] | type[BaseModel]:
    """The fields a key refers to, none if it is unknown or free-form; a class for a group of
    settings.
    """
    head, *rest = key.split(".")
    if head in sections and rest:
        found = [_below(one, rest) for one in sections[head]]
        return [field for fields in found if not isinstance(fields, type) for field in fields]
    return [] if schema is None else _below(schema, [head, *rest])


def _below(schema: type[BaseModel], path: Sequence[str]) -> Sequence[FieldInfo] | type[BaseModel]:
    for number, part in enumerate(path, start=1):
        field = next(
            (field for name, field in schema.model_fields.items() if part == (field.alias or name)),
            None,
        )
        if field is None:
            return []
        inner = settings_in(field.annotation)
        if inner is None:
            return [field] if number == len(path) else []
        schema = inner
    return schema


def _add(given: dict[str, object], key: str, value: object, place: str) -> None:
    if key in given:
        raise ConfigError(
            place, f"{key} must be given only once, got it twice", "Drop one of the two"
        )
    parents = [key[:end] for end, letter in enumerate(key) if letter == "."]
    clash = next((name for name in given if name in parents or name.startswith(f"{key}.")), None)
    if clash is not None:
        raise ConfigError(place, f"{key} and {clash} must not both be set", "Drop one of the two")
    given[key] = value
