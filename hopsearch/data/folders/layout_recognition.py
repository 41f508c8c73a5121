"""Recognises the layout of a folder, its training, validation and test images: `find_layout`.

A folder is a split by its name (`split_names`) and because it contains class folders. What
looks like a split but is ambiguous is refused: a wrong guess would tune on the wrong images.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hopsearch.core.errors import DataError
from hopsearch.data.folders.listing import (
    PassedOver,
    folders_in,
    holds_images,
    images_in,
    pass_over_files,
    walk,
)
from hopsearch.data.folders.object_detection import refuse_detection
from hopsearch.data.folders.split_names import Reading, Role, normal, read_name

ADVICE = (
    "Arrange the images as <folder>/<class>/<image>, or <folder>/train/<class>/<image> with val/ "
    "and test/ next to train/"
)
_KEYS = (
    "or name the folders: data=<folder of the training classes> data.val=<folder> "
    "data.test=<folder>"
)
_PARTS: tuple[Role, ...] = ("val", "test")


@dataclass
class Layout:
    """The folders of a data set; each contains class folders."""

    train: Path
    val: Path | None = None
    test: Path | None = None
    notes: list[str] = field(default_factory=list)
    """Decisions, in sentences."""
    aside: set[Path] = field(default_factory=set)
    """Folders next to the class folders that are not classes, resolved."""


def find_layout(root: Path, elsewhere: dict[str, Path | None], passed: PassedOver) -> Layout:
    """Find the splits below ``root``; no image is opened.

    Args:
        root: the folder given as the data set.
        elsewhere: folders given for ``val`` and ``test``; None for a split to be taken from the
            training images even if there is a folder of that name.
        passed: counts what is ignored.

    Raises:
        DataError: something looks like a split but is ambiguous.
    """
    place = _go_down(root, top=True)
    layout = Layout(place, aside={path.resolve() for path in elsewhere.values() if path})
    if place != root:
        layout.notes.append(f"the images are in {place.relative_to(root)}/")
    folders = [path for path in folders_in(place) if path.resolve() not in layout.aside]
    refuse_detection([place, *folders, *(path for path in elsewhere.values() if path)])
    parts = _parts_among(folders)
    if any(parts.values()):
        _take_parts(folders, parts, elsewhere, layout, passed)
    else:
        _refuse_flat_parts(folders, elsewhere, layout)
        _refuse_unknown_parts(place, folders)
    val = elsewhere.get("val") or layout.val
    test = elsewhere.get("test") or layout.test
    layout.train = _go_down(layout.train)
    layout.val = val and _go_down(val)
    layout.test = test and _go_down(test)
    refuse_detection([path for path in (layout.train, layout.val, layout.test) if path])
    _count_on_the_way(root, elsewhere, layout, passed)
    return layout


def _count_on_the_way(
    root: Path, elsewhere: dict[str, Path | None], layout: Layout, passed: PassedOver
) -> None:
    """Count the files next to splits and class folders, from the given folders downwards."""
    levels: dict[Path, Path] = {}
    for part, folder in (("train", layout.train), ("val", layout.val), ("test", layout.test)):
        top = elsewhere.get(part) or root
        for level in (folder, *folder.parents) if folder else ():
            levels.setdefault(level.resolve(), level)
            if level == top:
                break
    for level in levels.values():
        pass_over_files(level, passed)


def _go_down(folder: Path, top: bool = False) -> Path:
    """Descend through folders that contain only one folder of folders, as unpacked archives often
    do.

    At the ``top``, do not descend into a lone ``train/``, which is a split.
    """
    place = folder
    while True:
        inner = folders_in(place)
        if len(inner) != 1 or images_in(place) or images_in(inner[0]):
            return place
        below = folders_in(inner[0])
        if not below or (top and len(below) > 1 and read_name(inner[0].name).role):
            return place
        place = inner[0]


def _parts_among(folders: list[Path]) -> dict[Role, list[Path]]:
    parts: dict[Role, list[Path]] = {"train": [], "val": [], "test": []}
    for folder in folders:
        role = read_name(folder.name).role
        if role and any(holds_images(inner) for inner in folders_in(folder)):
            parts[role].append(folder)
    return parts


def _take_parts(
    folders: list[Path],
    parts: dict[Role, list[Path]],
    elsewhere: dict[str, Path | None],
    layout: Layout,
    passed: PassedOver,
) -> None:
    place = layout.train
    for role in _PARTS:
        if role in elsewhere and parts[role]:
            layout.notes.append(f"{_listed(parts[role])} not used, as data.{role}= says")
            layout.aside |= {path.resolve() for path in parts[role]}
            folders = [folder for folder in folders if folder not in parts[role]]
            parts[role] = []
    for role, found in parts.items():
        if len(found) > 1:
            rule = f"exactly one folder must contain the {_word(role)} images, got {_listed(found)}"
            raise DataError(str(place), rule, f"Move one of them elsewhere, {_KEYS}")
    held = [folder for role in _PARTS for folder in parts[role]]
    if not parts["train"]:
        if held:
            rule = f"a folder with {held[0].name}/ must also have train/"
            raise DataError(
                str(place), rule, f"Put the folders of the training classes into train/, {_KEYS}"
            )
        return  # class folders next to splits that data.val and data.test exclude
    layout.train = parts["train"][0]
    layout.val, layout.test = (next(iter(parts[role]), None) for role in _PARTS)
    for folder in folders:
        if folder not in (layout.train, *held):
            _pass_over(folder, elsewhere, layout, passed)


def _pass_over(
    folder: Path, elsewhere: dict[str, Path | None], layout: Layout, passed: PassedOver
) -> None:
    """Refuse a folder next to the splits that could be one; count the others."""
    reading = read_name(folder.name)
    files = PassedOver()
    if not any(True for _ in walk(folder, files)):
        if reading.role and files.suffixes and reading.role not in elsewhere:
            hint = f"Convert them, or split it off the training images: data.{reading.role}=none"
            raise DataError(
                str(folder),
                f"the {_word(reading.role)} folder must contain images, got {files}",
                hint,
            )
        passed.empty.append(f"{folder.name}/")
    elif reading.role in elsewhere:
        layout.notes.append(f"{folder.name}/ not used, as data.{reading.role}= says")
    elif any(holds_images(inner) for inner in folders_in(folder)):
        beside = (
            f"next to {layout.train.name}/, a folder of class folders must be named val or test"
        )
        hint = f"Rename it, or move it elsewhere, {_KEYS}"
        raise DataError(str(folder), f"{beside}, got {folder.name!r}, which is neither", hint)
    elif reading.role or reading.several:
        role = reading.role or "test"
        hint = (
            f"Put its images into class folders, move it elsewhere, or split it off the training "
            f"images: data.{role}=none"
        )
        raise DataError(
            str(folder),
            f"the {_word(role)} images must be in class folders, got images without a class",
            hint,
        )
    else:
        count = len(images_in(folder))
        layout.notes.append(f"{folder.name}/ not used: {count:,} images without class folders")


def _refuse_flat_parts(
    folders: list[Path], elsewhere: dict[str, Path | None], layout: Layout
) -> None:
    """Refuse class folders that are named like splits, if no folder is a split with class
    folders.
    """
    readings = {folder: read_name(folder.name) for folder in folders if images_in(folder)}
    for folder in _called_like_parts(readings):
        reading = readings[folder]
        if reading.role in elsewhere:
            layout.notes.append(f"{folder.name}/ not used, as data.{reading.role}= says")
            layout.aside.add(folder.resolve())
            del readings[folder]
    roles = {reading.role for reading in readings.values()}
    if readings and None not in roles and (len(roles) > 1 or len(readings) == 1):
        rule = (
            f"{_listed(list(readings))} must contain one folder per class, got images without a "
            f"class"
        )
        raise DataError(str(layout.train), rule, ADVICE)
    held = [folder for folder in _called_like_parts(readings) if readings[folder].role != "train"]
    if held:
        rule = (
            f"{held[0].name}/ is named like a split, but is next to class folders and contains none"
        )
        hint = (
            "If it is a class, put all class folders into a folder named train/; if it is a split, "
            "give it class folders"
        )
        raise DataError(
            str(held[0]), rule, f"{hint}, or leave it out: data.{readings[held[0]].role}=none"
        )
    classes = [folder for folder, reading in readings.items() if reading.role or reading.several]
    layout.notes += [
        f"{folder.name}/ is read as a class: it is next to class folders and contains none"
        for folder in classes
    ]


def _called_like_parts(readings: dict[Path, Reading]) -> list[Path]:
    """Folders named exactly like splits, or whose names differ only by the split: ``seg_train``,
    ``seg_test``.
    """
    roles: dict[tuple[str, ...], set[Role]] = {}
    for reading in readings.values():
        if reading.role:
            roles.setdefault(reading.rest, set()).add(reading.role)
    apart = [rest for rest, found in roles.items() if len(found) > 1]
    return [
        folder
        for folder, reading in readings.items()
        if reading.whole or (reading.role and reading.rest in apart)
    ]


def _refuse_unknown_parts(place: Path, folders: list[Path]) -> None:
    """Refuse folders that contain the same class folders: they are splits with unknown names."""
    plain = [folder for folder in folders if not images_in(folder)]
    below = {
        folder: {normal(inner.name) for inner in folders_in(_go_down(folder))} for folder in plain
    }
    unclear = [folder for folder in below if below[folder] and read_name(folder.name).several]
    if len(below) > 1 and not unclear:
        common = set.intersection(*below.values())
        every = set.union(*below.values())
        unclear = list(below) if len(common) > 1 and 2 * len(common) >= len(every) else []
    if unclear:
        rule = f"{_listed(unclear[:5])} look like splits, but are not named train, val or test"
        raise DataError(
            str(place),
            rule,
            f"Rename them, {_KEYS}; if they are classes, put them into one folder named train/",
        )


def _listed(folders: list[Path]) -> str:
    return " and ".join(f"{folder.name}/" for folder in folders)


def _word(role: str) -> str:
    return {"train": "training", "val": "validation"}.get(role, role)
