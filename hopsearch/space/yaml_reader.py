"""YAML as a researcher means it: ``1e-4`` is a number, ``no`` is not silently ``False``, a key stands once.

PyYAML reads YAML 1.1, where ``1e-4`` is a word, ``no`` is a boolean, ``010`` is 8 and ``1:30`` is 90. This reader follows
YAML 1.2 and refuses what people still disagree on. It builds plain data only: no tag in a file can run code.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hopsearch.errors import SpaceError


def read_yaml(path: Path, source: str) -> Any:
    """Read one YAML file into plain data.

    Args:
        path: the file.
        source: how errors call the file.

    Raises:
        SpaceError: the file cannot be read, is not text, or is not YAML; with line, column and text where there is a line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpaceError(source, f"must be a readable file: {error.strerror}", "Check the path and its permissions") from None
    except UnicodeDecodeError as error:
        raise SpaceError(source, f"must be UTF-8 text, got byte {error.start} that is not", "Save it as UTF-8") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _explain(error, text, source) from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpaceError(source, f"must be YAML: {' '.join(str(error).split())}", "Drop the characters named") from None
    except RecursionError:
        raise SpaceError(source, "must be YAML of a sane depth, got too many nested brackets", "Close them") from None


class _Refused(yaml.MarkedYAMLError):
    """Valid YAML that is not allowed here; ``note`` is the remedy."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own class attribute

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """As PyYAML does, but a key stands once."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    rule = f"{key.value} must be given once, got it twice"
                    raise _Refused(problem=rule, problem_mark=key.start_mark, note="Drop one of the two")
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _switch(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    note = f'Write true or false for a switch, "{node.value}" in quotes for the word'
    rule = f"a bare {node.value} is a word to some readers and a boolean to others"
    raise _Refused(problem=rule, problem_mark=node.start_mark, note=note)


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


_TAG = "tag:yaml.org,2002:"
for _tag, _pattern, _begins in (
    (f"{_TAG}bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (f"{_TAG}int", r"[-+]?[0-9]+(_[0-9]+)*", "-+0123456789"),
    (f"{_TAG}float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan", "-+.0123456789"),
    (f"{_TAG}null", r"~|null|Null|NULL|", "~nN"),
    (f"{_TAG}merge", r"<<", "<"),
    ("!switch", r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), list(_begins) + [""] * _tag.endswith("null"))
_Loader.add_constructor(f"{_TAG}int", lambda loader, node: int(node.value))
_Loader.add_constructor(f"{_TAG}float", _float)
_Loader.add_constructor("!switch", _switch)


def _explain(error: yaml.MarkedYAMLError, text: str, source: str) -> SpaceError:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "not YAML"
    if mark is None:
        return SpaceError(source, f"must be YAML: {problem}", "Mend the file")
    lines = text.splitlines()
    line = lines[mark.line].strip() if mark.line < len(lines) else "the end of the file"
    place = f"{source}:{mark.line + 1}:{mark.column + 1}"
    if isinstance(error, _Refused):
        return SpaceError(place, problem, error.note or "")
    return SpaceError(place, f"must be YAML: {problem}, got `{line}`", "Mend this line or the one before it")
