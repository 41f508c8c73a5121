"""A cache of decoded images on disk, so that a machine decodes a data set only once.

A split is two files, ``<key>.npy`` (uint8, N C H W) and ``<key>.json`` (shape, checksum, skipped
images). The second is written last and marks the first as complete. Both appear by rename, so that
a reader never sees a partial file; a lock keeps a second process from decoding the same data, and
on file systems without locks both decode it and the last rename wins.
"""

import contextlib
import json
import os
import warnings
import zlib
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock

from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.errors import ConfigError, DataError
from hopsearch.data.files.content_hashes import keep_sums
from hopsearch.data.files.decoding import decode_all, refuse_corrupt
from hopsearch.data.files.listed_parts import FilePart, Part, digest
from hopsearch.data.files.original_sizes import Originals
from hopsearch.data.files.preprocessing import Pixels
from hopsearch.data.files.reading_progress import counted

_LAYOUT_VERSION = 2  # part of every key: change it when the format of the files changes


@dataclass(frozen=True)
class Decoded:
    """A split's pixels and which of its images are missing."""

    images_NCHW: Pixels
    skipped: tuple[int, ...]
    """Positions in the split that could not be read; the others are consecutive in
    ``images_NCHW``.
    """
    mapped: bool
    """Whether the pixels stay on disk, shared with other processes."""
    originals: Originals | None = None
    """Original sizes of the images; None if unknown."""


_Form = tuple[int, int, float]  # pixels per side, channels, and the share of a side that is used


@dataclass(frozen=True)
class _Manifest:
    shape: tuple[int, ...]
    crc32: int
    skipped: tuple[int, ...]
    originals: Originals | None = None


def cache_folder(setting: str | None) -> Path:
    """The folder of decoded images: the setting, ``$HOPSEARCH_CACHE``, or
    ``~/.cache/hopsearch``.

    Raises:
        ConfigError: ``~`` cannot be expanded to a home directory.
    """
    known = os.environ.get("HOPSEARCH_CACHE")
    folder = Path(setting or known or "~/.cache/hopsearch")
    try:
        return folder.expanduser()
    except RuntimeError:  # a user without a home directory, or an unknown user
        place = "data.cache" if setting else "environment: HOPSEARCH_CACHE"
        rule = f"~ must expand to a home directory, got {str(folder)!r} and no such home"
        raise ConfigError(
            place, rule, "Set it to a full path, e.g. HOPSEARCH_CACHE=/tmp/hopsearch"
        ) from None


def cached_format(folder: Path, key: str) -> tuple[int, int] | None:
    """Pixels per side and channels of a split decoded earlier, without opening its images."""
    manifest = _read_manifest(folder / f"{key}.json")
    return (manifest.shape[2], manifest.shape[1]) if manifest else None


def part_key(part: Part, image_size: int | None, on_corrupt: str) -> str:
    """Name of a split's files: depends on every file's path, size and modification time, on the
    order, and on the output format.
    """
    return digest([_LAYOUT_VERSION, part.version(), image_size, on_corrupt])


def read_part(
    folder: Path,
    key: str,
    part: Part,
    size: int,
    channels: int,
    skip: bool,
    memory_limit: int,
    crop_pct: float = 1.0,
) -> Decoded:
    """Pixels of a split from the cache, decoded first if missing.

    If the cache cannot be written (full, read-only), there is only a warning if the pixels fit
    ``memory_limit``.

    Raises:
        DataError: an unreadable image unless ``skip``; no image readable; no space for a split
            above ``memory_limit``.
    """
    needed = len(part) * channels * size * size
    if found := _read(folder, key, memory_limit):
        return found
    with _locked(folder, key):
        if found := _read(folder, key, memory_limit):  # another process was faster
            return found
        if needed > memory_limit:
            _decode_to_disk(folder, key, part, (size, channels, crop_pct), skip)
            _keep_sums(folder, part)
            if found := _read(folder, key, memory_limit):
                return found
            raise DataError(
                str(folder),
                "the cache was corrupt immediately after writing",
                "Check the disk, or set data.cache",
            )
        decoded = _decode_to_memory(part, (size, channels, crop_pct), skip)
        _keep_sums(folder, part)
        try:
            _write(folder, key, [decoded.images_NCHW], part, decoded.skipped)
        except OSError as error:
            warnings.warn(
                (
                    f"{folder}: decoded images cannot be cached ({error.strerror}); they are "
                    f"decoded again at every start"
                ),
                stacklevel=3,
            )
        return decoded


def _keep_sums(folder: Path, part: Part) -> None:
    if isinstance(part, FilePart):
        keep_sums(folder, part)


