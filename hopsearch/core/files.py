"""Files that are written whole or not at all, whatever ends the process that writes them."""

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
    """A path to write to. What lies there when the block ends replaces ``target``; after an error
    nothing is left of it.

    Args:
        target: the file; its folder must be there.
        durable: whether the bytes are on the disk before they have the name, so that a power cut
            leaves no torn file.

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
    """A folder to write to. Its files replace those of the same name in ``target`` when the block
    ends; it is gone then.

    Args:
        target: the folder; made if it is not there.

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
