"""Searches in processes of their own, to watch and to kill."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from hopsearch.study import State, StudyView
from tests.conftest import environment, hear_interrupts


def command(tmp_path: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "hopsearch.tune", f"storage={tmp_path / 'runs'}", *words]


def start(tmp_path: Path, *words: str) -> subprocess.Popen:
    log = (tmp_path / "log.txt").open("a")
    with log:
        return subprocess.Popen(
            command(tmp_path, *words),
            env=environment(tmp_path),
            stdout=log,
            stderr=log,
            preexec_fn=hear_interrupts,
        )


def output(words: list[str], cwd: Path, env: dict[str, str]) -> str:
    """What a program prints that must end well."""
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def begun(folder: Path) -> Counter:
    """How often each (trial, epoch) was begun, by the workers' own logs."""
    logs = folder.glob("trials/*/epochs.log")
    return Counter(
        (log.parent.name, line.split()[0]) for log in logs for line in log.read_text().splitlines()
    )


def wait_for(condition, process: subprocess.Popen, seconds: float = 240) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if condition():
            return True
        time.sleep(0.02)
    return False


def wait_gone(pids: list[int], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def listening(pid: int) -> dict[str, str]:
    """Where a process and all below it wait for connections: address and port in the kernel's
    hexadecimal, and who.
    """
    doors: dict[str, str] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="utf-8").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                doors[f"socket:[{fields[9]}]"] = fields[1]
    found = {}
    for each in [pid, *descendants(pid)]:
        with contextlib.suppress(OSError):
            for handle in (Path("/proc") / str(each) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if (address := doors.get(os.readlink(handle))) is not None:
                        found[address] = (
                            (Path("/proc") / str(each) / "cmdline")
                            .read_bytes()
                            .replace(b"\0", b" ")[:80]
                            .decode()
                        )
    return found


def is_loopback(address: str) -> bool:
    """Of one that `listening` found: 127.0.0.1, ::ffff:127.0.0.1 or ::1, each 32 bits with its last
    byte first.
    """
    return address.partition(":")[0] in (
        "0100007F",
        "0000000000000000FFFF00000100007F",
        "00000000000000000000000001000000",
    )


def trainers(pid: int, actor: bytes = b"ResourceTrainable") -> list[int]:
    """Worker processes of the driver: Ray names them after the class of their actor."""
    found = []
    for child in descendants(pid):
        try:
            title = (Path("/proc") / str(child) / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and actor in title:
            found.append(child)
    return found


def check_nothing_lost(folder: Path, trials: int, disturbances: int) -> None:
    view = StudyView.open(folder)
    counted = view.counted()
    assert len(counted) == trials
    assert [record.number for record in counted] == sorted({record.number for record in counted})
    assert not [record.number for record in counted if record.state == State.RUNNING]
    assert view.audit() == []
    again = begun(folder)
    # Each disturbance costs each of the two workers the epoch it was in, and no other.
    assert sum(again.values()) - len(again) <= 2 * disturbances, again.most_common(5)
    assert max(again.values()) <= 1 + disturbances
    assert {
        (f"{record.number:04d}", str(epoch)) for record in counted for epoch in record.curve
    } <= set(again)
