"""The display of a running search: a live table on a terminal, one log line per event otherwise."""

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TextIO

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hopsearch.core.durations import clock
from hopsearch.core.terminal_tables import Column, fitted, packed, settings
from hopsearch.jobs.job import Drawn
from hopsearch.orchestration.time_left import forecast
from hopsearch.reporting.leaderboard import varied
from hopsearch.reporting.terminal.console import Terminal
from hopsearch.study import State, StudyView, TrialRecord, make_pruner
from hopsearch.study.stopping.rung_judgements import latest
from hopsearch.training import Row

_STYLES = {
    State.COMPLETE: "green",
    State.PRUNED: "yellow",
    State.FAILED: "red",
    State.RUNNING: "cyan",
    State.PAUSED: "blue",
}
_SHOWN = 12  # rows of the live table: running trials, then the best
_EVERY = 30.0  # seconds between two status lines without a terminal
_AHEAD = 10.0  # seconds between two forecasts; those of large studies are less frequent
_SHARE = 0.02  # largest share of time spent on them


class LiveView:
    """An observer that displays the search; a context manager.

    Args:
        view: the study.
        trials: how many trials are requested.
        slots: how many run concurrently, to estimate the time left.
        pruner: the early-stopping rule, by name, for the same, and for the next epoch at which it
            judges a trial.
        out: the output; by default standard output.
        now: a clock, in seconds.
        quiet: whether its sentences are logged alone, and nothing is drawn.

    Attributes:
        budgets: returns the remaining budgets in words.
        lasts: returns the seconds until one of them ends the search; None if unknown.
    """

    def __init__(
        self,
        view: StudyView,
        trials: int,
        slots: int,
        pruner: str = "adaptive_asha",
        out: TextIO | None = None,
        now: Callable[[], float] = time.monotonic,
        quiet: bool = False,
    ) -> None:
        self._view = view
        self._trials = trials
        self._slots = slots
        self._pruner = pruner
        self._now = now
        self._rule = make_pruner(pruner, view.identity.space.fidelity)
        self._console = Terminal(__name__, quiet, file=out or sys.stdout, soft_wrap=True)
        # a dumb terminal cannot redraw
        lively = self._console.is_terminal and not self._console.is_dumb_terminal
        lively = lively and not self._console.quiet
        self._live = Live(console=self._console, auto_refresh=False) if lively else None
        self.budgets: Callable[[], list[str]] = list
        self.lasts: Callable[[], float | None] = lambda: None
        self._began = now()
        self._epochs_before = view.epochs
        self._drawn = self._began
        # a worker may repeat its epochs
        self._told = {record.number: record.epoch for record in view.counted()}
        self._judged = len(view.judgements)
        self._looked = self._began
        self._busy = 0.0
        # epochs at the first report: until then workers were starting
        self._first: int | None = None
        self._over = False  # the winner's training is reported elsewhere
        # estimated end of the search, and how long the estimate is valid
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
        """Print a sentence, above the table if there is one."""
        self._console.print(text, markup=False, highlight=False)

    def begin(self, record: TrialRecord) -> None:
        """A trial was handed out."""
        self._judge()
        self._draw()

    def rows(self, record: TrialRecord, rows: Sequence[Row]) -> None:
        """Epochs were reported."""
        if self._first is None and rows:
            self._first = self._view.epochs
            self._busy = 0.0
            self._looked = self._now()
        known = self._told.get(record.number, 0)
        self._told[record.number] = record.epoch
        rungs = self._view.identity.space.fidelity.rungs
        come = record.state == State.PAUSED or any(known < rung <= record.epoch for rung in rungs)
        if not self._live and record.epoch > known and come and not record.state.ended:
            self._line(record, "waits at" if record.state == State.PAUSED else "continues after")
        self._judge()
        self._draw()

    def pictures(self, record: TrialRecord, drawn: Drawn) -> None:
        """Nothing: a terminal cannot show them."""

    def end(self, record: TrialRecord) -> None:
        """A trial reached its end."""
        waited = record.epoch in record.promotions and record.promotions[record.epoch].retired
        # paused trials end all at once, which is reported elsewhere
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
        # a higher refresh rate would only take CPU time from the trials
        every = 0.2 if self._live else _EVERY
        if not force and now - self._drawn <= every:
            return
        self._drawn = now
        if self._live:
            width, height = self._console.size
            head = packed(self._headline(), width)
            lines = [Text(line, style="bold", no_wrap=True, overflow="ellipsis") for line in head]
            rows = max(1, min(_SHOWN, height - len(lines) - 2))  # the titles and the line below
            self._live.update(Group(*lines, self._table(rows, width)), refresh=True)
        else:
            self.say(", ".join(self._headline()))

    def _headline(self) -> list[str]:
        """The state of the search, in phrases that must not be broken across lines."""
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
        """Estimated seconds until its trials or a budget end the search; None before the second
        epoch and after the last.
        """
        counted = self._view.counted()
        epochs = 0 if self._first is None else self._view.epochs - self._first
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
        """Running trials, then the best; settings in which they differ come first."""
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
            Column(
                "n_params", [f"{record.cost.get('n_params', 0):,}" for record in shown], order=4
            ),
            Column("seconds", [f"{record.seconds:.1f}" for record in shown], order=3),
            *settings([record.params for record in shown], varied(self._view), order=2),
        ]
        return fitted(columns, width, "dim")[0]

    def _next_rung(self, record: TrialRecord) -> str:
        """The next epoch at which the rule selects trials, else full epochs."""
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
