"""Storage of a study: an append-only journal in its folder, or any Optuna storage; one writer at a
time.
"""

import copy
import errno
import fcntl
from collections.abc import Callable, Container
from pathlib import Path
from typing import TextIO

from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from hopsearch.core import paths
from hopsearch.core.config import choices
from hopsearch.core.errors import StudyError
from hopsearch.storage.lease import Holder
from hopsearch.study.persistence.database import open_database
from hopsearch.study.persistence.journal_file import Journal, drop_torn_line

JOURNAL = paths.JOURNAL.name
MEMORY = "memory:"
"""Instead of a database's URL: a study in memory, for simulations."""


class _Storage(JournalStorage):
    """The journal's trials; enqueued ones are found without scanning all.

    Optuna searches for one at every proposal, and only its in-memory storage has this optimisation.
    """

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal)
        # by study: number of leading trials that are not waiting and never will be again
        self._passed: dict[int, int] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As in Optuna."""
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        passed = self._passed.get(study_id, 0)
        trials = (
            self._from(study_id, passed)
            if passed
            else super().get_all_trials(study_id, deepcopy=False)
        )
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        self._passed[study_id] = waiting[0].number if waiting else passed + len(trials)
        return copy.deepcopy(waiting) if deepcopy else waiting

    def _from(self, study_id: int, number: int) -> list[FrozenTrial]:
        found: list[FrozenTrial] = []
        while True:
            try:
                trial_id = self.get_trial_id_from_study_id_trial_number(
                    study_id, number + len(found)
                )
            except KeyError:
                return found
            found.append(self.get_trial(trial_id))


class StudyLock:
    """The lock on a study's or a training's folder; the kernel releases it when the process ends,
    however it ends.

    Raises:
        StudyError: the folder cannot be written, or another process has it open.
    """

    def __init__(self, folder: Path) -> None:
        self._file = self._acquire(folder)

    @staticmethod
    def _acquire(folder: Path) -> TextIO:
        path = folder / ".lock"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            hint = "Give another folder with storage=<folder>"
            raise StudyError(
                str(folder), f"the folder must be writable, got: {error.strerror}", hint
            ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # e.g. NFS without its lock service
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                file.close()
                hint = (
                    "Put storage=<folder> on a file system with locks, or use "
                    "storage=file://<folder> "
                    "or a database=, which need none"
                )
                raise StudyError(
                    str(folder), f"its file system must support locks, got: {error.strerror}", hint
                ) from None
            file.seek(0)
            holder = Holder.read(text := file.read().strip()) or text or "another process"
            file.close()
            rule = f"only one process may write here, got a second one besides {holder}"
            hint = (
                "Wait for it, stop it, or use another name: study=<name> for a search, name=<name> "
                "for a training"
            )
            raise StudyError(str(folder), rule, hint) from None
        file.truncate(0)
        file.write(Holder.me().text)
        file.flush()
        return file

    def release(self) -> None:
        """Release the lock."""
        self._file.close()


def open_storage(
    folder: Path, database: str | None, writer: bool, guard: Callable[[], None] | None = None
) -> BaseStorage:
    """The study's Optuna storage.

    Args:
        folder: the study's folder; its ``journal.log`` is the storage unless ``database`` is given.
        database: an Optuna storage URL, e.g. ``sqlite:///study.db``, or `MEMORY`.
        writer: whether this process holds the `StudyLock` and will write.
        guard: called before every write to a journal; raises if this process may no longer write.

    Raises:
        StudyError: the journal or the database cannot be opened.
    """
    try:
        if database == MEMORY:
            return InMemoryStorage()
        if database:
            return open_database(database, writer)
        journal = folder / JOURNAL
        if writer:
            drop_torn_line(journal)
        elif not journal.exists():
            raise StudyError(
                str(folder), f"must contain a study, got no {JOURNAL}", studies_beside(folder)
            )
        return _Storage(Journal(journal, guard))
    except (OSError, OptunaError, ValueError) as error:
        rule = f"the study's journal must open, got: {error}"
        raise StudyError(
            str(folder / JOURNAL), rule, "Restore it from a copy, or start a new study"
        ) from error


def studies_beside(folder: Path) -> str:
    """A hint for a study that does not exist: the studies in the same folder."""
    others = [
        journal.parent.name
        for journal in folder.parent.glob(f"*/{JOURNAL}")
        if journal.stat().st_size
    ]
    return (
        f"{choices(folder.name, others)} in {folder.parent}; set another folder of studies with "
        f"storage="
    )


def integrity(storage: BaseStorage) -> str:
    """The integrity of the storage: for a journal, whether a line is missing, altered or moved."""
    backend = getattr(storage, "_backend", None)
    if isinstance(backend, Journal):
        return str(backend.chain)
    return (
        "database: decisions were recomputed; whether rows were changed or removed earlier cannot "
        "be detected"
    )
