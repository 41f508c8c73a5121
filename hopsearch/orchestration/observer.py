"""The contract of observers of a running search."""

from typing import Protocol

from hopsearch.jobs.job import Drawn
from hopsearch.study import TrialRecord
from hopsearch.training import Row


class Observer(Protocol):
    """An observer: TensorBoard, the live table, a log."""

    def begin(self, record: TrialRecord) -> None:
        """A trial was handed out."""

    def rows(self, record: TrialRecord, rows: tuple[Row, ...]) -> None:
        """Epochs were reported."""

    def pictures(self, record: TrialRecord, drawn: Drawn) -> None:
        """Pictures were reported."""

    def end(self, record: TrialRecord) -> None:
        """A trial reached its end, or is left open at the end of the search."""
