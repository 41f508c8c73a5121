"""Listed but not yet decoded splits of a data set, as provided by every source.

Shapes: N images, H/W height and width, C channels.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from hopsearch.data.files.preprocessing import Pixels
from hopsearch.data.files.stratified_split import Indices

SUM = 16
"""Bytes of a hash of a file's contents."""


@dataclass(frozen=True)
class FilePart:
    """Image files on disk, in the order in which they will be decoded."""

    folder: Path
    names: tuple[str, ...]
    """Paths below ``folder``, with ``/`` on every system; absolute if an image is elsewhere."""
    sizes: tuple[int, ...]
    """Bytes of each file."""
    mtimes: tuple[int, ...]
    """Modification times in nanoseconds."""
    labels_N: Indices
    stamps: tuple[tuple[int, int], ...] = ()
    """Inode and time of the last change to it of each file: they detect a replaced file with the
    same size and time.
    """
    sums_N: npt.NDArray[np.uint8] = field(
        default_factory=lambda: np.empty((0, SUM), dtype=np.uint8), repr=False, compare=False
    )
    """Hash of each file's contents, `SUM` bytes; zeros if the file has not been read yet."""
    own_N: Indices = field(
        default_factory=lambda: np.empty((0, 2), dtype=np.int64), repr=False, compare=False
    )
    """Width and height of each image, upright; zeros if it has not been decoded in this process."""

    def __post_init__(self) -> None:
        if len(self.sums_N) != len(self.names):
            object.__setattr__(self, "sums_N", np.zeros((len(self.names), SUM), dtype=np.uint8))
        object.__setattr__(self, "own_N", np.zeros((len(self.names), 2), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index_M: Indices) -> "FilePart":
        """The listed images only, in that order."""
        picked = index_M.tolist()
        names, sizes, mtimes = (
            tuple(column[i] for i in picked) for column in (self.names, self.sizes, self.mtimes)
        )
        stamps = tuple(self.stamps[i] for i in picked) if self.stamps else ()
        return FilePart(
            self.folder, names, sizes, mtimes, self.labels_N[index_M], stamps, self.sums_N[index_M]
        )

    def followed_by(self, other: "FilePart") -> "FilePart":
        """The images of both, this split's first."""
        names = other.names
        if other.folder != self.folder:
            names = tuple((other.folder.absolute() / name).as_posix() for name in names)
        return FilePart(
            self.folder,
            self.names + names,
            self.sizes + other.sizes,
            self.mtimes + other.mtimes,
            np.concatenate([self.labels_N, other.labels_N]),
            self.stamps + other.stamps,
        )

    def open(self, index: int) -> Image.Image:
        """Open an image; its pixels are read later.

        Raises:
            OSError: not an image, or not readable.
        """
        return Image.open(self.folder / self.names[index])

    def read(self, index: int) -> bytes:
        """The file's contents; their hash is kept in ``sums_N``.

        Raises:
            OSError: not readable.
        """
        contents = (self.folder / self.names[index]).read_bytes()
        # An empty file has a hash too, so that zeros always mean "not read".
        self.sums_N[index] = np.frombuffer(
            hashlib.blake2b(contents, digest_size=SUM).digest(), dtype=np.uint8
        )
        return contents

    def name(self, index: int) -> str:
        """For messages."""
        return str(self.folder / self.names[index])

    def identity(self) -> str:
        """Hash of names, file sizes and labels: equal for the same files in the same tree."""
        return digest([*zip(self.names, self.sizes, self.labels_N.tolist(), strict=True)])

    def version(self) -> str:
        """Hash of `identity`, place, times and inodes: changes with every modification or
        replacement of a file on this machine.
        """
        return digest([self.identity(), str(self.folder.resolve()), self.mtimes, self.stamps])


@dataclass(frozen=True)
class ArrayPart:
    """Images that are already in memory."""

    title: str
    pixels: Pixels
    """(N, H, W) grey or (N, H, W, 3)."""
    labels_N: Indices

    def __len__(self) -> int:
        return len(self.labels_N)

    def take(self, index_M: Indices) -> "ArrayPart":
        """The listed images only, in that order."""
        return ArrayPart(self.title, self.pixels[index_M], self.labels_N[index_M])

    def open(self, index: int) -> Image.Image:
        """One image."""
        return Image.fromarray(self.pixels[index])

    def name(self, index: int) -> str:
        """For messages."""
        return f"{self.title} image {index}"

    def identity(self) -> str:
        """Hash of pixels and labels."""
        crcs = [
            zlib.crc32(np.ascontiguousarray(array).data) for array in (self.pixels, self.labels_N)
        ]
        return digest([self.pixels.shape, crcs])

    def version(self) -> str:
        """The same as `identity`: nothing else can change."""
        return self.identity()


Part = FilePart | ArrayPart


@dataclass(frozen=True)
class HeldOut:
    """A test split that has not been read."""

    count: int
    identity: str
    """Enters the fingerprint; must not need the pixels."""
    open: Callable[[], Part]
    """Lists the split, and for packed formats reads it."""
    listed: "Part | None" = None
    """The split, if it could be listed without reading it; its files' contents are then compared
    with the training images.
    """


@dataclass(frozen=True)
class Found:
    """How a data set was read, for the summary."""

    where: dict[str, str] = field(default_factory=dict)
    """Folders of ``train``, ``val``, ``test`` in words; an empty string for the data set's folder
    itself.
    """
    notes: tuple[str, ...] = ()
    """Decisions, in sentences."""
    passed_over: str = ""
    """Ignored files, in words."""
    as_before: bool = True
    """Whether versions that only supported ``train/`` and ``test/`` split it the same way."""


@dataclass(frozen=True)
class Source:
    """A data set as listed."""

    name: str
    classes: tuple[str, ...]
    flip: bool
    train: Part
    test: HeldOut | None
    """None: a test split is taken from ``train``."""
    val: FilePart | None = None
    """None: a validation split is taken from ``train``."""
    found: Found = Found()


def digest(value: object) -> str:
    """Short hash of plain values, the same in every process."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]
