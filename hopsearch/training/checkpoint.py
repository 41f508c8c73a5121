"""Checkpoints of one trial: written whole or not at all, the last two and the best kept, read
without pickle.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from hopsearch.core.errors import CheckpointError
from hopsearch.core.files import written_whole

_NAME = re.compile(r"epoch_(\d+)\.pt")
KEEP = 2


class CheckpointFolder:
    """The checkpoints of one trial in a folder: ``epoch_0007.pt``, ``epoch_0008.pt`` and
    ``best.pt``.

    Two are kept because the newest may be the one that a full disk or a dying machine cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, state: dict[str, Any], epoch: int, best: bool) -> Path:
        """Write ``state`` as the checkpoint of ``epoch``, atomically, then drop those no longer
        needed.

        Args:
            state: tensors, numbers, strings, lists and dicts only, since it is read back with
                ``weights_only``.
            epoch: epochs trained so far.
            best: whether this is the best epoch yet; it is then kept as ``best.pt`` too.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written; what was there before
                is untouched.
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

    def load_newest(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, or None; unreadable ones are passed over, not
        removed.
        """
        return next(self._readable(self._newest_first()), None)

    def load_best(self) -> dict[str, Any] | None:
        """The checkpoint of the best epoch, or None if there is none to read."""
        return next(self._readable([self.path / "best.pt"]), None)

    def size(self, linked: bool = True) -> int:
        """Bytes that the trial's checkpoints take, with what was cut off while it was written; 0 if
        there is none.

        Args:
            linked: count ``best.pt`` and the epoch of which it is another name once, as on this
                disk; a copy has both.
        """
        found: dict[Any, int] = {}
        for file in (*self.path.glob("*.pt"), *self._scratch()):
            with contextlib.suppress(FileNotFoundError):
                facts = file.stat()
                found[facts.st_ino if linked else file.name] = facts.st_size
        return sum(found.values())

    def tidy(self) -> None:
        """Delete what a killed process was writing; for the one that now trains the trial."""
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

    def _readable(self, files: list[Path]) -> Iterator[dict[str, Any]]:
        for file in files:
            try:
                yield load_checkpoint(file)
            except CheckpointError:
                continue


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read one checkpoint onto the CPU.

    Raises:
        CheckpointError: missing, truncated, or not a checkpoint of ours.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
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
