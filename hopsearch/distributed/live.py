"""What the user sees while a search runs: a live table on a terminal, a line an event elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hopsearch.distributed.job import Drawn
from hopsearch.study import State, StudyView, TrialRecord
from hopsearch.training import Row

_STYLES = {State.COMPLETE: "green", State.PRUNED: "yellow", State.FAILED: "red", State.RUNNING: "cyan", State.PAUSED: "blue"}
_SHOWN = 12  # rows of the live table: running trials, then the best


class LiveView:
    """An observer that shows the search. Use it as a context manager.

    Args:
        view: the study.
        trials: how many trials are asked for.
        slots: how many run at once; for the estimate of the time left.
        out: where to; by default standard output.

    Attributes:
        budgets: tells what is left of the budgets, in words.
    """

    def __init__(self, view: StudyView, trials: int, slots: int, out: TextIO | None = None) -> None:
        self._view, self._trials, self._slots = view, trials, slots
        self._console = Console(file=out or sys.stdout, soft_wrap=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self.budgets: Callable[[], list[str]] = list
        self._began, self._epochs_before = time.monotonic(), view.epochs
        self._drawn = 0.0

    def __enter__(self) -> "LiveView":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._draw(force=True)
            self._live.stop()

    def say(self, text: str) -> None:
        """A sentence, above the table where there is one."""
        self._console.print(text, markup=False, highlight=False)

    def begin(self, record: TrialRecord) -> None:
        """A trial was handed out."""
        if self._live:
            self._draw()

    def rows(self, record: TrialRecord, rows: Iterable[Row]) -> None:
        """Epochs came in."""
        if self._live:
            self._draw()

    def pictures(self, record: TrialRecord, drawn: Drawn) -> None:
        """Nothing: a terminal has no place for them."""

    def end(self, record: TrialRecord) -> None:
        """A trial reached its end."""
        if self._live:
            self._draw()
        else:
            self._line(record)

    def _line(self, record: TrialRecord) -> None:
        best = record.best(self._view.sign)
        value = f", {self._view.objective} {best[1]:.4f}" if best else ""
        why = f" ({record.reason})" if record.reason else ""
        self._console.print(
            f"trial {record.number} {record.state.value} after {record.epoch} epochs{value}{why}; {self._headline()}",
            highlight=False,
            markup=False,
        )

    def _draw(self, force: bool = False) -> None:
        now = time.monotonic()
        if self._live and (force or now - self._drawn > 0.2):  # faster than the eye follows costs the trials their cores
            self._drawn = now
            self._live.update(Group(Text(self._headline(), style="bold"), self._table()), refresh=True)

    def _headline(self) -> str:
        ended = sum(record.state.ended for record in self._view.counted())
        ranked = self._view.ranked()
        best = f"best {self._view.value(ranked[0]):.4f} (trial {ranked[0].number})" if ranked else "no value yet"
        seconds = time.monotonic() - self._began
        epochs = self._view.epochs - self._epochs_before
        rate = epochs / seconds
        speed = f"{rate:.1f} epochs/s" if rate >= 0.5 else f"{60 * rate:.1f} epochs/min" if epochs else "starting"
        spent = f"{clock(seconds)} so far{self._left(ended, epochs, seconds)}{self._budgets()}"
        return f"{ended}/{self._trials} trials, {best}, {speed}, {spent}"

    def _budgets(self) -> str:
        words = self.budgets()
        return f"; budget left: {', '.join(words)}" if words else ""

    def _left(self, ended: int, epochs: int, seconds: float) -> str:
        # The mean length of the trials that have ended, stopped ones included, at the speed of this run.
        done = [record for record in self._view.counted() if record.state.ended]
        if not done or not epochs or ended >= self._trials:
            return ""
        mean = sum(record.epoch for record in done) / len(done)
        running = sum(record.epoch for record in self._view.counted() if not record.state.ended)
        left = max(0.0, (self._trials - ended) * mean - running)
        return f", about {clock(left * seconds / epochs)} left"

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("trial", "state", "epoch", "next rung", self._view.objective, "params", "seconds"):
            table.add_column(name, justify="left" if name == "state" else "right")
        running = [record for record in self._view.counted() if record.state == State.RUNNING]
        best = [record for record in self._view.ranked() if record.state != State.RUNNING]
        for record in (*running, *best)[:_SHOWN]:
            value = record.best(self._view.sign)
            table.add_row(
                str(record.number),
                Text(record.state.value, style=_STYLES.get(record.state, "")),
                str(record.epoch),
                str(self._next_rung(record)),
                f"{value[1]:.4f}" if value else "",
                f"{record.cost.get('params', 0):,}",
                f"{record.seconds:.1f}",
            )
        return table

    def _next_rung(self, record: TrialRecord) -> str:
        if record.state != State.RUNNING:
            return ""
        return str(next((rung for rung in self._view.identity.space.fidelity.rungs if rung > record.epoch), ""))


def clock(seconds: float) -> str:
    """Seconds as a person says them: 1h05m, 2m03s, 9s."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
