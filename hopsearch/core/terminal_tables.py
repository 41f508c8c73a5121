"""Tables that fit the terminal: important columns always, the others if there is room."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_GAP = 2  # between two columns


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        title: its header.
        cells: one per row.
        order: priority for space, lowest first; columns of order 0 are always shown.
        left: left-aligned, for text.
    """

    title: str
    cells: Sequence[str | Text]
    order: int = 0
    left: bool = False

    @property
    def width(self) -> int:
        """Terminal cells it occupies, including the gap before it."""
        return _GAP + max([cell_len(self.title), *(cell_len(str(cell)) for cell in self.cells)])


def fitted(columns: Sequence[Column], width: int, header_style: str) -> tuple[Table, list[str]]:
    """A table of the columns that fit, in the given order, and the titles of those that do not.

    Args:
        columns: from left to right.
        width: of the terminal.
        header_style: of the titles.
    """
    # no gap before the first
    shown = set()
    room = width + _GAP
    for number, column in sorted(enumerate(columns), key=lambda pair: pair[1].order):
        if column.order == 0 or column.width <= room:
            shown.add(number)
            room -= column.width
    table = Table(box=None, pad_edge=False, header_style=header_style, padding=(0, _GAP, 0, 0))
    kept = [column for number, column in enumerate(columns) if number in shown]
    for column in kept:
        table.add_column(
            Text(column.title), justify="left" if column.left else "right", no_wrap=True
        )
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in cells))
    return table, [column.title for number, column in enumerate(columns) if number not in shown]


def settings(
    params: Sequence[Mapping[str, object]], names: Sequence[str], order: int
) -> list[Column]:
    """One column per searched parameter; those in which the rows differ come first.

    Args:
        params: each row's parameters.
        names: of the searched parameters, in the space's order.
        order: of the columns that differ.
    """
    tails = Counter(map(without_section, names))
    columns = []
    for name in names:
        tail = without_section(name)
        cells = [short(row.get(name, "")) for row in params]
        columns.append(
            Column(
                tail if tails[tail] == 1 else name,
                cells,
                order if len(set(cells)) > 1 else order + 10,
            )
        )
    return columns


def without_section(name: str) -> str:
    """A parameter's name without section, if that is still clear: ``lr``, but ``optim.name``."""
    tail = name.rpartition(".")[2]
    return name if tail == "name" else tail


def short(value: object) -> str:
    """A setting or cost in abbreviated form."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def packed(words: Sequence[str], width: int) -> list[str]:
    """Comma-separated words, wrapped to lines of at most ``width``; a word that fits on a line is
    not broken.
    """
    lines: list[str] = []
    for word in words:
        if lines and cell_len(lines[-1]) + 2 + cell_len(word) < width:
            lines[-1] += f", {word}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(word)
    return lines
