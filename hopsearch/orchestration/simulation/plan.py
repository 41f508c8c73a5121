"""What a search would do, before it does it: rungs, epochs, time, money, and what configurations
look like. Starts no trial.
"""

import contextlib
import functools
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from rich.console import Console

from hopsearch.core.config import Settings
from hopsearch.core.durations import amount, expected
from hopsearch.core.seeds import derive
from hopsearch.core.terminal_tables import without_section
from hopsearch.orchestration.budget import Budget, budget_epochs
from hopsearch.orchestration.resources import TrialResources
from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.orchestration.tie_break import FinishConfig, trainings_left
from hopsearch.space import Space
from hopsearch.study import MEMORY, Admission, Admit, Identity, Study, StudyView
from hopsearch.tasks import task_of
from hopsearch.tasks.contract_checks import miscounted, started
from hopsearch.tasks.loading import load_data

_DRAWN = 200  # configurations to tell the infeasible share: within 7 points of it, 19 times in 20
_SHOWN = 5
_STEPS = 3  # of each configuration shown, to tell how long an epoch takes


class _MadeUp:
    """Curves that differ in level only: how many epochs a rule spends depends on the order of the
    trials, not on their values.
    """

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def cost(self, config: dict[str, object]) -> dict[str, int]:
        return {"n_params": 1, "flops": 1, "memory": 1, "latency": 1}

    def train(self, config: dict[str, object], seed: int) -> Training:
        level = derive("level", seed) / 2**31
        return Training(
            [level * (1 - 0.7**epoch) for epoch in range(1, self._epochs + 1)], [1.0] * self._epochs
        )


def expected_epochs(space: Space, pruner: str, trials: int, slots: int, seed: int) -> int:
    """Epochs of a simulated search of so many random trials, in which each is better than another
    by chance.
    """
    single = replace(
        space, objective=space.objective.partition(",")[0], direction="maximize", first=()
    )
    with tempfile.TemporaryDirectory() as folder:
        identity = Identity("plan", single, {}, "default", {}, seed)
        with Study(Path(folder) / "plan", identity, "random", pruner, MEMORY) as study:
            Simulation(study, _MadeUp(space.fidelity.max_epochs), slots, trials).run()
            return study.epochs


