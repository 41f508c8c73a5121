"""Large searches in simulated time: what deciding costs as the study grows.

    python benchmarks/simulated_scale.py [--sizes 1000 3000 10000] [--workers 64] [--samplers random]

Nothing is trained: curves are made up (levels by chance), the space is the shipped ``hopfield`` for 8 px images, the study
is kept in memory, so that what is measured is the study's own code and the sampler. A decision is a verdict, a promotion that was
asked for, or a proposal; the time is that of the whole simulation.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from hopsearch.seeds import derive
from hopsearch.space import load_space
from hopsearch.study import MEMORY, Identity, Simulation, Study, Training

FACTS = {"data.image_size": 8, "data.channels": 1, "data.classes": 10, "data.n_train": 1300}
SPACE = load_space("hopfield").resolve(FACTS)


class MadeUp:
    """Curves that differ in level."""

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """A level by chance, reached exponentially."""
        level = derive("level", seed) / 2**31
        return Training([level * (1 - 0.7**epoch) for epoch in range(1, 28)], [1.0 + level] * 27)


def search(sampler: str, pruner: str, trials: int, workers: int) -> tuple[float, int]:
    """Seconds of a search, and its reports."""
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("scale", SPACE, {}, "default", {}, 0)
        with Study(Path(folder) / "study", identity, sampler, pruner, MEMORY) as study:
            began = time.perf_counter()
            events = len(Simulation(study, MadeUp(), workers, trials).run())
            return time.perf_counter() - began, events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1000, 3000, 10000])
    parser.add_argument("--samplers", nargs="+", default=["random"])
    parser.add_argument("--pruners", nargs="+", default=["asha", "asha_promotion"])
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    print(f"{machine()}; {options.workers} workers\n")
    print(
        "| sampler | pruner | trials | reports | seconds | ms a report | peak memory so far, MB |\n|---|---|---|---|---|---|---|"
    )
    for sampler in options.samplers:
        for pruner in options.pruners:
            for size in options.sizes:
                seconds, reports = search(sampler, pruner, size, options.workers)
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                cells = [f"{size:,}", f"{reports:,}", f"{seconds:.1f}", f"{1e3 * seconds / reports:.2f}", f"{memory:.0f}"]
                print(f"| {sampler} | {pruner} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
