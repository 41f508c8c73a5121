"""A server process that has imported what workers need, and forks the workers of this machine's own
cluster.

Importing torch and the rest costs each worker four seconds of CPU time, and all workers start at
once. Here it is done once, while the driver is still importing, and the workers share the memory.
Ray starts a worker as a command, here `forked_worker`: it sends its arguments and environment, and
lives as long as the worker forked for it.

Its socket is an abstract one, not a file, so that nothing is left behind however it ends. Such a
socket is open to everyone: both sides ask the kernel for the other's identity.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hopsearch.ray_backend.cluster.forked_worker import TAKEN, is_mine

ADDRESS = "HOPSEARCH_FORK_SERVER"
"""Environment variable: the name of the socket that `forked_worker` connects to."""
LAUNCHER = Path(__file__).with_name("forked_worker.py")
POSSIBLE = sys.platform == "linux"
"""Whether the system has such sockets, and libraries that can be forked after import."""
_NEEDED = (
    "hopsearch.jobs.job",
    "torch._dynamo",  # torch's optimizers, at their first step
    "pandas",  # Ray Tune, as all below
    "pyarrow.fs",
    "fsspec",
    "google.protobuf.descriptor_pb2",
    "jsonschema",
    "requests",
)
"""All imports of a worker except Ray, which reads the worker's identity on import."""
# With the starter's import path, without the current folder, where `json.py` may be anything.
_PROGRAM = f"import sys; sys.path[:] = sys.argv[3:]; from {__name__} import main; main()"
_MOST = 2**20  # bytes of a request
_PATIENCE = 5.0  # seconds for a caller that has connected
_PR_SET_PDEATHSIG = 1  # Linux


class ForkServer:
    """Handle of the server process. Start and end it on the same thread: it ends with that thread
    at the latest.
    """

    def __init__(self) -> None:
        self.address = f"hopsearch-{secrets.token_hex(16)}"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind("\0" + self.address)
            door.listen(1024)  # from now on an early worker waits
            fd = door.fileno()
            command = [sys.executable, "-c", _PROGRAM, str(fd), str(os.getpid()), *sys.path]
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, pass_fds=[fd], stdin=null, stdout=null, stderr=null
            )

    @contextlib.contextmanager
    def announced(self) -> Iterator[None]:
        """Processes started within this context, and their children, find the server."""
        os.environ[ADDRESS] = self.address
        try:
            yield
        finally:
            os.environ.pop(ADDRESS, None)

    def close(self) -> None:
        """End the server, even if it hangs; the workers that it forked continue, and end with
        Ray.
        """
        self._process.kill()
        self._process.wait()


def serve(door: socket.socket) -> None:
    """Import what workers need, then fork one per request; returns only in the forked processes.

    If an import fails, it exits: every worker then imports by itself, and reports the error.
    """
    for name in _NEEDED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers need not be waited for
    gc.collect()
    gc.freeze()  # so that the workers' garbage collectors do not touch the shared memory
    while True:
        caller, _ = door.accept()
        descriptors: list[int] = []
        # the caller is gone, or no more processes can be created
        with contextlib.suppress(OSError, ValueError):
            asked = _asked(caller, descriptors)
            if os.fork() == 0:
                break
        for each in descriptors:
            os.close(each)
        caller.close()
    door.close()
    if _awaited(caller):
        _become(asked, descriptors, caller)
        runpy.run_path(asked["script"], run_name="__main__")


def _asked(caller: socket.socket, descriptors: list[int]) -> dict[str, Any]:
    if not is_mine(caller):
        raise ValueError("someone else's")
    caller.settimeout(_PATIENCE)  # a caller that is stopped midway blocks no one
    text, received, _, _ = socket.recv_fds(caller, _MOST, 3)
    descriptors += received
    while not text.endswith(b"\n"):
        more = caller.recv(_MOST)
        if not more:
            raise ValueError("cut off")
        text += more
    asked: dict[str, Any] = json.loads(text)
    return asked


def _awaited(caller: socket.socket) -> bool:
    """Whether the caller still waits, and has not become the worker itself: then there would be
    two.
    """
    caller.settimeout(None)  # it may be slow, but its end is noticed
    try:
        caller.sendall(TAKEN)
        return caller.recv(1) == TAKEN
    except OSError:
        return False


def _become(asked: dict[str, Any], descriptors: list[int], caller: socket.socket) -> None:
    """Take over the identity of the process that Ray started: its arguments, environment, folder,
    output, signals, group, and parent-death signal.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, asked["blocked"])
    folder, *streams = descriptors
    with contextlib.suppress(OSError):  # it may no longer be accessible
        os.fchdir(folder)
    os.close(folder)
    for stream, each in zip((1, 2), streams, strict=True):
        os.dup2(each, stream)
        os.close(each)
    os.set_inheritable(caller.fileno(), False)
    caller.detach()  # stays open: its end tells `forked_worker` that the worker is gone
    os.environ.clear()
    os.environ.update(asked["environment"])
    with contextlib.suppress(OSError):  # in another session there is no such group
        os.setpgid(0, asked["group"])
    # Ray has told the kernel to kill workers first if memory runs out
    with contextlib.suppress(OSError):
        rank = Path(f"/proc/{asked['process']}/oom_score_adj").read_text(encoding="ascii")
        Path("/proc/self/oom_score_adj").write_text(rank, encoding="ascii")
    sys.argv = asked["arguments"]
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()


def main() -> None:
    """Serve on the inherited socket, as long as the starter lives."""
    descriptor, parent = sys.argv[1:3]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the driver
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(parent):  # unless it is already gone
        serve(socket.socket(fileno=int(descriptor)))
