"""The only parser of values, for files and for the command line: YAML 1.2, core schema.

=======================  ==========================================================
null                     ``null``, ``~`` (and in a file nothing at all)
true or false            ``true``, ``false``
a whole number           ``7``, ``007`` (7), ``0o17`` (15), ``0x1f`` (31)
a number                 ``0.1``, ``1e-3``, ``.inf``, ``.nan``
text                     everything else: ``yes``, ``12:30``, ``2024-11-28``, ``1_000``
=======================  ==========================================================

PyYAML scans and composes; its YAML 1.1 rules for plain words (``yes`` is true, ``12:30`` is 750,
``1e-3`` is text) are replaced by the table `_CORE`. ruamel.yaml would not avoid the table: in its
1.2 mode, ``1_000`` is still 1000. Duplicate keys are errors, as YAML requires (most parsers let the
last one win), and ``<<`` merges, as in 1.1. Plain data only: no tag can run code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hopsearch.core.errors import SpaceError

_TAG = "tag:yaml.org,2002:"
_CORE = tuple(
    (_TAG + kind, re.compile(rf"(?:{pattern})\Z"))
    for kind, pattern in (
        ("null", r"~|null|Null|NULL|"),
        ("bool", r"true|True|TRUE|false|False|FALSE"),
        ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
        (
            "float",
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        ),
    )
)
# levels whose positions are recorded: parameters, a name, an alternative, when, a parent, a bound
_DEEPEST = 6
_LARGEST = 100_000  # values in a file, counting aliases each time they are used

Path_ = tuple[str | int, ...]
Marks = dict[Path_, tuple[int, int]]
"""Line and column, both from 1, of every key and list item by its path of keys and indices; the
whole file is ``()``.
"""


@dataclass(frozen=True)
class Document:
    """A YAML file as read.

    Attributes:
        data: plain data.
        marks: the position of each element.
    """

    data: Any
    marks: Marks


def scalar(text: str) -> Any:
    """A plain word by the table above; text if nothing else matches, or if a number has more digits
    than Python converts.
    """
    tag = _tag_of(text)
    try:
        return _convert(tag, text)
    except ValueError:
        return text


def read_value(text: str) -> Any:
    """A value of the command line: a list or mapping in brackets, a quoted word, or a plain word
    without further syntax.

    Raises:
        yaml.YAMLError: brackets or quotes that do not close, or text after them.
    """
    text = text.strip()
    if text[:1] in ("[", "{", '"', "'"):
        return yaml.load(text, Loader=_Loader)
    return scalar(text)


def read_words_in(text: str) -> Any:
    """A value of the command line with plain words kept as text, for settings that parse them
    themselves.

    Raises:
        yaml.YAMLError: brackets or quotes that do not close, or text after them.
    """
    return yaml.load(text, Loader=_Plain) if text.strip()[:1] in ("[", "{") else text


def read_yaml(path: Path, source: str) -> Document:
    """Read one YAML file.

    Args:
        path: the file.
        source: name of the file in error messages.

    Raises:
        SpaceError: the file cannot be read, is not text, or is not YAML; with line, column and text
            if there is a line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SpaceError(
            source,
            f"must be a readable file: {error.strerror}",
            "Check the path and its permissions",
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        rule = f"must be UTF-8 text, got byte 0x{raw[error.start]:02x}"
        raise SpaceError(f"{source}:{line}:{column}", rule, "Save it as UTF-8") from None
    loader = None
    try:
        loader = _Loader(text)  # checks for characters that YAML does not allow
        node = loader.get_single_node()
        if node is None:
            return Document(None, {(): (1, 1)})
        _require_sane(node)
        marks = {(): _position(node)} | dict(_marks(node, ()))
        return Document(loader.construct_document(node), marks)
    except yaml.YAMLError as error:
        raise _explain(error, text, source) from None
    except RecursionError:
        raise SpaceError(
            f"{source}:1:1",
            "must be YAML with moderate nesting, got too many nested brackets",
            "Close them",
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not accepted here; ``note`` is the remedy."""


class _Plain(yaml.BaseLoader):
    """Text only."""


class _Loader(yaml.SafeLoader):
    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node without one: by the core schema instead of PyYAML's table."""
        if kind is yaml.ScalarNode and implicit[0]:
            return f"{_TAG}merge" if value == "<<" else _tag_of(value)
        if kind is yaml.ScalarNode:
            return f"{_TAG}str"
        return f"{_TAG}seq" if kind is yaml.SequenceNode else f"{_TAG}map"

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Like PyYAML's, but rejects duplicate keys and expands merges here: PyYAML loses values in
        nested merges.
        """
        node = super().compose_mapping_node(anchor)
        seen: dict[str, yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused(
                    problem="keys must be words",
                    problem_mark=key.start_mark,
                    note="Write key: value",
                )
            if key.value in seen:
                first = seen[key.value].start_mark.line + 1
                rule = f"{key.value} must appear once, got it on line {first} too"
                raise _Refused(
                    problem=rule, problem_mark=key.start_mark, note="Drop one of the two"
                )
            seen[key.value] = key
        inherited: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                for pair in _mergeable(value):
                    inherited.setdefault(pair[0].value, pair)
        own = [pair for pair in node.value if pair[0].tag != f"{_TAG}merge"]
        node.value = [pair for name, pair in inherited.items() if name not in seen] + own
        return node

    def construct_plain(self, node: yaml.ScalarNode) -> Any:
        """The value of a null, boolean or number."""
        try:
            return _convert(node.tag, node.value)
        except ValueError:
            shown = node.value if len(node.value) <= 30 else f"{node.value[:30]}…"
            rule = f"must be a {node.tag.removeprefix(_TAG)}, got {shown}"
            note = "Quote it if it is a word"
            raise _Refused(problem=rule, problem_mark=node.start_mark, note=note) from None


for _tag, _ in _CORE:
    _Loader.add_constructor(_tag, _Loader.construct_plain)


def _tag_of(text: str) -> str:
    return next((tag for tag, pattern in _CORE if pattern.match(text)), f"{_TAG}str")


def _convert(tag: str, text: str) -> Any:
    match tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            if text.lower() not in ("true", "false"):  # by an explicit tag: !!bool yes
                raise ValueError(text)
            return text.lower() == "true"
        case "int":
            return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
        case "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _mergeable(node: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
    """The pairs after ``<<:``, from a mapping or a list of mappings."""
    mappings = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for one in mappings:
        if not isinstance(one, yaml.MappingNode):
            raise _Refused(
                problem="<< must merge a mapping",
                problem_mark=one.start_mark,
                note="Write <<: *name",
            )
    return [pair for one in mappings for pair in one.value]


def _position(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _require_sane(root: yaml.Node) -> None:
    """Reject aliases that contain themselves or expand a small file into a huge one."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in sizes:
            return sizes[id(node)]
        if id(node) in open_:
            raise _Refused(
                problem="an alias must not contain itself",
                problem_mark=node.start_mark,
                note="Drop the alias",
            )
        open_.add(id(node))
        items = [] if isinstance(node, yaml.ScalarNode) else node.value
        total = 1 + sum(
            sum(map(size, item)) if isinstance(item, tuple) else size(item) for item in items
        )
        open_.discard(id(node))
        if total > _LARGEST:
            rule = f"must have at most {_LARGEST:,} values, aliases written out, got more"
            raise _Refused(problem=rule, problem_mark=node.start_mark, note="Drop aliases")
        sizes[id(node)] = total
        return total

    size(root)


def _marks(node: yaml.Node, path: Path_) -> Iterator[tuple[Path_, tuple[int, int]]]:
    """Paths and places."""
    if len(path) >= _DEEPEST:
        return
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value, start=1):
            yield (*path, number), _position(item)
            yield from _marks(item, (*path, number))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), _position(key)
            yield from _marks(value, (*path, key.value))


def _explain(error: yaml.YAMLError, text: str, source: str) -> SpaceError:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        rule = f"must be YAML, got the character U+{ord(text[error.position]):04X}"
        return SpaceError(
            f"{source}:{line}:{column}", rule, "Drop it, or write it in quotes as an escape"
        )
    assert isinstance(error, yaml.MarkedYAMLError)
    mark = error.problem_mark or error.context_mark
    assert mark is not None  # scanner, parser, composer and this module always set one
    place = f"{source}:{mark.line + 1}:{mark.column + 1}"
    if isinstance(error, _Refused):
        return SpaceError(place, str(error.problem), error.note or "")
    lines = text.splitlines()
    shown = lines[mark.line].strip() if mark.line < len(lines) else "the end of the file"
    return SpaceError(
        place,
        f"must be YAML: {error.problem or error.context}, got `{shown}`",
        "Fix this line or the one above",
    )
