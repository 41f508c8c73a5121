"""Accuracy against parameters: what a search's front covers for the epochs it spent, in simulated time on a recorded table.

    python benchmarks/pareto_quality.py [--table digits] [--contestants tpe+asha …] [--seeds 20] [--epochs 1350] [--workers 4]

Hypervolume of (best accuracy so far, log10 of the parameters), between accuracy 0 and the table's largest model, divided by that
of the whole table: 1 is every compromise there is. The rival is NSGA-II with every trial trained to its end; the goal is what it
has after all epochs, with a quarter of them.
"""

import argparse
import math
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from landscapes import table
from machine import machine

from hopsearch.study import MEMORY, Identity, Simulation, Study, TableLandscape

RIVAL = "nsgaii+none"
OURS = ["random+asha", "tpe+none", "tpe+asha", "tpe+asha_promotion", "nsgaii+asha_promotion"]


def hypervolume(points: list[tuple[float, float]], largest: float) -> float:
    """Area that points (accuracy, log10 of parameters) dominate, down to accuracy 0 and up to the largest model."""
    area, best = 0.0, 0.0
    points = sorted(points, key=lambda point: (point[1], -point[0]))
    for (accuracy, size), following in zip(points, [*points[1:], (0.0, largest)], strict=True):
        best = max(best, accuracy)
        area += best * (following[1] - size)
    return area


def search(landscape: TableLandscape, words: str, workers: int, seed: int, epochs: int, largest: float) -> tuple[float, float]:
    """Hypervolume after a quarter of the epochs, and after all."""
    sampler, pruner = words.split("+")
    space = replace(landscape.space, objective="val_acc,params", direction="maximize,minimize", first=())
    found: dict[int, tuple[float, float]] = {}
    quarter = 0.0
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("pareto", space, {}, "default", {}, seed)
        with Study(Path(folder) / "study", identity, sampler, pruner, MEMORY) as study:
            for event in Simulation(study, landscape.fresh(), workers, 10**9).events():
                if event.value is not None:
                    known = found.get(event.number, (0.0, 0.0))[0]
                    size = math.log10(study.records[event.number].cost["params"])
                    found[event.number] = (max(known, event.value), size)
                if event.epochs == epochs // 4:
                    quarter = hypervolume(list(found.values()), largest)
                if event.epochs >= epochs:
                    break
    return quarter, hypervolume(list(found.values()), largest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--contestants", nargs="+", default=[RIVAL, *OURS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1350)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    landscape = table(options.table).landscape
    assert isinstance(landscape, TableLandscape)
    whole = [(max(row["val_acc"], default=0.0), math.log10(row["cost"]["params"])) for rows in landscape.rows for row in rows]
    largest = max(size for _, size in whole)
    best = hypervolume(whole, largest)
    print(
        f"{machine()}; {options.table}, {len(landscape.rows)} configurations, {options.seeds} seeds, {options.workers} workers\n"
    )
    print(f"| contestant | after {options.epochs // 4} epochs | after {options.epochs} epochs |\n|---|---|---|")
    for words in options.contestants:
        runs = [search(landscape, words, options.workers, seed, options.epochs, largest) for seed in range(options.seeds)]
        cells = []
        for column in (0, 1):
            values = sorted(run[column] / best for run in runs)
            low, high = values[len(values) // 4], values[3 * len(values) // 4]
            cells.append(f"{statistics.median(values):.4f} [{low:.4f}, {high:.4f}]")
        print(f"| {words} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
