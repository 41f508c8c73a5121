"""Chooses the next trial for a free worker, including when a budget is about to end: then it may be
the trial that is ahead at the rungs, see `finalists`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hopsearch.orchestration.budget import Budget
from hopsearch.study import Admit, Study, TrialRecord


@dataclass(frozen=True)
class Ending:
    """Asks the study for trials, given how far one started now can get.

    Attributes:
        study: makes the decision.
        budget: of the search.
        say: receives a message about a trial that continues because a budget ends.
    """

    study: Study
    budget: Budget
    say: Callable[[str], None]

    def next(self, admit: Admit, seconds: float, workers: int) -> TrialRecord | None:
        """As `Study.next`.

        Args:
            admit: as in `Study.next`.
            seconds: wall-clock spent.
            workers: the number of training workers, including the free one.
        """
        name, reach, pace = self.budget.reach(self.study, seconds, workers)
        record = self.study.next(admit, self.budget.trials, reach, pace)
        if (
            record is not None
            and record.epoch in record.promotions
            and record.promotions[record.epoch].reach
        ):
            last = self.study.identity.space.fidelity.max_epochs
            left = f"{reach} epochs left per worker, too few for a new trial to reach {last}"
            self.say(
                f"{name}: {left}, so trial {record.number}, ahead of all others at the rungs, "
                f"trains to the end"
            )
        return record
