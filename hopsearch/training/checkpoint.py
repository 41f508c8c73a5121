"""Checkpoints of one trial: written atomically, the last two and the best kept, read without
pickle.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

import torch

from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.errors import CheckpointError

_NAME = re.compile(r"epoch_(\d+)\.pt")
KEEP = 2


class TrialState(TypedDict):
    """All that a continuation of a trial needs, see `TrialRun.state_dict`."""

    epoch: int
    position: int
    loss_sum: float
    history: list[dict[str, float]]
    config: str
    model: dict[str, torch.Tensor]
    optimizer: dict[str, object]
    ema: dict[str, torch.Tensor] | None
    scaler: NotRequired[dict[str, float]]


class CheckpointFolder:
    """The checkpoints of one trial in a folder: ``epoch_0007.pt``, ``epoch_0008.pt`` and
    ``best.pt``.

    Two are kept because the newest may have been truncated by a full disk or a machine failure.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, state: TrialState, epoch: int, best: bool) -> Path:
        """Write ``state`` as the checkpoint of ``epoch``, atomically, then delete those no longer
        needed.

        Args:
            state: tensors, numbers, strings, lists and dicts only, since it is read back with
                ``weights_only``.
            epoch: epochs trained so far.
            best: whether this is the best epoch yet; it is then also kept as ``best.pt``.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; existing checkpoints
                are untouched.
        """
        target = self.path / f"epoch_{epoch:04d}.pt"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with written_whole(target) as scratch:
                torch.save(state, scratch)
                if best:
                    with written_whole(self.path / "best.pt") as link:
                        os.link(scratch, link)  # costs nothing
        except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
            raise CheckpointError(
                str(target),
                f"cannot write the checkpoint: {error}",
                "Free some space",
            ) from error
        for old in self._newest_first()[KEEP:]:
            old.unlink(missing_ok=True)
        return target

    def load_newest(self) -> TrialState | None:
        """The newest readable checkpoint, or None; unreadable ones are skipped, not deleted."""
        return next(self._readable(self._newest_first()), None)

    def load_best(self) -> TrialState | None:
        """The checkpoint of the best epoch, or None if none is readable."""
        return next(self._readable([self.path / "best.pt"]), None)

    def size(self, linked: bool = True) -> int:
        """Bytes of the trial's checkpoints, including partially written files; 0 if there are
        none.

        Args:
            linked: count ``best.pt`` and the epoch it is hard-linked to only once, as on this disk;
                a copy has both.
        """
        found: dict[int | str, int] = {}
        for file in (*self.path.glob("*.pt"), *self._scratch()):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                found[facts.st_ino if linked else file.name] = facts.st_size
        return sum(found.values())

    def tidy(self) -> None:
        """Delete partial files of a killed process; to be called by the process that now trains the
        trial.
        """
        for file in self._scratch():
            file.unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete all checkpoints of the trial."""
        for file in self.path.glob("*.pt"):
            file.unlink(missing_ok=True)
        self.tidy()
        if self.path.exists() and not any(self.path.iterdir()):
            self.path.rmdir()

    def _scratch(self) -> Iterator[Path]:
        yield from self.path.glob(".epoch_*")
        yield from self.path.glob(".best.*")

    def _newest_first(self) -> list[Path]:
        found = [
            (int(match[1]), file)
            for file in self.path.glob("epoch_*.pt")
            if (match := _NAME.fullmatch(file.name))
        ]
        return [file for _, file in sorted(found, reverse=True)]

    def _readable(self, files: list[Path]) -> Iterator[TrialState]:
        for file in files:
            try:
                yield load_checkpoint(file)
            except CheckpointError:
                continue


def load_checkpoint(file: Path) -> TrialState:
    """Read one checkpoint onto the CPU.

    Raises:
        CheckpointError: missing, truncated, or not written by hopsearch.
    """
    try:
        state: TrialState = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises a dozen unrelated types on a damaged file
        raise CheckpointError(
            str(file), f"must be a readable checkpoint, got: {error}", "The previous one is used"
        ) from error
    if not isinstance(state, dict) or "epoch" not in state:
        raise CheckpointError(
            str(file),
            "must be a checkpoint of hopsearch, got something else",
            "The previous one is used",
        )
    return state
