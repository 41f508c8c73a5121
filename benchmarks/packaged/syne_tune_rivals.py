"""Syne Tune's conformalised quantile regression (CQR) and BORE, with its ASHA, or alone where a
trial has one epoch.

Both as the package has them in `syne_tune.optimizer.baselines`: ASHA is the stopping variant, every
epoch is told, and the model sees each trial's last value. The calls are those of its `Tuner`, in
its order. It knows no conditions: every parameter has a value in every trial.
"""

import datetime
from typing import Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer import baselines
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler

ALONE = {"syne_tune_cqr": baselines.CQR, "syne_tune_bore": baselines.BORE}
WITH_ASHA = {"syne_tune_cqr": baselines.ASHACQR, "syne_tune_bore": baselines.ASHABORE}


class SyneTune:
    """One of the two, asked and told as its `Tuner` does.

    Args:
        said: the first line; ``rungs`` end with the full epochs.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        np.random.seed(said["seed"])  # BORE draws its candidates from the global generator
        domains = {name: domain(parameter) for name, parameter in said["parameters"].items()}
        self._last = said["rungs"][-1]
        self._scheduler: TrialScheduler
        if self._last == 1:
            self._scheduler = ALONE[said["rival"]](
                domains, metric="value", do_minimize=True, random_seed=said["seed"]
            )
        else:
            self._scheduler = WITH_ASHA[said["rival"]](
                domains,
                metric="value",
                time_attr="epoch",
                max_t=self._last,
                grace_period=said["rungs"][0],
                reduction_factor=said["reduction"],
                do_minimize=True,
                random_seed=said["seed"],
            )
            rungs = [
                rung for rung, _ in reversed(self._scheduler.brackets[0].rungs) if rung < self._last
            ]
            assert rungs == said["rungs"][:-1], rungs
        self._trials: list[Trial] = []

    def ask(self) -> tuple[int, dict[str, Any]]:
        """A new trial."""
        suggestion = self._scheduler.suggest()
        if suggestion is None:
            raise RuntimeError("Syne Tune has no more configurations to suggest")
        trial = Trial(len(self._trials), suggestion.config, datetime.datetime.now())
        self._trials.append(trial)
        self._scheduler.on_trial_add(trial)
        return trial.trial_id, {name: plain(value) for name, value in suggestion.config.items()}

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""
        trial, result = self._trials[number], {"epoch": epoch, "value": value}
        if self._scheduler.on_trial_result(trial, result) == SchedulerDecision.STOP:
            self._scheduler.on_trial_remove(trial)
            return False
        if epoch == self._last:
            self._scheduler.on_trial_complete(trial, result)
        return epoch < self._last

    def fail(self, number: int) -> None:
        """The trial diverged; nothing is learnt from that but what it had reported."""
        self._scheduler.on_trial_error(self._trials[number])


def domain(parameter: dict[str, Any]) -> Any:
    """A parameter in Syne Tune's terms."""
    if parameter["type"] == "categorical":
        return config_space.choice(list(range(parameter["choices"])))
    if parameter["low"] == parameter["high"]:
        return parameter["low"]
    names = {"int": ("randint", "lograndint"), "float": ("uniform", "loguniform")}[
        parameter["type"]
    ]
    return getattr(config_space, names[parameter["log"]])(parameter["low"], parameter["high"])


def plain(value: Any) -> Any:
    """A Python number for NumPy's."""
    return value.item() if isinstance(value, np.generic) else value
