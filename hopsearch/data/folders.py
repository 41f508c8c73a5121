"""Image folders: ``train/<class>/*`` with ``test/<class>/*`` (or ``val/``), or ``<class>/*`` alone."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hopsearch.data.parts import FilePart, HeldOut, Source
from hopsearch.errors import DataError

IMAGE_SUFFIXES = frozenset([".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"])
_LAYOUT = "Lay the images out as <folder>/<class>/<image>, or <folder>/train/<class>/<image> beside <folder>/test/<class>/<image>"


def open_folder(root: Path) -> Source:
    """List the images below ``root``; no image is opened.

    Hidden files and folders and files that are no images by their suffix (in any case) are passed over. Class folders may have
    folders of their own.

    Raises:
        DataError: not a folder, no images, fewer than two classes, a class without images, or test classes that are not
            the training classes.
    """
    if not root.is_dir():
        if root.exists():
            rule = "must be a folder of class folders, got a file"
            raise DataError(str(root), rule, "Give the folder that holds one folder for each class")
        raise DataError(str(root), "the image folder must exist, got nothing there", "Check the path")
    parts = {path.name: path for path in _folders_in(root)}
    if "train" not in parts:
        if held := [name for name in ("test", "val") if name in parts]:
            raise DataError(str(root), f"a folder with {held[0]}/ must have train/ too", _LAYOUT)
        classes, part = _list_part(root, root)
        return Source(root.resolve().name, classes, True, part, None)
    classes, train = _list_part(parts["train"], root)
    if {"test", "val"} <= parts.keys():
        warnings.warn(f"{root}: val/ is not read; the validation part is split off train/", stacklevel=2)
    folder = parts.get("test", parts.get("val"))
    return Source(root.resolve().name, classes, True, train, None if folder is None else _held_out(folder, root, classes))


def _list_part(folder: Path, root: Path) -> tuple[tuple[str, ...], FilePart]:
    class_folders = _folders_in(folder)
    if len(class_folders) < 2:
        found = f"one, {class_folders[0].name!r}" if class_folders else "none"
        if not class_folders and next(_images_in(folder), None):
            found = "images without a class"
        raise DataError(str(folder), f"at least two class folders are needed, got {found}", _LAYOUT)
    listed = [_stat_images(class_folder, root) for class_folder in class_folders]
    rows, counts = [row for rows in listed for row in rows], [len(rows) for rows in listed]
    if not rows:
        raise DataError(str(folder), f"no images found (files ending in {', '.join(sorted(IMAGE_SUFFIXES))})", _LAYOUT)
    if 0 in counts:
        empty = class_folders[counts.index(0)]
        raise DataError(str(empty), "every class folder must hold images, this one has none", "Add images, or remove the folder")
    names, sizes, mtimes = zip(*rows, strict=True)
    return tuple(path.name for path in class_folders), FilePart(
        root, names, sizes, mtimes, np.repeat(np.arange(len(counts)), counts)
    )


def _held_out(folder: Path, root: Path, classes: tuple[str, ...]) -> HeldOut:
    test_classes, part = _list_part(folder, root)
    if test_classes != classes:
        missing, extra = sorted(set(classes) - set(test_classes)), sorted(set(test_classes) - set(classes))
        told = [f"missing {', '.join(missing[:5])}"] * bool(missing) + [f"not in train/: {', '.join(extra[:5])}"] * bool(extra)
        raise DataError(str(folder), f"the classes must be those of train/; {'; '.join(told)}", "Rename or add class folders")
    return HeldOut(len(part), part.identity(), lambda: part)


def _stat_images(folder: Path, root: Path) -> list[tuple[str, int, int]]:
    """Name below ``root``, size in bytes and modification time in ns of each image in ``folder``, sorted by name."""
    rows = []
    for path in _images_in(folder):
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(str(path), f"every listed image must be there: {error.strerror}", "Mend or remove the link") from None
        rows.append((path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns))
    return sorted(rows)


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _images_in(folder: Path) -> Iterator[Path]:
    for place, inner, files in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not _is_hidden(name)]
        for name in files:
            if not _is_hidden(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES:
                yield Path(place, name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
