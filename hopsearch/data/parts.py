"""What every source gives: parts of a data set, listed but not yet decoded.

Shapes: N images, H/W height and width, C channels.
"""

import hashlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from hopsearch.data.split import Indices

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FilePart:
    """Image files on disk, in the order in which they will be decoded."""

    folder: Path
    names: tuple[str, ...]
    """Paths below ``folder``, with ``/`` on every system."""
    sizes: tuple[int, ...]
    """Bytes of each file."""
    mtimes: tuple[int, ...]
    """Modification times in nanoseconds."""
    labels_N: Indices

    def __len__(self) -> int:
        return len(self.names)

    def take(self, index_M: Indices) -> "FilePart":
        """The listed images only, in that order."""
        picked = index_M.tolist()
        names, sizes, mtimes = (tuple(column[i] for i in picked) for column in (self.names, self.sizes, self.mtimes))
        return FilePart(self.folder, names, sizes, mtimes, self.labels_N[index_M])

    def open(self, index: int) -> Image.Image:
        """Open an image; its pixels are read later.

        Raises:
            OSError: not an image, or not readable.
        """
        return Image.open(self.folder / self.names[index])

    def name(self, index: int) -> str:
        """For messages."""
        return str(self.folder / self.names[index])

    def identity(self) -> str:
        """Hash of names, file sizes and labels: equal wherever the same files lie in the same tree."""
        return digest([*zip(self.names, self.sizes, self.labels_N.tolist(), strict=True)])

    def version(self) -> str:
        """Hash of `identity`, place and modification times: changes with every edit of a file on this machine."""
        return digest([self.identity(), str(self.folder.resolve()), self.mtimes])


@dataclass(frozen=True)
class ArrayPart:
    """Images that are in memory already."""

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
        crcs = [zlib.crc32(np.ascontiguousarray(array).data) for array in (self.pixels, self.labels_N)]
        return digest([self.pixels.shape, crcs])

    def version(self) -> str:
        """The same as `identity`: nothing else can change."""
        return self.identity()


Part = FilePart | ArrayPart


@dataclass(frozen=True)
class HeldOut:
    """A test part that nobody has read."""

    count: int
    identity: str
    """Enters the fingerprint; must not need the pixels."""
    open: Callable[[], Part]
    """Lists, and for packed formats reads, the part."""


@dataclass(frozen=True)
class Source:
    """A data set as listed."""

    name: str
    classes: tuple[str, ...]
    flip: bool
    train: Part
    test: HeldOut | None
    """None: a test part is split off ``train``."""


def digest(value: Any) -> str:
    """Short hash of plain values, the same in every process."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:24]
