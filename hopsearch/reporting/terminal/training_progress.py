"""The display of one long training: one line per epoch, and TensorBoard."""

import shutil
import time
from pathlib import Path
from types import TracebackType

from rich.console import Console

from hopsearch.core.durations import clock
from hopsearch.core.metrics import Metric
from hopsearch.jobs.job import Progress
from hopsearch.reporting.tensorboard import EventFile, tag_of
from hopsearch.training import Row, TrialConfig


class Curve:
    """A training's curve, displayed as it is reported; a context manager.

    The event file is rewritten from the checkpoint's history at every start, so there are no gaps
    or duplicate points.

    Args:
        folder: of the event file.
        trial: the trial's config.
        metric: the one to show.
        console: the output.
    """

    def __init__(self, folder: Path, trial: TrialConfig, metric: Metric, console: Console) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._file = EventFile(folder)
        self._console = console
        self._epochs = trial.train.epochs
        self._metric = metric
        self._rows: list[Row] = []
        self._began = time.monotonic()
        self._first = 0

    def __enter__(self) -> "Curve":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def take(self, progress: Progress) -> None:
        """Show epochs that were not shown before."""
        known = int(self._rows[-1]["epoch"]) if self._rows else 0
        new = [row for row in progress.rows if row["epoch"] > known]
        for row in new:
            self._file.scalars(
                int(row["epoch"]),
                {tag_of(name): value for name, value in row.items() if name != "epoch"},
            )
        self._file.flush()
        if not self._rows and new:
            # the first reported is where it resumes, or its first epoch
            self._first = int(new[-1]["epoch"])
            self._began = time.monotonic()
        self._rows += new
        if new:
            self._console.print(self._line(new[-1]), highlight=False)

    def _line(self, row: Row) -> str:
        name = self._metric.name
        sign = 1 if self._metric.maximize else -1
        best = max(self._rows, key=lambda known: sign * known[name])
        done = int(row["epoch"])
        seconds = time.monotonic() - self._began
        left = ""
        if done > self._first:
            left = f", about {clock(seconds / (done - self._first) * (self._epochs - done))} left"
        return (
            f"epoch {done}/{self._epochs}: train_loss {row['train_loss']:.4f}, {name} "
            f"{row[name]:.4f} (best {best[name]:.4f} at {int(best['epoch'])}), "
            f"{row['images_per_s']:,.0f} images/s{left}"
        )
