"""Causes of a worker's end; independent of Ray."""

import enum
from dataclasses import dataclass


class Cause(enum.StrEnum):
    """The cause of a worker's end."""

    LEFT = "left"
    """It left by itself, with all progress saved: its machine is being preempted, or the time is
    over.
    """
    MEMORY = "memory"
    """Killed by Ray's memory monitor, since its machine was out of memory."""
    MACHINE = "machine"
    """Its machine is gone."""
    PROCESS = "process"
    """Its process ended: a crash, a signal, or the kernel for lack of memory."""


@dataclass(frozen=True)
class Death:
    """Why a worker was lost.

    Attributes:
        cause: see `Cause`.
        detail: in words, with figures if available.
    """

    cause: Cause
    detail: str


CRASH = Death(Cause.PROCESS, "its process is gone")
"""A crash without further information."""
