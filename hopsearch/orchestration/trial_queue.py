"""Hands out a search's trials and takes them back: interrupted ones before new ones, none once a
budget is used up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from hopsearch.orchestration.budget import Budget
from hopsearch.study import Admit, State, Study, TrialRecord


@dataclass
class TrialQueue:
    """The trials between a study and its workers, real or simulated.

    Attributes:
        study: makes the decisions; may be replaced by the same study reopened.
        budget: of the search.
        admit: as in `Study.next`.
        seconds: wall-clock spent on the search.
        say: receives a message about a trial that continues because a budget ends.
        out: trials handed out and not yet returned.
        stopped: why no more work is handed out; empty while there is work.
        interrupted: trials to be handed out again, in order.
    """

    study: Study
    budget: Budget
    admit: Admit
    seconds: Callable[[], float]
    say: Callable[[str], None] = lambda text: None
    out: set[int] = field(default_factory=set)
    stopped: str = ""

    def __post_init__(self) -> None:
        self.interrupted = [record.number for record in self.study.resume(self.admit)]

    @property
    def full(self) -> bool:
        """Whether the study has all its trials."""
        return self.study.count >= self.budget.trials

    @property
    def waiting(self) -> bool:
        """Whether there is something to hand out, now or after others have returned."""
        return not self.why_stop() and (
            bool(self.interrupted) or not self.full or bool(self.study.waiting())
        )

    @property
    def finished(self) -> bool:
        """Whether there is nothing to hand out now and nothing out that may return."""
        return not self.out and not self.waiting

    def next(self) -> TrialRecord | None:
        """Hand out a trial. None: nothing now, and if nothing is out either, the search is over."""
        if self.why_stop():
            return None
        record = self.study.records[self.interrupted.pop(0)] if self.interrupted else self._chosen()
        if record is not None:
            self.out.add(record.number)
        return record

    def goes_on(self, record: TrialRecord) -> bool:
        """Whether a trial's worker continues with it after a report."""
        return record.state == State.RUNNING and not self.why_stop()

    def put_back(self, number: int) -> None:
        """A trial's worker was lost: it is to be handed out again."""
        self.out.discard(number)
        self.interrupted.append(number)

    def why_stop(self) -> str:
        """Why no more work is handed out; empty while there is work."""
        return self.stopped or self.stop(self.budget.over(self.study, self.seconds()))

    def stop(self, why: str) -> str:
        """Hand out no more work; the first reason counts, and is returned."""
        self.stopped = self.stopped or why
        return self.stopped

    def _chosen(self) -> TrialRecord | None:
        # When a budget is about to end, it may be the trial that is ahead at the rungs, see
        # `finalists`.
        name, reach, pace = self.budget.reach(self.study, self.seconds(), len(self.out) + 1)
        record = self.study.next(self.admit, self.budget.trials, reach, pace)
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
