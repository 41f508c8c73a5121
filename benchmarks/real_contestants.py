"""Real searches by their contestants' names: the commands that one gives, and what they reported
when.
"""

import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from plain_training import Task
from programs import Programs

from hopsearch.study.persistence.stores import JOURNAL

ROOT = Path(__file__).parents[1]
AT_ONCE = 2
"""Trials that train at once, each with one thread."""
PLAIN = ("optuna", "ray", "optuna_first", "ray_first")
"""Scripts without us; ``_first``: that try the space's first points first, as we do."""
OURS = "hopsearch"
_STUDY = "real"
_MANY = 10_000  # trials: more than there is time for


@dataclass(frozen=True)
class Value:
    """An epoch's value.

    Attributes:
        seconds: from the command until it was reported.
        trial: whose.
        value: validation accuracy.
    """

    seconds: float
    trial: str
    value: float


def require_known(name: str) -> str:
    """A contestant's name.

    Raises:
        ValueError: there is no such contestant.
    """
    if name not in (OURS, *PLAIN) and len(name.split("+")) != 2:
        raise ValueError(name)
    return name


def search(name: str, task: Task, seconds: float, cache: Path) -> list[Value]:
    """One search, ended when its time is over; what it reported until then, in order.

    Args:
        name: the contestant.
        task: what is searched; our own command names the same space.
        seconds: from the command on.
        cache: folder of decoded images.
    """
    # Without timm none of them waits for its import; our workers do without it too. Ray's sessions
    # go with the folder.
    env = os.environ | {"HOPSEARCH_CACHE": str(cache), "HOPSEARCH_TIMM": "0"}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        env |= {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": scratch, "RAY_USAGE_STATS_ENABLED": "0"}
        if name in PLAIN:
            file, searcher = task.write(folder / "task.json"), name.removesuffix("_first")
            return (
                _by_optuna(file, seconds, folder, env)
                if searcher == "optuna"
                else _by_ray(file, seconds, folder, env)
            )
        return _by_us(name, task, seconds, folder, env)


def _by_us(name: str, task: Task, seconds: float, folder: Path, env: dict[str, str]) -> list[Value]:
    command = [
        sys.executable,
        "-m",
        "hopsearch.tune",
        "space=imixer",
        f"data={task.data.source}",
        f"seed={task.seed}",
    ]
    command += [
        f"study={_STUDY}",
        f"trials={_MANY}",
        f"budget.time={seconds:g}s",
        f"trial.concurrent={AT_ONCE}",
        "finish=false",
    ]
    if task.data.image_size:
        command += [f"data.image_size={task.data.image_size}"]
    if name != OURS:
        sampler, pruner = name.split("+")
        command += [f"sampler={sampler}", f"pruner={pruner}"]
    return _watched([command], folder / "runs" / _STUDY / JOURNAL, seconds, folder, env)


def _by_optuna(task: Path, seconds: float, folder: Path, env: dict[str, str]) -> list[Value]:
    journal = folder / "journal.log"
    script = [sys.executable, str(ROOT / "benchmarks" / "plain_optuna.py"), str(task), str(journal)]
    return _watched(
        [[*script, str(process)] for process in range(AT_ONCE)], journal, seconds, folder, env
    )


def _by_ray(task: Path, seconds: float, folder: Path, env: dict[str, str]) -> list[Value]:
    # Its workers import our modules too. Without a token it would write one into the home
    # directory.
    env |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")]),
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    script = [
        sys.executable,
        str(ROOT / "benchmarks" / "plain_ray.py"),
        str(task),
        str(folder / "results"),
        str(AT_ONCE),
    ]
    programs = Programs([script], folder, env)
    try:
        programs.run(seconds, lambda: None)
    finally:
        programs.end()
    files = folder.glob("results/plain/*/result.json")
    rows = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()
    ]
    rows = [row for row in rows if not row.get("failed")]
    found = (Value(row["at"] - programs.began, row["trial_id"], row["val_acc"]) for row in rows)
    return sorted(
        (value for value in found if value.seconds <= seconds), key=lambda value: value.seconds
    )


def _watched(
    commands: list[list[str]], journal: Path, seconds: float, folder: Path, env: dict[str, str]
) -> list[Value]:
    """Values at the times when they were found in a journal: Optuna writes none to it."""
    programs, reader, found = Programs(commands, folder, env), _Reader(journal), list[Value]()
    try:
        programs.run(seconds, lambda: found.extend(reader.new(programs.began)))
    finally:
        programs.end()
    return found


class _Reader:
    """Reads what was added to a journal."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._end = journal, 0

    def new(self, began: float) -> Iterator[Value]:
        """The values that were not there the last time."""
        if not self._journal.exists():
            return
        seconds = time.time() - began
        with self._journal.open("rb") as file:
            file.seek(self._end)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._end += len(whole)
        for line in whole.splitlines():
            if b'"intermediate_value"' in line:
                entry = json.loads(line)
                yield Value(seconds, str(entry["trial_id"]), entry["intermediate_value"])
