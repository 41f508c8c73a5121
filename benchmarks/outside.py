"""Learning curves that nobody of this project made: LCBench YAHPO Gym's surrogate, read from a
folder outside.

The folder holds ``lcbench.py`` with ``curves(instance, configs)``, ``draw(generator, count)``,
``DEVELOP`` and ``METRICS``, and what that reads. It is not part of the project; `--outside` says
where it lies.
"""

import functools
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hopsearch.orchestration.simulation.simulator import Training
from hopsearch.space import Fidelity, Float, Int, Space

EPOCHS = 52
_RANDOM = 256
"""Full random trainings that the scale is made from."""
_PARAMETERS = {
    "batch_size": Int(16, 512, log=True),
    "learning_rate": Float(1e-4, 0.1, log=True),
    "momentum": Float(0.1, 0.99),
    "weight_decay": Float(1e-5, 0.1),
    "num_layers": Int(1, 5),
    "max_units": Int(64, 1024, log=True),
    "max_dropout": Float(0.0, 1.0),
}


class LCBench:
    """One data set of LCBench as something to search: seven parameters, 52 epochs, no noise.

    Args:
        folder: where the reader lies.
        instance: the data set, one of `instances`.
        min_epochs: the first rung; the next ones are three times as high each.

    Attributes:
        space: of the parameters.
        best, median: of 256 random trainings, each by its best epoch: values on the scale that
            `regret` uses.
    """

    def __init__(self, folder: Path, instance: str, min_epochs: int) -> None:
        self.space = Space(_PARAMETERS, fidelity=Fidelity(min_epochs, EPOCHS, 3))
        self._reader, self._instance = _reader(folder), instance
        self.best, self.median = _scale(folder, instance)

    def regret(self, value: float) -> float:
        """0 for the best of 256 random trainings, 1 for their median; may be negative."""
        return (self.best - value) / (self.best - self.median)

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        """None."""
        return {}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        """Validation accuracy, and seconds as they were measured there."""
        metrics_EM = self._reader.curves(self._instance, [config])[0].astype(float)
        value, time = (
            metrics_EM[:, self._reader.METRICS.index(name)] for name in ("val_accuracy", "time")
        )
        return Training(value.tolist(), np.maximum(np.diff(time, prepend=0.0), 1e-3).tolist())


def instances(folder: Path) -> list[str]:
    """The data sets to develop and choose on; the others are for a final check by others."""
    return list(_reader(folder).DEVELOP)


@functools.cache
def _reader(folder: Path) -> ModuleType:
    described = importlib.util.spec_from_file_location("lcbench", folder / "lcbench.py")
    assert described is not None
    assert described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module


@functools.cache
def _scale(folder: Path, instance: str) -> tuple[float, float]:
    reader = _reader(folder)
    curves_NEM = reader.curves(instance, reader.draw(np.random.default_rng(0), _RANDOM))
    best_N = curves_NEM[:, :, reader.METRICS.index("val_accuracy")].max(axis=1)
    return float(best_N.max()), float(np.median(best_N))
