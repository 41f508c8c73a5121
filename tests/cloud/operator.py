"""Whoever runs `ray up`: a home folder with keys and a token, the project's own words, and a tunnel
to the cluster's head.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.cloud.network import PROJECT, Network

DASHBOARD = 8265


@dataclass
class Job:
    """A submitted job, followed.

    Attributes:
        process: of `ray job submit`, which prints what the job prints.
        log: where that goes.
    """

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def wait(self, seconds: float) -> int:
        """Its exit code; 0 is a job that succeeded."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the job did not end within {seconds:g} s:\n{self.text[-3000:]}"
            ) from None


@dataclass
class Operator:
    """Runs commands on the operator's end of the lab's network.

    Attributes:
        network: the lab's.
        file: the cluster file.
        more: environment beside the usual.
    """

    network: Network
    file: Path
    more: dict[str, str] = field(default_factory=dict)
    _jobs: list[Job] = field(default_factory=list)

    @property
    def token(self) -> Path:
        """The cluster's token."""
        return self.network.home / ".ray" / "hopsearch" / "auth_token"

    @property
    def env(self) -> dict[str, str]:
        """A user's shell: nothing of the test's own, so that the token and the keys are the
        lab's.
        """
        own = Path(sys.executable).parent
        path = f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        auth = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        scratch = self.network.home / "tmp"  # where Ray caches what it has made of a cluster file
        scratch.mkdir(exist_ok=True)
        return {
            "HOME": str(self.network.home),
            "TMPDIR": str(scratch),
            "PATH": path,
            "LANG": "C.UTF-8",
            **auth,
            **self.more,
        }

    def run(
        self,
        *words: str,
        seconds: float = 60,
        env: dict[str, str] | None = None,
        check: bool = True,
    ) -> str:
        """A command in the project's root; what it printed."""
        done = self.network.operator(
            *words, env=env or self.env, cwd=PROJECT, timeout=seconds, check=check
        )
        return done.stdout + done.stderr

    def up(self) -> float:
        """`ray up`; how many seconds it took."""
        began = time.monotonic()
        self.run("ray", "up", "--yes", "--no-config-cache", str(self.file), seconds=300)
        return time.monotonic() - began

    def down(self) -> str:
        """`ray down`."""
        return self.run("ray", "down", "--yes", str(self.file), seconds=120)

    @contextlib.contextmanager
    def tunnel(self) -> Iterator[None]:
        """`ray dashboard`, for as long as it is entered: the head's dashboard and its jobs on this
        end's loopback.

        A job goes on when it is left, but is followed no longer.
        """
        words = self.network.words("ray", "dashboard", str(self.file))
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            words,
            env=self.env,
            cwd=PROJECT,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
        try:
            for _ in range(120):
                if (
                    self.network.operator(
                        "bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{DASHBOARD}", check=False
                    ).returncode
                    == 0
                ):
                    break
                time.sleep(0.5)
            yield
        finally:
            for each in [*(job.process for job in self._jobs), process]:
                if each.poll() is None:
                    os.killpg(each.pid, signal.SIGTERM)
                each.wait(10)

    def submit(self, *words: str) -> Job:
        """Submit a job through the tunnel and follow it."""
        log = self.network.folder / f"job{len(self._jobs)}.log"
        command = [
            "ray",
            "job",
            "submit",
            "--address",
            f"http://127.0.0.1:{DASHBOARD}",
            "--",
            *words,
        ]
        with log.open("wb") as out:
            words = tuple(self.network.words(*command))
            process = subprocess.Popen(
                words, env=self.env, cwd=PROJECT, stdout=out, stderr=out, start_new_session=True
            )
        self._jobs.append(Job(process, log))
        return self._jobs[-1]

    def status(self, path: str, token: str | None, method: str = "GET", body: str = "") -> int:
        """HTTP status of the dashboard's API; 0 where nothing answers."""
        words = [
            "curl",
            "--silent",
            "--max-time",
            "40",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--request",
            method,
        ]
        words += ["--header", f"Authorization: Bearer {token}"] if token else []
        words += ["--header", "Content-Type: application/json", "--data", body] if body else []
        return int(self.run(*words, f"http://127.0.0.1:{DASHBOARD}{path}", check=False) or 0)
