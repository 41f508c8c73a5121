"""Budgets: when a search stops handing out work, and what is left until then."""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, field_validator

from hopsearch.core.config import Settings
from hopsearch.core.durations import as_setting, clock
from hopsearch.core.errors import ConfigError
from hopsearch.study import StudyView

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# largest share of a budget reserved for retrainings with fresh seeds: small budgets allow ten
# trainings, and nine may be requested
_KEPT = 0.25

ALIASES = {
    "time": "budget.time",
    "epochs": "budget.epochs",
    "gpu_hours": "budget.gpu_hours",
    "cost.limit": "budget.cost",
    "plateau": "budget.plateau",
}
"""Names of budgets in an older version; still accepted."""


class BudgetConfig(Settings):
    """When a search ends before all its trials; open trials continue when a budget is raised."""

    time: float | None = Field(default=None, gt=0)
    """Wall-clock time of the search over all its runs, e.g. 90s, 15m, 2h."""
    epochs: int | None = Field(default=None, gt=0)
    """Epochs of all trials together; how long one trial trains is train.epochs."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Training hours of trials, times their GPUs."""
    cost: float | None = Field(default=None, gt=0)
    """Money for the training hours of trials, at cost.per_hour."""
    plateau: int | None = Field(default=None, gt=0)
    """Stop after this many trials without an improvement of the best value."""

    @field_validator("time", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        if value is None:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if not match:
            raise ValueError(
                "must be a number with a unit s, m, h or d; Write e.g. budget.time=15m"
            )
        return float(match[1]) * _UNITS[match[2]]


class CostConfig(Settings):
    """Prices."""

    per_hour: float | None = Field(default=None, gt=0)
    """Price of one hour of one trial's machines, in any currency; budget.cost limits the sum."""


def said_of_aliases(words: Iterable[str]) -> list[str]:
    """A sentence for each old name among the ``key=value`` arguments."""
    return [
        f"{key}= is the old name of {ALIASES[key]}= and still accepted"
        + (
            "; it limits all trials together, while train.epochs= is the length of each"
            if key == "epochs"
            else ""
        )
        for key in (word.partition("=")[0] for word in words)
        if key in ALIASES
    ]


def modern(settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Nested settings with old names of budgets replaced.

    Raises:
        ConfigError: both names for one budget.
    """
    values = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
    }
    for old, new in ALIASES.items():
        group, _, name = old.rpartition(".")
        holder = values.get(group, {}) if group else values
        if name in holder:
            budget = values.setdefault("budget", {})
            if new.removeprefix("budget.") in budget:
                raise ConfigError(
                    f"{place}: {new}",
                    f"must be given only once, got also its old name {old}",
                    "Drop one of the two",
                )
            budget[new.removeprefix("budget.")] = holder.pop(name)
    return values


def make_budget(
    trials: int,
    config: BudgetConfig,
    prices: CostConfig,
    gpus: float,
    again: Callable[[StudyView], int] | None = None,
) -> "Budget":
    """The budget of a search.

    Args:
        trials: of the study in all.
        config, prices: the settings.
        gpus: of a trial.
        again: the number of retrainings with fresh seeds after the search, given its current
            trials.

    Raises:
        ConfigError: GPU-hours without GPUs, or money without a price.
    """
    if config.gpu_hours is not None and not gpus:
        rule = "a GPU budget needs trials with GPUs, got trial.gpus=0"
        raise ConfigError("budget.gpu_hours", rule, "Set trial.gpus=1")
    if config.cost is not None and prices.per_hour is None:
        raise ConfigError(
            "budget.cost", "needs a price, got no cost.per_hour", "Set cost.per_hour="
        )
    more = (config.cost, prices.per_hour or 0.0, config.plateau, again)
    return Budget(trials, config.time, config.epochs, config.gpu_hours, gpus, *more)


@dataclass(frozen=True)
class _Part:
    """One budget, in its own unit.

    Attributes:
        setting: its name.
        value: as on the command line.
        spent: message for when it is used up.
        total, used: its amounts.
        epoch: its use per epoch.
        kept: reserved for retrainings with fresh seeds.
    """

    setting: str
    value: str
    spent: str
    total: float
    used: float
    epoch: float
    kept: float

    @property
    def epochs(self) -> float:
        """How many more epochs it allows."""
        left = self.total - self.kept - self.used
        return max(0.0, left / self.epoch)

    @property
    def given(self) -> str:
        """The value as on the command line."""
        return f"{self.setting}={self.value}"


@dataclass(frozen=True)
class Budget:
    """When to stop handing out work; running trials then stop after their epoch, and continue if
    the budget is raised.

    If tied trials are to be retrained with fresh seeds, the last part is reserved for that, at most
    a quarter.

    Attributes:
        trials: of the study in all.
        seconds: wall-clock, over all runs of the study.
        epochs: over all trials.
        gpu_hours: over all trials, while they trained.
        gpus: of a trial.
        money: over all trials, while they trained.
        per_hour: the price of a trial's hour.
        plateau: trials that reported their first epoch since the best value was reached (with
            several objectives: since the last change of the front).
        again: the number of retrainings with fresh seeds after the search, given its current
            trials; None if there are never any.
    """

    trials: int
    seconds: float | None = None
    epochs: int | None = None
    gpu_hours: float | None = None
    gpus: float = 0.0
    money: float | None = None
    per_hour: float = 0.0
    plateau: int | None = None
    again: Callable[[StudyView], int] | None = None

    @property
    def bounds_training(self) -> bool:
        """Whether any budget limits epochs, or what they cost."""
        return any(
            amount is not None for amount in (self.seconds, self.epochs, self.gpu_hours, self.money)
        )

    def over(self, view: StudyView, seconds: float) -> str:
        """The budget that is used up, in words; empty if none is. ``trials`` is not considered: it
        ends no running trial.

        Args:
            view: the study.
            seconds: wall-clock spent.
        """
        return next((text for text, _ in self._spent(view, seconds)), "")

    def remedy(self, view: StudyView, seconds: float) -> str:
        """The settings to raise so that the search can continue, e.g. ``budget.time=``; empty if no
        budget is used up.
        """
        return " and ".join(f"{key}=" for _, key in self._spent(view, seconds))

    def _spent(self, view: StudyView, seconds: float) -> list[tuple[str, str]]:
        spent = []
        hours = 0.0 if self.again is None else _hours(view)
        for part in _parts(self, view, hours, _at_once(view, seconds), seconds):
            if part.used >= part.total:
                spent.append((part.spent, part.setting))
            elif part.used + part.kept >= part.total:
                share = (part.total - part.used) / part.total
                kept = (
                    f"the last {share:.0%} of {part.given} is reserved for retraining tied trials "
                    f"with fresh seeds"
                )
                spent.append((kept, part.setting))
        if self.plateau is not None and view.since_best >= self.plateau:
            spent.append((f"no better value in the last {self.plateau} trials", "budget.plateau"))
        return spent

    def left(self, view: StudyView, seconds: float) -> list[str]:
        """The remainder of each budget that is set, in words."""
        words = []
        if self.seconds is not None:
            words.append(clock(max(0.0, self.seconds - seconds)))
        if self.epochs is not None:
            words.append(f"{max(0, self.epochs - view.epochs)} epochs")
        if self.gpu_hours is not None:
            words.append(
                f"{max(0.0, self.gpu_hours - view.trained_seconds / 3600 * self.gpus):.2f} "
                f"GPU-hours"
            )
        if self.money is not None:
            words.append(
                f"a cost of "
                f"{max(0.0, self.money - view.trained_seconds / 3600 * self.per_hour):.2f}"
            )
        if self.plateau is not None:
            words.append(f"{max(0, self.plateau - view.since_best)} trials to a plateau")
        return words

    def reach(self, view: StudyView, seconds: float, workers: int) -> tuple[str, int | None, float]:
        """The budget that will end first, the epochs that a worker can still train until then, and
        the seconds per epoch.

        The epochs are None if unknown, the seconds 0 if epochs themselves are limited.

        Args:
            view: the study; budgets in other units are converted by the median cost per epoch so
                far.
            seconds: wall-clock spent.
            workers: the number of training workers.
        """
        if not self.bounds_training:
            return "", None, 0.0
        hours = _hours(view)
        parts = _parts(self, view, hours, workers, seconds) if hours else []
        if not parts:
            return "", None, 0.0
        first = min(parts, key=lambda part: part.epochs)
        pace = 0.0 if first.setting == "budget.epochs" else hours * 3600
        # sums of hours are inexact in the last digit
        return first.setting, int(first.epochs / workers + 1e-6), pace

    def lasts(self, view: StudyView, seconds: float, workers: int) -> float | None:
        """Estimated seconds until a budget ends; see `reach`."""
        ends = [] if self.seconds is None else [max(0.0, self.seconds - seconds)]
        if hours := _hours(view):
            at_once = max(1, workers)
            ends += [
                part.epochs * hours * 3600 / at_once
                for part in _parts(self, view, hours, at_once, seconds)
            ]
        return min(ends, default=None)


def budget_epochs(
    budget: Budget,
    begun: StudyView | None,
    hours: float,
    at_once: int,
    seconds: float | None = None,
) -> dict[str, float]:
    """How many more epochs each budget allows, by name; trials and plateaus cannot be expressed in
    epochs.

    Args:
        budget: the budgets.
        begun: the study so far; what it has used and what is reserved for tied trials is
            subtracted.
        hours: per epoch of one trial.
        at_once: trials at once.
        seconds: wall-clock spent; by default what the study has recorded.
    """
    return {part.given: part.epochs for part in _parts(budget, begun, hours, at_once, seconds)}


def _parts(
    budget: Budget, view: StudyView | None, hours: float, at_once: int, seconds: float | None
) -> list[_Part]:
    """The current budgets of epochs and of their costs; see `budget_epochs`."""
    if not budget.bounds_training:
        return []
    if seconds is None:
        seconds = 0.0 if view is None else view.seconds
    epochs, trained = (0, 0.0) if view is None else (view.epochs, view.trained_seconds / 3600)
    units = [
        (
            "time",
            "the time budget of {} is used up",
            budget.seconds,
            seconds,
            hours * 3600 / at_once,
        ),
        ("epochs", "the budget of {} epochs is used up", budget.epochs, epochs, 1.0),
        (
            "gpu_hours",
            "the budget of {} GPU-hours is used up",
            budget.gpu_hours,
            trained * budget.gpus,
            hours * budget.gpus,
        ),
        (
            "cost",
            "the cost limit of {} is reached",
            budget.money,
            trained * budget.per_hour,
            hours * budget.per_hour,
        ),
    ]
    parts = []
    for name, words, total, used, epoch in units:
        if total is not None:
            if name == "time":
                value = as_setting(total)
            else:
                value = f"{total:.6g}" if isinstance(total, float) else f"{total}"
            kept = _kept(budget, view, total, used, epoch)
            parts.append(
                _Part(f"budget.{name}", value, words.format(value), total, used, epoch, kept)
            )
    return parts


def _kept(budget: Budget, view: StudyView | None, total: float, used: float, epoch: float) -> float:
    # Which trials tie is only computed when it matters.
    if budget.again is None or view is None or used < (1 - _KEPT) * total:
        return 0.0
    return min(_KEPT * total, budget.again(view) * view.identity.space.fidelity.max_epochs * epoch)


def _hours(view: StudyView) -> float:
    """Hours per epoch so far, the median over trials; 0 if none has been trained."""
    return (
        statistics.median(
            [record.seconds / record.epoch for record in view.counted() if record.curve] or [0.0]
        )
        / 3600
    )


def _at_once(view: StudyView, seconds: float) -> int:
    """Mean number of concurrent trials over the search so far."""
    return max(1, round(view.trained_seconds / seconds)) if seconds else 1
