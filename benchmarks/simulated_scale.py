"""Large searches in simulated time: what deciding costs as the study grows.

    python benchmarks/simulated_scale.py [--sizes 1000 3000 10000] [--workers 64]
            [--samplers random] [--pruners asha asha_promotion] [--objective val_acc,n_params]
            [--repeats 3]

Nothing is trained: curves are made up (levels by chance), the space is the shipped ``hopfield`` for
8 px images, the study is kept in memory, so that what is measured is the study's own code and the
sampler. Every search runs in a process of its own, so that its peak memory is its own.

Times are the processor's, so that other work on the machine does not count. *s* is the whole
simulation: of several repeats the median and the extremes, and by the clock in brackets. *Growth*
is the exponent b of s ~ trials^b between a row and the one above it: 1 is linear. A decision is a
report with its verdict, a proposal, or a promotion that was asked for; each is timed by itself, in
the first repeat: median, 95th percentile, how many.
"""

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from machine import machine

from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.space import Space, load_space
from hopsearch.study import MEMORY, Identity, Study, TrialRecord

FACTS = {"data.image_size": 8, "data.channels": 1, "data.classes": 10, "data.n_train": 1300}
DECISIONS = {"report": "report", "ask": "proposal", "promote": "promotion"}
"""The study's calls that decide, and what the table calls them."""


class MadeUp:
    """Curves that differ in level; sizes have nothing to do with it."""

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """Parameters by chance."""
        return {"n_params": derive("params", json.dumps(config, sort_keys=True)) % 1_000_000}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """A level by chance, reached exponentially."""
        level = derive("level", seed) / 2**31
        return Training([level * (1 - 0.7**epoch) for epoch in range(1, 28)], [1.0 + level] * 27)


class Timed(Study):
    """A study that keeps the seconds of each decision."""

    def __init__(self, *args: Any, **words: Any) -> None:
        self.taken: dict[str, list[float]] = {name: [] for name in DECISIONS}
        super().__init__(*args, **words)

    def report(self, *args: Any, **words: Any) -> TrialRecord:
        """As in `Study`."""
        return self._timed("report", super().report, *args, **words)

    def ask(self, *args: Any) -> TrialRecord | None:
        """As in `Study`."""
        return self._timed("ask", super().ask, *args)

    def promote(self, *args: Any, **words: Any) -> TrialRecord | None:
        """As in `Study`."""
        return self._timed("promote", super().promote, *args, **words)

    def _timed(self, name: str, call: Callable[..., Any], *args: Any, **words: Any) -> Any:
        began = time.thread_time()
        result = call(*args, **words)
        self.taken[name].append(time.thread_time() - began)
        return result


@dataclass(frozen=True)
class Case:
    """A search to be timed."""

    sampler: str
    pruner: str
    trials: int
    workers: int
    objective: str


def space(objective: str) -> Space:
    directions = ["maximize", *["minimize"] * objective.count(",")]
    return replace(
        load_space("hopfield").resolve(FACTS), objective=objective, direction=",".join(directions)
    )


def search(case: Case) -> dict[str, Any]:
    """Run it in this process; what it took."""
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("scale", space(case.objective), {}, "default", {}, 0)
        with Timed(Path(folder) / "study", identity, case.sampler, case.pruner, MEMORY) as study:
            before, began, clock = peak(), time.process_time(), time.perf_counter()
            Simulation(study, MadeUp(), case.workers, case.trials).run()
            seconds, clock = time.process_time() - began, time.perf_counter() - clock
            assert len(study.counted()) == case.trials
            return {
                "seconds": seconds,
                "clock": clock,
                "taken": study.taken,
                "memory": peak(),
                "before": before,
            }


def peak() -> float:
    """Most memory that this process has held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(case: Case) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(vars(case))]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return result


def microseconds(taken: list[float]) -> str:
    """Median and 95th percentile of the calls, and how many there were."""
    if len(taken) < 20:
        return "-"
    return (
        f"{1e6 * statistics.median(taken):,.0f} / "
        f"{1e6 * statistics.quantiles(taken, n=20)[-1]:,.0f} ({len(taken):,})"
    )


def row(
    case: Case, runs: list[dict[str, Any]], above: tuple[int, float] | None
) -> tuple[list[str], tuple[int, float]]:
    """A line of the table; and its (trials, seconds), for the next one's growth."""
    seconds = [run["seconds"] for run in runs]
    middle = statistics.median(seconds)
    growth = (
        f"{math.log(middle / above[1]) / math.log(case.trials / above[0]):.2f}" if above else ""
    )
    spread = f"{middle:.1f}" + (
        f" [{min(seconds):.1f}, {max(seconds):.1f}]" if len(seconds) > 1 else ""
    )
    spread += f" ({statistics.median(run['clock'] for run in runs):.1f})"
    memory = f"{runs[0]['memory']:.0f} ({runs[0]['before']:.0f})"
    calls = [microseconds(runs[0]["taken"][name]) for name in DECISIONS]
    return [case.sampler, case.pruner, f"{case.trials:,}", spread, growth, *calls, memory], (
        case.trials,
        middle,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3000, 10000])
    parser.add_argument("--samplers", nargs="+", default=["random"])
    parser.add_argument("--pruners", nargs="+", default=["asha", "asha_promotion"])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--objective", default="val_acc")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(search(Case(**json.loads(options.one)))))
        return
    print(
        f"{machine()}; optuna {optuna.__version__}; {options.workers} workers, objective "
        f"{options.objective}\n"
    )
    titles = [
        "sampler",
        "pruner",
        "trials",
        "s (clock)",
        "growth",
        *(f"µs a {name}" for name in DECISIONS.values()),
    ]
    print(
        "| "
        + " | ".join([*titles, "peak MB (before the search)"])
        + " |\n"
        + "|---" * (len(titles) + 1)
        + "|"
    )
    for sampler in options.samplers:
        for pruner in options.pruners:
            above = None
            for size in options.sizes:
                case = Case(sampler, pruner, size, options.workers, options.objective)
                cells, above = row(case, [apart(case) for _ in range(options.repeats)], above)
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
