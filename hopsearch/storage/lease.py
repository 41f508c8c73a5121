"""A lease: the right to write to a study that several machines can reach. One holder at a time,
considered dead when its heartbeat stops.

The lease is stored with the authoritative data: in the database, or in the storage next to the
copy. This module has the common part.
"""

import abc
import contextlib
import getpass
import json
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.core.redaction import redact

EXPIRY = "HOPSEARCH_LEASE_SECONDS"
"""Environment variable: seconds without a heartbeat after which a holder counts as dead."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # runs while a machine sleeps


def expiry() -> float:
    """Seconds without a heartbeat after which a holder counts as dead: 30, or the environment
    variable's value.

    Raises:
        ConfigError: the environment variable is not a number of seconds.
    """
    text = os.environ.get(EXPIRY, "").strip() or "30"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        rule = f"{EXPIRY} must be a number of seconds above 0, got {text!r}"
        raise ConfigError("environment", rule, f"Set it to e.g. {EXPIRY}=30, or unset it")
    return seconds


class LostLease(StudyError):  # noqa: N818  # what has happened, as with `Interrupted`
    """Another process has taken over the study: this one must no longer write."""


@dataclass(frozen=True)
class Holder:
    """A process that holds a study's lease.

    Attributes:
        id: unique id of this lease, against which every write is checked.
        host, pid, user: of the process.
        since: when it acquired the lease, in readable form.
        machine: scope of process ids: two processes with the same value can see each other.
        started: start time of the process, in its machine's ticks, to detect reused process ids.
    """

    id: str
    host: str
    pid: int
    user: str = ""
    since: str = ""
    machine: str = ""
    started: str = ""

    @classmethod
    def me(cls) -> "Holder":
        """This process as a holder."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a user without a name, as in a container
            user = str(os.getuid())
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return cls(
            uuid.uuid4().hex,
            socket.gethostname(),
            os.getpid(),
            user,
            since,
            _machine(),
            _stat(os.getpid())[1],
        )

    @classmethod
    def read(cls, text: str | bytes) -> "Holder | None":
        """The inverse of `text`; None for none, and for invalid text."""
        try:
            values = json.loads(text)
            return cls(
                **{name: values[name] for name in cls.__dataclass_fields__ if name in values}
            )
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def text(self) -> str:
        """The holder as JSON."""
        return json.dumps(asdict(self))

    @property
    def running(self) -> bool | None:
        """Whether it runs on this machine and is not stopped; False if it is gone, None if that
        cannot be determined.
        """
        if not self.machine or self.machine != _machine():
            return None
        state, started = _stat(self.pid)
        if started != self.started:
            return False
        return True if state not in "TtZX" else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (user {self.user}, since {self.since})"


@dataclass(frozen=True)
class Seen:
    """The observed state of a lease.

    Attributes:
        holder: None if it is free.
        beat: changes with every heartbeat.
        age: seconds since the last heartbeat, by the clock of the lease's store; None if unknown.
        token: compared at a takeover.
    """

    holder: Holder | None
    beat: str = ""
    age: float | None = None
    token: Any = None


class Lease(abc.ABC):
    """The right to write; held from `acquire` to `release`, as long as heartbeats succeed.

    Args:
        place: start of an error message: the leased object.
        say: receives messages about waiting and takeovers.
    """

    def __init__(self, place: str, say: Callable[[str], None]) -> None:
        self.me = Holder.me()
        self._place = redact(place)
        self._say = say
        self._seconds = expiry()
        self._confirmed = 0.0
        self._lost = False
        self._over = threading.Event()
        self._beating = threading.Lock()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def acquire(self) -> None:
        """Acquire the lease: immediately if it is free or its holder is gone, else after watching
        the holder's heartbeat.

        Raises:
            StudyError: the holder is alive; the message identifies it.
        """
        first: Seen | None = None
        until = time.monotonic() + self._seconds
        while True:
            seen = self._look()
            asked = _now()
            dead = seen.holder is not None and self._dead(seen, first, until)
            if (seen.holder is None or dead) and self._take(seen):
                break
            if seen.holder is not None and not dead:
                if seen.holder.running or (first and seen.beat != first.beat):
                    raise self._held(seen)
                if first is None:
                    self._say(
                        f"{self._place}: waiting up to {self._seconds:g} s for a heartbeat of "
                        f"{seen.holder}"
                    )
                first = first or seen
                time.sleep(min(1.0, self._seconds / 20))
        if dead:
            self._say(f"{self._place}: taken over from {seen.holder}, which has died")
        self._confirmed = asked
        self._thread.start()

    def require(self) -> None:
        """Check before a write that the lease is still ours; only queries if the last check is
        old.

        Raises:
            LostLease: it is not.
        """
        if not self._lost and _now() - self._confirmed > self._seconds / 2:
            # if it cannot be reached, nothing can be written there either
            with contextlib.suppress(Exception):
                self.renew()
        if self._lost:
            raise self.lost()

    def renew(self) -> None:
        """One heartbeat."""
        with self._beating:
            asked = _now()
            if self._beat():
                self._confirmed = asked
            else:
                self._lost = True

    def lost(self) -> LostLease:
        """The error to raise if another process has the lease, identifying it."""
        self._lost = True
        holder: Holder | None = None
        with contextlib.suppress(Exception):
            holder = self._look().holder
        rule = (
            f"it was taken over by {holder or 'another process'}, as this one sent no heartbeat "
            f"for {self._seconds:g} s"
        )
        return LostLease(
            self._place,
            rule,
            "This process has stopped without writing; what it reported earlier is saved",
        )

    def release(self) -> None:
        """Release the lease."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if not self._lost:
            with contextlib.suppress(Exception):  # it expires by itself
                self._give_back()

    @abc.abstractmethod
    def _look(self) -> Seen: ...

    @abc.abstractmethod
    def _take(self, seen: Seen) -> bool:
        """Acquire it, if unchanged since observed."""

    @abc.abstractmethod
    def _beat(self) -> bool:
        """Send a heartbeat; False if another process has the lease."""

    @abc.abstractmethod
    def _give_back(self) -> None: ...

    def _dead(self, seen: Seen, first: Seen | None, until: float) -> bool:
        holder = seen.holder
        if holder is not None and holder.running is False:
            return True
        if seen.age is not None and seen.age > self._seconds:
            return True
        return first is not None and seen.beat == first.beat and time.monotonic() > until

    def _held(self, seen: Seen) -> StudyError:
        heard = "" if seen.age is None else f", last heartbeat {max(0, seen.age):.0f} s ago"
        rule = f"only one process may write here, got a second one besides {seen.holder}{heard}"
        hint = (
            f"Wait for it, stop it there, or use another name: study=<name> for a search, "
            f"name=<name> for a training; once it has died, its lock is taken over after "
            f"{self._seconds:g} s without a heartbeat"
        )
        return StudyError(self._place, rule, hint)

    def _keep(self) -> None:
        while not self._over.wait(self._seconds / 6) and not self._lost:
            with contextlib.suppress(Exception):  # a storage may be temporarily unreachable
                self.renew()


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def _machine() -> str:
    # Two containers of one machine share its boot id, but cannot see each other's processes.
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(
            encoding="utf-8"
        ).strip() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _stat(pid: int) -> tuple[str, str]:
    """State and start time of a process; ("X", "") if it is gone."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
        return ("X", "") if fields[0] in "ZX" else (fields[0], fields[19])
    except (OSError, IndexError):
        return "X", ""
