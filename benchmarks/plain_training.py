"""What scripts that search without us train: our models on our data, by our own training code, and
nothing of our search.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hopsearch.data import DataConfig, load
from hopsearch.space import Categorical, Float, Int, Space
from hopsearch.space.parameters import Parameter
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun


@dataclass(frozen=True)
class Task:
    """What a script is to search: what its author would have written into it.

    Attributes:
        space: what is searched; its rungs are those of the script's early stopping.
        data: what is trained on.
        seed: of the search.
        trials: how many; None: without end.
        first: whether the space's first points are tried first.
    """

    space: Space
    data: DataConfig
    seed: int = 0
    trials: int | None = None
    first: bool = False

    @classmethod
    def read(cls, file: str) -> "Task":
        """What `write` wrote."""
        known = json.loads(Path(file).read_text(encoding="utf-8"))
        return cls(Space.from_dict(known.pop("space")), DataConfig(**known.pop("data")), **known)

    def write(self, file: Path) -> Path:
        """Write it to a file, and return that."""
        known = {"space": self.space.to_dict(), "data": self.data.model_dump()}
        file.write_text(
            json.dumps(known | {"seed": self.seed, "trials": self.trials, "first": self.first}),
            encoding="utf-8",
        )
        return file

    @property
    def points(self) -> list[dict[str, Any]]:
        """What is tried first."""
        return [dict(point) for point in self.space.first] if self.first else []

    def suggested(self, trial: Any) -> dict[str, Any]:
        """A configuration, each value asked of Optuna's trial."""
        return self.space.walk(partial(_suggest, trial))

    def training(self, values: Mapping[str, Any], seed: int) -> ImageTrialRun:
        """A training of a configuration, with one thread; the process reads the images once."""
        torch.set_num_threads(1)
        splits = load(self.data)
        return ImageTrialRun(resolve(dict(values), splits.facts, seed=seed), splits)


def _suggest(trial: Any, name: str, parameter: Parameter) -> Any:
    # As `hopsearch.study.sampling.samplers.suggest_value`, but for the import of all that a study
    # of ours needs.
    if isinstance(parameter, Categorical):
        return trial.suggest_categorical(name, parameter.choices)
    suggest: dict[type, Callable[..., Any]] = {Int: trial.suggest_int, Float: trial.suggest_float}
    step = {} if parameter.step is None else {"step": parameter.step}
    return suggest[type(parameter)](name, parameter.low, parameter.high, log=parameter.log, **step)
