"""The terminal as one reader of what is said: each sentence is logged, and shown unless that is not
wanted.
"""

import logging
from typing import Any, TextIO

from rich.console import Console

from hopsearch.command_line.verbosity import silenced
from hopsearch.core.redaction import redact


class Terminal(Console):
    """A console that hides passwords, and logs the sentences that it prints.

    Args:
        name: of the logger, the module whose sentences these are.
        quiet: whether to log alone. It is so too where the logger ``hopsearch`` is set above INFO.
        how: as of rich's console.
    """

    def __init__(self, name: str, quiet: bool = False, **how: Any) -> None:
        super().__init__(quiet=quiet or silenced(), highlight=False, **how)
        self._sentences = logging.getLogger(name)

    def print(self, *objects: Any, **how: Any) -> None:
        """As of a console."""
        shown = [redact(each) if isinstance(each, str) else each for each in objects]
        if shown and all(isinstance(each, str) for each in shown):
            text = how.get("sep", " ").join(shown)
            self._sentences.info(text, extra={"shown": not self.quiet})
        super().print(*shown, **how)


def make_console(out: TextIO | None = None, name: str = __name__, quiet: bool = False) -> Terminal:
    """Standard output, or ``out``; a file or a pipe has no width to fit into.

    Args:
        out: where to.
        name, quiet: see `Terminal`.
    """
    console = Terminal(name, quiet, file=out)
    return console if console.is_terminal else Terminal(name, quiet, file=out, width=10_000)
