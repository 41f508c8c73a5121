"""Keeps a folder's copy in a storage that outlives the machine: ``s3://bucket/path``, ``gs://…``,
or a path that all machines share.
"""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import pyarrow.fs

from hopsearch.core import paths
from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.errors import HopsearchError, ResourceError, StudyError
from hopsearch.core.study_names import require_name
from hopsearch.storage.lease import LostLease
from hopsearch.storage.mirror_lease import Fence, StorageLease, below

_BLOCK = 1 << 22
_SOON = 2.0  # most seconds of data that a lost machine costs


@dataclass(frozen=True)
class Place:
    """The location of a study or a training: a folder on this machine and, optionally, a copy in a
    storage.

    Attributes:
        folder: on this machine.
        remote: its copy, e.g. ``s3://bucket/path/name``; empty if there is none.
        lease: the right to write to the copy, if this process has it; see `owned`.
    """

    folder: Path
    remote: str = ""
    lease: StorageLease | None = None

    @classmethod
    def of(cls, storage: str, name: str) -> "Place":
        """From ``storage=`` and a name; with a remote storage, the local folder is
        ``runs/<name>``.

        Raises:
            StudyError: the name is invalid; names cannot lead out of the storage.
        """
        name = require_name(name)
        if "://" not in storage:
            return cls(Path(storage) / name)
        return cls(Path("runs") / name, below(storage, quote(name, safe="@+=,")))

    def below(self, *parts: str) -> str:
        """The address of the copy of something below the folder; empty if there is no copy."""
        return below(self.remote, *parts) if self.remote else ""

    @contextmanager
    def owned(self, say: Callable[[str], None]) -> "Iterator[Place]":
        """This place with the right to write to its copy, inside the context; without a copy, just
        this place.

        Raises:
            StudyError: another process has it.
            ResourceError: the storage cannot be reached.
        """
        if not self.remote:
            yield self
            return
        with StorageLease(self.remote, say) as lease:
            yield replace(self, lease=lease)

    @property
    def fence(self) -> Fence | None:
        """The fence against which each write to the copy is checked."""
        return self.lease.fence if self.lease else None

    @property
    def guard(self) -> Callable[[], None] | None:
        """To be called before each write to the folder's journal; raises if another process has
        taken over the copy.
        """
        return self.lease.require if self.lease else None

    def push(self, *parts: str) -> None:
        """Copy the files of a subfolder, if there is a storage."""
        folder = self.folder.joinpath(*parts)
        if self.remote and folder.is_dir():
            Mirror(self.below(*parts), self.fence).push(folder)

    def push_tree(self, part: str) -> None:
        """Copy a subfolder recursively."""
        self.push(part)
        for folder in sorted((self.folder / part).glob("*/")):
            self.push(part, folder.name)

    def journal(
        self, name: str = paths.JOURNAL.name
    ) -> "AbstractContextManager[JournalMirror | None]":
        """Keep the copy of a study's journal in sync inside the context, if there is a storage."""
        return (
            JournalMirror(self.folder / name, self.remote, self.fence)
            if self.remote
            else nullcontext()
        )

    def bring_journal(self, name: str = paths.JOURNAL.name) -> None:
        """Fetch a study's journal for reading, if the storage's is newer."""
        if self.remote:
            bring_journal(self.folder / name, self.remote)

    def pull(self) -> None:
        """Fetch the files directly in the copy, if there is a storage."""
        if self.remote:
            Mirror(self.remote).pull(self.folder)


