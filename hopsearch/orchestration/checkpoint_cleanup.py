"""Deletes a study's checkpoints: asks `retain` which, records that, and only then deletes them.

A deletion needs no separate record: if the process is killed between decision and deletion, the
next run finds the leftovers and decides again.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import (
    ByteSize,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from hopsearch.core import paths
from hopsearch.core.config import Settings
from hopsearch.core.errors import ResourceError
from hopsearch.orchestration.checkpoint_retention import Retention, retain
from hopsearch.storage.mirror import JournalMirror, Mirror, Place
from hopsearch.study import State, Study
from hopsearch.training import CheckpointFolder

_LOG = logging.getLogger(__name__)
_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class CheckpointConfig(Settings):
    """Which checkpoints are kept. Those of running and paused trials always are: a restart needs
    them.
    """

    keep: int = Field(default=3, ge=1)
    """Number of best ended trials whose weights are kept; with several objectives, also their
    Pareto front.
    """
    quota: ByteSize | None = Field(default=None, gt=0)
    """Bytes for all checkpoints of the study, e.g. 500MB or 20GB; above it, ended trials lose
    theirs, lowest rank first, except the best one. What a restart needs is always kept.
    """

    @field_validator("quota", mode="wrap")
    @classmethod
    def _in_bytes(cls, value: object, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            if isinstance(value, str) and value.rstrip().endswith("bit"):
                value = "bits"  # a quota is bytes: 20gbit is not 20GB
            return read(value)
        except ValidationError:
            if not isinstance(value, str):
                raise
            raise ValueError(
                "must be a number of bytes, or one with a unit kB, MB, GB or TB; Write e.g. "
                "checkpoint.quota=20GB"
            ) from None


class Checkpoints:
    """The checkpoints of a study's trials, on this machine and in its storage.

    Args:
        study: the study, open for writing.
        place: where it is.
        config: the limits.
        journal: the copy of its journal, if there is a storage. The copy lags by seconds, and a new
            head would continue from it: nothing is deleted before the copy contains the decision.
        say: prints a message to the user.

    Raises:
        ResourceError: the storage cannot be reached.
    """

    def __init__(
        self,
        study: Study,
        place: Place,
        config: CheckpointConfig | None = None,
        journal: JournalMirror | None = None,
        say: Callable[[str], None] = _LOG.info,
    ) -> None:
        self._study = study
        self._place = place
        self._config = config or CheckpointConfig()
        self._journal = journal
        self._say = say
        self._warned = False
        self._noted: list[int] | None = study.kept
        self._due: list[tuple[int, int]] = []  # size of the journal at the decision, trial
        self._trouble: Exception | None = None
        self._sizes = self._found()
        if journal:
            journal.flush()
        self.settle()

    def folder(self, number: int) -> Path:
        """Where a trial's checkpoints are."""
        return self._study.folder / paths.trial(number)

    def saved(self, number: int, size: int) -> None:
        """Note that a trial's worker has saved; its checkpoints now take ``size`` bytes."""
        self._sizes[number] = size

    def sweep(self) -> None:
        """Decide again, record it in the study, and delete; deletions wait until the journal's copy
        contains the decision.
        """
        quota = self._config.quota
        verdict = retain(self._study, self._sizes, self._config.keep, quota)
        if list(verdict.kept) != (self._noted or []):
            self._noted = list(verdict.kept)
            self._study.keep(verdict.kept, self._config.model_dump())
        mark = self._journal.size_here() if self._journal else 0
        for number in verdict.dropped:
            del self._sizes[number]
            self._due.append((mark, number))
        self._remove_due()
        if quota is not None and verdict.held > quota and not self._warned:
            self._warned = True
            self._say(self._over(verdict, quota))

    def settle(self) -> None:
        """`sweep`, and wait for the journal's copy; before a search and after it.

        Raises:
            ResourceError: the storage cannot be reached.
        """
        self.sweep()
        if self._due and self._journal:
            self._journal.flush()
            self._remove_due()
        if self._due:
            left = ", ".join(str(number) for _, number in self._due)
            self._say(
                f"could not delete the checkpoints of trials {left} ({self._trouble}); the next "
                f"run retries"
            )

    def _found(self) -> dict[int, int]:
        folders = [
            folder
            for folder in (self._study.folder / paths.TRIALS).glob("*/")
            if folder.name.isdigit()
        ]
        sizes = {
            int(folder.name): size
            for folder in folders
            if (size := CheckpointFolder(folder).size())
        }
        stored: dict[int, int] = {}
        for path, size in (
            Mirror(self._place.below(str(paths.TRIALS))).tree().items()
            if self._place.remote
            else ()
        ):
            folder, _, name = path.partition("/")
            if folder.isdigit() and name.endswith(".pt"):
                stored[int(folder)] = stored.get(int(folder), 0) + size
        return sizes | stored

    def _remove_due(self) -> None:
        while self._due and (self._journal is None or self._due[0][0] <= self._journal.copied):
            number = self._due[0][1]
            try:
                CheckpointFolder(self.folder(number)).remove()
                if self._place.remote:
                    Mirror(self._place.below(str(paths.trial(number))), self._place.fence).clear()
            # a storage may be temporarily unreachable; leftovers only take up space
            except (OSError, ResourceError) as error:
                self._trouble = error
                return
            del self._due[0]

    def _over(self, verdict: Retention, quota: float) -> str:
        records = self._study.records
        sizes = self._sizes
        by_state = {
            state: sum(
                sizes[number]
                for number in verdict.needed
                if number in records and records[number].state == state
            )
            for state in (State.RUNNING, State.PAUSED, State.OPEN)
        }
        held = {
            "running trials": by_state[State.RUNNING],
            "trials waiting for promotion": by_state[State.PAUSED],
        }
        held |= {"trials left open by a budget": by_state[State.OPEN]}
        held |= {"the best finished trial": sizes[verdict.kept[0]]} if verdict.kept else {}
        crowded = by_state[State.PAUSED] > by_state[State.RUNNING]
        remedy = (
            "use pruner=asha, which never pauses trials" if crowded else "lower trial.concurrent"
        )
        return (
            f"checkpoint.quota: the study's checkpoints must fit {in_words(quota)}, got "
            f"{in_words(verdict.held)}: "
            f"{', '.join(f'{in_words(size)} of {whose}' for whose, size in held.items() if size)}. "
            f"They are needed for a restart or the winner, so they are kept. Raise it, or {remedy}"
        )


def in_words(size: float) -> str:
    """Bytes in readable form: 1.5 GB."""
    # not ByteSize.human_readable, which says 500.0MB, and 2.0KB for 2 kB
    unit = max(
        (unit for unit, bytes_ in _UNITS.items() if bytes_ <= size),
        key=_UNITS.__getitem__,
        default="kB",
    )
    return f"{size / _UNITS[unit]:.3g} {unit}"
