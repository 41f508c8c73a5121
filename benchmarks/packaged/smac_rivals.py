"""SMAC3's `MultiFidelityFacade`, random forests and Hyperband; `HyperparameterOptimizationFacade`
where a trial has one epoch.

Hyperband here promotes: a configuration that goes up goes on from the epoch that it had reached,
which is more than SMAC does by itself. SMAC counts its budgets down from the largest, 52, 17.3,
5.8, …; a budget is trained to our rung of the same place, so that all contestants have the same
rungs. ``smac_own_rungs`` trains to SMAC's budgets instead, rounded, down to the first rung.
"""

import math
import tempfile
from collections.abc import Iterator
from typing import Any

import ConfigSpace
import numpy as np
from smac import HyperparameterOptimizationFacade, MultiFidelityFacade, Scenario
from smac.intensifier.hyperband_utils import get_n_trials_for_hyperband_multifidelity
from smac.runhistory import StatusType, TrialInfo, TrialValue


class SMAC:
    """SMAC by its ask and tell. Told once a trial and budget: the value at its last epoch; the
    worst so far where it diverged.

    Args:
        said: the first line; ``epochs`` are the whole search's, from which SMAC sizes its initial
            design.
    """

    def __init__(self, said: dict[str, Any]) -> None:
        rungs, eta = said["rungs"], said["reduction"]
        self._folder = tempfile.TemporaryDirectory()
        facts = {"output_directory": self._folder.name, "deterministic": True, "seed": said["seed"]}
        space = build(said["parameters"], said["seed"])
        if rungs[-1] == 1:
            scenario = Scenario(space, n_trials=said["epochs"], **facts)
            self._smac = HyperparameterOptimizationFacade(
                scenario, None, overwrite=True, logging_level=False
            )
            self._epochs = {None: 1}
        else:
            high, stages = rungs[-1], len(rungs)
            if said["rival"] == "smac_own_rungs":
                stages = math.floor(math.log(high / rungs[0]) / math.log(eta) + 1e-9) + 1
            # less a little, since SMAC rounds the number of stages down
            low = high / eta ** (stages - 1) * (1 - 1e-9)
            trials = get_n_trials_for_hyperband_multifidelity(
                said["epochs"], low, high, eta, print_summary=False
            )
            scenario = Scenario(space, n_trials=trials, min_budget=low, max_budget=high, **facts)
            intensifier = MultiFidelityFacade.get_intensifier(scenario, eta=eta)
            self._smac = MultiFidelityFacade(
                scenario, None, intensifier=intensifier, overwrite=True, logging_level=False
            )
            budgets = high * np.power(eta, -np.linspace(stages - 1, 0, stages))
            trained = (
                [round(budget) for budget in budgets]
                if said["rival"] == "smac_own_rungs"
                else rungs
            )
            self._epochs = dict(zip(budgets.tolist(), trained, strict=True))
        self._numbers: dict[ConfigSpace.Configuration, int] = {}
        self._running: dict[int, TrialInfo] = {}
        self._worst = 0.0

    def ask(self) -> tuple[int, dict[str, Any]]:
        """A new trial, or one that goes on to a higher budget."""
        info = self._smac.ask()
        number = self._numbers.setdefault(info.config, len(self._numbers))
        self._running[number] = info
        return number, {name: plain(value) for name, value in info.config.items()}

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""
        info = self._running[number]
        if epoch < self._epochs[info.budget]:
            return True
        self._worst = max(self._worst, value)
        self._tell(number, value, StatusType.SUCCESS)
        return False

    def fail(self, number: int) -> None:
        """The trial diverged."""
        self._tell(number, self._worst, StatusType.CRASHED)

    def _tell(self, number: int, value: float, status: StatusType) -> None:
        self._smac.tell(
            self._running.pop(number), TrialValue(cost=value, status=status), save=False
        )


def build(parameters: dict[str, dict[str, Any]], seed: int) -> ConfigSpace.ConfigurationSpace:
    """The space in ConfigSpace's terms, with its conditions."""
    space = ConfigSpace.ConfigurationSpace(seed=seed)
    for name, parameter in parameters.items():
        space.add(hyperparameter(name, parameter))
    for name, parameter in parameters.items():
        tests = list(conditions(space, name, parameter["when"]))
        if tests:
            space.add(tests[0] if len(tests) == 1 else ConfigSpace.AndConjunction(*tests))
    return space


def hyperparameter(name: str, parameter: dict[str, Any]) -> Any:
    """A parameter in ConfigSpace's terms."""
    if parameter["type"] == "categorical":
        return ConfigSpace.CategoricalHyperparameter(name, list(range(parameter["choices"])))
    if parameter["low"] == parameter["high"]:
        return ConfigSpace.Constant(name, parameter["low"])
    kind = ConfigSpace.Integer if parameter["type"] == "int" else ConfigSpace.Float
    return kind(name, (parameter["low"], parameter["high"]), log=parameter["log"])


def conditions(
    space: ConfigSpace.ConfigurationSpace, name: str, when: dict[str, list[int]]
) -> Iterator[Any]:
    """A condition for each parent, by the values that pass."""
    for parent, values in when.items():
        yield ConfigSpace.InCondition(space[name], space[parent], values)


def plain(value: Any) -> Any:
    """A Python number for NumPy's."""
    return value.item() if isinstance(value, np.generic) else value
