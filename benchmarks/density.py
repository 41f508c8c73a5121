"""A search with a strong reference: `space=attnbm` against EM on the same data.

    python -m hopsearch.tune space=attnbm
    python benchmarks/density.py [--study runs/attnbm-digits] [--sizes 20 50 100 150 200]

An attentional Boltzmann machine is a mixture of Gaussians of unit covariance. EM is run for each
number of components, from the training rows of several seeds, and chosen as the search chooses: by
the validation split. The table has nats per value without the constant ½ log 2π, as val_nll and
test_nll; the goal is a test_nll of the winner within 2 % of EM's.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from hopsearch.study import StudyView
from hopsearch.tasks.density import DensityData, VectorSplits, load

ROUNDS = 60
SEEDS = 3
GOAL = 0.02


def em(train_NV: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Log weights and means of a mixture of so many Gaussians of unit covariance."""
    draw = torch.Generator().manual_seed(seed)
    means_HV = train_NV[torch.randperm(len(train_NV), generator=draw)[:count]]
    log_weights_H = torch.full((count,), -math.log(count), dtype=torch.float64)
    for _ in range(ROUNDS):
        distances_NH = torch.cdist(train_NV, means_HV).square()
        shares_NH = (log_weights_H - 0.5 * distances_NH).softmax(1)
        # a component that explains nothing keeps its place at 0 instead of dividing by it
        counts_H = shares_NH.sum(0).clamp(min=1e-9)
        means_HV = shares_NH.T @ train_NV / counts_H[:, None]
        log_weights_H = (counts_H / counts_H.sum()).log()
    return log_weights_H, means_HV


def nll(v_NV: torch.Tensor, mixture: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Nats per value, without ½ log 2π."""
    log_weights_H, means_HV = mixture
    log_NH = log_weights_H - 0.5 * torch.cdist(v_NV, means_HV).square()
    return float(-log_NH.logsumexp(1).mean()) / v_NV.shape[1]


def references(splits: VectorSplits, sizes: list[int]) -> list[tuple[float, float, int]]:
    """EM's (validation, test, components), the best on the validation split first."""
    train_NV, val_NV, test_NV = (
        part.double() for part in (splits.train_NV, splits.val_NV, splits.read_test())
    )
    found = []
    for count in sizes:
        for seed in range(SEEDS):
            mixture = em(train_NV, count, seed)
            found.append((nll(val_NV, mixture), nll(test_NV, mixture), count))
    return sorted(found)


def main() -> None:
    """Print the comparison of one study."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", type=Path, default=Path("runs/attnbm-digits"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 50, 100, 150, 200])
    options = parser.parse_args()
    view = StudyView.open(options.study)
    winner: dict[str, Any] = view.winner or parser.error(f"{options.study} has no winner yet")
    trial = view.records[winner["trial"]]
    splits = load(DensityData(**view.identity.origin["data"]))
    hidden = int(trial.config["model.n_hidden"])
    alike = references(splits, [hidden])[0]
    best = references(splits, options.sizes)[0]
    print(f"{len(view.counted())} trials, {view.epochs} epochs, {view.seconds:.0f} s\n")
    print("| | components | val_nll | test_nll |\n|---|---|---|---|")
    print(f"| winner | {hidden} | {winner['val_nll']:.4f} | {winner['test_nll']:.4f} |")
    for name, (val, test, count) in (("EM, as many components", alike), ("EM, best of all", best)):
        print(f"| {name} | {count} | {val:.4f} | {test:.4f} |")
    gap = winner["test_nll"] / best[1] - 1
    verdict = "met" if gap <= GOAL else "missed"
    print(f"\nThe winner's test_nll differs from the best EM's by {gap:+.1%}: {verdict}.")


if __name__ == "__main__":
    main()
