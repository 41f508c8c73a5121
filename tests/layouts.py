"""Folders of photographs as people keep them, made by the tests that need one.

write_layout("train, valid, test", tmp_path / "photos")       # one of LAYOUTS
photographs(tmp_path / "photos" / "train", {"cat": 40, "dog": 8})   # JPEGs that can be told apart
by their class
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from hopsearch.core.seeds import derive

CLASSES = {"cat": 12, "dog": 6}


def photographs(
    folder: Path,
    classes: Mapping[str, int] = CLASSES,
    suffix: str = ".jpg",
    size: tuple[int, int] = (20, 16),
) -> Path:
    """A folder for each class with so many photographs; each class has a colour of its own, each
    picture its own noise.
    """
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            random = np.random.default_rng(derive(*folder.parts[-3:], name, number))
            pixels = random.integers(0, 120, (size[1], size[0], 3))
            pixels[..., label % 3] += 60 + 60 * (label // 3 % 2)
            Image.fromarray(pixels.astype(np.uint8)).save(
                folder / name / f"{number:03}{suffix}", quality=90
            )
    return folder


@dataclass(frozen=True)
class Layout:
    """A way to keep photographs, and what must become of it.

    Attributes:
        folders: class folders lie in each of these, with ``CLASSES`` images; empty text is the data
            set's own folder.
        given: the folder that must become each part; a part that is missing is cut off the training
            images.
        refused: instead: what the refusal must say.
        data: more settings; ``{root}`` is the folder.
        flat: folders with three images and no class folders.
        classes: other classes than ``CLASSES``, by folder.
    """

    folders: tuple[str, ...]
    given: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    data: Mapping[str, str] = field(default_factory=dict)
    flat: tuple[str, ...] = ()
    classes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


LAYOUTS = {
    "classes alone": Layout(("",), {"train": ""}),
    "train, test": Layout(("train", "test"), {"train": "train", "test": "test"}),
    "Training, Testing": Layout(("Training", "Testing"), {"train": "Training", "test": "Testing"}),
    "train, val": Layout(("train", "val"), {"train": "train", "val": "val"}),
    "train, valid, test": Layout(
        ("train", "valid", "test"), {"train": "train", "val": "valid", "test": "test"}
    ),
    "TRAIN, Validation": Layout(("TRAIN", "Validation"), {"train": "TRAIN", "val": "Validation"}),
    "nested doubles": Layout(
        ("seg_train/seg_train", "seg_test/seg_test"),
        {"train": "seg_train/seg_train", "test": "seg_test/seg_test"},
        flat=("seg_pred",),
    ),
    "train_images, dev_images, holdout_images": Layout(
        ("train_images", "dev_images", "holdout_images"),
        {"train": "train_images", "val": "dev_images", "test": "holdout_images"},
    ),
    "an archive's folder": Layout(
        ("photos/train", "photos/test", "__MACOSX/train"),
        {"train": "photos/train", "test": "photos/test"},
    ),
    "named elsewhere": Layout(
        ("a", "b", "c"),
        {"train": "a", "val": "b", "test": "c"},
        data={"source": "{root}/a", "val": "{root}/b", "test": "{root}/c"},
    ),
    "train alone": Layout(("train",), {"train": "train"}),
    "asl_alphabet": Layout(
        ("asl_alphabet_train", "asl_alphabet_test"),
        {"train": "asl_alphabet_train", "test": "asl_alphabet_test"},
    ),
    "val and test not wanted": Layout(
        ("train", "val", "test"),
        {"train": "train"},
        data={"source": "{root}", "val": "none", "test": "none"},
    ),
    "joined words": Layout(("traindata", "testdata"), {"train": "traindata", "test": "testdata"}),
    "test beside the classes, named": Layout(
        ("", "test"),
        {"train": "", "test": "test"},
        data={"source": "{root}", "test": "{root}/test"},
    ),
    "train, val, validation": Layout(
        ("train", "val", "validation"),
        refused="exactly one folder must contain the validation images",
    ),
    "test without train": Layout(("test", "pictures"), refused="must also have train/"),
    "other languages": Layout(("trening", "prøve"), refused="look like splits"),
    "folds": Layout(("fold1/train", "fold2/train"), refused="look like splits"),
    "places": Layout(("north/images", "south/images"), refused="look like splits"),
    "train, test, more": Layout(
        ("train", "test", "more"), refused="must be named val or test, got 'more'"
    ),
    "val_test": Layout(("train", "val_test"), refused="must be named val or test, got 'val_test'"),
    "test without classes": Layout(
        ("train",), flat=("test",), refused="test images must be in class folders"
    ),
    "parts without classes": Layout(
        (), flat=("train", "test"), refused="train/ must contain one folder per class"
    ),
    "a class called test": Layout(("",), flat=("test",), refused="test/ is named like a split"),
    "flat parts beside the classes": Layout(
        ("",),
        flat=("train_images", "test_images"),
        refused="test_images/ is named like a split",
    ),
    "flat sets beside the classes": Layout(
        ("",),
        flat=("training_set", "test_set"),
        refused="test_set/ is named like a split",
    ),
    "flat images_val beside the classes": Layout(
        ("",),
        flat=("images_train", "images_val"),
        refused="images_val/ is named like a split",
    ),
    "flat years beside the classes": Layout(
        ("",), flat=("train2017", "val2017"), refused="val2017/ is named like a split"
    ),
    "flat seg_test beside the classes": Layout(
        ("",), flat=("seg_train", "seg_test"), refused="seg_test/ is named like a split"
    ),
    "flat testimages beside the classes": Layout(
        ("",), flat=("testimages",), refused="testimages/ is named like a split"
    ),
    "parts below the classes": Layout(
        ("",),
        refused="split folders must be above the class folders",
        classes={"": {"cat/train": 3, "cat/test": 3, "dog/train": 3}},
    ),
    "test with other classes": Layout(
        ("train", "test"),
        refused="missing dog; not in train/: Dog",
        classes={"test": {"cat": 3, "Dog": 3}},
    ),
}
"""Ways to keep photographs by name: those that are understood first, then those that must be
refused.
"""


def write_layout(name: str, root: Path) -> dict[str, str]:
    """Write one of `LAYOUTS` below ``root``; returns the settings below ``data.`` that read it."""
    layout = LAYOUTS[name]
    for folder in layout.folders:
        photographs(root / folder, layout.classes.get(folder, CLASSES))
    for folder in layout.flat:
        photographs(root, {folder: 3})
    return {
        key: value.format(root=root) for key, value in (layout.data or {"source": "{root}"}).items()
    }
