"""Positions in a space's file, so that every error can name file, line and column."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hopsearch.core.yaml_reader import read_yaml

Keys = tuple[str | int, ...]


class Source(str):
    """The name of a space's file in errors, with the positions of its keys; usable as plain
    text.

    Attributes:
        marks: line and column of every key and list item, by path.
    """

    marks: Mapping[Keys, tuple[int, int]]

    def __new__(cls, name: str, marks: Mapping[Keys, tuple[int, int]] | None = None) -> "Source":
        """A space built in code has no positions."""
        self = super().__new__(cls, name)
        self.marks = marks or {}
        return self


def read_source(path: Path, name: str) -> tuple[Any, Source]:
    """Read a space's file as plain data, with its source for errors.

    Raises:
        SpaceError: see `hopsearch.core.yaml_reader.read_yaml`.
    """
    document = read_yaml(path, name)
    return document.data, Source(name, document.marks)


@dataclass(frozen=True)
class Where:
    """A place in a space: ``Where(source) / "parameters" / "model.depth"`` reads ``space.yaml:12:3:
    model.depth``.

    Attributes:
        source: the file, by `Source` with lines; any other text without.
        path: keys and, in lists, indices from 1.
    """

    source: str
    path: Keys = ()

    def __truediv__(self, key: str | int) -> "Where":
        return Where(self.source, (*self.path, key))

    def key(self, rule: str) -> "Where":
        """The key that ``rule`` starts with, if it exists here: ``low <= high must hold`` is about
        ``low``.
        """
        marks = getattr(self.source, "marks", {})
        word = rule.partition(" ")[0]
        return self / word if (*self.path, word) in marks else self

    def __str__(self) -> str:
        title = self._title()
        return f"{self._file()}: {title}" if title else self._file()

    def _file(self) -> str:
        marks = getattr(self.source, "marks", {})
        path = self.path
        while path and path not in marks:
            path = path[:-1]
        if path not in marks:
            return str(self.source)
        line, column = marks[path]
        return f"{self.source}:{line}:{column}"

    def _title(self) -> str:
        match self.path:
            case ("parameters", str(name), int(number), *_):
                return f"{name}[{number}]"
            case ("parameters", str(name), *_):
                return name
            case ("first", int(number), str(name), *_):
                return f"first point {number}: {name}"
            case ("first", int(number)):
                return f"first point {number}"
            case ("fixed", str(name), *_):
                return f"fixed: {name}"
            case (str(key), *_):
                return key
        return ""
