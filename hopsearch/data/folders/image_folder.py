"""Image folders as a `Source`: lists splits, classes and images; no image is opened.

Any folder of class folders, with or without ``train/``, ``val/`` and ``test/`` above them; see
`layout_recognition`.
"""

from pathlib import Path

import numpy as np

from hopsearch.core.errors import DataError
from hopsearch.data.files.listed_parts import FilePart, Found, HeldOut, Source
from hopsearch.data.folders.layout_recognition import ADVICE, Layout, find_layout
from hopsearch.data.folders.listing import (
    IMAGE_SUFFIXES,
    PassedOver,
    Row,
    each_once,
    file_part,
    folders_in,
    holds_images,
    images_in,
    walk,
)
from hopsearch.data.folders.split_names import normal, read_name

__all__ = ["IMAGE_SUFFIXES", "open_folder"]
_NONE = "none"
_SHOWN = 5  # pairs of names


def open_folder(root: Path, val: str | None = None, test: str | None = None) -> Source:
    """List the images below ``root``; no image is opened.

    Hidden files and folders and files without an image suffix (in any case) are ignored and
    counted. Class folders may have subfolders.

    Args:
        root: the folder.
        val: folder of the validation images, if it is not in ``root``; ``none`` to split them off
            the training images.
        test: likewise for the test images.

    Raises:
        DataError: not a folder, no images, fewer than two classes, a class without images, classes
            that differ between the splits, or folders that look like splits but are ambiguous.
    """
    _require_folder(root, "data.source")
    elsewhere: dict[str, Path | None] = {}
    for part, text in (("val", val), ("test", test)):
        if text is not None:
            elsewhere[part] = None if text == _NONE else Path(text).expanduser()
            if path := elsewhere[part]:
                _require_folder(path, f"data.{part}", root)
    passed = PassedOver()
    layout = find_layout(root, elsewhere, passed)
    classes, rows = _list_parts(root, layout, passed)
    kept = each_once(rows, passed)
    parts = {
        part: file_part(root, [row for row in kept if row.part == part])
        for part in ("train", "val", "test")
    }
    _require_images(layout, parts, classes)
    folders = {"train": layout.train, "val": layout.val, "test": layout.test}
    where = {part: _shown(path, root) for part, path in folders.items() if path}
    found = Found(where, tuple(layout.notes), str(passed), _as_before(root, layout))
    held_out = parts["test"]
    test_part = (
        HeldOut(len(held_out), held_out.identity(), lambda: held_out, held_out)
        if layout.test
        else None
    )
    return Source(
        normal(root.resolve().name),
        classes,
        True,
        parts["train"],
        test_part,
        parts["val"] if layout.val else None,
        found,
    )


def _require_folder(path: Path, key: str, root: Path | None = None) -> None:
    if path.is_dir():
        return
    if path.exists():
        rule = "must be a folder of class folders, got a file"
        raise DataError(str(path), rule, "Set the folder that contains one folder per class")
    inside = root / path if root else path
    hint = f"Did you mean {key}={inside}?" if inside.is_dir() else "Check the path"
    raise DataError(str(path), "the image folder does not exist", hint)


def _list_parts(
    root: Path, layout: Layout, passed: PassedOver
) -> tuple[tuple[str, ...], list[Row]]:
    names: tuple[str, ...] = ()
    rows: list[Row] = []
    for part, folder in (("train", layout.train), ("val", layout.val), ("test", layout.test)):
        if folder is None:
            continue
        classes = _class_folders(folder, layout.aside, passed, part)
        if part == "train":
            names = tuple(classes)
            layout.notes += _alike(names)
        elif tuple(classes) != names:
            raise _other_classes(folder, names, tuple(classes), part)
        for label, class_folder in enumerate(classes.values()):
            listed = [
                Row(path, part, label, stat, linked)
                for path, stat, linked in walk(class_folder, passed, _is_linked(class_folder, root))
            ]
            rows += sorted(listed, key=lambda row: normal(row.path.as_posix()))
    return names, rows


def _is_linked(folder: Path, root: Path) -> bool:
    """Whether a symbolic link is on the path to a folder, from the data set's folder on."""
    return any(
        path.is_symlink()
        for path in (folder, *folder.parents)
        if path != root and path.is_relative_to(root)
    )


