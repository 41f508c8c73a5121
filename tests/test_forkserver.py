"""Workers forked from a process that has imported what they need: who they are, how they end, and what happens without it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hopsearch.distributed.forkserver import LAUNCHER, ForkServer
from hopsearch.study import State, StudyView
from tests.processes import descendants, is_alive, start, wait_for, wait_gone

SCRIPT = """
import json, os, signal, sys, time
told = {
    "arguments": sys.argv, "folder": os.getcwd(), "own": os.environ.get("OWN"), "parent": os.getppid(), "group": os.getpgrp(),
    "modules": [name for name in ("torch", "torch._dynamo", "pandas", "hopsearch.training", "ray") if name in sys.modules],
    "terminate": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "name": __name__,
}
print(json.dumps(told), os.getpid(), flush=True)
if "wait" in sys.argv:
    time.sleep(100)
raise OSError("as a worker may end")
"""
ASK = """
import sys
from hopsearch.distributed.forked_worker import _forked
address, script, *sys.argv = sys.argv[1:]
print("forked" if _forked(address, script) else "nobody", flush=True)
"""


@pytest.fixture(scope="module")
def server():
    with tempfile.TemporaryDirectory() as folder:
        server = ForkServer(Path(folder))
        yield server
        server.close()
        assert not server.address.exists()


@pytest.fixture
def ask(server, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    launched = contextlib.ExitStack()

    def launch(*words: str, address: Path = server.address) -> subprocess.Popen:
        command = [sys.executable, "-c", ASK, str(address), str(tmp_path / "script.py"), "worker", *words]
        environment = os.environ | {"OWN": "mine"}
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        launched.callback(process.kill)
        return launched.enter_context(process)

    with launched:
        yield launch


@pytest.mark.slow
class TestServer:
    def test_a_forked_process_is_what_was_started_and_has_all_but_ray(self, server, ask, tmp_path):
        process = ask("a word")
        told, _, pid = process.stdout.readline().rpartition(" ")
        assert json.loads(told) == {
            "arguments": [str(tmp_path / "script.py"), "a word"],
            "folder": str(tmp_path),
            "own": "mine",
            "parent": server._process.pid,
            "group": os.getpgrp(),
            "modules": ["torch", "torch._dynamo", "pandas", "hopsearch.training"],
            "terminate": True,
            "name": "__main__",
        }
        assert process.stdout.readline() == "forked\n"
        assert process.wait(timeout=30) == 0
        assert not is_alive(int(pid))

    def test_a_launcher_ends_with_its_worker_and_the_server_goes_on(self, server, ask):
        process = ask("wait")
        pid = int(process.stdout.readline().rpartition(" ")[2])
        assert process.poll() is None
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=30) == 0
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(server.address))
            rude.sendall(b'{"half')
        assert ask().wait(timeout=30) == 0
        assert server._process.poll() is None

    def test_nobody_answers(self, ask, tmp_path):
        assert ask(address=tmp_path / "nothing").communicate(timeout=30) == ("nobody\n", None)


def test_the_launcher_imports_nothing_that_takes_time():
    code = f"import sys, runpy; runpy.run_path({str(LAUNCHER)!r}); print(*sys.modules)"
    found = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    assert not {"numpy", "torch", "ray", "pydantic"} & found


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_search_goes_on_without_the_server_and_leaves_nothing(tmp_path):
    words = ["space=imixer", "model.depth=1", "model.dim=16", "model.patch_size=4", "trials=3", "train.epochs=3", "finish=false"]
    process = start(tmp_path, *words)
    folder = tmp_path / "runs" / "imixer-digits"

    def forked() -> list[int]:
        return [pid for server in servers(process.pid) for pid in descendants(server) if b"ray::" in command_of(pid)]

    assert wait_for(forked, process), (tmp_path / "log.txt").read_text()[-3000:]
    (server,) = servers(process.pid)
    address = Path(command_of(server).split(b"\0")[-3].decode())
    assert address.is_socket()
    assert address.parent.stat().st_mode & 0o077 == 0
    os.kill(server, signal.SIGKILL)
    address.unlink()
    family = descendants(process.pid)
    assert process.wait(timeout=150) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert [record.state for record in StudyView.open(folder).counted() if not record.state.ended] == []
    assert sum(record.state == State.COMPLETE for record in StudyView.open(folder).counted()) >= 1
    assert wait_gone(family)


def servers(pid: int) -> list[int]:
    found = [each for each in descendants(pid) if b"hopsearch.distributed.forkserver" in command_of(each)]
    forked = {child for each in found for child in descendants(each)}  # called so until Ray names them
    return [each for each in found if each not in forked]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
