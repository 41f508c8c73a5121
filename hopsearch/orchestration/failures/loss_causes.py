"""What ends a worker; knows no Ray."""

import enum
from dataclasses import dataclass


class Cause(enum.StrEnum):
    """Of a worker's end."""

    LEFT = "left"
    """By itself, with all it had done saved: its machine is about to be taken away, or the time is
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
    """Why a worker is gone.

    Attributes:
        cause: see `Cause`.
        detail: in words, with figures where there are any.
    """

    cause: Cause
    detail: str


CRASH = Death(Cause.PROCESS, "its process is gone")
"""Nothing more is known."""
