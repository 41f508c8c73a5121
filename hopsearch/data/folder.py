"""Image folders: ``<folder>/train/<class>/*`` and ``<folder>/test/<class>/*``, or one ``<folder>/<class>/*`` that is split."""

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from hopsearch.errors import DataError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
_DEFAULT_SIZE = 224
_PROBED = 64  # images whose headers decide the natural size


@dataclass(frozen=True)
class Files:
    """Image files of one split with their labels."""

    root: Path
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]

    def identity(self) -> list[str]:
        """A line a file: relative path, size, time of change."""
        return [f"{path.relative_to(self.root)} {(stat := path.stat()).st_size} {stat.st_mtime_ns}" for path in self.paths]


def scan(root: Path) -> tuple[Files, Files | None]:
    """The training files of an image folder, and its test files where it has a test split.

    Raises:
        DataError: no folder, no images, one class only, or splits whose classes differ.
    """
    if not root.exists():
        raise DataError(f"data={root}", "the image folder must exist, got nothing there", "Check the path")
    if not root.is_dir():
        raise DataError(f"data={root}", "must be a folder of class folders, got a file", "Give the folder that holds the classes")
    if not (root / "train").is_dir():
        return _classes(root), None
    train = _classes(root / "train")
    held_out = next((root / name for name in ("test", "val") if (root / name).is_dir()), None)
    if held_out is None:
        return train, None
    test = _classes(held_out)
    if test.classes != train.classes:
        odd = sorted(set(test.classes) ^ set(train.classes))
        rule = f"train and {held_out.name} must have the same classes, got {', '.join(odd[:5])} in one of them only"
        raise DataError(str(root), rule, "Rename or remove the odd ones")
    return train, test


def natural_size(files: Files) -> int:
    """The images' side where all (of a sample) are squares of one size, else 224."""
    sizes = set()
    for path in files.paths[:: max(1, len(files.paths) // _PROBED)]:
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
        except (OSError, UnidentifiedImageError):
            continue
    size = next(iter(sizes), (0, 1))
    return size[0] if len(sizes) == 1 and size[0] == size[1] else _DEFAULT_SIZE


def channels_of(files: Files) -> int:
    """1 where all (of a sample) are greyscale, else 3."""
    modes = set()
    for path in files.paths[:: max(1, len(files.paths) // _PROBED)]:
        try:
            with Image.open(path) as image:
                modes.add(image.mode)
        except (OSError, UnidentifiedImageError):
            continue
    return 1 if modes and modes <= {"L", "1", "I;16"} else 3


def decode(
    files: Files, size: int, channels: int, on_corrupt: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[str]]:
    """Decode all files to (N, C, size, size), the shorter side resized bicubically and the centre cropped.

    Returns:
        Images, labels, and the names of the files that were skipped.

    Raises:
        DataError: an image cannot be decoded and ``on_corrupt`` is ``refuse``.
    """
    images = np.empty((len(files.paths), channels, size, size), np.uint8)

    def one(index: int) -> str:
        try:
            images[index] = _decode_one(files.paths[index], size, channels)
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return f"{files.paths[index]} ({error})"
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # PIL decodes without holding the interpreter
        problems = list(pool.map(one, range(len(files.paths)), chunksize=256))
    bad = [problem for problem in problems if problem]
    if bad and on_corrupt == "refuse":
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        rule = f"every image must be readable, got {bad[0]}{more}"
        raise DataError(str(files.root), rule, "Remove it, or skip such images with data.on_corrupt=skip")
    keep = np.array([not problem for problem in problems])
    labels = np.asarray(files.labels, np.int64)
    return (images, labels, []) if not bad else (images[keep], labels[keep], bad)


def _decode_one(path: Path, size: int, channels: int) -> npt.NDArray[np.uint8]:
    with Image.open(path) as opened:
        image: Image.Image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I") or image.mode == "F":  # 16-bit: scale to 8 instead of clipping
            deep = np.asarray(image, np.float64)
            image = Image.fromarray((deep / (257.0 if deep.max() > 255 else 1.0)).astype(np.uint8))
        if image.mode in ("RGBA", "LA", "P", "PA"):
            rgba = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _classes(root: Path) -> Files:
    found: list[tuple[Path, str]] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
        found += [(path, folder.name) for path in files]
    classes = tuple(sorted({name for _, name in found}))
    if not found:
        rule = f"must hold images in class folders, got no {', '.join(sorted(_SUFFIXES)[:4])}, … below it"
        raise DataError(str(root), rule, "Lay it out as <class>/<image>")
    if len(classes) < 2:
        raise DataError(
            str(root), f"must have at least two classes, got one: {classes[0]}", "Give the folder above the class folders"
        )
    label = {name: index for index, name in enumerate(classes)}
    return Files(root, tuple(path for path, _ in found), tuple(label[name] for _, name in found), classes)


def require_enough(labels: Sequence[int], classes: Sequence[str], parts: int, place: str) -> None:
    """Refuse a class with fewer images than there are splits to put one in.

    Raises:
        DataError: naming the class.
    """
    counts = Counter(labels)
    for index, name in enumerate(classes):
        if counts[index] < parts:
            rule = f"every class needs an image in each of {parts} splits, got {counts[index]} of {name!r}"
            raise DataError(place, rule, "Add images or remove the class")
