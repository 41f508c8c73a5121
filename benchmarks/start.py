"""Seconds from the command to the value of the first epoch: hopsearch's search, that of another
checkout, and plain Optuna.

    python benchmarks/start.py [--other <checkout>] [--repeats 5] [--images 3000]

On the digits: ``python -m hopsearch.tune space=imixer``, and `plain_optuna.py`, which does the same
with Optuna alone, in two processes that share a journal: the imports that training needs, timm's
too, the data, a study, a loop. On a folder of 400 × 533 JPEGs, made here from smooth noise: the
first search, which decodes them, and a second one, which finds them decoded. Rivals take turns; a
ratio is of one turn. The value is there when the journal holds it. With ``--other`` the same
commands run in another checkout, e.g. one of an earlier commit (it needs the same installed
packages).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine
from model_step import quartiles
from PIL import Image
from plain_training import Task

from hopsearch.data import DataConfig
from hopsearch.space import Space

ROOT = Path(__file__).parents[1]
MOST = 300.0  # seconds that a start may take
SMALL = ["model.dim=64", "model.depth=2", "model.patch_size=8", "data.image_size=32"]

PLAIN = {
    "fidelity": {"max_epochs": 1},
    "fixed": {
        "model.family": "imixer",
        "model.patch_size": 2,
        "optim.batch_size": 64,
        "train.epochs": 1,
    },
    "parameters": {
        "model.depth": {"type": "int", "low": 2, "high": 6},
        "model.dim": {"type": "categorical", "choices": [32, 64, 96]},
        "optim.lr": {"type": "float", "low": 3e-4, "high": 1e-2, "log": True},
    },
}
"""The space that plain Optuna searches: a trial of one epoch for each process."""


def first_value(journal: Path, processes: list[subprocess.Popen[bytes]], began: float) -> float:
    """Seconds until the journal holds a value; the processes end by themselves."""
    while not (journal.exists() and b'"intermediate_value"' in journal.read_bytes()):
        ended = all(process.poll() is not None for process in processes)
        if ended or time.monotonic() - began > MOST:
            said = (
                processes[0].stderr.read().decode() if ended and processes[0].stderr else "too slow"
            )
            raise SystemExit(f"no first value:\n{said}")
        time.sleep(0.01)
    seconds = time.monotonic() - began
    for process in processes:
        process.wait(timeout=MOST)
    return seconds


def start(folder: Path, commands: list[list[str]], tree: Path, cache: Path) -> float:
    env = os.environ | {"PYTHONPATH": str(tree), "HOPSEARCH_CACHE": str(cache)}
    journal = folder / "runs" / "start" / "journal.log"
    journal.parent.mkdir(parents=True)
    began = time.monotonic()
    processes = [
        subprocess.Popen(
            command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for command in commands
    ]
    return first_value(journal, processes, began)


def search(tree: Path, cache: Path, *words: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "hopsearch.tune",
            "space=imixer",
            "study=start",
            "trials=2",
            "finish=false",
        ]
        # One epoch of each trial, and the search ends by itself.
        return start(Path(scratch), [[*command, "pruner=asha", *words, "epochs=2"]], tree, cache)


def plain(cache: Path) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        journal = Path(scratch, "runs", "start", "journal.log")
        task = Task(Space.from_dict(PLAIN), DataConfig(), trials=1).write(
            Path(scratch, "task.json")
        )
        script = [
            sys.executable,
            str(ROOT / "benchmarks" / "plain_optuna.py"),
            str(task),
            str(journal),
        ]
        return start(Path(scratch), [[*script, process] for process in ("0", "1")], ROOT, cache)


def photographs(folder: Path, count: int) -> None:
    """JPEGs of 400 × 533: enlarged noise with a little grain, as detailed as photographs are."""
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (20, 27, 3), dtype=np.uint8)
        image = np.asarray(
            Image.fromarray(coarse).resize((533, 400), Image.Resampling.BICUBIC), dtype=np.int16
        )
        image = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        place = folder / f"class{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.jpg", quality=90)


def table(title: str, rivals: dict[str, Callable[[], float]], repeats: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(repeats):
        for name, rival in rivals.items():
            times[name].append(rival())
    ours = times["hopsearch"]
    print(f"\n{title}\n\n| | seconds to the first value | hopsearch's over it |\n|---|---|---|")
    for name, own in times.items():
        ratio = quartiles([a / b for a, b in zip(ours, own, strict=True)])
        print(
            f"| {name} | {statistics.median(own):.1f} [{min(own):.1f}, {max(own):.1f}] | {ratio} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--other", type=Path, help="another checkout to measure too")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=3000)
    options = parser.parse_args()
    trees = {"hopsearch": ROOT} | (
        {"the other checkout": options.other.resolve()} if options.other else {}
    )
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch, "cache")
        digits = {name: (lambda tree=tree: search(tree, cache)) for name, tree in trees.items()}
        table(
            "Digits, median [least, most]",
            digits | {"plain Optuna, two processes": lambda: plain(cache)},
            options.repeats,
        )
        if options.images:
            folder = Path(scratch, "photographs")
            photographs(folder, options.images)
            words = [f"data={folder}", *SMALL]
            for title, fresh in (("first search, decoding", True), ("decoded before", False)):

                def timed(tree: Path, fresh: bool = fresh) -> float:
                    where = (
                        Path(tempfile.mkdtemp(dir=scratch))
                        if fresh
                        else Path(scratch, f"cache-{tree.name}")
                    )
                    if not fresh and not where.exists():
                        search(tree, where, *words)
                    return search(tree, where, *words)

                rivals = {
                    name: (lambda tree=tree, timed=timed: timed(tree))
                    for name, tree in trees.items()
                }
                table(
                    f"{options.images} JPEGs of 400 × 533 to 32 px, {title}",
                    rivals,
                    max(2, options.repeats // 2),
                )


if __name__ == "__main__":
    main()
