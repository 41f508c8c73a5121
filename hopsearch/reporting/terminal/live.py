"""What the user sees while a search runs: a live table on a terminal, one log line per event
otherwise.
"""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hopsearch.core.durations import clock
from hopsearch.core.terminal_tables import Column, fitted, packed, settings
from hopsearch.orchestration.time_left import forecast
from hopsearch.reporting.leaderboard import varied
from hopsearch.study import State, StudyView, TrialRecord, make_pruner
from hopsearch.study.stopping.rung_judgements import latest
from hopsearch.training import Row
from hopsearch.training.process.job import Drawn

_STYLES = {
    State.COMPLETE: "green",
    State.PRUNED: "yellow",
    State.FAILED: "red",
    State.RUNNING: "cyan",
    State.PAUSED: "blue",
}
_SHOWN = 12  # rows of the live table: running trials, then the best
_EVERY = 30.0  # seconds between two lines of how the search stands, off a terminal
_AHEAD = 10.0  # seconds between two forecasts; a large study's cost more, and are made less often
_SHARE = 0.02  # of the time, at most, that goes into them


class LiveView:
    """An observer that shows the search. Use it as a context manager.

    Args:
        view: the study.
        trials: how many trials are asked for.
        slots: how many run at once; for the estimate of the time left.
        pruner: the rule of early stopping, by name; for the same, and for the next epoch at which
            it looks at a trial.
        out: where to; by default standard output.
        now: a clock, in seconds.

    Attributes:
        budgets: tells what is left of the budgets, in words.
        lasts: tells the seconds until one of them ends the search; None if that is not known.
    """

    def __init__(
        self,
        view: StudyView,
        trials: int,
        slots: int,
        pruner: str = "adaptive_asha",
        out: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view, self._trials, self._slots, self._pruner, self._now = (
            view,
            trials,
            slots,
            pruner,
            now,
        )
        self._rule = make_pruner(pruner, view.identity.space.fidelity)
        self._console = Console(file=out or sys.stdout, soft_wrap=True)
        # a dumb one cannot draw over what it has drawn
        lively = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if lively else None
        self.budgets: Callable[[], list[str]] = list
        self.lasts: Callable[[], float | None] = lambda: None
        self._began, self._epochs_before = now(), view.epochs
        self._drawn = self._began
        # a worker may repeat its epochs
        self._told = {record.number: record.epoch for record in view.counted()}
        self._judged = len(view.judgements)
        self._looked, self._busy = self._began, 0.0
        # epochs when the first came in: until then workers were starting
        self._first: int | None = None
        self._over = False  # the winner's training is told of by others
        # when the search will have ended, and until when that is believed
        self._ahead: tuple[float, float] | None = None

    def __enter__(self) -> "LiveView":
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._judge()
        self._draw(force=True)
        self._over = True
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A sentence, above the table where there is one."""
        self._console.print(text, markup=False, highlight=False)

    def begin(self, record: TrialRecord) -> None:
        """A trial was handed out."""
        self._judge()
        self._draw()

    def rows(self, record: TrialRecord, rows: Sequence[Row]) -> None:
        """Epochs came in."""
        if self._first is None and rows:
            self._first, self._busy, self._looked = self._view.epochs, 0.0, self._now()
        known, self._told[record.number] = self._told.get(record.number, 0), record.epoch
        rungs = self._view.identity.space.fidelity.rungs
        come = record.state == State.PAUSED or any(known < rung <= record.epoch for rung in rungs)
        if not self._live and record.epoch > known and come and not record.state.ended:
            self._line(record, "waits at" if record.state == State.PAUSED else "continues after")
        self._judge()
        self._draw()

    def pictures(self, record: TrialRecord, drawn: Drawn) -> None:
        """Nothing: a terminal has no place for them."""

    def end(self, record: TrialRecord) -> None:
        """A trial reached its end."""
        waited = record.epoch in record.promotions and record.promotions[record.epoch].retired
        # those that waited end all at once, and who ends them says so
        if not self._live and not waited and record.state.ended:
            self._line(record, f"{record.state.value} after")
        self._judge()
        self._draw()

    def _judge(self) -> None:
        for judgement in self._view.judgements[self._judged :]:
            self.say(judgement.words(self._view.identity.space.fidelity.rungs))
            self._judged += 1

    def _line(self, record: TrialRecord, what: str) -> None:
        best = record.best(self._view.sign)
        value = f", {self._view.objective} {best[1]:.4f}" if best else ""
        why = f" ({record.reason})" if record.reason else ""
        self.say(
            f"trial {record.number} {what} {record.epoch} "
            f"epoch{'s' if record.epoch != 1 else ''}{value}{why}"
        )

    def _draw(self, force: bool = False) -> None:
        if self._over:
            return
        now = self._now()
        self._busy += (now - self._looked) * min(
            self._slots, sum(r.state == State.RUNNING for r in self._view.counted())
        )
        self._looked = now
        # faster than the eye follows costs the trials their cores
        every = 0.2 if self._live else _EVERY
        if not force and now - self._drawn <= every:
            return
        self._drawn = now
        if self._live:
            width, height = self._console.size
            head = packed(self._headline(), width)
            lines = [Text(line, style="bold", no_wrap=True, overflow="ellipsis") for line in head]
            rows = max(1, min(_SHOWN, height - len(lines) - 2))  # the titles, and the line below
            self._live.update(Group(*lines, self._table(rows, width)), refresh=True)
        else:
            self.say(", ".join(self._headline()))

    def _headline(self) -> list[str]:
        """How the search stands, in words that are not to be broken."""
        counted = self._view.counted()
        states = Counter(
            "waiting" if r.state == State.PAUSED else "ended" if r.state.ended else "running"
            for r in counted
        )
        stand = ", ".join(
            f"{states[word]} {word}" for word in ("running", "waiting", "ended") if states[word]
        )
        begun = f"{len(counted)} of {self._trials} trials started" + (
            f" ({stand})" if stand else ""
        )
        ranked = self._view.ranked()
        best = (
            f"best {self._view.value(ranked[0]):.4f} (trial {ranked[0].number})"
            if ranked
            else "no value yet"
        )
        seconds = self._now() - self._began
        epochs = self._view.epochs - self._epochs_before
        rate = epochs / seconds if seconds else 0.0
        speed = (
            f"{rate:.1f} epochs/s"
            if rate >= 0.5
            else f"{60 * rate:.1f} epochs/min"
            if epochs
            else "starting"
        )
        left = self.left()
        ahead = (
            [] if left is None else [f"about {clock(left)} left"] if left >= 1 else ["nearly done"]
        )
        budgets = [
            f"budget left: {word}" if not number else word
            for number, word in enumerate(self.budgets())
        ]
        return [begun, best, speed, f"{clock(seconds)} so far", *ahead, *budgets]

    def left(self) -> float | None:
        """Seconds until its trials or a budget will have ended the search; None before the second
        epoch and after the last.
        """
        counted, epochs = (
            self._view.counted(),
            0 if self._first is None else self._view.epochs - self._first,
        )
        if not epochs or (
            len(counted) >= self._trials and all(record.state.ended for record in counted)
        ):
            return None
        now = self._now()
        if self._ahead is None or now >= self._ahead[1]:
            began = time.monotonic()
            _, steps = forecast(self._view, self._pruner, self._trials, self._slots)
            cost = time.monotonic() - began
            hold = max(min(_AHEAD, (now - self._began) / 10), cost / _SHARE)
            self._ahead = now + steps * self._busy / epochs, now + hold
        budget = self.lasts()
        return max(0.0, min(self._ahead[0] - now, math.inf if budget is None else budget))

    def _table(self, rows: int, width: int) -> Table:
        """Trials that run, then the best; of their settings those first in which they differ."""
        running = [record for record in self._view.counted() if record.state == State.RUNNING]
        best = [record for record in self._view.ranked() if record.state != State.RUNNING]
        shown = (*running, *best)[:rows]
        values = [record.best(self._view.sign) for record in shown]
        columns = [
            Column("trial", [str(record.number) for record in shown]),
            Column(
                "state",
                [Text(one.state.value, style=_STYLES.get(one.state, "")) for one in shown],
                left=True,
            ),
            Column("epoch", [str(record.epoch) for record in shown]),
            Column("next rung", [self._next_rung(record) for record in shown], order=1),
            Column(self._view.objective, [f"{value[1]:.4f}" if value else "" for value in values]),
            Column("params", [f"{record.cost.get('params', 0):,}" for record in shown], order=4),
            Column("seconds", [f"{record.seconds:.1f}" for record in shown], order=3),
            *settings([record.params for record in shown], varied(self._view), order=2),
        ]
        return fitted(columns, width, "dim")[0]

    def _next_rung(self, record: TrialRecord) -> str:
        """The next epoch at which the rule chooses, else full epochs."""
        if record.state != State.RUNNING:
            return ""
        last = self._view.identity.space.fidelity.max_epochs
        if record.sent_on(last):
            return str(last)
        skipped = {
            judgement.epoch for judgement in latest(self._view.judgements) if judgement.skipped
        }
        ahead = (
            epoch
            for epoch in range(record.epoch + 1, last)
            if self._rule.chooses_at(epoch, record.number)
        )
        return str(
            next(
                (epoch for epoch in ahead if epoch not in skipped),
                last if record.epoch < last else "",
            )
        )
