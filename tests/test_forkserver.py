"""Workers forked from a process that has imported what they need: who they are, how they end, and
what happens without it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hopsearch.ray_backend.cluster.forked_worker import _forked
from hopsearch.ray_backend.cluster.forkserver import LAUNCHER, ForkServer
from hopsearch.study import State, StudyView
from tests.processes import descendants, is_alive, start, wait_for, wait_gone

SCRIPT = """
import json, os, signal, sys, time
told = {
    "arguments": sys.argv, "folder": os.getcwd(), "own": os.environ.get("OWN"),
    "parent": os.getppid(), "group": os.getpgrp(), "name": __name__,
    "modules": [
        name for name in ("torch", "torch._dynamo", "pandas", "hopsearch.training", "ray")
        if name in sys.modules
    ],
    "default": [
        signal.getsignal(each) == signal.SIG_DFL for each in (signal.SIGTERM, signal.SIGCHLD)
    ],
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "killed": open("/proc/self/oom_score_adj").read().strip(),
    "found": sys.path,
}
print(json.dumps(told), os.getpid(), flush=True)
if "wait" in sys.argv:
    time.sleep(100)
raise OSError("as a worker may end")
"""
ASK = """
import os, signal, sys
from pathlib import Path
from hopsearch.ray_backend.cluster.forked_worker import _forked
address, script, patience, *sys.argv = sys.argv[1:]
Path("/proc/self/oom_score_adj").write_text("700")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
if "gone" in sys.argv:
    os.rmdir(os.getcwd())
print("forked" if _forked(address, script, float(patience)) else "nobody", flush=True)
"""
# Another user than the one who starts it: asks, or waits to be asked.
OTHER = """
import contextlib, os, socket, sys
who, address = sys.argv[1:]
os.seteuid(65534)
refused = contextlib.suppress(ConnectionResetError, BrokenPipeError)
with socket.socket(socket.AF_UNIX) as other, refused:
    if who == "asks":
        other.connect("\\0" + address)
        socket.send_fds(other, [b"{}\\n"], [0, 1, 2])
    else:
        other.bind("\\0" + address)
        other.listen()
        print("waits", flush=True)
        other, _ = other.accept()
    print(other.recv(1), flush=True)
