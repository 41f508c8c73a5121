"""The contract of those who look on while a search runs."""

from typing import Protocol

from hopsearch.jobs.job import Drawn
from hopsearch.study import TrialRecord
from hopsearch.training import Row


class Observer(Protocol):
    """Looks on: TensorBoard, the live table, a log."""

    def begin(self, record: TrialRecord) -> None:
        """A trial was handed out."""

    def rows(self, record: TrialRecord, rows: tuple[Row, ...]) -> None:
        """Epochs came in."""

    def pictures(self, record: TrialRecord, drawn: Drawn) -> None:
        """Pictures came in."""

    def end(self, record: TrialRecord) -> None:
        """A trial reached its end, or is left open at the end of the search."""
