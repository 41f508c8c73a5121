"""When a search stops handing out work, and what is left until then."""

import re
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from hopsearch.config import Settings
from hopsearch.durations import as_setting, clock
from hopsearch.errors import ConfigError
from hopsearch.study import StudyView

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

ALIASES = {
    "time": "budget.time",
    "epochs": "budget.epochs",
    "gpu_hours": "budget.gpu_hours",
    "cost.limit": "budget.cost",
    "plateau": "budget.plateau",
}
"""Words that an older version had for budgets; they are still understood."""


class BudgetConfig(Settings):
    """When a search ends before all its trials are over; what it leaves open goes on when a budget is raised."""

    time: float | None = Field(default=None, gt=0)
    """Wall-clock time of the search over all its runs, e.g. 90s, 15m, 2h."""
    epochs: int | None = Field(default=None, gt=0)
    """Epochs of all trials together; how long one trial trains is train.epochs."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Hours that trials train, times their GPUs."""
    cost: float | None = Field(default=None, gt=0)
    """Money for the hours that trials train, at cost.per_hour."""
    plateau: int | None = Field(default=None, gt=0)
    """Trials that report their first epoch without a better value than the best so far."""

    @field_validator("time", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        if value is None:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if not match:
            raise ValueError("must be a number with a unit s, m, h or d; Write e.g. budget.time=15m")
        return float(match[1]) * _UNITS[match[2]]


class CostConfig(Settings):
    """Prices."""

    per_hour: float | None = Field(default=None, gt=0)
    """What an hour of one trial's machines costs, in whatever money; budget.cost bounds the sum."""


def said_of_aliases(words: Iterable[str]) -> list[str]:
    """A sentence for each old word among ``key=value`` words."""
    return [
        f"{key}= is an old name of {ALIASES[key]}=, and is read as that"
        + ("; it bounds all trials together, train.epochs= is how long each trains" if key == "epochs" else "")
        for key in (word.partition("=")[0] for word in words)
        if key in ALIASES
    ]


def modern(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Nested settings with the old words for budgets replaced.

    Raises:
        ConfigError: both words for one budget.
    """
    values = {name: dict(value) if isinstance(value, Mapping) else value for name, value in settings.items()}
    for old, new in ALIASES.items():
        group, _, name = old.rpartition(".")
        holder = values.get(group, {}) if group else values
        if name in holder:
            budget = values.setdefault("budget", {})
            if new.removeprefix("budget.") in budget:
                raise ConfigError(f"{place}: {new}", f"must be given once, got also its old name {old}", "Drop one of the two")
            budget[new.removeprefix("budget.")] = holder.pop(name)
    return values


def make_budget(trials: int, config: BudgetConfig, prices: CostConfig, gpus: float) -> "Budget":
    """The budget of a search.

    Args:
        trials: of the study in all.
        config, prices: as given.
        gpus: of a trial.

    Raises:
        ConfigError: GPU-hours without GPUs, or money without a price.
    """
    if config.gpu_hours is not None and not gpus:
        rule = "trials must have GPUs for a budget of them, got trial.gpus=0"
        raise ConfigError("budget.gpu_hours", rule, "Give trial.gpus=1")
    if config.cost is not None and prices.per_hour is None:
        raise ConfigError("budget.cost", "needs a price, got no cost.per_hour", "Give cost.per_hour=")
    more = (config.cost, prices.per_hour or 0.0, config.plateau)
    return Budget(trials, config.time, config.epochs, config.gpu_hours, gpus, *more)


@dataclass(frozen=True)
class Budget:
    """When to stop handing out work; running trials then stop after their epoch, and go on if the budget is raised.

    Attributes:
        trials: of the study in all.
        seconds: wall-clock, over all runs of the study.
        epochs: over all trials.
        gpu_hours: over all trials, while they trained.
        gpus: of a trial.
        money: over all trials, while they trained.
        per_hour: the price of a trial's hour.
        plateau: trials that came to their first epoch since the best value was reached (with several objectives: the newest best
            value of the front).
    """

    trials: int
    seconds: float | None = None
    epochs: int | None = None
    gpu_hours: float | None = None
    gpus: float = 0.0
    money: float | None = None
    per_hour: float = 0.0
    plateau: int | None = None

    def over(self, view: StudyView, seconds: float) -> str:
        """The budget that is spent, in words; empty where none is. ``trials`` is not asked for: it ends no trial that runs.

        Args:
            view: the study.
            seconds: wall-clock spent.
        """
        return next((text for text, _ in self._spent(view, seconds)), "")

    def remedy(self, view: StudyView, seconds: float) -> str:
        """Which settings must be raised for the search to go on, e.g. ``budget.time=``; empty where no budget is spent."""
        return " and ".join(f"{key}=" for _, key in self._spent(view, seconds))

    def _spent(self, view: StudyView, seconds: float) -> list[tuple[str, str]]:
        spent = []
        if self.seconds is not None and seconds >= self.seconds:
            spent.append((f"the time budget of {as_setting(self.seconds)} is spent", "budget.time"))
        if self.epochs is not None and view.epochs >= self.epochs:
            spent.append((f"the budget of {self.epochs} epochs is spent", "budget.epochs"))
        if self.gpu_hours is not None and self._gpu_hours(view) >= self.gpu_hours:
            spent.append((f"the budget of {self.gpu_hours:g} GPU-hours is spent", "budget.gpu_hours"))
        if self.money is not None and self._money(view) >= self.money:
            spent.append((f"the cost limit of {self.money:g} is reached", "budget.cost"))
        if self.plateau is not None and view.since_best >= self.plateau:
            spent.append((f"no better value in the last {self.plateau} trials", "budget.plateau"))
        return spent

    def left(self, view: StudyView, seconds: float) -> list[str]:
        """What is left of each budget that is set, in words."""
        words = []
        if self.seconds is not None:
            words.append(clock(max(0.0, self.seconds - seconds)))
        if self.epochs is not None:
            words.append(f"{max(0, self.epochs - view.epochs)} epochs")
        if self.gpu_hours is not None:
            words.append(f"{max(0.0, self.gpu_hours - self._gpu_hours(view)):.2f} GPU-hours")
        if self.money is not None:
            words.append(f"a cost of {max(0.0, self.money - self._money(view)):.2f}")
        if self.plateau is not None:
            words.append(f"{max(0, self.plateau - view.since_best)} trials to a plateau")
        return words

    def reach(self, view: StudyView, seconds: float, workers: int) -> tuple[str, int | None, float]:
        """Which budget will be spent first, the epochs that a worker can still train until then, and the seconds of one of these.

        The epochs are None where none is known, the seconds 0 where epochs themselves are counted.

        Args:
            view: the study; what is not told in epochs is by what one took so far, in the median over trials.
            seconds: wall-clock spent.
            workers: that train.
        """
        if self.epochs is None and self.seconds is None and self.gpu_hours is None and self.money is None:
            return "", None, 0.0
        hours = _hours(view)
        allowed = budget_epochs(self, view, hours, workers, seconds) if hours else {}
        if not allowed:
            return "", None, 0.0
        setting, epochs = min(allowed.items(), key=lambda pair: pair[1])
        name = setting.partition("=")[0]
        pace = 0.0 if name == "budget.epochs" else hours * 3600
        return name, int(epochs / workers + 1e-6), pace  # hours do not add up to the last digit

    def lasts(self, view: StudyView, seconds: float, workers: int) -> float | None:
        """Seconds until a budget is spent, as far as that can be told; see `reach`."""
        ends = [] if self.seconds is None else [max(0.0, self.seconds - seconds)]
        if hours := _hours(view):
            at_once = max(1, workers)
            ends += [epochs * hours * 3600 / at_once for epochs in budget_epochs(self, view, hours, at_once, seconds).values()]
        return min(ends, default=None)

    def _gpu_hours(self, view: StudyView) -> float:
        return view.trained_seconds / 3600 * self.gpus

    def _money(self, view: StudyView) -> float:
        return view.trained_seconds / 3600 * self.per_hour


def budget_epochs(
    budget: Budget, begun: StudyView | None, hours: float, at_once: int, seconds: float | None = None
) -> dict[str, float]:
    """How many more epochs each budget is enough for, by its name; those of trials and of a plateau are not told in epochs.

    Args:
        budget: the budgets.
        begun: the study so far; what it has used is taken off.
        hours: of an epoch, of one trial.
        at_once: trials at once.
        seconds: wall-clock spent; what the study has noted of it where that is not given.
    """
    noted, epochs = (begun.seconds, begun.epochs) if begun else (0.0, 0)
    seconds = noted if seconds is None else seconds
    trained = begun.trained_seconds / 3600 if begun else 0.0
    allowed: dict[str, float] = {}
    if budget.epochs is not None:
        allowed[f"budget.epochs={budget.epochs}"] = budget.epochs - epochs
    if budget.seconds is not None:
        allowed[f"budget.time={as_setting(budget.seconds)}"] = (budget.seconds - seconds) / 3600 / hours * at_once
    if budget.gpu_hours is not None:
        allowed[f"budget.gpu_hours={budget.gpu_hours:g}"] = (budget.gpu_hours / budget.gpus - trained) / hours
    if budget.money is not None:
        allowed[f"budget.cost={budget.money:g}"] = (budget.money / budget.per_hour - trained) / hours
    return {name: max(0.0, most) for name, most in allowed.items()}


def _hours(view: StudyView) -> float:
    """What an epoch took so far, the median over trials; 0 where none has been trained."""
    return statistics.median([record.seconds / record.epoch for record in view.counted() if record.curve] or [0.0]) / 3600
