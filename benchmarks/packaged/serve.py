"""Runs one rival in a process of its own, in the environment of its package;
`benchmarks/packaged_rival.py` talks to it.

A line of JSON comes in, a line goes out. The first line says what is searched; then come ``{"ask":
null}``, answered by a number and values, ``{"report": [number, epoch, value]}``, answered by
whether the trial goes on, and ``{"fail": number}``. This folder is apart from the other scripts
since it is first on this process's path, where their names would hide packages.
"""

import json
import logging
import os
import sys
import warnings
from typing import Any, Protocol


class Rival(Protocol):
    """A search that is asked and told. The smaller the value the better; numbers of trials are the
    rival's own.
    """

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and values of a trial: a new one, or one that goes on."""

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial goes on."""

    def fail(self, number: int) -> None:
        """The trial diverged."""


def make(said: dict[str, Any]) -> Rival:
    """The rival that was asked for, imported from its package."""
    if said["rival"].startswith("syne_tune"):
        from syne_tune_rivals import SyneTune

        return SyneTune(said)
    from smac_rivals import SMAC

    return SMAC(said)


def main() -> None:
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a package prints is no answer
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    rival: Rival | None = None
    for line in sys.stdin:
        said, answer = json.loads(line), None
        if rival is None:
            rival = make(said)
        elif "ask" in said:
            answer = rival.ask()
        elif "report" in said:
            answer = rival.report(*said["report"])
        else:
            rival.fail(said["fail"])
        lines.write(json.dumps(answer) + "\n")
        lines.flush()


if __name__ == "__main__":
    main()
