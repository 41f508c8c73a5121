"""A folder's copy in a storage that outlives the machine: ``s3://bucket/path``, ``gs://…``, or a path that all machines share."""

from pathlib import Path

import pyarrow.fs

from hopsearch.errors import CheckpointError

_BLOCK = 1 << 22


class Mirror:
    """Keeps a local folder and its copy alike. One process at a time writes to a copy.

    Args:
        uri: where the copy is.

    Raises:
        CheckpointError: the storage cannot be reached or is of an unknown kind.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        try:
            self._files, self._root = pyarrow.fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        self._pushed: dict[str, tuple[int, int]] = {}

    def push(self, folder: Path) -> None:
        """Copy what has changed since the last `push` or `pull`, then remove what is no longer there.

        New files come first: a process killed in between leaves more than needed, never less.
        """
        here = {file.name: _stamp(file) for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")}
        try:
            self._files.create_dir(self._root, recursive=True)
            for name in sorted(here):
                if self._pushed.get(name) != here[name]:
                    self._copy_up(folder / name, f"{self._root}/{name}")
            for name in set(self._names()) - set(here):
                self._files.delete_file(f"{self._root}/{name}")
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        self._pushed = here

    def pull(self, folder: Path) -> None:
        """Bring what the copy has and the folder has not."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name in self._names():
                if not (folder / name).exists():
                    self._copy_down(f"{self._root}/{name}", folder / name)
        except (OSError, pyarrow.ArrowException) as error:
            raise self._lost(error) from error
        self._pushed = {name: _stamp(folder / name) for name in self._names()}

    def _names(self) -> list[str]:
        found = self._files.get_file_info(pyarrow.fs.FileSelector(self._root, allow_not_found=True))
        return [info.base_name for info in found if info.is_file and not info.base_name.startswith(".")]

    def _copy_up(self, source: Path, target: str) -> None:
        # Under another name first: an object store shows a file when it is whole, a shared disk as it grows.
        head, _, name = target.rpartition("/")
        scratch = f"{head}/.{name}"
        with source.open("rb") as file, self._files.open_output_stream(scratch) as out:
            while block := file.read(_BLOCK):
                out.write(block)
        self._files.move(scratch, target)

    def _copy_down(self, source: str, target: Path) -> None:
        scratch = target.with_name(f".{target.name}")
        with self._files.open_input_stream(source) as file, scratch.open("wb") as out:
            while block := file.read(_BLOCK):
                out.write(block)
        scratch.replace(target)

    def _lost(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            self._uri, f"the storage must be reachable and writable, got: {error}", "Check the address and rights"
        )


def _stamp(file: Path) -> tuple[int, int]:
    facts = file.stat()
    return facts.st_size, facts.st_mtime_ns
