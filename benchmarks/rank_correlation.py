"""How well an early rung tells the end: Spearman's rank correlation of the best value so far, over
a recorded table.

    python benchmarks/rank_correlation.py [--tables digits cifar10]

Beside it the share of the final best tenth that is still there when the best third is kept at that
rung alone, and the noise: how the same configurations, trained with two seeds, agree at the end.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from hopsearch.orchestration.simulation.tables import read_table

TABLES = Path(__file__).parent / "tables"
RUNGS = (1, 2, 3, 6, 9, 18)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=["digits", "cifar10"])
    options = parser.parse_args()
    for name in options.tables:
        _, rows = read_table(TABLES / f"{name}.jsonl.gz")
        best_NE = np.array(
            [np.maximum.accumulate(row["val_acc"]) for row in rows if len(row["val_acc"]) == 27]
        )
        last_N = best_NE[:, -1]
        top = set(np.argsort(-last_N)[: len(last_N) // 10].tolist())
        print(
            f"\n{name}: {len(rows)} trainings of {len({row['number'] for row in rows})} "
            f"configurations\n"
        )
        print(
            "| after epochs | rank correlation with the end | best tenth kept among the best "
            "third |\n|---|---|---|"
        )
        for epoch in RUNGS:
            rung_N = best_NE[:, epoch - 1]
            kept = set(np.argsort(-rung_N)[: len(last_N) // 3].tolist())
            print(
                f"| {epoch} | {spearmanr(rung_N, last_N)[0]:.2f} | "
                f"{len(kept & top) / len(top):.0%} |"
            )
        pairs = [
            (max(a["val_acc"]), max(b["val_acc"]))
            for a in rows
            for b in rows
            if a["number"] == b["number"] and a["repeat"] < b["repeat"]
        ]
        gaps = np.array([a - b for a, b in pairs])
        first, second = np.array(pairs).T
        noise = np.sqrt((gaps**2).mean() / 2)
        print(
            f"\n{len(pairs)} with two seeds: rank correlation {spearmanr(first, second)[0]:.2f}, "
            f"standard deviation {noise:.4f}"
        )


if __name__ == "__main__":
    main()
