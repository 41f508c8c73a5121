"""Resolves ``data.source`` to a `Source`: the built-in digits, torchvision's data sets, or an image
folder.
"""

import contextlib
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hopsearch.core.config import choices
from hopsearch.core.errors import DataError
from hopsearch.data.files.listed_parts import ArrayPart, FilePart, HeldOut, Source
from hopsearch.data.folders.image_folder import open_folder


def open_source(
    text: str, downloads: Path, val: str | None = None, test: str | None = None
) -> Source:
    """Find and list a data set. A known name takes precedence over a folder of that name, which can
    be written as ``./<name>``.

    Args:
        text: ``digits``, ``<set>:<dir>`` for a torchvision set, or an image folder.
        downloads: folder of torchvision sets if none is given.
        val, test: folders of an image folder's splits, see `open_folder`.

    Raises:
        DataError: unknown name, missing folder, a data set that does not exist and cannot be
            downloaded, or see `open_folder`.
    """
    name, colon, folder = text.partition(":")
    if name in SOURCES:
        if name == "digits" and colon:
            raise DataError(
                f"data.source={text}", "digits are built in and take no folder", "Write digits"
            )
        if name == "imagenet" and not folder:
            raise DataError(
                f"data.source={text}",
                "imagenet needs its folder",
                "Write imagenet:<folder>",
            )
        if given := [f"data.{part}" for part, value in (("val", val), ("test", test)) if value]:
            raise DataError(
                given[0],
                f"only an image folder can have splits in other folders, got data.source={text}",
                "Leave it out",
            )
        return SOURCES[name](Path(folder).expanduser() if folder else downloads)
    path = Path(text).expanduser()
    if not text or not (path.exists() or _looks_like_path(text)):
        rule = (
            "neither a known data set nor a folder" if text else "a data set is needed, got nothing"
        )
        raise DataError(
            f"data.source={text}",
            rule,
            f"{choices(name, SOURCES)}; or set the path of an image folder",
        )
    return open_folder(path, val, test)


def _looks_like_path(text: str) -> bool:
    name = text.partition(":")[0]
    return text.startswith((".", "~")) or "/" in name or os.sep in name


def _digits(_: Path) -> Source:
    # Read from scikit-learn's files: importing it takes a second, in every worker.
    package = find_spec("sklearn")
    assert package is not None, "this package depends on it"
    file = Path(str(package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    values_NV = np.loadtxt(file, delimiter=",")
    # 0 … 16 to 0 … 255
    pixels = np.rint(values_NV[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    part = ArrayPart("digits", pixels, values_NV[:, -1].astype(np.int64))
    return Source("digits", tuple(str(digit) for digit in range(10)), False, part, None)


def _packed(
    name: str, torchvision_class: str, test_images: int, flip: bool
) -> Callable[[Path], Source]:
    """A torchvision set that keeps all its images in a few files."""

    def read(folder: Path, train: bool) -> tuple[ArrayPart, tuple[str, ...]]:
        found = _torchvision(name, torchvision_class, folder, train)
        part = ArrayPart(name, np.asarray(found.data), np.asarray(found.targets, dtype=np.int64))
        return part, tuple(found.classes)

    def open_packed(folder: Path) -> Source:
        part, classes = read(folder, True)
        return Source(
            name, classes, flip, part, HeldOut(test_images, name, lambda: read(folder, False)[0])
        )

    return open_packed


def _imagenet(folder: Path) -> Source:
    def read(split: str) -> tuple[FilePart, tuple[str, ...]]:
        from torchvision.datasets import ImageNet

        try:
            found = ImageNet(str(folder), split=split)
        except (RuntimeError, OSError) as error:
            hint = (
                "Put the three ILSVRC2012 archives there; if the images are already unpacked, set "
                "data.source to their folder"
            )
            raise DataError(f"imagenet:{folder}", _one_line(error), hint) from None
        stats = [os.stat(path) for path, _ in found.samples]
        names = tuple(Path(path).relative_to(folder).as_posix() for path, _ in found.samples)
        labels_N = np.array(found.targets, dtype=np.int64)
        sizes = tuple(stat.st_size for stat in stats)
        mtimes = tuple(stat.st_mtime_ns for stat in stats)
        return FilePart(folder, names, sizes, mtimes, labels_N), tuple(
            words[0] for words in found.classes
        )

    train, classes = read("train")
    return Source(
        "imagenet", classes, True, train, HeldOut(50_000, "imagenet", lambda: read("val")[0])
    )


def _torchvision(name: str, class_name: str, folder: Path, train: bool) -> Any:
    import torchvision.datasets  # local import: takes a second

    build = getattr(torchvision.datasets, class_name)
    place = f"{name}:{folder}"
    # "not found", damaged: the download below reports the error
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        return build(str(folder), train=train)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{name}.lock"):  # several workers of one machine start at once
            return build(str(folder), train=train, download=True)
    except (RuntimeError, OSError, ValueError) as error:
        rule = f"the data set is not in the folder and cannot be downloaded: {_one_line(error)}"
        raise DataError(
            place,
            rule,
            "Copy torchvision's files there, or run once on a machine with network access",
        ) from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


SOURCES: dict[str, Callable[[Path], Source]] = {
    "digits": _digits,
    "cifar10": _packed("cifar10", "CIFAR10", 10_000, True),
    "cifar100": _packed("cifar100", "CIFAR100", 10_000, True),
    "fashion_mnist": _packed("fashion_mnist", "FashionMNIST", 10_000, False),
    "imagenet": _imagenet,
}
"""Known names, mapped to their listing functions; anything else is an image folder."""
