"""Accounts for training beyond the curves: epochs lost with a worker or with the whole search, and
epochs trained twice.

Workers log each epoch that they start (``epochs.log`` in the trial's folder). If that folder is on
another machine, an epoch counts as started as soon as its worker has reported.
"""

import re
from pathlib import Path

from hopsearch.core import paths
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.study import Study, TrialRecord


class Booking:
    """Records in the study what its trials cost beyond their curves.

    Args:
        study: the study, open for writing.
        watch: knows when each worker last reported.
    """

    def __init__(self, study: Study, watch: Watch) -> None:
        self._study = study
        self._watch = watch

    def resumed(self, record: TrialRecord) -> None:
        """A trial that was running when the search was interrupted continues: its current epoch is
        lost, unless saved.
        """
        begun = self._begun(record) or 0
        known = self._known(record)
        if begun > known and self._saved(record) <= record.epoch:
            self._study.waste(record.number, begun - known, 0.0, begun)

    def lost(self, record: TrialRecord, saved: bool) -> None:
        """A worker was lost: record it in the study, with what it had trained since its last
        report.

        Args:
            record: the trial.
            saved: the worker left by itself, with all progress saved.
        """
        waited = self._watch.silent(record.number)
        begun = self._begun(record)
        known = self._known(record)
        if begun is None:
            begun = known + int(self._watch.was_heard(record.number))
        lost = max(0, begun - known)
        self._study.lose(record.number, 0 if saved else lost, waited if lost else 0.0, begun)

    def failed(self, record: TrialRecord, epochs: int, seconds: float) -> None:
        """The search stops in the middle of a trial's epoch: record it, so that it is not counted
        again when the trial is resumed.
        """
        begun = self._begun(record) or 0
        self._study.waste(record.number, epochs, seconds, begun if epochs else 0)

    def again(self, number: int, seconds: float) -> None:
        """A known epoch was trained again, since its checkpoint had been lost."""
        self._study.waste(number, 1, seconds)

    @staticmethod
    def _known(record: TrialRecord) -> int:
        """How often a trial's next epoch was started, as far as recorded."""
        epoch, times = record.lost_at
        return times if epoch == record.epoch + 1 else 0

    def _folder(self, record: TrialRecord) -> Path:
        return self._study.folder / paths.trial(record.number)

    def _begun(self, record: TrialRecord) -> int | None:
        """How often a trial's next epoch was started; None if that cannot be read here."""
        try:
            lines = (self._folder(record) / "epochs.log").read_text(encoding="utf-8").splitlines()
        except OSError:
            return None
        return sum(line.split(" ")[0] == str(record.epoch + 1) for line in lines)

    def _saved(self, record: TrialRecord) -> int:
        names = (
            re.fullmatch(r"epoch_(\d+)\.pt", file.name)
            for file in self._folder(record).glob("epoch_*.pt")
        )
        return max((int(name[1]) for name in names if name), default=0)
