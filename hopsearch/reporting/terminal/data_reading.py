"""Reads a data set for a verb: with a progress bar while images are decoded, and a summary
afterwards.
"""

import importlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from hopsearch.core.config import Settings
from hopsearch.core.durations import clock
from hopsearch.data.files.reading_progress import watched_by
from hopsearch.data.splits import forget
from hopsearch.space import items_of
from hopsearch.tasks import Task
from hopsearch.tasks.contract import Data
from hopsearch.tasks.contract_checks import require_data
from hopsearch.tasks.loading import forget_data, load_data

_QUIET = 0.5  # seconds before anything is shown: cached data takes less
_REDRAWN = 0.2
_EVERY = 10.0  # seconds between two log lines
_WIDTH = 30  # width of a notebook's bar in characters


def read_data(task: Task, config: Settings, console: Console) -> Data:
    """`Task.load`, shown on ``console``: a bar with images per second and the time left, lines in a
    log; then the summary.

    The folder is listed again, even if this process has read it before.

    Raises:
        DataError: see `Task.load`.
        TaskError: what it returns is no data.
    """
    forget()
    forget_data()
    with ReadingView(console) as view, watched_by(view):
        data: Data = load_data(task, config)
    require_data(task, data)
    for line in data.facts.summary:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    skipped = getattr(data.facts, "skipped", ())
    if skipped:
        more = " …" if len(skipped) > 3 else ""
        console.print(
            f"  skipped {len(skipped)} unreadable {items_of(task.name)}: "
            f"{', '.join(skipped[:3])}{more}",
            markup=False,
            soft_wrap=True,
        )
    return data


class ReadingView:
    """A progress display, observing `hopsearch.data.files.reading_progress`; a context manager.

    Args:
        console: a terminal gets a bar, a notebook an updated line, anything else a line every ten
            seconds.
        now: a clock, in seconds.
    """

    def __init__(self, console: Console, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._now = now
        self._what = ""
        self._began = now()
        self._drawn = now()
        self._done = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._cell: Any = None

    def __enter__(self) -> "ReadingView":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` images are read."""
        now = self._now()
        if what != self._what or done < self._done:
            self._close()
            self._what = what
            self._began = now
            self._drawn = now
        self._done = done
        live = self._console.is_terminal or self._console.is_jupyter
        shown = self._bar is not None or self._cell is not None
        wait = (_REDRAWN if shown else _QUIET) if live else _EVERY
        if now - self._drawn < wait and not (
            done == total and (shown or now - self._began >= _EVERY)
        ):
            return
        self._drawn = now
        text = progress_words(what, done, total, now - self._began)
        if self._console.is_jupyter:
            self._draw_cell(done, total, text)
        elif live:
            self._draw_bar(done, total, text)
        else:
            self._console.print(text, markup=False, highlight=False)

    def _draw_bar(self, done: int, total: int, text: str) -> None:
        if self._bar is None:
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Progress(
                *columns, console=self._console, transient=True, auto_refresh=False
            )
            self._task = self._bar.add_task("", total=total)
            self._bar.start()
        assert self._task is not None
        self._bar.update(
            self._task, completed=done, description=text.partition("images, ")[2], refresh=True
        )

    def _draw_cell(self, done: int, total: int, text: str) -> None:
        full = _WIDTH * done // total
        shown = {"text/plain": f"{'█' * full}{'░' * (_WIDTH - full)} {text}"}
        if self._cell is None:
            # Not rich's own bar, which shows nothing without ipywidgets.
            self._cell = importlib.import_module("IPython.display").display(
                shown, raw=True, display_id=True
            )
        else:
            self._cell.update(shown, raw=True)

    def _close(self) -> None:
        if self._bar:
            self._bar.stop()
        self._bar = self._task = self._cell = None


def progress_words(what: str, done: int, total: int, seconds: float) -> str:
    """Progress in words: ``decoding 1,200 of 3,000 images, 410 images/s, 5s left``."""
    rate = done / seconds if seconds else 0.0
    left = f"{clock((total - done) / rate)} left" if rate and done < total else clock(seconds)
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{what} {done:,} of {total:,} images, {speed} images/s, {left}"