def _class_folders(
    folder: Path, aside: set[Path], passed: PassedOver, part: str
) -> dict[str, Path]:
    """Class folders by name (NFC), sorted; those without any file are not classes and are
    counted.
    """
    classes: dict[str, Path] = {}
    for path in folders_in(folder):
        name = normal(path.name)
        if path.resolve() in aside:
            continue
        if not holds_images(path) and not _holds_files(path):
            passed.empty.append(f"{path.relative_to(folder.parent).as_posix()}/")
            continue
        if name in classes:
            rule = (
                f"two folders are named {name!r}: their names differ only in how accents are "
                f"encoded (Unicode NFC and NFD)"
            )
            raise DataError(str(path), rule, "Rename one, or merge them")
        _refuse_parts_inside(path)
        classes[name] = path
    if len(classes) < (2 if part == "train" else 1):
        found = (
            f"one, {next(iter(classes))!r}"
            if classes
            else "images without a class"
            if images_in(folder)
            else "none"
        )
        hint = (
            ADVICE
            if part == "train"
            else f"{ADVICE}, or split it off the training images: data.{part}=none"
        )
        raise DataError(str(folder), f"at least two class folders are needed, got {found}", hint)
    return dict(sorted(classes.items()))


def _alike(names: tuple[str, ...]) -> list[str]:
    """A sentence about classes that a reader, or a case-insensitive file system, may take for
    one.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    alike = [
        " and ".join(repr(name) for name in group) for group in groups.values() if len(group) > 1
    ]
    if not alike:
        return []
    shown = ", ".join(alike[:_SHOWN]) + (", …" if len(alike) > _SHOWN else "")
    but = (
        "though their names differ only in case or spaces; if they are the same class, merge the "
        "folders"
    )
    return [f"warning: {shown} are different classes, {but}"]


def _refuse_parts_inside(class_folder: Path) -> None:
    inner = folders_in(class_folder)
    readings = [read_name(path.name) for path in inner]
    roles = {reading.role for reading in readings if reading.role}
    if len(roles) > 1 or any(reading.whole and reading.role != "train" for reading in readings):
        named = " and ".join(
            f"{path.name}/" for path, reading in zip(inner, readings, strict=True) if reading.role
        )
        rule = f"split folders must be above the class folders, got {named} inside class"
        raise DataError(str(class_folder), rule, f"{ADVICE}; if it is not a split, rename it")


def _holds_files(folder: Path) -> bool:
    probe = PassedOver()
    for _ in walk(folder, probe):
        break
    return bool(probe.suffixes)


def _require_images(layout: Layout, parts: dict[str, FilePart], classes: tuple[str, ...]) -> None:
    for part, folder in (("train", layout.train), ("val", layout.val), ("test", layout.test)):
        if folder is None:
            continue
        if not len(parts[part]):
            rule = f"no images found (files ending in {', '.join(sorted(IMAGE_SUFFIXES))})"
            linked = "; links to images listed elsewhere in the data set do not count"
            raise DataError(str(folder), rule + linked * holds_images(folder), ADVICE)
        counts = np.bincount(parts[part].labels_N, minlength=len(classes)).tolist()
        if 0 in counts:
            place = folder / classes[counts.index(0)]
            raise _without_images(place)


def _without_images(class_folder: Path) -> DataError:
    told = PassedOver()
    linked = class_folder.is_dir() and any(True for _ in walk(class_folder, told))
    held = "links to images listed elsewhere in the data set" if linked else str(told)
    rule = "every class folder must contain images, this one has none" + (
        f", but {held}" if held else ""
    )
    return DataError(str(class_folder), rule, "Add images, or remove the folder")


def _other_classes(
    folder: Path, wanted: tuple[str, ...], got: tuple[str, ...], part: str
) -> DataError:
    missing = sorted(set(wanted) - set(got))
    extra = sorted(set(got) - set(wanted))
    told = [f"missing {', '.join(missing[:5])}"] * bool(missing) + [
        f"not in train/: {', '.join(extra[:5])}"
    ] * bool(extra)
    hint = "Rename or add class folders"
    if {name.casefold() for name in missing} & {name.casefold() for name in extra}:
        hint = "Use the same case in both names"
    rule = f"the classes must be the same as in train/; {'; '.join(told)}"
    return DataError(
        str(folder), rule, f"{hint}, or split it off the training images: data.{part}=none"
    )


def _shown(path: Path, root: Path) -> str:
    inside = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{inside}/" if str(inside) != "." else ""


def _as_before(root: Path, layout: Layout) -> bool:
    """Whether versions that hashed names and sizes split this folder the same way:
    `Source.found`.
    """
    if layout.val:
        return False
    if layout.train == root:
        return not layout.test and not layout.aside
    return layout.train == root / "train" and layout.test in (None, root / "test")
