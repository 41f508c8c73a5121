"""The lease on a mirror, a study's or a training's copy in a storage: a marker file, checked before
every write.

Object stores have no locks, and not all support conditional writes from every client. So a claim is
written, and read again after a moment: of several concurrent claims the last one wins, and the
others see it. The holder writes heartbeats to a separate file, so that a process that was presumed
dead and returns cannot overwrite its successor's.
"""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pyarrow.fs

from hopsearch.core.config import Settings
from hopsearch.core.errors import ResourceError
from hopsearch.storage.lease import Holder, Lease, LostLease, Seen

_MARK = ".owner.json"
_SETTLE = 0.5  # seconds for a concurrent claim to become visible


def below(uri: str, *parts: str) -> str:
    """Join an address and a relative path; a query after a question mark, e.g. a region, stays at
    the end.
    """
    path, mark, query = uri.partition("?")
    return "/".join((path.rstrip("/"), *parts)) + mark + query


class Fence(Settings):
    """A check before each write to a copy.

    Attributes:
        uri: the folder of the marker.
        id: of the lease that may write.
    """

    uri: str
    id: str

    def check(self) -> None:
        """Raise if another process has taken over the copy.

        Raises:
            LostLease: another process has; the message identifies it.
            ResourceError: the storage cannot be reached.
        """
        holder = Marks(self.uri).holder()
        if holder is None or holder.id != self.id:
            rule = f"it was taken over by {holder or 'another process'}"
            raise LostLease(
                self.uri,
                rule,
                "This process has stopped without writing; what it saved earlier is kept",
            )


class Marks:
    """The files in a storage that record its owner and heartbeats.

    Args:
        uri: the folder.

    Raises:
        ResourceError: the storage cannot be reached or is of an unknown kind.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        try:
            self._files, self._root = pyarrow.fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._away(error) from error

    def holder(self) -> Holder | None:
        """The owner of the folder; None if there is none."""
        text = self.read(_MARK)
        return Holder.read(text) if text else None

    def claim(self, me: Holder) -> bool:
        """Write a claim, and return whether it won."""
        self.write(_MARK, me.text)
        time.sleep(_SETTLE)
        found = self.holder()
        return found is not None and found.id == me.id

    def beat(self, me: Holder) -> None:
        """Write a heartbeat."""
        self.write(f".owner.{me.id}", json.dumps({"pid": me.pid, "beat": time.time()}))

    def heard(self, holder: Holder) -> tuple[str, float | None]:
        """A holder's newest heartbeat, and seconds since then by the storage's clock; None if there
        is none.
        """
        found = self.read(f".owner.{holder.id}")
        then = self._written(f".owner.{holder.id}")
        probe = f".clock.{uuid.uuid4().hex}"
        self.write(probe, "")
        now = self._written(probe)
        self.remove(probe)
        return (found or b"").decode(), None if now is None or then is None else now - then

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        try:
            self._files.delete_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return
        except (OSError, pyarrow.ArrowException) as error:
            raise self._away(error) from error

    def read(self, name: str) -> bytes | None:
        """A file; None if there is none."""
        try:
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None
        except (OSError, pyarrow.ArrowException) as error:
            raise self._away(error) from error

    def write(self, name: str, text: str) -> None:
        """Write a file."""
        try:
            self._files.create_dir(self._root, recursive=True)
            with self._files.open_output_stream(f"{self._root}/{name}") as file:
                file.write(text.encode())
        except (OSError, pyarrow.ArrowException) as error:
            raise self._away(error) from error

    def _written(self, name: str) -> float | None:
        try:
            info = self._files.get_file_info(f"{self._root}/{name}")
        except (OSError, pyarrow.ArrowException) as error:
            raise self._away(error) from error
        return None if info.mtime_ns is None else info.mtime_ns / 1e9

    def _away(self, error: Exception) -> ResourceError:
        return ResourceError(
            self._uri,
            f"the storage must be reachable and writable, got: {error}",
            "Check the address and rights",
        )


class StorageLease(Lease):
    """The right to write to a copy; see `Lease`.

    Args:
        uri: the folder of the copy.
        say: receives messages about waiting and takeovers.

    Raises:
        StudyError: another process owns it.
        ResourceError: the storage cannot be reached.
    """

    def __init__(self, uri: str, say: Callable[[str], None]) -> None:
        super().__init__(uri, say)
        self._marks = Marks(uri)
        self.fence = Fence(uri=uri, id=self.me.id)
        self.acquire()

    def __enter__(self) -> "StorageLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """As `release`."""
        self.release()

    def _look(self) -> Seen:
        holder = self._marks.holder()
        if holder is None:
            return Seen(None)
        beat, age = self._marks.heard(holder)
        return Seen(holder, beat, age, holder.id)

    def _take(self, seen: Seen) -> bool:
        now: Any = self._marks.holder()
        if (now.id if now else None) != seen.token:
            return False
        self._marks.beat(self.me)
        taken = self._marks.claim(self.me)
        gone = seen.token if taken else self.me.id
        if gone:
            self._marks.remove(f".owner.{gone}")
        return taken

    def _beat(self) -> bool:
        now = self._marks.holder()
        if now is None or now.id != self.me.id:
            return False
        self._marks.beat(self.me)
        return True

    def _give_back(self) -> None:
        now = self._marks.holder()
        if now is not None and now.id == self.me.id:
            self._marks.remove(_MARK)
            self._marks.remove(f".owner.{self.me.id}")
