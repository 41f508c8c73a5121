"""What lies in an image folder beside images by class: counted, said, or refused with what is
expected; never read as a class.
"""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from hopsearch import predict
from hopsearch.core.errors import DataError
from hopsearch.data import DataConfig, load, splits
from hopsearch.data.files.original_sizes import Originals
from tests.layouts import photographs


def facts(folder, **words):
    return load(
        DataConfig(source=str(folder), image_size=words.pop("image_size", 8), **words)
    ).facts


def line(found, start: str) -> str:
    (only,) = [one for one in found.summary if one.strip().startswith(start)]
    return only.strip()


# Pipes


def test_pipes_and_sockets_called_like_images_are_passed_over_as_what_they_are(
    tmp_path, monkeypatch
):
    photographs(tmp_path / "train")
    os.mkfifo(tmp_path / "train" / "cat" / "x.png")
    os.mkfifo(tmp_path / "train" / "y.png")
    os.mkfifo(tmp_path / "train" / "dog" / "pipe")
    (tmp_path / "train" / "dog" / "endless.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("z.png")
        found = facts(tmp_path)
    assert line(found, "ignored") == "ignored: 5 special files (pipe, socket or device)"
    assert found.n_train + found.n_val + found.n_test == 18


@pytest.mark.timeout(20)
def test_predict_refuses_a_pipe_instead_of_waiting_for_it(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(
        DataError,
        match=r"x\.png: must be an image file or a folder of images, got a pipe, .*Save it to",
    ):
        predict.main(["model=nowhere", str(tmp_path / "x.png")])


# Files on the way to the classes


def test_files_at_every_level_above_the_classes_are_counted_once(tmp_path):
    photos = tmp_path / "photos"
    photographs(photos / "set" / "train")
    photographs(photos / "set" / "test" / "all")
    for place in (".", "set", "set/train", "set/test", "set/test/all"):
        (photos / place / "read.me").write_text("x")
        (photos / place / ".hidden").write_text("x")
    photographs(photos / "set", {"train": 1})
    assert line(facts(photos), "ignored") == (
        "ignored: 5 .me (not a supported image format), 5 hidden, 1 images outside every "
        "class folder"
    )


def test_files_beside_classes_without_parts_are_counted_once(tmp_path):
    photos = photographs(tmp_path / "photos")
    (photos / "labels.csv").write_text("a,b")
    (photos / ".git").mkdir()
    assert (
        line(facts(photos), "ignored") == "ignored: 1 .csv (not a supported image format), 1 hidden"
    )


def test_files_in_folders_that_are_named_elsewhere_are_counted(tmp_path):
    for part in "abc":
        photographs(tmp_path / part)
        (tmp_path / part / "list.txt").write_text("x")
    found = facts(tmp_path / "a", val=str(tmp_path / "b"), test=str(tmp_path / "c"))
    assert line(found, "ignored") == "ignored: 3 .txt (not a supported image format)"


# Names that look alike


def test_classes_that_differ_in_case_or_spaces_alone_are_told(tmp_path):
    photographs(tmp_path / "train", {"Dog": 6, "dog": 6, "sea lion": 6, "sealion ": 6, "eel": 6})
    photographs(tmp_path / "test", {"Dog": 3, "dog": 3, "sea lion": 3, "sealion ": 3, "eel": 3})
    found = facts(tmp_path)
    assert line(found, "warning") == (
        "warning: 'Dog' and 'dog', 'sea lion' and 'sealion ' are different classes, though their "
        "names differ only in case or spaces; if they are the same class, merge the folders"
    )
    photographs(tmp_path / "other", {"Dog": 6, "cat": 6})
    assert not [one for one in facts(tmp_path / "other").summary if "warning" in one]


# Sizes of the originals


def grey(folder, sizes):
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            noise = np.random.default_rng([number, ord(name[0])]).integers(
                0, 256, size[::-1], dtype=np.uint8
            )
            Image.fromarray(noise).save(folder / name / f"{number:02}.png")
    return folder


def test_sizes_of_originals_are_told_also_from_the_cache(tmp_path):
    grey(tmp_path / "few", [(20, 16)] * 6 + [(6, 30)] * 4)
    for _ in range(2):
        found = facts(tmp_path / "few", test=str(grey_test(tmp_path)))
        assert (
            line(found, "originals")
            == "originals: 20 × 16 px (12), 6 × 30 px (8); 8 smaller than 8 px, enlarged"
        )
        splits.forget()
    grey(tmp_path / "many", [(20 + number, 16 + number) for number in range(6)] + [(22, 18)] * 4)
    found = facts(tmp_path / "many", test=str(tmp_path / "test"))
    assert (
        line(found, "originals")
        == "originals: 6 sizes from 20 × 16 to 25 × 21 px, most often 22 × 18 (10)"
    )


def grey_test(tmp_path):
    if not (tmp_path / "test").exists():
        grey(tmp_path / "test", [(9, 9)])
    return tmp_path / "test"


def test_nothing_is_told_of_images_that_are_used_as_they_are(tmp_path):
    assert not [
        one
        for one in facts(grey(tmp_path / "own", [(8, 8)] * 6), image_size=None).summary
        if "originals" in one
    ]
    assert (
        line(facts("digits", image_size=16), "originals")
        == "originals: 8 × 8 px (1,528); 1,528 smaller than 16 px, enlarged"
    )
    assert not [one for one in facts("digits", image_size=None).summary if "originals" in one]


def test_a_cache_of_an_older_version_is_still_read(tmp_path):
    cache = tmp_path / "cache"
    before = facts(grey(tmp_path / "few", [(20, 16)] * 6), cache=str(cache))
    for file in cache.glob("*.json"):
        text = file.read_text()
        start = text.index(', "originals"')
        file.write_text(text[:start] + "}")
    splits.forget()
    after = facts(tmp_path / "few", cache=str(cache))
    assert after == before
    assert not [one for one in after.summary if "originals" in one]


def test_a_turned_photograph_counts_as_it_is_seen():
    own = np.array([[3, 4], [4, 3], [4, 3], [0, 0]])
    found = Originals.of(own, 4)
    assert (found.kinds, found.commonest, found.enlarged) == (2, ((4, 3, 2), (3, 4, 1)), 3)
    assert Originals.of(own[3:], 4) is None


# Object detection and segmentation


def text_files(folder, suffix=".txt", count=6):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number:03}{suffix}").write_text("0 0.5 0.5 0.1 0.1\n")


def yolo(root):
    for part in ("train", "val"):
        photographs(root / "images", {part: 6})
        text_files(root / "labels" / part)
    (root / "data.yaml").write_text("nc: 2")
    return "", "12 .txt files, as for object detection"


def exported(root):
    for part in ("train", "valid", "test"):
        photographs(root / part, {"images": 6})
        text_files(root / part / "labels")
    return "test", "6 .txt files, as for object detection"


def one_folder(root):
    photographs(root / "set", {"images": 6})
    text_files(root / "set" / "labels")
    return "set", "6 .txt files, as for object detection"


def voc(root):
    photographs(root, {"JPEGImages": 6, "SegmentationClass": 6})
    text_files(root / "Annotations", ".xml")
    return "", "6 .xml files, as for object detection"


def coco(root):
    photographs(root / "images", {"train2017": 6, "val2017": 6})
    text_files(root / "annotations", ".json", 1)
    return "", "1 .json files, as for object detection"


def segmentation(root):
    photographs(root / "train", {"images": 6, "masks": 6})
    photographs(root / "test", {"images": 6, "masks": 6})
    return "test", "masks, as for segmentation"


def painted_labels(root):
    photographs(root, {"images": 6, "labels": 6})
    return "", "6 images, as for object detection"


@pytest.mark.parametrize(
    "write", [yolo, exported, one_folder, voc, coco, segmentation, painted_labels]
)
def test_folders_for_detection_and_segmentation_are_refused_with_what_is_expected(tmp_path, write):
    place, held = write(tmp_path / "photos")
    with pytest.raises(DataError) as caught:
        facts(tmp_path / "photos")
    text = str(caught.value)
    assert text.startswith(
        f"{tmp_path / 'photos' / place}: images must be in one folder per class, got "
    )
    assert held in text
    assert "Arrange the images by class: <folder>/train/<class>/<image>" in text


def test_a_validation_folder_for_detection_is_refused_wherever_it_is(tmp_path):
    photographs(tmp_path / "photos")
    exported(tmp_path / "boxes")
    with pytest.raises(DataError, match=r"boxes/valid: images must be in one folder per class"):
        facts(tmp_path / "photos", val=str(tmp_path / "boxes" / "valid"))


def test_classes_called_images_or_labels_alone_are_classes(tmp_path):
    photographs(tmp_path / "one", {"images": 6, "drawings": 6})
    photographs(tmp_path / "other", {"labels": 6, "masks": 6})
    assert facts(tmp_path / "one").classes == ("drawings", "images")
    assert facts(tmp_path / "other").classes == ("labels", "masks")