class Mirror:
    """Keeps a local folder and its copy in sync. Only one process may write to a copy.

    Args:
        uri: where the copy is.
        fence: checked before each write, if the copy has an owner.

    Raises:
        ResourceError: the storage cannot be reached or is of an unknown kind.
    """

    def __init__(self, uri: str, fence: Fence | None = None) -> None:
        self._uri = uri
        self._fence = fence
        try:
            self._files, self._root = pyarrow.fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        self._pushed: dict[str, tuple[int, int]] = {}

    def push(self, folder: Path) -> None:
        """Copy what has changed since the last `push` or `pull`, then remove what no longer
        exists.

        New files are written first: a process killed in between leaves more than needed, never
        less.
        """
        here = {
            file.name: _stamp(file)
            for file in folder.iterdir()
            if file.is_file() and not file.name.startswith(".")
        }
        try:
            self._files.create_dir(self._root, recursive=True)
            for name in sorted(here):
                if self._pushed.get(name) != here[name]:
                    self._copy_up(folder / name, f"{self._root}/{name}")
            for name in set(self._names()) - set(here):
                self._require_ours()
                self._files.delete_file(f"{self._root}/{name}")
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        self._pushed = here

    def pull(self, folder: Path) -> None:
        """Make the folder equal to the copy, which is always at least as new: a save ends with a
        `push`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            names = self._names()
            for name in names:
                self._copy_down(f"{self._root}/{name}", folder / name)
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        for file in folder.iterdir() if names else ():
            if file.is_file() and file.name not in names and not file.name.startswith("."):
                file.unlink()
        self._pushed = {name: _stamp(folder / name) for name in names}

    def clear(self) -> None:
        """Remove the copy."""
        self._require_ours()
        try:
            self._files.delete_dir_contents(self._root, missing_dir_ok=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error

    def read(self, name: str) -> bytes | None:
        """A file of the copy; None if there is none."""
        try:
            if name not in self._names():
                return None
            with self._files.open_input_stream(f"{self._root}/{name}") as file:
                return bytes(file.read())
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error

    def write(self, file: Path) -> None:
        """Copy one file."""
        try:
            self._files.create_dir(self._root, recursive=True)
            self._copy_up(file, f"{self._root}/{file.name}")
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error

    def tree(self) -> dict[str, int]:
        """Sizes of all files of the copy, recursively, by relative path; without partially written
        ones.
        """
        try:
            found = self._files.get_file_info(
                pyarrow.fs.FileSelector(self._root, allow_not_found=True, recursive=True)
            )
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        files = [info for info in found if info.is_file and not info.base_name.startswith(".")]
        return {info.path.removeprefix(self._root).lstrip("/"): info.size for info in files}

    def _names(self) -> list[str]:
        found = self._files.get_file_info(pyarrow.fs.FileSelector(self._root, allow_not_found=True))
        return [
            info.base_name for info in found if info.is_file and not info.base_name.startswith(".")
        ]

    def _copy_up(self, source: Path, target: str) -> None:
        # Under a temporary name first: an object store shows a file when it is complete, a shared
        # disk while it grows.
        head, _, name = target.rpartition("/")
        scratch = f"{head}/.{name}.{uuid.uuid4().hex}"
        with source.open("rb") as file, self._files.open_output_stream(scratch) as out:
            while block := file.read(_BLOCK):
                out.write(block)
        try:
            self._require_ours()  # as late as possible: an upload may take minutes
        except HopsearchError:
            self._files.delete_file(scratch)
            raise
        self._files.move(scratch, target)

    def _require_ours(self) -> None:
        if self._fence:
            self._fence.check()

    def _copy_down(self, source: str, target: Path) -> None:
        with (
            written_whole(target) as scratch,
            self._files.open_input_stream(source) as file,
            scratch.open("wb") as out,
        ):
            while block := file.read(_BLOCK):
                out.write(block)

    def _lost(self, error: Exception) -> ResourceError:
        return ResourceError(
            self._uri,
            f"the storage must be reachable and writable, got: {error}",
            "Check the address and rights",
        )


def _stamp(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns


def bring_journal(journal: Path, uri: str) -> None:
    """Fetch a study's journal from its copy if that is newer than the local one.

    Raises:
        StudyError: the two have gone different ways.
        ResourceError: the storage cannot be reached.
    """
    here = journal.read_bytes() if journal.exists() else b""
    there = Mirror(uri).read(journal.name) or b""
    shorter, longer = sorted(
        (here[: here.rfind(b"\n") + 1], there[: there.rfind(b"\n") + 1]), key=len
    )
    if not longer.startswith(shorter):
        rule = f"the study here and its copy in {uri} must share one history, got two that diverged"
        raise StudyError(str(journal), rule, "Remove or rename one of the two")
    if len(longer) > len(here):
        journal.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(journal) as scratch:
            scratch.write_bytes(longer)


class JournalMirror:
    """Keeps a copy of a study's append-only journal in a storage: updated soon after each write,
    and at the end.

    Args:
        journal: the file; fetched from the storage if the copy is newer, e.g. on a new head.
        uri: the folder of the copy.
        fence: checked before each write of the copy.

    Raises:
        StudyError: the two have gone different ways.
        ResourceError: the storage cannot be reached.
    """

    def __init__(self, journal: Path, uri: str, fence: Fence | None = None) -> None:
        bring_journal(journal, uri)
        self._journal = journal
        self._mirror = Mirror(uri, fence)
        self._size = -1
        self._over = threading.Event()
        self._copying = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def copied(self) -> int:
        """Bytes of the journal in the copy."""
        return max(0, self._size)

    def size_here(self) -> int:
        """Bytes of the local journal."""
        return self._journal.stat().st_size if self._journal.exists() else 0

    def flush(self) -> None:
        """Copy the journal as it is now, whatever was copied before: an incomplete last line is
        later overwritten.

        Raises:
            ResourceError: the storage cannot be reached.
        """
        self._copy(anew=True)

    def __enter__(self) -> "JournalMirror":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Copy the remainder.

        Raises:
            ResourceError: the storage cannot be reached.
        """
        self._over.set()
        self._thread.join()
        self._copy()

    def _follow(self) -> None:
        while not self._over.wait(_SOON):
            try:
                self._copy()
            except ResourceError:  # a storage may be temporarily unreachable; `close` reports it
                continue
            except LostLease:  # reported at the next write
                return

    def _copy(self, anew: bool = False) -> None:
        with self._copying:
            size = self.size_here()
            if size > 0 and (anew or size != self._size):
                self._mirror.write(self._journal)
                self._size = size