def _decode_to_memory(part: Part, form: _Form, skip: bool) -> Decoded:
    size, channels, _ = form
    images_NCHW = np.empty((len(part), channels, size, size), dtype=np.uint8)
    skipped: list[int] = []
    count = 0
    # closed by Ctrl-C too: threads stop
    with contextlib.closing(_good_rows(part, form, skip, skipped)) as rows:
        for count, row in enumerate(rows, 1):
            images_NCHW[count - 1] = row
    _require_some(part, count)
    return Decoded(
        images_NCHW[:count], tuple(skipped), mapped=False, originals=_originals(part, size)
    )


def _decode_to_disk(folder: Path, key: str, part: Part, form: _Form, skip: bool) -> None:
    size, channels, _ = form
    skipped: list[int] = []
    try:
        with contextlib.closing(_good_rows(part, form, skip, skipped)) as rows:
            _write(folder, key, (row[None] for row in rows), part, skipped)
    except OSError as error:
        gib = len(part) * channels * size * size / 2**30
        hint = (
            f"Free {gib:.1f} GiB there, set data.cache to another folder, or lower data.image_size"
        )
        raise DataError(
            str(folder), f"the decoded images must fit the cache: {error.strerror}", hint
        ) from None


def _good_rows(
    part: Part, form: _Form, skip: bool, skipped: list[int]
) -> Generator[Pixels, None, None]:
    with contextlib.closing(decode_all(part, *form)) as decoded:
        for index, row in enumerate(counted("decoding", decoded, len(part))):
            if not isinstance(row, str):
                yield row
            elif skip:
                skipped.append(index)
            else:
                raise refuse_corrupt(part, index, row)


def _originals(part: Part, size: int) -> Originals | None:
    return Originals.of(part.own_N, size) if isinstance(part, FilePart) else None


def _require_some(part: Part, count: int) -> None:
    if count == 0:
        raise DataError(
            part.name(0),
            f"at least one image must be readable, got {len(part)} unreadable ones",
            "Check the files",
        )


def _write(
    folder: Path,
    key: str,
    blocks: Iterator[Pixels] | list[Pixels],
    part: Part,
    skipped: list[int] | tuple[int, ...],
) -> None:
    """Write blocks of rows one after the other; ``skipped`` is read when all are written."""
    most = len(part)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / f"{key}.npy", durable=True) as scratch, scratch.open("xb") as file:
        shape = (0,)
        crc = 0
        rows = 0
        header = 0
        for block in blocks:
            block = np.ascontiguousarray(block)
            if not header:
                header = _write_header(file, (most, *block.shape[1:]))
            file.write(block.data)
            crc = zlib.crc32(block.data, crc)
            rows = rows + len(block)
            shape = block.shape[1:]
        if rows == 0:
            raise DataError(
                str(folder / key),
                f"at least one image must be readable, got {most} unreadable ones",
                "Check the files",
            )
        file.seek(0)
        # numpy leaves room for the first axis to grow: the length is the same
        _write_header(file, (rows, *shape))
    manifest = _Manifest((rows, *shape), crc, tuple(skipped), _originals(part, shape[-1]))
    with written_whole(folder / f"{key}.json", durable=True) as scratch:
        scratch.write_text(json.dumps(asdict(manifest)), encoding="utf-8")


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> int:
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _read(folder: Path, key: str, memory_limit: int) -> Decoded | None:
    manifest = _read_manifest(folder / f"{key}.json")
    if manifest is None:
        return None
    path = folder / f"{key}.npy"
    mapped = int(np.prod(manifest.shape)) > memory_limit
    try:
        # "c": pages are shared between processes, and a stray write stays in this one.
        images_NCHW = np.load(path, mmap_mode="c" if mapped else None, allow_pickle=False)
        whole = images_NCHW.shape == manifest.shape and images_NCHW.dtype == np.uint8
        # A mapped file is not read through: its length is checked by the mapping itself.
        whole = whole and (mapped or zlib.crc32(images_NCHW.data) == manifest.crc32)
    except (OSError, ValueError, EOFError):
        whole = False
    if not whole:
        warnings.warn(
            f"{path}: the cached decoded images are corrupt; decoding again", stacklevel=3
        )
        return None
    return Decoded(images_NCHW, manifest.skipped, mapped, manifest.originals)


def _read_manifest(path: Path) -> _Manifest | None:
    try:
        values = json.loads(path.read_bytes())
        shape = tuple(int(length) for length in values["shape"])
        # not from an older version
        originals = Originals.from_json(values["originals"]) if values.get("originals") else None
        return (
            _Manifest(shape, int(values["crc32"]), tuple(values["skipped"]), originals)
            if len(shape) == 4
            else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def _locked(folder: Path, key: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        # no lock here: decode twice at worst
        with contextlib.suppress(OSError, NotImplementedError):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(folder / f"{key}.lock"))
        yield
