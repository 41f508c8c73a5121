"""What a search would do, before it does it: rungs, epochs, hours, money, and what configurations look like. Starts no trial."""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console

from hopsearch.data import DataConfig, load
from hopsearch.distributed.budget import Budget
from hopsearch.seeds import derive
from hopsearch.space import Space
from hopsearch.study import MEMORY, Admission, Admit, Identity, Simulation, Study, Training
from hopsearch.training import TrialRun, resolve

_DRAWN = 200  # configurations to tell the infeasible share: within 7 points of it, 19 times in 20
_SHOWN = 5
_STEPS = 3  # of each configuration shown, to tell how long an epoch takes


class _MadeUp:
    """Curves that differ in level only: how many epochs a rule spends depends on the order of the trials, not on their values."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def cost(self, config: dict[str, Any]) -> dict[str, int]:
        return {"params": 1, "flops": 1, "memory": 1, "latency": 1}

    def train(self, config: dict[str, Any], seed: int) -> Training:
        level = derive("level", seed) / 2**31
        return Training([level * (1 - 0.7**epoch) for epoch in range(1, self._epochs + 1)], [1.0] * self._epochs)


def expected_epochs(space: Space, pruner: str, trials: int, slots: int, seed: int) -> int:
    """Epochs of a simulated search of so many random trials, in which each is better than another by chance."""
    single = replace(space, objective=space.objectives[0].name, direction="maximize", first=())
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("plan", single, {}, "default", {}, seed)
        with Study(Path(folder) / "plan", identity, "random", pruner, MEMORY) as study:
            Simulation(study, _MadeUp(space.fidelity.max_epochs), slots, trials).run()
            return study.epochs


def show_plan(
    identity: Identity, data: DataConfig, budget: Budget, pruner: str, slots: int, admit: Admit, console: Console
) -> None:
    """Print the plan of a search.

    Args:
        identity: the study that would be.
        data: what it would train on.
        budget: when it would stop.
        pruner: by name.
        slots: trials at once.
        admit: tells a configuration's cost and whether it meets the constraints.
        console: where to.
    """
    space, say = identity.space, console.print
    configs = [space.draw(Random(derive(identity.seed, "plan", number))) for number in range(_DRAWN)]
    verdicts = [admit(config) for config in configs]
    feasible = [(config, verdict) for config, verdict in zip(configs, verdicts, strict=True) if not verdict.broken]
    say(f"plan of study {identity.name}: {budget.trials} trials, {slots} at once; nothing is started")
    size = "infinitely many" if space.size is None else f"{space.size:,}"
    say(f"space: {len(space.parameters)} parameters, {size} configurations; objective {space.objective}")
    say(f"infeasible: {1 - len(feasible) / _DRAWN:.0%} of {_DRAWN} drawn at random, refused before they are trained")
    epochs = expected_epochs(space, pruner, budget.trials, slots, identity.seed)
    full = budget.trials * space.fidelity.max_epochs
    rungs = ", ".join(map(str, space.fidelity.rungs))
    say(f"rungs: {rungs} epochs; {pruner} would train about {epochs} epochs, {epochs / full:.0%} of the {full} without stopping")
    seconds = _show_samples(identity, data, feasible[:_SHOWN], console)
    if seconds:
        hours = statistics.mean(seconds) * epochs / 3600
        expected = [f"{hours / slots:.2g} hours with {slots} at once"]
        expected += [f"{hours * budget.gpus:.2g} GPU-hours"] if budget.gpus else []
        expected += [f"{hours * budget.per_hour:.2g} money"] if budget.per_hour else []
        say(f"expected, at the speed of this machine: {', '.join(expected)}")


def _show_samples(
    identity: Identity, data: DataConfig, samples: Sequence[tuple[dict[str, Any], Admission]], console: Console
) -> list[float]:
    """Print some configurations with what they cost; returns the seconds of an epoch of each."""
    splits, seconds = load(data), list[float]()
    for config, verdict in samples:
        run = TrialRun(resolve(config, splits.facts, 0, identity.recipe), splits)
        seconds.append(run.time_epoch(_STEPS))
        cost = f"{verdict.cost['params']:>12,} params  {verdict.cost['flops']:>14,} flops  {seconds[-1]:6.1f} s an epoch"
        words = (f"{name.rpartition('.')[2]} {_short(config[name])}" for name in identity.space.active(config))
        console.print(f"{cost}  {', '.join(words)}", markup=False)
    return seconds


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
