"""Accuracy against parameters: what a search's front covers for the epochs it spent, in simulated
time.

    python benchmarks/pareto_quality.py [--problem digits]
            [--contestants tpe+asha …] [--seeds 20] [--epochs 1350] [--workers 4]

Hypervolume of (best accuracy so far, log10 of the parameters), between accuracy 0 and the table's
largest model, divided by that of the whole table: 1 is every compromise there is. On the made-up
spaces, ``two_parameters`` and ``thirty_parameters``, it is divided by that of 100,000
configurations drawn at random, and may exceed 1. The rival is NSGA-II with every trial trained to
its end; the goal is what it has after all epochs, with a quarter of them.
"""

import argparse
import math
import statistics
import tempfile
from pathlib import Path
from random import Random

from landscapes import PROBLEMS, Problem
from machine import machine
from shapes import Shape, for_two_objectives

from hopsearch.orchestration.simulation.simulator import Simulation
from hopsearch.orchestration.simulation.tables import TableLandscape
from hopsearch.space import read_costs
from hopsearch.study import MEMORY, Identity, Study

_CHOICES = ("digits_few", "digits", "cifar10", "two_parameters", "thirty_parameters")
_DRAWN = 100_000
RIVAL = "nsgaii+none"
OURS = [
    "random+asha",
    "tpe+none",
    "tpe+asha",
    "tpe+asha_promotion",
    "tpe_gp+adaptive_asha",
    "nsgaii+asha_promotion",
]


def hypervolume(points: list[tuple[float, float]], largest: float) -> float:
    """Area that points (accuracy, log10 of parameters) dominate, down to accuracy 0 and up to the
    largest model.
    """
    area, best = 0.0, 0.0
    points = sorted(points, key=lambda point: (point[1], -point[0]))
    for (accuracy, size), following in zip(points, [*points[1:], (0.0, largest)], strict=True):
        best = max(best, accuracy)
        area += best * (following[1] - size)
    return area


def compromises(problem: Problem) -> list[tuple[float, float]]:
    """Accuracy and log10 of the parameters, of all there is or of many."""
    if isinstance(problem.landscape, TableLandscape):
        rows = [row for repeats in problem.landscape.rows for row in repeats]
        return [
            (max(row["val_acc"], default=0.0), math.log10(read_costs(row["cost"])["n_params"]))
            for row in rows
        ]
    assert isinstance(problem.landscape, Shape)
    random, shape = Random(0), problem.landscape
    drawn = [problem.space.draw(random) for _ in range(_DRAWN)]
    return [(shape.quality(config), math.log10(shape.cost(config)["n_params"])) for config in drawn]


def search(
    problem: Problem, words: str, workers: int, seed: int, epochs: int, largest: float
) -> tuple[float, float]:
    """Hypervolume after a quarter of the epochs, and after all."""
    sampler, pruner = words.split("+")
    space = for_two_objectives(problem.space)
    landscape = (
        problem.landscape.fresh()
        if isinstance(problem.landscape, TableLandscape)
        else problem.landscape
    )
    found: dict[int, tuple[float, float]] = {}
    quarter = 0.0
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("pareto", space, {}, "default", {}, seed)
        with Study(Path(folder) / "study", identity, sampler, pruner, MEMORY) as study:
            for event in Simulation(study, landscape, workers, 10**9).events():
                if event.value is not None:
                    known = found.get(event.number, (0.0, 0.0))[0]
                    size = math.log10(study.records[event.number].cost["n_params"])
                    found[event.number] = (max(known, event.value), size)
                if event.epochs == epochs // 4:
                    quarter = hypervolume(list(found.values()), largest)
                if event.epochs >= epochs:
                    break
    return quarter, hypervolume(list(found.values()), largest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problem", choices=_CHOICES, default="digits")
    parser.add_argument("--contestants", nargs="+", default=[RIVAL, *OURS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1350)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    problem = PROBLEMS[options.problem](0)
    whole = compromises(problem)
    largest = max(size for _, size in whole)
    best = hypervolume(whole, largest)
    print(f"{machine()}; {options.problem}, {options.seeds} seeds, {options.workers} workers\n")
    print(
        f"| contestant | after {options.epochs // 4} epochs | after {options.epochs} epochs "
        f"|\n|---|---|---|"
    )
    for words in options.contestants:
        runs = [
            search(problem, words, options.workers, seed, options.epochs, largest)
            for seed in range(options.seeds)
        ]
        cells = []
        for column in (0, 1):
            values = sorted(run[column] / best for run in runs)
            low, high = values[len(values) // 4], values[3 * len(values) // 4]
            cells.append(f"{statistics.median(values):.4f} [{low:.4f}, {high:.4f}]")
        print(f"| {words} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
