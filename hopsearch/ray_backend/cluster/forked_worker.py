"""The command that Ray starts for a worker: asks `forkserver` to fork it, and lives as long as it
does.

If the server does not exist or does not answer, or the worker needs a separate environment, it is
started as Ray would. Run by its path; imports only the standard library, since every worker's start
goes through it.
"""

import importlib.util
import json
import os
import signal
import socket
import struct
import sys

TAKEN = b"+"
"""Sent by the forked process when it is ready, and answered if it is still awaited."""
_PLAIN = "--runtime-env-hash=0"
_PATIENCE = 30.0  # seconds for the server to answer; Ray gives a worker 60


def main() -> None:
    """Wait for the forked worker, or become a worker."""
    script = _rays_own()
    if _PLAIN in sys.argv and _forked(os.environ.get("HOPSEARCH_FORK_SERVER", ""), script):
        return
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])


def is_mine(other: socket.socket) -> bool:
    """Whether the process at the other end belongs to this user."""
    _, user, _ = struct.unpack(
        "iII", other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
    )
    return bool(user == os.geteuid())


def _rays_own() -> str:
    ray = importlib.util.find_spec("ray")
    assert ray is not None, "Ray has started this"
    return os.path.join(
        os.path.dirname(str(ray.origin)), "_private", "workers", "default_worker.py"
    )


def _forked(address: str, script: str, patience: float = _PATIENCE) -> bool:
    asked = {
        "script": script,
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "group": os.getpgrp(),
        "process": os.getpid(),
        "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(patience)
        try:
            server.connect("\0" + address)
            if not is_mine(server):
                return False
            text = json.dumps(asked).encode() + b"\n"
            folder = os.open(".", os.O_PATH)  # since it may have no name any more
            sent = socket.send_fds(server, [text], [folder, 1, 2])
            os.close(folder)
            server.sendall(text[sent:])
            if server.recv(1) != TAKEN:
                return False
            server.sendall(TAKEN)
        except OSError:
            return False
        server.settimeout(None)
        server.recv(1)  # no data comes: it ends with the worker
        return True


if __name__ == "__main__":
    main()
