"""Settings: frozen pydantic models, read from ``key=value`` words, with errors a person can act on."""

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, ValidationError

from hopsearch.errors import ConfigError


class Settings(BaseModel):
    """Base of every config: frozen, unknown keys refused, one docstring a field.

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


S = TypeVar("S", bound=Settings)


def parse(schema: type[S], values: Mapping[str, Any], place: str) -> S:
    """Validate nested ``values`` as ``schema``.

    Args:
        schema: the settings class.
        values: nested mapping, as from `read_words` or a YAML file.
        place: where the values come from, the first words of an error.

    Raises:
        ConfigError: unknown key (with the nearest known one), wrong type, or broken rule; the first one found.
    """
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise _explain(error, schema, place) from None


def read_words(words: Sequence[str], place: str = "command line", shorthand: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read ``key=value`` words with dotted keys into a nested dict; values are read as YAML (``1e-3`` is a number).

    Args:
        words: e.g. ``["space=imixer", "optim.lr=1e-3"]``.
        place: first words of an error.
        shorthand: keys that stand for a longer one, e.g. ``{"data": "data.source"}``.

    Raises:
        ConfigError: a word without ``=``, a key without a value, one given twice, a value that is not YAML.
    """
    seen: set[str] = set()
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(place, f"every word must read key=value, got {word!r}", "See --help for the keys")
        if not value.strip():
            raise ConfigError(place, f"{key} must have a value, got nothing after its =", f"Give one, or leave {key}= out")
        key = (shorthand or {}).get(key, key)
        if key in seen:
            raise ConfigError(place, f"{key} must be given once, got it twice", "Drop one of the two")
        seen.add(key)
        pairs.append(f"{key}={value}")
    try:
        tree = OmegaConf.to_container(OmegaConf.from_dotlist(pairs), resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        text = " ".join(str(error).split())
        raise ConfigError(place, f"values must be YAML: {text}", "Quote values with special characters") from None
    if not isinstance(tree, dict):
        raise ConfigError(place, "keys must be names", "See --help for the keys")
    return {str(key): value for key, value in tree.items()}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping to dotted keys: ``{"optim": {"lr": 1}}`` to ``{"optim.lr": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
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
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}"


def describe(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every key of ``schema`` as (dotted key, default, docstring), for ``--help``."""
    for python_name, field in schema.model_fields.items():
        name = field.alias or python_name
        inner = _settings_in(field.annotation)
        if inner is not None:
            yield from describe(inner, f"{prefix}{name}.")
        else:
            default = "(needed)" if field.is_required() else str(field.get_default(call_default_factory=True))
            yield f"{prefix}{name}", default, " ".join((field.description or "").split())


def _settings_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        found = [inner for inner in map(_settings_in, typing.get_args(annotation)) if inner is not None]
        return found[0] if len(found) == 1 else None
    return None


def _explain(error: ValidationError, schema: type[BaseModel], place: str) -> ConfigError:
    # One error only: the rest often follow from it, and a person mends one at a time. A misspelt key is the likeliest cause.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    where = f"{place}: {key}" if key else place
    if first["type"] == "extra_forbidden":
        known = _known_beside(schema, path)
        return ConfigError(where, "unknown key", did_you_mean(path[-1], known))
    if first["type"] == "missing":
        return ConfigError(where, "must be given", f"Add {key}=…")
    rule = first["msg"].removeprefix("Value error, ")
    rule, _, hint = rule.partition("; ")  # our own validators write "rule; remedy"
    got = "" if isinstance(first["input"], Mapping) else f", got {first['input']!r}"
    return ConfigError(where, f"{rule[:1].lower()}{rule[1:]}{got}", hint)


def _known_beside(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    node: type[BaseModel] = schema
    for part in path[:-1]:
        field = node.model_fields.get(part)
        inner = _settings_in(field.annotation) if field else None
        if inner is None:
            break  # below a union of several settings: the keys of the last known level are the best list there is
        node = inner
    return [field.alias or name for name, field in node.model_fields.items()]
