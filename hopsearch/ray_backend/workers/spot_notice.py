"""Polls for a request to leave in the background, so that a training can check every few steps at
no cost.
"""

import threading
import time
from collections.abc import Callable

import ray
from ray.experimental.internal_kv import _internal_kv_exists

_EVERY = 2.0  # seconds between two polls


class Notice:
    """Polls until the answer is yes.

    Args:
        ask: the poll; may be slow. An error from Ray ends the polling: the cluster is gone, and
            this process with it.
    """

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask = ask
        self._given = False
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self) -> bool:
        """Whether the answer was yes."""
        return self._given

    def _watch(self) -> None:
        while not self._given:
            time.sleep(_EVERY)
            try:
                self._given = self._ask()
            except ray.exceptions.RayError:
                return


def this_node() -> str:
    """The id of the machine that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def draining(node: str) -> bool:
    """Whether a machine is being preempted."""
    # Ray has no public API for this; `ray.train.get_preemption_info` reads the same but waits for
    # all ranks.
    return node in ray._private.state.state.get_draining_nodes()


def leave_key() -> bytes:
    """The key through which the driver of a search tells its workers that the time is over."""
    return f"hopsearch:leave:{ray.get_runtime_context().get_job_id()}".encode()


def told_to_leave(key: bytes) -> bool:
    """Whether the driver has."""
    return bool(_internal_kv_exists(key))