@dataclass(frozen=True)
class Plan:
    """What a search would do.

    Attributes:
        identity: the study that would be, or is.
        data: what it trains on.
        budget: when it stops.
        pruner: by name.
        at_once: trials at once.
        resources: what a trial is given.
        finish: what is done for the winner.
        begun: the study as it is, where it has begun: what is done is taken off.
    """

    identity: Identity
    data: Settings
    budget: Budget
    pruner: str
    at_once: int
    resources: TrialResources
    finish: FinishConfig
    begun: StudyView | None = None

    def show(self, admit: Admit, first: dict[str, object], console: Console) -> None:
        """Print it.

        Args:
            admit: tells a configuration's cost and whether it meets the constraints.
            first: a configuration that meets them.
            console: where to.
        """
        space = self.identity.space
        budget = self.budget
        say = functools.partial(console.print, markup=False)
        configs = [
            space.draw(Random(derive(self.identity.seed, "plan", number)))
            for number in range(_DRAWN)
        ]
        verdicts = [(config, admit(config)) for config in configs]
        feasible = [(config, verdict) for config, verdict in verdicts if not verdict.broken]
        say(
            f"plan of study {self.identity.name}: {budget.trials} trials, {self.at_once} at once; "
            f"nothing is started"
        )
        size = "infinitely many" if space.size is None else f"{space.size:,}"
        say(
            f"space: {len(space.parameters)} parameters, {size} configurations; objective "
            f"{space.objective}"
        )
        say(
            f"infeasible: {1 - len(feasible) / _DRAWN:.0%} of {_DRAWN} random draws, rejected "
            f"before training"
        )
        epochs = expected_epochs(
            space, self.pruner, budget.trials, self.at_once, self.identity.seed
        )
        full = budget.trials * space.fidelity.max_epochs
        rungs = ", ".join(map(str, space.fidelity.rungs))
        say(
            f"rungs: {rungs} epochs; {self.pruner} would train about {epochs} epochs, "
            f"{epochs / full:.0%} of the {full} in all"
        )
        left = self._left(epochs, say)
        samples = (feasible or [(first, admit(first))])[:_SHOWN]
        if left:
            seconds = statistics.mean(self._show_samples(samples, console))
            self._show_time(left, seconds, say)
            say(self._finishing(seconds))
        else:
            say(self._finishing(None))

    def _left(self, epochs: int, say: Callable[[str], None]) -> int:
        if not self.begun:
            return epochs
        known = self.begun.counted()
        ahead = max(0, self.budget.trials - len(known))
        if not ahead and all(record.state.ended for record in known):
            say(
                f"resuming: all {len(known)} trials have ended, {self.begun.epochs} epochs; raise "
                f"trials= for more"
            )
            return 0
        left = max(epochs - self.begun.epochs, ahead * self.identity.space.fidelity.min_epochs, 1)
        done = f"{len(known)} trials, {self.begun.epochs} epochs so far"
        say(f"resuming: {done}; the estimates below are for the {left} or so that remain")
        return left

    def _show_samples(
        self, samples: Sequence[tuple[dict[str, object], Admission]], console: Console
    ) -> list[float]:
        """Print some configurations with what they cost; returns the seconds of an epoch of
        each.
        """
        task = task_of(self.identity.space)
        data = load_data(task, self.data)
        seconds: list[float] = []
        remarks: dict[str, None] = {}
        for config, verdict in samples:
            trial = task.resolve(config, data.facts, 0, self.identity.recipe)
            # Ray shows such a trial no GPU
            if not self.resources.gpus and trial.train.device == "auto":
                trial = trial.model_copy(
                    update={"train": trial.train.model_copy(update={"device": "cpu"})}
                )
            with _threads(min(self.resources.threads, os.cpu_count() or 1)):
                run = started(task, trial, data)
                seconds.append(run.time_epoch(_STEPS))
            remarks[miscounted(task, verdict.cost["n_params"], run)] = None
            del run  # before the next one is built: two may not fit the device
            spent = f"{amount(seconds[-1]):>5} s per epoch  peak lr {trial.optim.peak_lr:.3g}"
            sizes = verdict.cost
            cost = f"{sizes['n_params']:>12,} n_params  {sizes['flops']:>14,} flops  {spent}"
            words = (
                f"{without_section(name)} {_short(config[name])}"
                for name in self.identity.space.active(config)
            )
            console.print(f"{cost}  {', '.join(words)}", markup=False)
        for remark in filter(None, remarks):
            console.print(remark, markup=False)
        return seconds

    def _finishing(self, seconds: float | None) -> str:
        """What is trained after the search, in a sentence; with the time it takes where an epoch's
        is known.
        """
        finish = self.finish
        full = self.identity.space.fidelity.max_epochs
        if not finish.enabled:
            return "finishing: off (finish=false), so nothing is tested"
        trainings = (
            f"{finish.repeats} × {finish.candidates} × {full} epochs (repeats × "
            f"candidates × epochs)"
        )
        most = finish.repeats * finish.candidates
        parts = []
        if seconds is None and self.begun:  # the search is over: it is known which trials tie
            most = trainings_left(self.begun, finish)
            trainings = f"{most} × {full} epochs (trainings × epochs)"
            if not most and self.begun.winner:
                return (
                    f"finishing: nothing left to do, the winner is trial "
                    f"{self.begun.winner['trial']}"
                )
        if finish.repeats > 1 and most:
            took = (
                f", {expected(seconds * most * full / self.at_once)} with {self.at_once} at once"
                if seconds
                else ""
            )
            kept = (
                "; at most the last quarter of a budget is reserved for that"
                if seconds and self.budget.bounds_training
                else ""
            )
            parts.append(
                f"tied trials are retrained, at most {trainings} = {most * full} epochs{took}{kept}"
            )
        took = f", {expected(seconds * (full - 1))} at most" if seconds else ""
        parts.append(
            f"the winner is trained to {full} epochs if it has fewer{took}, and tested, outside "
            f"all budgets"
        )
        return f"finishing: {'; '.join(parts)}"

    def _show_time(self, left: int, seconds: float, say: Callable[[str], None]) -> None:
        budget = self.budget
        hours = seconds / 3600
        costs = [f"{expected(seconds * left / self.at_once)} with {self.at_once} at once"]
        costs += [expected(seconds * left * budget.gpus, "GPU-")] if budget.gpus else []
        costs += [f"a cost of {amount(hours * left * budget.per_hour)}"] if budget.per_hour else []
        threads = self.resources.threads
        cores = os.cpu_count() or 1
        slower = f" with {cores} threads of a trial's {threads}" if threads > cores else ""
        slower += " without a GPU" if self.resources.gpus and not torch.cuda.is_available() else ""
        slower += (
            f" and of one worker of a trial's {self.resources.workers}"
            if self.resources.workers > 1
            else ""
        )
        say(f"expected, at the speed of this machine{slower}: {', '.join(costs)}")
        if allowed := budget_epochs(budget, self.begun, hours, self.at_once):
            name, most = min(allowed.items(), key=lambda pair: pair[1])
            if most < left:
                say(
                    f"budgets: {name} ends it first, after about {most:.0f} of these {left} "
                    f"epochs ({most / left:.0%})"
                )
            else:
                say(
                    f"budgets: none ends the search early; the tightest, {name}, allows about "
                    f"{most:.0f} epochs"
                )
        if budget.plateau is not None:
            say(
                f"budgets: budget.plateau={budget.plateau} may end it earlier; when depends on "
                f"the results"
            )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