"""


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect("\0" + server.address)


@pytest.fixture
def ask(server, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    launched = contextlib.ExitStack()

    def launch(
        *words: str, address: str = server.address, patience: float = 50, folder: Path = tmp_path
    ) -> subprocess.Popen:
        command = [
            sys.executable,
            "-c",
            ASK,
            address,
            str(tmp_path / "script.py"),
            str(patience),
            "worker",
            *words,
        ]
        environment = os.environ | {"OWN": "mine", "PYTHONPATH": str(Path(__file__).parents[1])}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
        )
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
            "default": [True, True],
            "name": "__main__",
            "blocked": [signal.SIGINT],
            "killed": "700",
            "found": sys.path,
        }
        assert process.stdout.readline() == "forked\n"
        assert process.wait(timeout=100) == 0
        assert not is_alive(int(pid))

    def test_a_launcher_ends_with_its_worker_and_the_server_goes_on(self, server, ask):
        process = ask("wait")
        pid = int(process.stdout.readline().rpartition(" ")[2])
        assert process.poll() is None
        os.kill(pid, signal.SIGKILL)
        assert process.wait(timeout=100) == 0
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect("\0" + server.address)
            rude.sendall(b'{"half')
        assert ask().wait(timeout=30) == 0
        assert server._process.poll() is None

    def test_one_that_is_stopped_in_the_middle_keeps_nobody_waiting_for_long(self, server, ask):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect("\0" + server.address)
            assert ask().wait(timeout=30) == 0

    def test_one_that_is_slow_to_answer_is_waited_for(self, server, ask, tmp_path):
        assert ask().wait(timeout=50) == 0  # it has imported what it needs: it answers at once
        (tmp_path / "script.py").write_text("print('here', flush=True)")
        asked = {
            "script": str(tmp_path / "script.py"),
            "arguments": [""],
            "environment": {},
            "group": 0,
            "process": 0,
            "blocked": [],
        }
        read, write = os.pipe()
        folder = os.open(tmp_path, os.O_PATH)
        with socket.socket(socket.AF_UNIX) as slow, open(read, encoding="utf-8") as told:
            slow.connect("\0" + server.address)
            socket.send_fds(slow, [json.dumps(asked).encode() + b"\n"], [folder, write, 2])
            os.close(write)
            os.close(folder)
            time.sleep(7)
            assert slow.recv(1) == b"+"
            slow.sendall(b"+")
            assert told.read() == "here\n"
            assert slow.recv(1) == b""

    def test_a_folder_that_is_gone(self, ask, tmp_path):
        (tmp_path / "gone").mkdir()
        told = ask("gone", folder=tmp_path / "gone").communicate(timeout=100)[0]
        assert "forked" in told

    def test_nobody_answers(self, ask):
        assert ask(address="nothing").communicate(timeout=100) == ("nobody\n", None)

    def test_a_server_that_is_stopped_is_not_waited_for_and_then_forks_nobody(self, server, ask):
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            process = ask("wait", patience=2)
            assert process.stdout.readline() == "nobody\n"
            assert process.wait(timeout=100) == 0
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
        assert ask().wait(timeout=30) == 0  # those that came before were looked at before
        assert wait_gone(descendants(server._process.pid), 5)

    @as_root
    def test_nobody_else_is_forked_for(self, server):
        other = subprocess.run(
            [sys.executable, "-c", OTHER, "asks", server.address],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert (other.stdout, other.stderr, other.returncode) in [("", "", 0), ("b''\n", "", 0)]

    @as_root
    def test_nobody_else_is_asked(self, ask):
        with subprocess.Popen(
            [sys.executable, "-c", OTHER, "waits", "taken"], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout.readline() == "waits\n"
            assert ask(address="taken").communicate(timeout=100) == ("nobody\n", None)
            assert other.communicate(timeout=100)[0] == "b''\n"

    def test_one_that_hangs_is_ended(self):
        server = ForkServer()
        os.kill(server._process.pid, signal.SIGSTOP)
        server.close()
        assert server._process.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.timeout(100)
def test_a_module_in_the_current_folder_is_not_taken_for_pythons_own(tmp_path):
    (tmp_path / "here").mkdir()
    for name in ("json", "random", "torch", "hopsearch"):
        (tmp_path / "here" / f"{name}.py").write_text("raise AssertionError")
    (tmp_path / "script.py").write_text(
        "import json, torch; print('forked', json.loads('7'), flush=True)"
    )
    (tmp_path / "program.py").write_text(
        "from hopsearch.ray_backend.cluster import forked_worker, forkserver; server = "
        "forkserver.ForkServer();"
        f"print(forked_worker._forked(server.address, {str(tmp_path / 'script.py')!r}))"
    )
    command = [sys.executable, str(tmp_path / "program.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    told = subprocess.run(
        command, cwd=tmp_path / "here", env=environment, capture_output=True, text=True, timeout=90
    )
    assert told.stdout == "forked 7\nTrue\n", told.stderr


@pytest.mark.slow
def test_one_that_cannot_import_what_it_needs_forks_nobody(tmp_path, monkeypatch):
    (tmp_path / "pandas.py").write_text("raise ImportError('damaged')")
    monkeypatch.syspath_prepend(tmp_path)
    server = ForkServer()
    try:
        assert server._process.wait(timeout=50) == 1
        assert not _forked(server.address, "script.py")
    finally:
        server.close()


def test_nothing_beside_the_launcher_is_called_like_what_it_imports():
    # where a command that is run by its path looks first
    beside = {path.stem for path in LAUNCHER.parent.iterdir()}
    assert not beside & {*sys.stdlib_module_names, "ray"}


def test_the_launcher_imports_nothing_that_takes_time():
    code = f"import sys, runpy; runpy.run_path({str(LAUNCHER)!r}); print(*sys.modules)"
    found = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not {"numpy", "torch", "ray", "pydantic"} & found


SMALL = (
    "space=imixer",
    "model.depth=1",
    "model.dim=16",
    "model.patch_size=4",
    "trials=3",
    "train.epochs=3",
    "finish=false",
)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_search_goes_on_without_the_server_and_leaves_nothing(tmp_path):
    process = start(tmp_path, *SMALL)
    folder = tmp_path / "runs" / "imixer-digits"

    def forked() -> list[int]:
        return [
            pid
            for server in servers(process.pid)
            for pid in descendants(server)
            if b"ray::" in command_of(pid)
        ]

    assert wait_for(forked, process), (tmp_path / "log.txt").read_text()[-3000:]
    (server,) = servers(process.pid)
    worker = forked()[0]
    os.kill(server, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    family = descendants(process.pid)
    assert process.wait(timeout=150) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert [
        record.state for record in StudyView.open(folder).counted() if not record.state.ended
    ] == []
    assert sum(record.state == State.COMPLETE for record in StudyView.open(folder).counted()) >= 1
    assert wait_gone(family)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_server_that_hangs_stops_neither_the_driver_nor_its_end(tmp_path):
    process = start(tmp_path, *SMALL)
    assert wait_for(lambda: servers(process.pid), process)
    os.kill(servers(process.pid)[0], signal.SIGSTOP)

    def begun() -> bool:
        launched = [
            pid
            for pid in descendants(process.pid)
            if command_of(pid).split(b"\0")[1:2] == [bytes(LAUNCHER)]
        ]
        return bool(launched) and "starting" in (tmp_path / "log.txt").read_text()

    waited = wait_for(begun, process, 200)
    if process.poll() is not None:  # it came to its end without the server
        assert process.returncode == 0, (tmp_path / "log.txt").read_text()[-3000:]
        return
    assert waited, (tmp_path / "log.txt").read_text()[-3000:]
    family = descendants(process.pid)
    process.terminate()
    assert process.wait(timeout=60) == 130, (tmp_path / "log.txt").read_text()[-3000:]
    assert wait_gone(family)


def servers(pid: int) -> list[int]:
    found = [
        each
        for each in descendants(pid)
        if b"hopsearch.ray_backend.cluster.forkserver" in command_of(each)
    ]
    # called so until Ray names them
    forked = {child for each in found for child in descendants(each)}
    return [each for each in found if each not in forked]


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
