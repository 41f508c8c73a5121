"""Where a study is kept: an append-only journal in its folder, or any Optuna storage; one writer at a time."""

import copy
import fcntl
import os
from collections.abc import Container
from pathlib import Path
from typing import Any, TextIO

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from hopsearch.config import choices
from hopsearch.errors import StudyError

JOURNAL = "journal.log"
MEMORY = "memory:"
"""Instead of a database's URL: a study that lives as long as its process, for simulations."""


class _HeldByStudy(JournalFileOpenLock):
    """No lock an operation: `StudyLock` already makes this process the only writer for as long as the study is open.

    Optuna's own locks are files that a killed process leaves behind, and the next one waits half a minute for.
    """

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


class _Journal(JournalFileBackend):
    """The journal's file; a full disk is told in a sentence.

    Raises:
        StudyError: from `append_logs`, where the journal cannot be written.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file), lock_obj=_HeldByStudy(str(file)))
        self._path = file

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except OSError as error:
            hint = "Free some space and run the same command again; all before is saved"
            raise StudyError(str(self._path), f"the journal must be writable, got: {error.strerror}", hint) from error


class _Storage(JournalStorage):
    """The journal's trials; those that wait to be asked for are found without a look at all.

    Optuna looks for one at every proposal, and has this in its storage in memory only.
    """

    def __init__(self, journal: _Journal) -> None:
        super().__init__(journal)
        self._passed: dict[int, int] = {}  # by study: so many first trials do not wait, and so never will again

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As in Optuna."""
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        passed = self._passed.get(study_id, 0)
        trials = self._from(study_id, passed) if passed else super().get_all_trials(study_id, deepcopy=False)
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        self._passed[study_id] = waiting[0].number if waiting else passed + len(trials)
        return copy.deepcopy(waiting) if deepcopy else waiting

    def _from(self, study_id: int, number: int) -> list[FrozenTrial]:
        found: list[FrozenTrial] = []
        while True:
            try:
                trial_id = self.get_trial_id_from_study_id_trial_number(study_id, number + len(found))
            except KeyError:
                return found
            found.append(self.get_trial(trial_id))


class StudyLock:
    """The right to write to a study; the kernel takes it back when the process dies, however it dies.

    Raises:
        StudyError: the folder cannot be written, or another process has the study open.
    """

    def __init__(self, folder: Path) -> None:
        self._file = self._acquire(folder)

    @staticmethod
    def _acquire(folder: Path) -> TextIO:
        path = folder / ".lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        except OSError as error:
            hint = "Give another folder with storage=<folder>"
            raise StudyError(str(folder), f"the study's folder must be writable, got: {error.strerror}", hint) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            file.close()
            hint = "Wait for it, stop it, or give this search another name with study=<name>"
            raise StudyError(
                str(folder), f"one search at a time writes to a study, got a second one beside {holder}", hint
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {os.uname().nodename}")
        file.flush()
        return file

    def release(self) -> None:
        """Give the study back."""
        self._file.close()


def open_storage(folder: Path, database: str | None, writer: bool) -> BaseStorage:
    """The study's Optuna storage.

    Args:
        folder: the study's folder; its ``journal.log`` is the storage unless ``database`` is given.
        database: an Optuna storage URL, e.g. ``sqlite:///study.db``, or `MEMORY`.
        writer: whether this process holds the `StudyLock` and will write.

    Raises:
        StudyError: the journal or the database cannot be opened.
    """
    try:
        if database == MEMORY:
            return InMemoryStorage()
        if database:
            return get_storage(database)
        journal = folder / JOURNAL
        if writer:
            _drop_torn_line(journal)
        elif not journal.exists():
            raise StudyError(str(folder), f"must hold a study, got no {JOURNAL}", studies_beside(folder))
        return _Storage(_Journal(journal))
    except (OSError, OptunaError, ValueError) as error:
        place = database or str(folder / JOURNAL)
        raise StudyError(
            place, f"the study's storage must open, got: {error}", "Restore it from a copy, or start a new study"
        ) from error


def studies_beside(folder: Path) -> str:
    """A hint for a study that is not there: the studies in the same folder."""
    others = [journal.parent.name for journal in folder.parent.glob(f"*/{JOURNAL}") if journal.stat().st_size]
    return f"{choices(folder.name, others)} in {folder.parent}; another folder of studies is given with storage="


def read_journal(journal: Path) -> list[dict[str, Any]]:
    """The journal's lines, in the order in which they were written; half a line at its end is left out."""
    return list(_Journal(journal).read_logs(0))


def _drop_torn_line(journal: Path) -> None:
    # A process killed while it wrote leaves half a line, which nobody was told of. Optuna skips it as long as it is the last,
    # but would append to it and so spoil the next line too.
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            start = max(0, keep - 4096)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)
