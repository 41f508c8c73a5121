"""How soon a search finds good models: real trainings, from the command to the value, by us, by Ray
Tune and by Optuna.

    python benchmarks/real_search.py run [--data digits images]
            [--images <folder>] [--minutes 15] [--seeds 5]
            [--contestants hopsearch optuna ray …]
    python benchmarks/real_search.py report

`run` adds a line a search to ``results/real_search.jsonl``, and leaves out what is there. Searches
run one after the other, seed by seed, for so many minutes each: have the machine to yourself. All
train ``space=imixer`` to 27 epochs, by our own training code, two trials at once with a thread
each, on the embedded digits or on a folder of images at 32 px; the images are decoded before the
first search. Contestants:

* ``hopsearch``: ``python -m hopsearch.tune space=imixer finish=false`` with the minutes as its
  budget; ``sampler+pruner``: the same with these instead of the defaults.
* ``optuna``: `plain_optuna.py`, two processes on one journal, TPE and SuccessiveHalvingPruner,
  rungs as ours.
* ``ray``: `plain_ray.py`, OptunaSearch and ASHAScheduler, rungs as ours, reused actors.
* ``optuna_first``, ``ray_first``: the same, which try the space's first points first, as we do.

The clock starts with the command: imports and set-up count. A value is there when the journal holds
it (seen within a twentieth of a second), of Ray Tune when the training reports it. What counts is
the best validation accuracy so far, whatever its epoch. When the minutes are over a search is
interrupted, and what it reports from then on does not count.
"""

import argparse
import itertools
import os
import signal
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine
from plain_training import Task
from real_contestants import OURS, Value, require_known, search
from recorded import Line, append, read

from hopsearch.data import DataConfig, load
from hopsearch.orchestration.space_preparation import open_space

LINES = Path(__file__).parent / "results" / "real_search.jsonl"
CONTESTANTS = (OURS, "optuna", "ray")
RIVALS = ("optuna", "ray")
MARKS = {"digits": (0.95, 0.97, 0.98)}
"""Accuracies to which the seconds are told, by data set."""
KEY = ("data", "minutes", "contestant", "seed")
_SIZE = 32  # pixels a side, of a folder's images


def run(options: argparse.Namespace) -> None:
    """Do what is missing, seed by seed, so that an interrupted run has a few of everything."""
    done = {tuple(line[name] for name in KEY) for line in read(options.lines)}
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HOPSEARCH_CACHE"] = cache
        tasks = dict(_tasks(options))
        wanted = itertools.product(range(options.seeds), tasks, options.contestants)
        keys = ((data, options.minutes, contestant, seed) for seed, data, contestant in wanted)
        append(
            options.lines,
            (_line(key, tasks[key[0]], Path(cache)) for key in keys if key not in done),
        )


def _tasks(options: argparse.Namespace) -> Iterator[tuple[str, Task]]:
    for data in options.data:
        known = {
            "digits": DataConfig(),
            "images": DataConfig(source=str(options.images), image_size=_SIZE),
        }
        facts = load(known[data]).facts
        opened = open_space("imixer", facts, {}, "default")
        space = (
            replace(opened.space, fidelity=opened.later.fidelity) if opened.later else opened.space
        )
        yield facts.name, Task(space, known[data])


def _line(key: tuple[str, float, str, int], task: Task, cache: Path) -> Line:
    _, minutes, contestant, seed = key
    print(*key, flush=True)
    load_before = round(os.getloadavg()[0], 1)
    task = replace(task, seed=seed, first=contestant.endswith("_first"))
    values = search(contestant, task, 60 * minutes, cache)
    trials = len({value.trial for value in values})
    known = {
        "curve": best_so_far(values),
        "trials": trials,
        "epochs": len(values),
        "load_before": load_before,
    }
    return dict(zip(KEY, key, strict=True)) | known


def best_so_far(values: Sequence[Value]) -> list[tuple[float, float]]:
    """Seconds and value, each time that a value was better than all before."""
    curve: list[tuple[float, float]] = []
    for found in values:
        value = round(found.value, 5)
        if not curve or value > curve[-1][1]:
            curve.append((round(found.seconds, 2), value))
    return curve


