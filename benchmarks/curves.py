"""Reading and writing of the tables of learning curves in ``benchmarks/tables/``."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

Table = tuple[dict[str, Any], list[dict[str, Any]]]
"""What holds for the whole table, and its rows."""


def row_key(row: dict[str, Any]) -> tuple[int, int]:
    """Number of the configuration, repeat."""
    return row["number"], row["repeat"]


def read_table(file: Path) -> Table:
    """Header and rows."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        head, *rows = (json.loads(line) for line in lines)
    return head, rows


def write_table(file: Path, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the table whole or not at all; the same table is the same bytes."""
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in (head, *rows))
    scratch = file.with_name(f".{file.name}.{os.getpid()}")
    scratch.write_bytes(gzip.compress(text.encode(), mtime=0))
    os.replace(scratch, file)
