"""Programs that run for a while and are then ended, as Ctrl-C ends them, with all that they have
started.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

_PATIENCE = 60.0  # seconds to save and leave
_POLL = 0.05


class Programs:
    """Processes in a group of their own; what they say goes into files.

    Args:
        commands: one for each.
        folder: where they run, and where their output goes.
        env: their environment.

    Attributes:
        began: when they were started, in seconds since the epoch.
    """

    def __init__(
        self, commands: Sequence[Sequence[str]], folder: Path, env: dict[str, str]
    ) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._said = [folder / f"{number}.txt" for number in range(len(commands))]
        self.began = time.time()
        try:
            for command, file in zip(commands, self._said, strict=True):
                self._start(command, folder, env, file)
        except BaseException:
            self.end()
            raise

    def run(self, seconds: float, look: Callable[[], None]) -> None:
        """Until the time since their start is over, or they have ended.

        Args:
            seconds: that time.
            look: called all the while.

        Raises:
            SystemExit: one of them failed.
        """
        while time.time() < self.began + seconds:
            ended = [process.poll() for process in self._processes]
            for code, file in zip(ended, self._said, strict=True):
                if code:
                    said = file.read_text(encoding="utf-8", errors="replace")[-3000:]
                    raise SystemExit(
                        f"it ended with {code} after {time.time() - self.began:.1f} s:\n{said}"
                    )
            look()
            if None not in ended:
                return
            time.sleep(_POLL)

    def end(self) -> None:
        """Interrupt them, wait until they have left, and end what stays behind."""
        if not self._processes:
            return
        for process in self._processes:
            process.send_signal(signal.SIGINT)
        until = time.time() + _PATIENCE
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.time()))
        for last, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._group, last)
            self._leave(patience)

    @property
    def _group(self) -> int:
        return self._processes[0].pid

    def _start(self, command: Sequence[str], folder: Path, env: dict[str, str], file: Path) -> None:
        group = self._group if self._processes else 0
        with file.open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                process_group=group,
            )
        self._processes.append(process)

    def _leave(self, patience: float) -> None:
        until = time.time() + patience
        while time.time() < until and any(process.poll() is None for process in self._processes):
            time.sleep(_POLL)
        while time.time() < until:
            try:
                os.killpg(self._group, 0)
            except ProcessLookupError:
                return
            time.sleep(_POLL)