def report(lines: list[Line]) -> None:
    """Print two tables for each data set and length of a search."""
    if not lines:
        raise SystemExit("no searches are recorded yet: real_search.py run")
    print(machine())
    for data, minutes in sorted({(line["data"], line["minutes"]) for line in lines}):
        chosen = [line for line in lines if (line["data"], line["minutes"]) == (data, minutes)]
        names = dict.fromkeys(line["contestant"] for line in chosen)
        searches = {name: [line for line in chosen if line["contestant"] == name] for name in names}
        loads = [line["load_before"] for line in chosen]
        print(
            f"\n## {data}, {minutes:g} minutes; median [least, most] over seeds; load before "
            f"{min(loads)} to {max(loads)}\n"
        )
        _table_of_marks(searches, MARKS.get(data, ()))
        _table_of_ends(searches)


def _table_of_marks(searches: dict[str, list[Line]], marks: Sequence[float]) -> None:
    to_marks = "".join(f" seconds to {mark:g} |" for mark in marks)
    print(f"| | seeds | first value, seconds |{to_marks} best value | trials | epochs |")
    print("|---" * (6 + len(marks)) + "|")
    for name, lines in searches.items():
        cells = [spread([until(line, value) for line in lines], 1) for value in (0.0, *marks)]
        cells += [spread([best(line) for line in lines], 4)]
        cells += [spread([line[what] for line in lines], 0) for what in ("trials", "epochs")]
        print(f"| {name} | {len(lines)} | {' | '.join(cells)} |")


def _table_of_ends(searches: dict[str, list[Line]]) -> None:
    """Until each of ours has what the rivals have at their end, the better one first."""
    plain = {
        name: _middle([best(line) for line in lines])
        for name, lines in searches.items()
        if name.split("_")[0] in RIVALS
    }
    ours = [name for name in searches if name not in plain]
    if not plain or not ours:
        return
    times = {
        name: _middle([until(line, value) for line in searches[name]])
        for name, value in plain.items()
    }
    print(
        "\n| rival | its median best value | its seconds until then |"
        + "".join(f" {name}'s | over it |" for name in ours)
    )
    print("|---" * (3 + 2 * len(ours)) + "|")
    for name in sorted(plain, key=lambda name: (-plain[name], times[name])):
        cells = [
            f"{plain[name]:.4f}",
            spread([until(line, plain[name]) for line in searches[name]], 1),
        ]
        for mine in ours:
            seconds = [until(line, plain[name]) for line in searches[mine]]
            cells += [spread(seconds, 1), spread([each / times[name] for each in seconds], 2)]
        print(f"| {name} | {' | '.join(cells)} |")


def until(line: Line, value: float) -> float:
    """Seconds until a search had that value; infinity for never."""
    return next((seconds for seconds, best in line["curve"] if best >= value), float("inf"))


def best(line: Line) -> float:
    """The best value of a search; 0 where it came to none."""
    return line["curve"][-1][1] if line["curve"] else 0.0


def _middle(values: list[float]) -> float:
    # of two the lower one: a mean of a time and never is none, and a value one that was had
    return statistics.median_low(values)


def spread(values: list[Any], digits: int) -> str:
    """Median [least, most]."""
    said = [
        "never" if value == float("inf") else f"{value:.{digits}f}"
        for value in (_middle(values), min(values), max(values))
    ]
    return f"{said[0]} [{said[1]}, {said[2]}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument(
        "--data", nargs="+", choices=["digits", "images"], help="both, where --images is given"
    )
    parser.add_argument("--images", type=Path, help="a folder of images")
    parser.add_argument("--minutes", type=float, default=15, help="of each search")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--contestants", nargs="+", type=require_known, default=list(CONTESTANTS))
    parser.add_argument(
        "--lines", type=Path, default=LINES, help="another file than that of the results, for a try"
    )
    options = parser.parse_args()
    options.data = options.data or ["digits"] + ["images"] * bool(options.images)
    if options.verb == "report":
        report(read(options.lines))
    elif "images" in options.data and not options.images:
        parser.error("images needs --images")
    else:
        options.images = options.images and options.images.resolve()
        # Also where it was started in the background, which would ignore Ctrl-C for the searches
        # too: these end with it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        run(options)


if __name__ == "__main__":
    main()
