"""The journal file: append-only lines, linked by a hash chain that is checked on every read."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from hopsearch.command_line.signals import held
from hopsearch.core.errors import StudyError
from hopsearch.study.persistence.journal_chain import Chain

_TURN = 3.0  # seconds: no write takes as long


class _Turn(JournalFileSymlinkLock):
    """Optuna's own lock, held during a write: `StudyLock` excludes other searches, but not notes
    made in optuna-dashboard.

    A killed process may leave its lock file behind; the next one waits longer than any write takes,
    then breaks it.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(str(file.absolute()))

    def acquire(self) -> bool:
        """As in Optuna; if links cannot be created, it does without, and the write itself reports
        the error.
        """
        left_behind = time.monotonic() + _TURN
        while True:
            try:
                os.symlink(self._lock_target_file, self._lock_file)
                return True
            except FileExistsError:
                if time.monotonic() > left_behind:
                    self.release()
                time.sleep(0.002)
            except OSError:
                return True

    def release(self) -> None:
        """As in Optuna; another process may have broken it as stale."""
        with contextlib.suppress(RuntimeError):
            super().release()


class Journal(JournalFileBackend):
    """The journal file; a full disk or a damaged line is a user error.

    Args:
        file: the journal.
        guard: called before every write; raises if this process may no longer write.

    Attributes:
        chain: how far it has been verified.

    Raises:
        StudyError: from `append_logs`, if the journal cannot be written; from both methods, if a
            line does not follow the one before it.
    """

    def __init__(self, file: Path, guard: Callable[[], None] | None = None) -> None:
        super().__init__(str(file), lock_obj=_Turn(file))
        self._path = file
        self._guard = guard
        self.chain = Chain(str(file))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, object], None, None]:
        """As in Optuna: an incomplete last line is ignored."""
        offsets = self._log_number_offset
        number = log_number_from if log_number_from in offsets else 0
        end = offsets[number]
        size = self._path.stat().st_size
        with self._path.open("rb") as file:
            file.seek(end)
            for line in file:
                end += len(line)
                log = self._parsed(line, number + 1, last=end >= size) if end <= size else None
                if log is None:
                    return
                if number == self.chain.count:
                    self.chain.take(line.rstrip(b"\r\n"))
                number += 1
                offsets[number] = end
                if number > log_number_from:
                    yield log

    def append_logs(self, logs: list[dict[str, object]]) -> None:
        """As in Optuna, each line with its link."""
        if self._guard:
            self._guard()
        # Optuna's lock, if interrupted during its release, raises an error about its missing file
        # instead
        with held():
            self._lock.acquire()
            try:
                self._append(logs)
            finally:
                self._lock.release()

    def _append(self, logs: list[dict[str, object]]) -> None:
        if self._path.stat().st_size > self._log_number_offset.get(self.chain.count, 0):
            # from another program: the chain includes its lines too
            for _ in self.read_logs(self.chain.count):
                pass
        chain = self.chain.copy()
        end = self._log_number_offset[self.chain.count]
        lines = [
            chain.link(json.dumps(log, separators=(",", ":")).encode()) + b"\n" for log in logs
        ]
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                os.truncate(self._path, end)
            hint = "Free some space and run the same command again; all before is saved"
            raise StudyError(
                str(self._path), f"the journal must be writable, got: {error.strerror}", hint
            ) from error
        for number, line in enumerate(lines, self.chain.count + 1):
            end += len(line)
            self._log_number_offset[number] = end
        self.chain = chain

    def _parsed(self, line: bytes, number: int, last: bool) -> dict[str, object] | None:
        try:
            if not line.endswith(b"\n"):
                raise ValueError("no end of line")
            log: dict[str, object] = json.loads(line)
        except ValueError as error:
            if last:
                return None
            rule = f"line {number} must be complete, got: {error}"
            hint = (
                f"Restore it from a copy; or keep the lines before it, from which a search "
                f"resumes: head -n {number - 1}"
            )
            raise StudyError(str(self._path), rule, hint) from error
        return log


def read_journal(journal: Path) -> list[dict[str, object]]:
    """The journal's lines in order; an incomplete last line is ignored."""
    return list(Journal(journal).read_logs(0))


def drop_torn_line(journal: Path) -> None:
    """Remove an incomplete last line of a killed process; called by the next writer."""
    # A process killed during a write leaves an incomplete line, which was not yet acknowledged.
    # Optuna skips it while it is the last, but would append to it and so corrupt the next line too.
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
