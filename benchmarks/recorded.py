"""Searches recorded a line each in a file, so that an interrupted run goes on with those that are
missing.
"""

import functools
import json
import multiprocessing
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import optuna

Line = dict[str, Any]


def read(file: Path) -> list[Line]:
    """All lines so far."""
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if file.exists()
        else []
    )


def add(
    file: Path, search: Callable[[Any], Line], wanted: Iterable[Any], done: set[Hashable], jobs: int
) -> None:
    """Do what is missing, in its order.

    Args:
        file: a line is added to it for each search, as it ends.
        search: one search, from what is wanted; a function of a module, since it runs in other
            processes.
        wanted: what each search is of.
        done: which of these are there.
        jobs: how many run at once.
    """
    missing = [what for what in wanted if what not in done]
    quiet = functools.partial(optuna.logging.set_verbosity, optuna.logging.ERROR)
    with multiprocessing.get_context("spawn").Pool(jobs, quiet) as pool:
        append(file, pool.imap_unordered(search, missing))


def append(file: Path, found: Iterable[Line]) -> None:
    """A line for each search, as it ends."""
    with file.open("a", encoding="utf-8") as lines:
        for line in found:
            lines.write(json.dumps(line, separators=(",", ":")) + "\n")
            lines.flush()
