"""The command that Ray starts for a worker: has `forkserver` fork it, and lives as long as it does.

Where the server is not there, or the worker is to have an environment of its own, it is started as Ray does it. Run by its path;
imports nothing but the standard library, since it stands between Ray and every worker.
"""

import importlib.util
import json
import os
import socket
import sys

_PLAIN = "--runtime-env-hash=0"


def main() -> None:
    """Wait beside the worker that was forked, or become one."""
    script = _rays_own()
    if _PLAIN in sys.argv and _forked(os.environ.get("HOPSEARCH_FORK_SERVER", ""), script):
        return
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])


def _rays_own() -> str:
    ray = importlib.util.find_spec("ray")
    assert ray is not None, "Ray has started this"
    return os.path.join(os.path.dirname(str(ray.origin)), "_private", "workers", "default_worker.py")


def _forked(address: str, script: str) -> bool:
    asked = {
        "script": script,
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "group": os.getpgrp(),
    }
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(address)
            text = json.dumps(asked).encode() + b"\n"
            sent = socket.send_fds(server, [text], [1, 2])
            server.sendall(text[sent:])
            begun = server.recv(1)
        except OSError:
            return False
        if not begun:
            return False
        server.recv(1)  # nothing comes: it ends with the worker
        return True


if __name__ == "__main__":
    main()
