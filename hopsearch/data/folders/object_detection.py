"""Detects folders arranged for object detection or segmentation, which are refused, since images
have no single class there.
"""

from pathlib import Path

from hopsearch.core.errors import DataError
from hopsearch.data.folders.listing import PassedOver, folders_in, holds_images, walk

_IMAGES = frozenset(["images", "image", "img", "imgs", "jpegimages"])
_BOXES = frozenset(["labels", "label", "annotations", "annotation", "annots", "bboxes", "xmls"])
_MASKS = frozenset(
    [
        "masks",
        "mask",
        "segmentation",
        "segmentations",
        "segmentationclass",
        "segmentationobject",
        "trimaps",
    ]
)
_ADVICE = (
    "Arrange the images by class: <folder>/train/<class>/<image> or <folder>/<class>/<image>, "
    "e.g. each box cropped into the folder of its class; if the two are classes, rename them"
)


def refuse_detection(places: list[Path]) -> None:
    """Refuse folders that contain images/ next to labels/ or masks/.

    Args:
        places: where such pairs may be.

    Raises:
        DataError: one contains such a pair.
    """
    for place in places:
        inner = {path.name.lower(): path for path in folders_in(place)}
        images = [path for name, path in inner.items() if name in _IMAGES and holds_images(path)]
        if not images:
            continue
        for name, path in sorted(inner.items()):
            if name in _MASKS and holds_images(path):
                _refuse(place, images[0], path, "masks, as for segmentation")
            if name in _BOXES:
                _refuse(
                    place,
                    images[0],
                    path,
                    f"{_kept(path)}, as for object detection (YOLO, VOC, COCO)",
                )


def _kept(folder: Path) -> str:
    """The contents of a folder of labels, in words."""
    passed = PassedOver()
    count = sum(1 for _ in walk(folder, passed))
    kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in passed.suffixes.most_common(2))
    return kinds + " files" if kinds else f"{count:,} images" if count else "no files"


def _refuse(place: Path, images: Path, other: Path, held: str) -> None:
    rule = (
        f"images must be in one folder per class, got {images.name}/ next to {other.name}/ with "
        f"{held}"
    )
    raise DataError(str(place), rule, _ADVICE)
