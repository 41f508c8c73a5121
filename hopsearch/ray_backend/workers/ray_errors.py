"""Determines why a worker was lost from Ray's error: out of memory, with its machine, or by
itself.
"""

import re

from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError

from hopsearch.orchestration.failures.death_causes import Cause, Death
from hopsearch.ray_backend.workers.group import Leaving

LOST = (RayActorError, ActorUnschedulableError, OutOfMemoryError, Leaving)
"""Errors of an actor call if its process or machine is gone, or could not be started: the training
can continue elsewhere, from its checkpoint.
"""
_NODE = re.compile(
    r"Memory on the node \(IP: ([^,]+),.*?\) was ([\d.]+)GB used / ([\d.]+)GB limit", re.DOTALL
)
_USED = re.compile(r"actual memory used=([\d.]+)GB")
_GONE = (
    "node died",
    "node has died",
    "node was dead",
    "marked dead",
    "node failure",
    "its node",
    "NODE_DIED",
    "actor's node",
)


def death_of(error: BaseException | str) -> Death:
    """Why a worker was lost, from Ray's error or its text."""
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}"
    if Leaving.__name__ in text:
        return Death(Cause.LEFT, "its worker left")
    if isinstance(error, OutOfMemoryError) or "low on memory" in text:
        return Death(Cause.MEMORY, _of_memory(text))
    if any(words in text for words in _GONE):
        return Death(Cause.MACHINE, "its machine is gone")
    if "killed by `ray.kill`" in text:
        return Death(Cause.PROCESS, "its worker did not answer and was killed")
    if "worker process has died" in text or "unexpectedly exits" in text:
        return Death(
            Cause.PROCESS,
            (
                "its process crashed or was killed, by a signal or by the kernel for lack of "
                "memory "
                "(see dmesg)"
            ),
        )
    return Death(Cause.PROCESS, (text.strip().splitlines() or [""])[-1][:200])


def _of_memory(text: str) -> str:
    node = _NODE.search(text)
    used = _USED.search(text)
    words = (
        f"{node[2]} of {node[3]} GB were in use on {node[1]}"
        if node
        else "its machine was out of memory"
    )
    return f"{words}, {used[1]} GB of them by this worker" if used else words
