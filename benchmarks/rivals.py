"""Searches as others do them, on the simulator's terms: the same landscape, clock, workers and
seeds.
"""

import heapq
import itertools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.trial import TrialState

from hopsearch.core.seeds import derive
from hopsearch.orchestration.simulation.simulator import Event, Landscape, Training
from hopsearch.space import Fidelity, Space
from hopsearch.study.sampling.samplers import suggest_value


class Rival(Protocol):
    """A search that is asked and told."""

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and configuration of a trial: a new one, or one that goes on from the epoch it had
        reached.
        """

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""

    def fail(self, number: int) -> None:
        """The trial diverged."""


class PlainOptuna:
    """Optuna as its documentation has it: `TPESampler` and `SuccessiveHalvingPruner`, the same
    rungs as ours.
    """

    def __init__(self, space: Space, seed: int) -> None:
        direction = "maximize" if space.direction == "maximize" else "minimize"
        self.study = optuna.create_study(
            direction=direction, sampler=TPESampler(seed=seed), pruner=self._pruner(space.fidelity)
        )
        self._space = space
        self._trials: dict[int, optuna.Trial] = {}

    def _pruner(self, fidelity: Fidelity) -> BasePruner:
        return SuccessiveHalvingPruner(
            min_resource=fidelity.min_epochs, reduction_factor=fidelity.reduction
        )

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and configuration of a new trial."""
        trial = self.study.ask()
        self._trials[trial.number] = trial
        return trial.number, self._space.walk(partial(suggest_value, trial))

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""
        trial = self._trials[number]
        trial.report(value, epoch)
        if epoch >= self._space.fidelity.max_epochs:
            self.study.tell(trial, value)
        elif trial.should_prune():
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            return True
        return False

    def fail(self, number: int) -> None:
        """The trial diverged."""
        self.study.tell(self._trials[number], state=TrialState.FAIL)


class OptunaHyperband(PlainOptuna):
    """The same with `HyperbandPruner`, as Optuna's documentation recommends beside TPE."""

    def _pruner(self, fidelity: Fidelity) -> BasePruner:
        return HyperbandPruner(fidelity.min_epochs, fidelity.max_epochs, fidelity.reduction)


class RayTune(PlainOptuna):
    """Ray Tune's `OptunaSearch` and `ASHAScheduler` (2.60): a stopped trial is told to Optuna as
    complete, with its last value.

    `ASHAScheduler` stops below the (1 − 1/η) quantile of those that came to a rung before; the rung
    at full epochs stops all.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self._rungs: dict[int, list[float]] = {epoch: [] for epoch in space.fidelity.rungs[:-1]}
        self._quantile = 100 * (1 - 1 / space.fidelity.reduction)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""
        stop = epoch >= self._space.fidelity.max_epochs
        if epoch in self._rungs:
            known = self._rungs[epoch]
            stop = bool(known) and value < float(np.nanpercentile(known, self._quantile))
            known.append(value)
        if stop:
            self.study.tell(self._trials[number], value)
        return not stop


def simulate(rival: Rival, landscape: Landscape, workers: int) -> Iterator[Event]:
    """The rival's search, without end."""
    due: list[tuple[float, int, int, int]] = []  # when, turn, trial, epoch
    trainings: dict[int, Training] = {}
    reached: dict[int, int] = {}
    clock = 0.0
    for epochs in itertools.count(1 - workers):
        goes_on = False
        if epochs >= 1:  # before that, the workers' first trials
            clock, _, number, epoch = heapq.heappop(due)
            training = trainings[number]
            value = training.values[epoch - 1] if epoch <= len(training.values) else math.nan
            reached[number] = epoch
            yield Event(clock, epochs, number, epoch, value if value == value else None)
            if value == value:
                goes_on = rival.report(number, epoch, value)
            else:
                rival.fail(number)
        if not goes_on:
            number, config = rival.ask()
            if number not in trainings:
                trainings[number] = landscape.train(config, derive(0, number))
        epoch = reached.get(number, 0) + 1
        seconds = trainings[number].seconds
        heapq.heappush(due, (clock + seconds[min(epoch, len(seconds)) - 1], epochs, number, epoch))
