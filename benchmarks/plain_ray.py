"""Ray Tune alone, as one would write it: `OptunaSearch` and `ASHAScheduler`, actors that are used
again for the next trial.

    python benchmarks/plain_ray.py <file of a Task> <folder of the results> <trials at once>

Each result has ``at``, the time when it was reported; Tune's own are whole seconds.
"""

import sys
import time
from typing import Any

import ray
from plain_training import Task
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from hopsearch.core.errors import TrialFailure


class Training(tune.Trainable):
    """One trial after the other."""

    def setup(self, config: dict[str, Any], task: Task) -> None:
        """The first one."""
        self._task = task
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The next one; the process stays."""
        self._run = self._task.training(new_config, self._task.seed)
        return True

    def step(self) -> dict[str, Any]:
        """An epoch; a training that cannot go on has the worst value there is."""
        try:
            value = self._run.step()["val_acc"]
        except TrialFailure:
            return {"val_acc": 0.0, "at": time.time(), "done": True, "failed": True}
        return {"val_acc": value, "at": time.time(), "done": self._run.done}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing; without this method a trial that ends is an error, and its actor is lost."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing, as for `save_checkpoint`."""


def main(file: str, folder: str, at_once: str) -> None:
    task = Task.read(file)
    fidelity = task.space.fidelity
    rungs = {
        "grace_period": fidelity.min_epochs,
        "max_t": fidelity.max_epochs,
        "reduction_factor": fidelity.reduction,
    }

    ray.init(num_cpus=int(at_once), include_dashboard=False)
    searcher = OptunaSearch(
        task.suggested,
        metric="val_acc",
        mode="max",
        seed=task.seed,
        points_to_evaluate=task.points or None,
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(Training, task=task), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            metric="val_acc",
            mode="max",
            search_alg=searcher,
            scheduler=ASHAScheduler(**rungs),
            num_samples=-1 if task.trials is None else task.trials,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="plain", storage_path=folder, failure_config=tune.FailureConfig(fail_fast=True)
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise results.errors[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
