"""A process that has imported what a worker needs, and forks the workers of this machine's own cluster.

Importing torch and the rest takes a worker four seconds of a core, and all workers start at once. Here it is done once, while the
driver is still importing, and the workers share the memory. Ray starts a worker as a command, here `forked_worker`: it sends what
it was started with, and lives as long as the worker that is forked for it.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ADDRESS = "HOPSEARCH_FORK_SERVER"
"""Environment variable: the path of the socket that `forked_worker` asks at."""
LAUNCHER = Path(__file__).with_name("forked_worker.py")
_NEEDED = (
    "hopsearch.distributed.job",
    "torch._dynamo",  # torch's optimizers, at their first step
    "pandas",  # Ray Tune, as all below
    "pyarrow.fs",
    "fsspec",
    "google.protobuf.descriptor_pb2",
    "jsonschema",
    "requests",
)
"""All that a worker imports but Ray, which reads when it is imported whose worker it is."""
_MOST = 2**20  # bytes of a request
_PR_SET_PDEATHSIG = 1  # Linux


class ForkServer:
    """The process, as its starter sees it. Started and ended on the same thread: it ends with that thread at the latest.

    Args:
        folder: where its socket goes; only this user may enter it.
    """

    def __init__(self, folder: Path) -> None:
        self.address = folder / f"fork-{os.getpid()}"
        self.address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(self.address))
            door.listen(1024)  # from now on a worker that comes early waits
            fd = door.fileno()
            command = [sys.executable, "-m", __name__, str(fd), str(self.address), str(os.getpid())]
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(command, pass_fds=[fd], stdin=null, stdout=null, stderr=null)

    @contextlib.contextmanager
    def announced(self) -> Iterator[None]:
        """What is started meanwhile, and what that starts, finds it."""
        os.environ[ADDRESS] = str(self.address)
        try:
            yield
        finally:
            del os.environ[ADDRESS]

    def close(self) -> None:
        """End it; the workers that it forked go on, and end with Ray."""
        self._process.terminate()
        self._process.wait()
        self.address.unlink(missing_ok=True)


def serve(door: socket.socket) -> None:
    """Import what workers need, then fork one for each that comes; returns in the forked processes alone."""
    for name in _NEEDED:
        with contextlib.suppress(ImportError):  # a worker will say it
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended workers need not be waited for
    gc.collect()
    gc.freeze()  # so that the workers' collectors leave the shared memory as it is
    while True:
        caller, _ = door.accept()
        with contextlib.suppress(OSError, ValueError):  # the caller is gone
            asked, descriptors = _asked(caller)
            if os.fork() == 0:
                break
            for each in descriptors:
                os.close(each)
        caller.close()
    door.close()
    _become(asked, descriptors, caller)
    runpy.run_path(asked["script"], run_name="__main__")


def _asked(caller: socket.socket) -> tuple[dict[str, Any], list[int]]:
    text, descriptors, _, _ = socket.recv_fds(caller, _MOST, 2)
    while not text.endswith(b"\n"):
        more = caller.recv(_MOST)
        if not more:
            raise ValueError("cut off")
        text += more
    return json.loads(text), descriptors


def _become(asked: dict[str, Any], descriptors: list[int], caller: socket.socket) -> None:
    """Be the process that Ray started: its arguments, environment, folder, output and process group."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, each in zip((1, 2), descriptors, strict=True):
        os.dup2(each, stream)
        os.close(each)
    os.set_inheritable(caller.fileno(), False)
    caller.sendall(b"+")
    caller.detach()  # stays open: its end tells `forked_worker` that the worker is gone
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    with contextlib.suppress(OSError):  # in another session there is no such group
        os.setpgid(0, asked["group"])
    sys.argv = asked["arguments"]
    random.seed()


def main() -> None:
    """Serve at the socket that was handed over, as long as its starter lives."""
    descriptor, address, parent = sys.argv[1:]

    def end(*_: Any) -> None:
        Path(address).unlink(missing_ok=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the driver
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(parent):
        serve(socket.socket(fileno=int(descriptor)))
    else:  # it is gone already
        end()


if __name__ == "__main__":
    main()
