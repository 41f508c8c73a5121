"""Signal handling: SIGINT, SIGTERM and SIGHUP, at any time and however often, mean "save and exit".

A command with state to save runs in two processes. The parent only waits and receives the signals;
its child does the work, in a separate process group. Signal handlers are global to a process and
libraries replace them; C code, such as an import, reacts late; and terminals, `timeout` and
schedulers signal the whole group, which would kill Ray's processes before they have saved. The
parent imports no libraries, and signals only the child.

Imports only the standard library: the first signal may arrive while the rest is still being
imported.
"""

import contextlib
import ctypes
import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

INTERRUPTED = 130
"""Exit code of a command that was asked to stop."""
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that request a stop."""
NOTHING_BEGUN = (
    "interrupted before anything started; nothing to save. Run the same command to start."
)
_AGAIN = 5  # seconds after which a child that has not reacted is signalled again
# Linux
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_GONE = (errno.EPIPE, errno.EIO)  # a pipe without a reader, a closed terminal


class _State:
    """State of this process's shutdown."""

    supervised = False
    # from then on a signal raises an exception, so that running work can shut down in order
    begun = False
    heard = 0.0  # time of the first signal
    saving = False
    reader_gone = False


def supervise() -> None:
    """Continue in a child process; this one remains, receives the signals, and exits like the
    child.

    Call it before any other import. If the process cannot fork, only the handlers are set.
    """
    write_to_the_end()
    if not hasattr(os, "fork"):
        _listen()
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)  # until both have their handlers
    parent = os.getpid()
    child = os.fork()
    if child:
        with contextlib.suppress(OSError):  # the child does the same; whichever is first
            os.setpgid(child, child)
        _stay_behind(child)
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    _die_with(parent)
    _State.supervised = True
    _listen()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def listen() -> None:
    """For a command without state to save: a signal raises KeyboardInterrupt in this process."""
    if not _State.supervised:
        write_to_the_end()
        begin()
        _listen()


def begin() -> None:
    """From now on a signal raises KeyboardInterrupt in the main thread; before, it ends the process
    immediately.
    """
    _State.begun = True


def saving() -> None:
    """The KeyboardInterrupt has been raised: further signals have no effect."""
    _State.saving = True


def supervised() -> bool:
    """Whether a parent process waits for this one and terminates what it leaves behind."""
    return _State.supervised


def reader_gone() -> bool:
    """Whether the stop was requested because no one reads the output any more."""
    return _State.reader_gone


def finish(code: int) -> NoReturn:
    """Exit with ``code``. A supervised process skips interpreter shutdown, during which library
    threads crash.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if _State.supervised:
        os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Signals that arrive during the block are delivered at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in ENDING}
    ours = {number: handler for number, handler in before.items() if callable(handler)}
    for number in ours:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:
            ours[signal.Signals(came[0])](came[0], None)


@contextlib.contextmanager
def closed_whole(inner: contextlib.AbstractContextManager[Any]) -> Iterator[Any]:
    """A context manager whose exit no signal interrupts."""
    value = inner.__enter__()
    try:
        yield value
    except BaseException:
        with held():
            if not inner.__exit__(*sys.exc_info()):
                raise
    else:
        with held():
            inner.__exit__(None, None, None)


@contextlib.contextmanager
def given_back() -> Iterator[None]:
    """Restore signal handlers that the block replaces."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watched = (*ENDING, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in watched}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one set by C code cannot be restored
                # even if it looks the same: C code may have installed its own underneath
                signal.signal(number, handler)


def write_to_the_end() -> None:
    """Make standard output and error replace characters they cannot encode and ignore writes once
    closed.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(
            getattr(stream.buffer, "raw", None), _Outlet
        ):
            with contextlib.suppress(OSError):
                stream.flush()
            outlet = io.BufferedWriter(_Outlet(number, "w", closefd=False))
            lines = number == 2 or stream.line_buffering
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    outlet, stream.encoding, "replace", line_buffering=lines, write_through=lines
                ),
            )


class _Outlet(io.FileIO):
    """A file that survives the loss of its reader: output is dropped; a closed pipe requests a
    stop.
    """

    def write(self, data: Any) -> int:
        """As for a file."""
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _GONE:
                raise
            if error.errno == errno.EPIPE and self.fileno() == 1 and not _State.reader_gone:
                _State.reader_gone = True
                os.kill(os.getpid(), signal.SIGINT)
            return len(data)


def _listen() -> None:
    for number in ENDING:
        # `nohup` ignores one of them
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _heard)
    if _State.supervised:
        # its group is not the terminal's, and it may write there
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)


def _heard(number: int, frame: FrameType | None) -> None:
    if not _State.begun:
        if not _State.reader_gone:
            tell(NOTHING_BEGUN)
        finish_at_once(0 if _State.reader_gone else INTERRUPTED)
    now = time.monotonic()
    first = not _State.heard
    _State.heard = _State.heard or now
    # C code occasionally swallows an exception
    if not _State.saving and (first or now - _State.heard > _AGAIN - 1):
        raise KeyboardInterrupt


def finish_at_once(code: int) -> NoReturn:
    """Exit with ``code``, from anywhere."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # including one that is being written to right now
            stream.flush()
    os._exit(code)


def tell(text: str) -> None:
    """Write a sentence to standard error, unbuffered: safe in a signal handler."""
    with contextlib.suppress(OSError):
        os.write(2, f"\nhopsearch: {text}\n".encode())


def _die_with(parent: int) -> None:
    _control(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has already ended
        os._exit(INTERRUPTED)


def _control(what: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(what, value, 0, 0, 0)


def _stay_behind(child: int) -> NoReturn:
    asked = 0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            tell("still saving, please wait.")
        tell_child(number, frame)

    def tell_child(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGINT)
        signal.alarm(_AGAIN)

    def rest(
        number: int, frame: FrameType | None
    ) -> None:  # Ctrl-Z: stop all of them, and resume all
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGCONT)

    for number in ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, ask)
    signal.signal(signal.SIGALRM, tell_child)
    signal.signal(signal.SIGTSTP, rest)
    _control(_PR_SET_CHILD_SUBREAPER, 1)  # orphans become children of this process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    os._exit(_outcome(child))


def _outcome(child: int) -> int:
    # not yet reaped, so its group id is still valid
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    signal.alarm(0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # Ray's own processes, if any are left
    _, status = os.waitpid(child, 0)
    _end_the_rest()
    if not os.WIFSIGNALED(status):
        return os.waitstatus_to_exitcode(status)
    name = signal.Signals(os.WTERMSIG(status)).name
    why = ", often because the system ran out of memory" if name == "SIGKILL" else ""
    tell(
        f"its process was killed by {name}{why}. Completed epochs are saved. Run the same command "
        f"to resume."
    )
    return 1


def _end_the_rest() -> None:
    # Ray puts its workers into separate groups. Orphans are adopted by this process one after
    # another, as their parents end.
    until = time.monotonic() + _AGAIN
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    while time.monotonic() < until:
        try:
            left = [int(pid) for pid in listed.read_text(encoding="utf-8").split()]
        except OSError:  # not Linux: they exit by themselves when the others are gone
            return
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
