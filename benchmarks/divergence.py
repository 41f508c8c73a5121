"""How much of a search goes to trainings that end diverged, where large learning rates diverge: in
simulated time.

    python benchmarks/divergence.py [--contestants tpe+asha_promotion …]
            [--seeds 10] [--epochs 1350] [--workers 4]
            [--rivals-python <environment of rivals.txt>/bin/python]

The best learning rate is just below those that diverge, so that a search has to go near them
(`shapes.Shape` with its cliff). The share of epochs is told for the whole search and for its second
half: a search that learns from failures spends less there. For random with full trainings it is the
share that chance gives, since every trial that does not diverge takes all its epochs.
"""

import argparse
import statistics
from collections import Counter
from pathlib import Path

from contestants import Setting, events
from machine import machine
from shapes import Shape, thirty_parameters, two_parameters

SPACES = {"2 parameters": two_parameters, "30 with conditions": thirty_parameters}
DEFAULT = "tpe_gp+adaptive_asha"
CONTESTANTS = (
    "random+none",
    "random+asha_promotion",
    "tpe+asha_promotion",
    DEFAULT,
    "gp+delayed_asha",
    "optuna",
    "ray",
)


def search(name: str, setting: Setting, seed: int) -> tuple[float, float, float, float]:
    """Share of trials that diverge; of the epochs spent on them, in all and in the second half; and
    the best value.
    """
    first, second = Counter[int](), Counter[int]()
    diverged = set[int]()
    best = -float("inf")
    for event in events(name, setting, seed):
        (first if event.epochs <= setting.epochs // 2 else second)[event.number] += 1
        if event.value is None:
            diverged.add(event.number)
        else:
            best = max(best, event.value)
        if event.epochs >= setting.epochs:
            break
    late = sum(second[number] for number in diverged)
    early = sum(first[number] for number in diverged)
    return (
        len(diverged) / len(first | second),
        (early + late) / setting.epochs,
        late / second.total(),
        best,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--contestants", nargs="+", default=list(CONTESTANTS), help="names, or sampler+pruner"
    )
    parser.add_argument("--seeds", type=int, default=10, help="how many")
    parser.add_argument("--epochs", type=int, default=1350)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument(
        "--rivals-python", type=Path, help="interpreter of the environment of rivals.txt"
    )
    options = parser.parse_args()
    print(
        f"{machine()}; {options.seeds} seeds, {options.workers} workers, {options.epochs} epochs, "
        f"mean over seeds"
    )
    for title, space in SPACES.items():
        heads = (
            "contestant",
            "trials that diverge",
            "epochs on them",
            "in the second half",
            "missing to the best",
        )
        print(f"\n## {title}\n\n| " + " | ".join(heads) + " |")
        print("|---" * len(heads) + "|")
        landscape = Shape(space(), cliff=True)
        setting = Setting(
            landscape.space, landscape, options.workers, options.epochs, options.rivals_python
        )
        for name in options.contestants:
            runs = [search(name, setting, seed) for seed in range(options.seeds)]
            share, whole, late, best = (
                statistics.mean(column) for column in zip(*runs, strict=True)
            )
            print(
                (
                    f"| {name} | {share:.1%} | {whole:.1%} | {late:.1%} | "
                    f"{landscape.best - best:.4f} "
                    f"|"
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
