"""Generates ``--help``: usage, examples, and every setting with its type and default, in 80
columns.
"""

import re
import textwrap
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hopsearch.core.config import Settings, kinds_of, settings_in

WIDTH = 80
_KINDS = {str: "text", bool: "true|false", int: "number", float: "number"}
_RULES = (
    "Text is taken literally, a switch is true or false, everything else is YAML 1.2: 1e-3 is "
    "a number, null means none. "
    "Quote what your shell would change. -v also prints what is opened and decided, on standard "
    "error."
)


@dataclass(frozen=True)
class Entry:
    """A setting as ``--help`` shows it.

    Attributes:
        key: dotted.
        kind: accepted values.
        default: in the form a user writes it; ``required`` if there is none.
        text: description.
        owners: model families that have it, if not all do.
    """

    key: str
    kind: str
    default: str
    text: str
    owners: str = ""

    def lines(self) -> Iterator[str]:
        """One line for the key, followed by the text."""
        head = f"  {self.key}=<{self.kind}>"
        default = self.default if self.default in ("", "required") else f"default: {self.default}"
        notes = "; ".join(filter(None, [default, self.owners]))
        note = f"[{notes}]" if notes else ""
        if len(head) + 1 + len(note) <= WIDTH:
            yield f"{head} {note}".rstrip()
        else:
            yield from _wrapped(head.strip(), "  ", "      ")
            yield from _wrapped(note, "      ", "      ")
        yield from _wrapped(self.text, "      ", "      ")


def help_text(schema: type[Settings], about: str) -> str:
    """The complete help text of a verb.

    Args:
        schema: its settings; ``schema.sections`` are trial settings, if it accepts any.
        about: the module's docstring: a first line ``call: what it does``, paragraphs, examples in
            an indented block.
    """
    blocks = [_about(about)]
    blocks += [_block("Settings (key=value):", [*_wrapped(_RULES, "  ", "  ")], entries(schema))]
    for section, classes in schema.sections.items():
        given = [
            entry
            for entry in section_entries(section, classes)
            if entry.key.partition(".")[2] not in schema.from_data
        ]
        blocks.append(_block(f"Settings of the trained model, {section}.*:", [], given))
    blocks += [
        _block(f"{title}:", list(_listing(rows)), []) for title, rows in schema.listings().items()
    ]
    return "\n\n".join(blocks)


def entries(schema: type[BaseModel], prefix: str = "") -> list[Entry]:
    """All settings of a class, groups written out."""
    found: list[Entry] = []
    for python_name, field in schema.model_fields.items():
        key = f"{prefix}{field.alias or python_name}"
        inner = settings_in(field.annotation)
        if inner is not None:
            found += entries(inner, f"{key}.")
        else:
            free = typing.get_origin(field.annotation) is dict
            kind = "value" if _reads_itself(schema, python_name) else kind_of(field)
            found.append(
                Entry(
                    f"{key}.<name>" if free else key,
                    kind,
                    default_of(field),
                    clean(field.description),
                )
            )
    return found


def section_entries(section: str, classes: Sequence[type[BaseModel]]) -> list[Entry]:
    """The settings of a section; one that only some of several classes have names these."""
    found: list[Entry] = []
    for name in dict.fromkeys(name for one in classes for name in one.model_fields):
        fields = {
            _family(one): one.model_fields[name] for one in classes if name in one.model_fields
        }
        first = next(iter(fields.values()))
        kind = kind_of(first)
        default = default_of(first)
        text = clean(first.description)
        if name == "family":
            kind = "|".join(fields)
            default = ""
        else:
            default = _by_owner(
                {family: default_of(field) for family, field in fields.items()}, "", ", "
            )
            text = _by_owner(
                {family: clean(field.description) for family, field in fields.items()}, ":", " "
            )
        found.append(
            Entry(
                f"{section}.{name}",
                kind,
                default,
                text,
                _owners(list(fields), [_family(one) for one in classes]),
            )
        )
    return found


def _by_owner(values: dict[str, str], sign: str, glue: str) -> str:
    """One value if all agree, else the values by owner."""
    owners: dict[str, list[str]] = {}
    for owner, value in values.items():
        owners.setdefault(value, []).append(owner)
    if len(owners) == 1:
        return next(iter(owners))
    most = max(owners, key=lambda value: len(owners[value]))
    return glue.join(
        f"{'others' if value == most else '/'.join(names)}{sign} {value}"
        for value, names in owners.items()
    )


def _owners(have: list[str], every: list[str]) -> str:
    without = [name for name in every if name not in have]
    if not without:
        return ""
    return f"only {', '.join(have)}" if len(have) <= len(without) else f"not {', '.join(without)}"


def kind_of(field: FieldInfo) -> str:
    """The accepted values of a setting: its type or its choices."""
    words = _literals(field.annotation)
    if words:
        return "|".join(words)
    kinds = kinds_of(field.annotation)
    if kinds <= {int, float} and kinds:
        return "whole number" if kinds == {int} else "number"
    return _KINDS.get(next(iter(kinds)), "value") if len(kinds) == 1 else "value"


def default_of(field: FieldInfo) -> str:
    """The default in the form a user writes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        value = value[0] if len(set(value)) == 1 else "..".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def clean(text: str | None) -> str:
    """A docstring as one line of plain text."""
    return " ".join(re.sub(r"\bNone\b", "none", text or "").replace("`", "").split())


def _reads_itself(schema: type[BaseModel], name: str) -> bool:
    """Whether a setting has a special notation, such as ``15m``."""
    validators = schema.__pydantic_decorators__.field_validators.values()
    return any(
        name in one.info.fields and one.info.mode in ("before", "wrap") for one in validators
    )


def _family(schema: type[BaseModel]) -> str:
    field = schema.model_fields.get("family")
    return str(field.default) if field else schema.__name__


def _literals(annotation: object) -> list[str]:
    if typing.get_origin(annotation) is typing.Literal:
        return [str(value) for value in typing.get_args(annotation)]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [word for one in typing.get_args(annotation) for word in _literals(one)]
    return []


def _about(text: str) -> str:
    first, *rest = text.strip().replace("``", "").split("\n\n")
    call, _, what = first.partition(": ")
    lines = [
        "Usage:",
        *_wrapped(call, "  ", "    "),
        "",
        *_wrapped(what[:1].upper() + what[1:], "", ""),
    ]
    for paragraph in rest:
        lines.append("")
        if paragraph.startswith("    "):
            lines += ["Examples:", *textwrap.indent(textwrap.dedent(paragraph), "  ").splitlines()]
        else:
            lines += _wrapped(paragraph, "", "")
    return "\n".join(lines)


def _block(title: str, lines: list[str], listed: Sequence[Entry]) -> str:
    return "\n".join([title, *lines, *(line for entry in listed for line in entry.lines())])


def _listing(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        later = " " * (width + 4) if text else "  "
        yield from _wrapped(f"{name:<{width}}  {text}".rstrip(), "  ", later)


def _wrapped(text: str, first: str, later: str) -> list[str]:
    # A default longer than a line (such as a folder's path) is better cut than wider than the
    # terminal.
    text = text if "  " in text else " ".join(text.split())
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )
