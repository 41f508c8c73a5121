"""Walks through image folders: each file once, skipping circular links, and counting everything
that is ignored.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG

import numpy as np

from hopsearch.core.errors import DataError
from hopsearch.data.files.listed_parts import FilePart

IMAGE_SUFFIXES = frozenset(
    [
        ".bmp",
        ".gif",
        ".jfif",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


@dataclass(frozen=True)
class Row:
    """An image file as listed."""

    path: Path
    part: str
    """train, val or test."""
    label: int
    stat: os.stat_result
    linked: bool
    """Whether a symbolic link below the data set's folder leads to it."""


@dataclass
class PassedOver:
    """Ignored contents of the folders."""

    suffixes: Counter[str] = field(default_factory=Counter)
    """Files without an image suffix, by suffix."""
    special: int = 0
    """Pipes, sockets and devices, whatever their names."""
    hidden: int = 0
    """Files and folders whose names start with a dot, and macOS's."""
    outside: int = 0
    """Images next to the class folders instead of in one."""
    empty: list[str] = field(default_factory=list)
    """Folders without any image."""
    loops: int = 0
    """Links to a folder above them."""
    twice: int = 0
    """Links to images that are listed at their own location."""

    def add(self, other: "PassedOver") -> None:
        """Add the counts of ``other``."""
        self.suffixes += other.suffixes
        self.empty += other.empty
        for name in ("special", "hidden", "outside", "loops", "twice"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in self.suffixes.most_common(6))
        shown = ", ".join(self.empty[:3]) + (", …" if len(self.empty) > 3 else "")
        said = [f"{kinds} (not a supported image format)"] * bool(self.suffixes)
        said += [
            f"{self.special:,} special file{'s' * (self.special > 1)} (pipe, socket or device)"
        ] * bool(self.special)
        said += [f"{self.hidden:,} hidden"] * bool(self.hidden)
        said += [f"{self.outside:,} images outside every class folder"] * bool(self.outside)
        said += [
            f"{len(self.empty):,} folder{'s' * (len(self.empty) > 1)} without images ({shown})"
        ] * bool(self.empty)
        said += [f"{self.loops:,} link{'s' * (self.loops > 1)} to a folder above"] * bool(
            self.loops
        )
        said += [
            f"{self.twice:,} second path{'s' * (self.twice > 1)} to a file listed already"
        ] * bool(self.twice)
        return ", ".join(said)


def is_hidden(name: str) -> bool:
    """Whether files and folders of that name are ignored."""
    return name.startswith(".") or name == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by its suffix, in any case."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def folders_in(folder: Path) -> list[Path]:
    """Visible folders in ``folder``, sorted; without links to a folder above."""
    return [Path(entry) for entry, is_folder in _visible(folder, PassedOver()) if is_folder]


def images_in(folder: Path) -> list[Path]:
    """Visible images directly in ``folder``."""
    files = [entry for entry, is_folder in _visible(folder, PassedOver()) if not is_folder]
    return [Path(entry) for entry in files if is_image(entry.name) and not _is_special(entry)]


def pass_over_files(folder: Path, passed: PassedOver) -> None:
    """Count everything directly in ``folder``, which contains class folders or splits, except
    folders to descend into.
    """
    for entry, is_folder in _visible(folder, passed):
        if is_folder:
            continue
        if is_image(entry.name) and not _is_special(entry):
            passed.outside += 1
        else:
            _pass_over(entry, passed)


def holds_images(folder: Path) -> bool:
    """Whether there is an image in ``folder`` or below."""
    return next(walk(folder, PassedOver()), None) is not None


def walk(
    folder: Path,
    passed: PassedOver,
    linked: bool = False,
    lost_too: bool = False,
    closed: Callable[[Path, str], None] | None = None,
) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """Every visible image in ``folder`` and below: path, status, and whether a symbolic link leads
    to it.

    Args:
        folder: where to start.
        passed: counts what is ignored.
        linked: whether a link leads to ``folder`` itself.
        lost_too: whether broken links are yielded, with their own status, instead of refused.
        closed: called with an unreadable folder below ``folder`` and the reason; the others are
            used. None: raise.

    Raises:
        DataError: a broken link, or an unreadable folder.
    """
    seen = set()  # folders by device and inode: one reached twice is visited once
    waiting = [(folder, linked)]
    while waiting:
        place, linked = waiting.pop()
        try:
            here = _open(place)
        except DataError as error:
            if closed is None or place == folder:
                raise
            closed(place, error.rule)
            continue
        if (here.st_dev, here.st_ino) in seen:
            passed.loops += 1
            continue
        seen.add((here.st_dev, here.st_ino))
        for entry, is_folder in _visible(place, passed):
            link = linked or entry.is_symlink()
            if is_folder:
                waiting.append((Path(entry), link))
            elif is_image(entry.name) and (stat := _status(entry, lost_too)):
                yield Path(entry), stat, link
            else:
                _pass_over(entry, passed)


def _visible(folder: Path, passed: PassedOver) -> Iterator[tuple[os.DirEntry[str], bool]]:
    """The visible entries of a folder, sorted, and whether each is a folder; hidden entries and
    circular links are counted.
    """
    for entry in _entries(folder):
        is_folder = _is_folder(entry)
        if is_hidden(entry.name):
            passed.hidden += 1
        elif is_folder and _leads_back(entry):
            passed.loops += 1
        else:
            yield entry, is_folder


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into an inaccessible folder
        return False


def _pass_over(entry: os.DirEntry[str], passed: PassedOver) -> None:
    if _is_special(entry):
        passed.special += 1
    else:
        passed.suffixes[os.path.splitext(entry.name)[1].lower() or "without a suffix"] += 1


def _is_special(entry: os.DirEntry[str]) -> bool:
    """Whether reading it might block: a pipe, a socket, a device, or a link to one."""
    try:
        return not entry.is_file() and (not entry.is_symlink() or os.path.exists(entry.path))
    except OSError:
        return False


def _status(entry: os.DirEntry[str], lost_too: bool) -> os.stat_result | None:
    """The status of a file; None for anything else, e.g. a pipe, which might block."""
    try:
        stat = entry.stat()
    except OSError as error:
        if lost_too:
            return entry.stat(follow_symlinks=False)
        rule = f"every listed image must exist: {error.strerror}"
        raise DataError(entry.path, rule, "Repair or remove the link") from None
    return stat if S_ISREG(stat.st_mode) else None


def _leads_back(entry: os.DirEntry[str]) -> bool:
    """Whether a link leads to a folder that contains it."""
    if not entry.is_symlink():
        return False
    here = Path(os.path.realpath(os.path.dirname(entry.path)))
    return Path(os.path.realpath(entry.path)) in (here, *here.parents)


def each_once(rows: Sequence[Row], passed: PassedOver) -> list[Row]:
    """Drop links to files that are listed at their own location, and list each file once per class
    of a split.

    A file in several classes or splits (hard links, links to a file elsewhere) stays in each:
    comparing contents detects and reports it.
    """
    real = {
        (row.stat.st_dev, row.stat.st_ino) for row in rows if not row.linked and row.stat.st_ino
    }
    kept = []
    seen = set()
    for row in rows:
        file = row.stat.st_dev, row.stat.st_ino
        if file[1] and ((row.linked and file in real) or (file, row.part, row.label) in seen):
            passed.twice += 1
            continue
        seen.add((file, row.part, row.label))
        kept.append(row)
    return kept


def file_part(root: Path, rows: Sequence[Row]) -> FilePart:
    """Rows as a split, named relative to ``root`` if below it."""
    names = []
    for row in rows:
        inside = row.path.is_relative_to(root)
        names.append((row.path.relative_to(root) if inside else row.path.absolute()).as_posix())
    return FilePart(
        root,
        tuple(names),
        tuple(row.stat.st_size for row in rows),
        tuple(row.stat.st_mtime_ns for row in rows),
        np.array([row.label for row in rows], dtype=np.int64),
        tuple((row.stat.st_ino, row.stat.st_ctime_ns) for row in rows),
    )


def _open(folder: Path) -> os.stat_result:
    """The status of a readable folder."""
    try:
        with os.scandir(folder):
            return folder.stat()
    except OSError as error:
        raise _closed(folder, error) from None


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise _closed(folder, error) from None


def _closed(folder: Path, error: OSError) -> DataError:
    return DataError(
        str(folder), f"the folder must be readable: {error.strerror}", "Check its permissions"
    )
