"""Atomic file writes: a file is replaced completely or not at all, however the process ends."""

import contextlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def written_whole(target: Path, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path; its file replaces ``target`` when the block ends and is removed after
    an error.

    Args:
        target: the file; its folder must exist.
        durable: flush to disk before renaming, so that a power failure leaves no truncated file.

    Raises:
        OSError: it cannot be written.
    """
    # Not mkstemp, whose files only their owner can read: a machine's users may share a cache, and a
    # folder its group.
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        yield scratch
        if durable:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(scratch, target)
        _LOG.debug("wrote %s", target)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise


@contextlib.contextmanager
def filled_whole(target: Path) -> Iterator[Path]:
    """Yield a temporary folder; its files replace those of the same name in ``target`` when the
    block ends, and the temporary folder is removed.

    Args:
        target: the folder; created if it does not exist.

    Raises:
        OSError: it cannot be written.
    """
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(scratch.iterdir()):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
