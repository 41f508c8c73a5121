"""Hashes of image files' contents: recorded while decoding, read from the cache, or computed; and
duplicate images.

Shapes: N images.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hopsearch.core.atomic_writes import written_whole
from hopsearch.core.errors import DataError
from hopsearch.data.files.decoding import in_threads
from hopsearch.data.files.listed_parts import SUM, FilePart, digest
from hopsearch.data.files.reading_progress import counted
from hopsearch.data.files.stratified_split import Indices

Sums = npt.NDArray[np.uint8]


def keep_sums(folder: Path, part: FilePart) -> None:
    """Cache the hashes of a split whose files were all read, if the cache is writable."""
    if part.sums_N.any(axis=1).all():
        with contextlib.suppress(OSError):  # then they are recomputed at every start
            folder.mkdir(parents=True, exist_ok=True)
            with written_whole(_file(folder, part), durable=True) as scratch:
                scratch.write_bytes(part.sums_N.tobytes())


def sums_of(folder: Path, part: FilePart) -> Sums:
    """Hashes (N, `SUM`) of the contents: already known, from the cache if no file has changed, or
    computed by reading all files.

    Raises:
        DataError: a file cannot be read.
    """
    if not part.sums_N.any(axis=1).all():
        with contextlib.suppress(OSError, ValueError):
            kept = np.frombuffer(_file(folder, part).read_bytes(), dtype=np.uint8)
            part.sums_N[:] = kept.reshape(len(part), SUM)
            return part.sums_N
        with contextlib.closing(
            in_threads(lambda index: _read(part, index), len(part))
        ) as problems:
            for problem in counted("comparing", problems, len(part)):
                if problem:
                    raise DataError(*problem)
        keep_sums(folder, part)
    return part.sums_N


def _read(part: FilePart, index: int) -> tuple[str, str, str] | None:
    try:
        part.read(index)
    except OSError as error:
        return (
            part.name(index),
            f"the image file must be readable: {error.strerror}",
            "Check its permissions, or remove it",
        )
    return None


def _file(folder: Path, part: FilePart) -> Path:
    return folder / f"{digest(['contents', part.version()])}.sums"


@dataclass(frozen=True)
class Listed:
    """Some images of a data set, for comparing their contents."""

    title: str
    """training, validation or test."""
    part: FilePart
    index_N: Indices
    """Positions in the split."""

    def keys(self) -> npt.NDArray[np.uint64]:
        """Half of each hash: a collision among a million images occurs once in a million data
        sets.
        """
        return self.part.sums_N[self.index_N].view("<u8")[:, 0]

    def labels(self) -> Indices:
        """Label of each image."""
        return self.part.labels_N[self.index_N]

    def name(self, position: int) -> str:
        """Path below the split's folder."""
        return self.part.names[int(self.index_N[position])]


def twice(first: Listed, second: Listed) -> str:
    """A sentence about images of ``second`` that are also in ``first``; empty if there are none."""
    ours = first.keys()
    theirs = second.keys()
    found = np.flatnonzero(np.isin(theirs, ours))
    if not len(found):
        return ""
    other = int(np.flatnonzero(ours == theirs[found[0]])[0])
    verb = "images are" if len(found) > 1 else "image is"
    share = len(found) / len(second.index_N)
    return (
        f"warning: {len(found):,} {second.title} {verb} also among the {first.title} images "
        f"({share:.0%} of the {second.title} "
        f"images; same contents, e.g. {second.name(int(found[0]))} = {first.name(other)}): "
        f"{second.title} accuracy is too high"
    )


def two_classes(lists: list[Listed], classes: tuple[str, ...]) -> str:
    """A sentence about pictures that have two labels; empty if there are none."""
    keys = np.concatenate([one.keys() for one in lists])
    labels = np.concatenate([one.labels() for one in lists])
    pairs = np.unique(np.stack([keys, labels.astype(np.uint64)], axis=1), axis=0)
    shared = pairs[:-1][pairs[1:, 0] == pairs[:-1, 0], 0]
    if not len(shared):
        return ""
    names = [
        one.name(position)
        for one in lists
        for position in range(len(one.index_N))
        if one.keys()[position] == shared[0]
    ]
    found = [
        (name, classes[label]) for name, label in zip(names, labels[keys == shared[0]], strict=True)
    ]
    example = " and ".join(
        f"{name} ({label})"
        for name, label in dict(zip((c for _, c in found), found, strict=True)).values()
    )
    count = len(np.unique(shared))
    verb = "pictures are" if count > 1 else "picture is"
    return (
        f"warning: {count:,} {verb} in more than one class (same contents), e.g. {example}: no "
        f"model can classify both correctly"
    )
