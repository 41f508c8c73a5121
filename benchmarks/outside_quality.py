"""How good the search is on learning curves that nobody of this project made: LCBench, in simulated
time.

    python benchmarks/outside_quality.py run --outside <folder>
            [--first 1 3] [--contestants tpe+asha_promotion …] [--workers 4]
            [--seeds 20] [--jobs 2] [--rivals-python <environment of rivals.txt>/bin/python]
    python benchmarks/outside_quality.py report

`run` adds a line a search to ``results/outside_quality.jsonl``, and leaves out what is there;
`report` prints the tables. Contestants: ``optuna`` (TPE and its SuccessiveHalvingPruner),
``optuna_hyperband`` (TPE and its HyperbandPruner), ``ray`` (OptunaSearch and ASHAScheduler), and
every ``sampler+pruner`` of ours; with `--rivals-python`, from their own packages, ``syne_tune_cqr``
and ``syne_tune_bore`` (each with Syne Tune's ASHA) and ``smac`` (SMAC3's Hyperband). The first rung
is at epoch 1 or 3, the next ones are three times as high each.

What counts is the best value reported so far, whatever its epoch, on a scale where the best of 256
random full trainings is 0 and their median is 1: the mean over data sets and seeds after 1, 3, 5
and 10 full trainings' worth of epochs. Contestants are compared data set by data set, each by its
mean over seeds (Wilcoxon's signed-rank test, two-sided), and by their average rank.
"""

import argparse
import functools
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from contestants import RIVALS, Setting, add_arguments, events
from machine import machine
from outside import EPOCHS, LCBench, instances
from recorded import add, read
from scipy.stats import rankdata, wilcoxon

LINES = Path(__file__).parent / "results" / "outside_quality.jsonl"
MARKS = (EPOCHS, 3 * EPOCHS, 5 * EPOCHS, 10 * EPOCHS)
DEFAULT = "tpe_gp+adaptive_asha"
CONTESTANTS = (DEFAULT, "tpe+asha_promotion", "random+asha", "random+asha_promotion", *RIVALS)
KEY = ("instance", "first", "contestant", "workers", "seed")


def search(
    folder: Path,
    python: Path | None,
    instance: str,
    first: int,
    contestant: str,
    workers: int,
    seed: int,
) -> dict[str, Any]:
    """One search: the regret after each of `MARKS` epochs."""
    problem = LCBench(folder, instance, first)
    setting = Setting(problem.space, problem, workers, MARKS[-1], python)
    began = time.perf_counter()
    best, numbers, marks, regrets = -float("inf"), set[int](), list(MARKS), list[float]()
    for event in events(contestant, setting, seed):
        best = best if event.value is None else max(best, event.value)
        numbers.add(event.number)
        if event.epochs >= marks[0]:
            del marks[0]
            regrets.append(round(problem.regret(best), 4))
        if not marks:
            break
    key = dict(zip(KEY, (instance, first, contestant, workers, seed), strict=True))
    return key | {
        "regrets": regrets,
        "trials": len(numbers),
        "seconds": round(time.perf_counter() - began, 2),
    }


def run(options: argparse.Namespace) -> None:
    """Do what is missing, seed by seed, so that an interrupted run has a few of everything."""
    seeds = range(options.seed, options.seed + options.seeds)
    wanted = itertools.product(
        seeds, instances(options.outside), options.first, options.workers, options.contestants
    )
    searches = (
        (instance, first, contestant, workers, seed)
        for seed, instance, first, workers, contestant in wanted
    )
    done = {tuple(line[name] for name in KEY) for line in read(LINES)}
    add(
        LINES,
        functools.partial(_search, options.outside, options.rivals_python),
        searches,
        done,
        options.jobs,
    )


def _search(folder: Path, python: Path | None, what: Sequence[Any]) -> dict[str, Any]:
    return search(folder, python, *what)


def report() -> None:
    """Print a table for each first rung and number of workers."""
    print(machine())
    lines = read(LINES)
    for first, workers in sorted({(line["first"], line["workers"]) for line in lines}):
        chosen = [line for line in lines if (line["first"], line["workers"]) == (first, workers)]
        means = {
            name: by_instance(chosen, name)
            for name in dict.fromkeys(line["contestant"] for line in chosen)
        }
        shared = sorted(set.intersection(*(set(found) for found in means.values())))
        print(f"\n## Rungs from epoch {first}, {workers} workers, {len(shared)} data sets\n")
        print(
            "| contestant | "
            + " | ".join(f"after {mark}" for mark in MARKS)
            + " | seeds | trials | rank | to the default |"
        )
        print("|---" * (5 + len(MARKS)) + "|")
        ranks = np.mean(
            [rankdata([means[name][instance][-1] for name in means]) for instance in shared], axis=0
        )
        for name, rank in sorted(zip(means, ranks, strict=True), key=lambda pair: pair[1]):
            own = [line for line in chosen if line["contestant"] == name]
            cells = " | ".join(
                f"{value:.3f}"
                for value in np.mean([means[name][instance] for instance in shared], axis=0)
            )
            seeds, trials = (
                len({line["seed"] for line in own}),
                np.mean([line["trials"] for line in own]),
            )
            print(
                f"| {name} | {cells} | {seeds} | {trials:.0f} | {rank:.1f} | "
                f"{against(means, name, shared)} |"
            )


def by_instance(lines: list[dict[str, Any]], contestant: str) -> dict[str, list[float]]:
    """Mean regret over seeds at each mark, by data set."""
    found: dict[str, list[list[float]]] = {}
    for line in lines:
        if line["contestant"] == contestant:
            found.setdefault(line["instance"], []).append(line["regrets"])
    return {instance: np.mean(regrets, axis=0).tolist() for instance, regrets in found.items()}


def against(means: dict[str, dict[str, list[float]]], name: str, shared: list[str]) -> str:
    """On how many data sets it is better than the default after all epochs, and how likely such a
    difference is by chance.
    """
    if name == DEFAULT or DEFAULT not in means:
        return ""
    mine, theirs = ([means[one][instance][-1] for instance in shared] for one in (name, DEFAULT))
    better = sum(a < b for a, b in zip(mine, theirs, strict=True))
    return f"better on {better} of {len(shared)}, p = {wilcoxon(mine, theirs).pvalue:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["run", "report"])
    parser.add_argument("--outside", type=Path, help="the folder of lcbench.py")
    parser.add_argument(
        "--first", nargs="+", type=int, default=[1, 3], help="epoch of the first rung"
    )
    add_arguments(parser, CONTESTANTS, [4], 20)
    options = parser.parse_args()
    if options.verb == "report":
        report()
    elif options.outside is None:
        parser.error("run needs --outside")
    else:
        run(options)


if __name__ == "__main__":
    main()
