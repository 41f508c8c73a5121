"""``-v`` on a verb's command line: what the library logs, on standard error.

Everything is logged below the logger ``hopsearch``, one logger per module: sentences for the user
as INFO, what was opened and decided as DEBUG. Nothing is configured where hopsearch is imported.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence

from hopsearch.core.redaction import redact

FLAGS = ("-v", "--verbose")
LOGGER = logging.getLogger("hopsearch")


def without_flags(words: Sequence[str]) -> tuple[list[str], bool]:
    """The other words, and whether ``-v`` was among them."""
    others = [word for word in words if word not in FLAGS]
    return others, len(others) < len(words)


def silenced() -> bool:
    """Whether a program that uses hopsearch has set the logger so that it wants no sentences."""
    return LOGGER.level > logging.INFO


@contextlib.contextmanager
def verbose(on: bool) -> Iterator[None]:
    """Inside it all records go to standard error, but for those that the terminal shows anyway."""
    if not on:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Discreet("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    handler.addFilter(lambda record: not getattr(record, "shown", False))
    before = LOGGER.level
    LOGGER.setLevel(logging.DEBUG)
    LOGGER.addHandler(handler)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


class _Discreet(logging.Formatter):
    """Hides passwords, also in a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """As of a formatter."""
        return redact(super().format(record))
