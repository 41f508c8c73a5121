"""When a search stops handing out work, and what is left until then."""

from dataclasses import dataclass

from pydantic import Field, model_validator

from hopsearch.config import Settings
from hopsearch.study import StudyView


class CostConfig(Settings):
    """Money."""

    per_hour: float | None = Field(default=None, gt=0)
    """What an hour of one trial's machines costs, in whatever money."""
    limit: float | None = Field(default=None, gt=0)
    """Budget of money, for the hours that trials trained."""

    @model_validator(mode="after")
    def _priced(self) -> "CostConfig":
        if self.limit is not None and self.per_hour is None:
            raise ValueError("cost.limit needs a price; Give cost.per_hour=")
        return self


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
        if self.seconds is not None and seconds >= self.seconds:
            return f"the time budget of {self.seconds:g} s is spent"
        if self.epochs is not None and view.epochs >= self.epochs:
            return f"the budget of {self.epochs} epochs is spent"
        if self.gpu_hours is not None and self._gpu_hours(view) >= self.gpu_hours:
            return f"the budget of {self.gpu_hours:g} GPU-hours is spent"
        if self.money is not None and self._money(view) >= self.money:
            return f"the budget of {self.money:g} money is spent"
        if self.plateau is not None and view.since_best >= self.plateau:
            return f"the last {self.plateau} trials brought nothing better"
        return ""

    def left(self, view: StudyView, seconds: float) -> list[str]:
        """What is left of each budget that is set, in words."""
        words = []
        if self.seconds is not None:
            words.append(f"{max(0.0, self.seconds - seconds):.0f} s")
        if self.epochs is not None:
            words.append(f"{max(0, self.epochs - view.epochs)} epochs")
        if self.gpu_hours is not None:
            words.append(f"{max(0.0, self.gpu_hours - self._gpu_hours(view)):.2f} GPU-hours")
        if self.money is not None:
            words.append(f"{max(0.0, self.money - self._money(view)):.2f} money")
        if self.plateau is not None:
            words.append(f"{max(0, self.plateau - view.since_best)} trials to a plateau")
        return words

    def _gpu_hours(self, view: StudyView) -> float:
        return view.trained_seconds / 3600 * self.gpus

    def _money(self, view: StudyView) -> float:
        return view.trained_seconds / 3600 * self.per_hour
