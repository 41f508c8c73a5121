"""Every way to keep photographs gives the right split, or is refused with a remedy; what was found
is said.
"""

import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from hopsearch.core.errors import DataError
from hopsearch.data import DataConfig, Splits, load, splits
from hopsearch.data.files.listed_parts import FilePart
from hopsearch.data.files.reading_progress import watched_by
from hopsearch.data.folders.split_names import read_name
from tests.layouts import CLASSES, LAYOUTS, photographs, write_layout

UNDERSTOOD = [name for name, layout in LAYOUTS.items() if not layout.refused]
REFUSED = [name for name, layout in LAYOUTS.items() if layout.refused]
TOTAL = sum(CLASSES.values())


def pictures(images) -> set[bytes]:
    return {image.numpy().tobytes() for image in images.images_NCHW}


def said(found: Splits) -> str:
    return "\n".join(found.facts.summary)


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_layout_gives_the_right_split(name, tmp_path):
    given = LAYOUTS[name].given
    found = load(DataConfig(**write_layout(name, tmp_path / "photos"), image_size=8))
    parts = {"train": found.train, "val": found.val, "test": found.read_test()}
    assert found.facts.classes == tuple(CLASSES)
    for part, folder in given.items():
        config = DataConfig(
            source=str(tmp_path / "photos" / folder), image_size=8, val="none", test="none"
        )
        alone = load(config)
        whole = pictures(alone.train) | pictures(alone.val) | pictures(alone.read_test())
        assert pictures(parts[part]) <= whole, f"{part} is from {folder}"
    for part in ("val", "test"):
        if part in given:
            assert parts[part].labels_N.bincount().tolist() == list(CLASSES.values()), (
                "a part that is given is taken whole"
            )
    if {"val", "test"} <= given.keys():
        assert found.facts.train_by_class == tuple(CLASSES.values()), (
            "nothing is cut off the training images"
        )
    assert (
        len(parts["train"]) + sum(len(parts[part]) for part in ("val", "test") if part not in given)
        == TOTAL
    )
    assert (found.facts.n_train, found.facts.n_val, found.facts.n_test) == tuple(
        map(len, parts.values())
    )
    for part, folder in given.items():
        assert LAYOUTS[name].data or not folder or f"({folder}/)" in said(found), (
            f"the summary says where {part} is from"
        )
    for part, word in (("val", "validation part"), ("test", "test part")):
        whole = (
            "all images"
            if part == "test" and "cut off all images" in said(found)
            else "the training images"
        )
        where = (
            f"folder {Path(given[part]).name}"
            if part in given
            else f"15% cut off {whole} by split_seed"
        )
        assert found.facts.parts[word] == where, "so does whatever speaks of its accuracy"


@pytest.mark.parametrize("name", REFUSED)
def test_what_looks_like_a_split_and_is_not_understood_is_refused(name, tmp_path):
    with pytest.raises(DataError, match=LAYOUTS[name].refused) as caught:
        load(DataConfig(**write_layout(name, tmp_path / "photos")))
    assert caught.value.hint, "with a remedy"


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(
            (word, "train")
            for word in (
                "train",
                "Training",
                "TRAIN",
                "seg_train",
                "train_images",
                "trainset",
                "TrainData",
                "train2017",
            )
        ),
        *(
            (word, "val")
            for word in (
                "val",
                "Valid",
                "validation",
                "dev",
                "my-val-set",
                "val2017",
                "ValidationImages",
            )
        ),
        *(
            (word, "test")
            for word in (
                "test",
                "TESTING",
                "holdout",
                "hold-out",
                "Hold_Out",
                "eval",
                "asl_alphabet_test",
                "XMLTest",
            )
        ),
        *(
            (word, None)
            for word in (
                "contest",
                "latest",
                "restrain",
                "cat",
                "evaluate_me",
                "train-test",
                "val_test",
                "medieval",
                "2017",
            )
        ),
    ],
)
def test_names_of_parts(name, role):
    assert read_name(name).role == role


def test_the_summary_says_what_was_found(tmp_path):
    photographs(tmp_path / "train", {"cat": 30, "dog": 10, "eel": 10})
    photographs(tmp_path / "val", {"cat": 3, "dog": 2, "eel": 2})
    for number in range(4):
        (tmp_path / "train" / "cat" / f"{number}.HEIC").write_bytes(b"apple")
    (tmp_path / "train" / "labels.csv").write_text("a,b")
    (tmp_path / "train" / "dog" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "fox").mkdir()
    (tmp_path / "notes").mkdir()
    photographs(tmp_path, {"train": 2}, ".bmp")
    found = load(DataConfig(source=str(tmp_path), image_size=8, val_fraction=0.3))
    lines = found.facts.summary
    assert lines[0] == f"data {tmp_path}: 57 images, 3 classes (cat, dog, eel), 8 × 8 px, RGB"
    assert lines[1] == (
        "  training 44 (train/); validation 7 (val/); test 6 (15% cut off train/ by "
        "data.split_seed: there is no test folder)"
    )
    assert lines[2] == "  largest class: cat, 59% of the training images"
    assert "  data.val_fraction has no effect: that split is a folder" in lines
    (passed,) = [line for line in lines if line.startswith("  ignored: ")]
    assert passed == (
        "  ignored: 4 .heic, 1 .csv (not a supported image format), 1 hidden, 2 images "
        "outside every class folder, "
        "2 folders without images (notes/, train/fox/)"
    )
    assert not [line for line in lines if "warning" in line]


def test_a_class_without_images_that_can_be_read_is_refused(tmp_path):
    photographs(tmp_path)
    (tmp_path / "eel").mkdir()
    for number in range(3):
        (tmp_path / "eel" / f"{number}.HEIC").write_bytes(b"apple")
    with pytest.raises(
        DataError,
        match=r"eel: every class folder must contain images, this one has none, but 3 \.heic",
    ):
        load(DataConfig(source=str(tmp_path)))


def test_a_class_of_links_to_another_class_is_refused(tmp_path):
    photographs(tmp_path)
    (tmp_path / "kitten").symlink_to("cat")
    with pytest.raises(
        DataError,
        match="kitten: every class folder must contain images, this one has none, but links to "
        "images",
    ):
        load(DataConfig(source=str(tmp_path)))


def test_a_file_that_is_no_image_is_named_without_an_address_in_memory(tmp_path):
    photographs(tmp_path)
    (tmp_path / "cat" / "empty.png").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"empty\.png: the image cannot be read: cannot identify image file\. Replace",
    ):
        load(DataConfig(source=str(tmp_path)))


def test_a_class_of_val_or_test_that_train_has_not_is_refused(tmp_path):
    photographs(tmp_path / "train", {"cat": 5, "dog": 5})
    photographs(tmp_path / "val", {"cat": 5, "dog": 5, "eel": 2})
    (tmp_path / "train" / "eel").mkdir()
    with pytest.raises(
        DataError,
        match=r"val: the classes must be the same as in train/; not in train/: eel\. "
        r".*data\.val=none",
    ):
        load(DataConfig(source=str(tmp_path)))


def test_a_part_of_images_that_are_not_read_is_refused(tmp_path):
    photographs(tmp_path / "train")
    (tmp_path / "Test" / "cat").mkdir(parents=True)
    assert "1 folder without images (Test/)" in said(
        load(DataConfig(source=str(tmp_path), image_size=8))
    )
    (tmp_path / "Test" / "cat" / "phone.HEIC").write_bytes(b"x")
    with pytest.raises(
        DataError,
        match=r"Test: the test folder must contain images, got 1 \.heic "
        r".*data\.test=none",
    ):
        load(DataConfig(source=str(tmp_path), image_size=9))
    assert "folders without images (Test/" in said(
        load(DataConfig(source=str(tmp_path), image_size=9, test="none"))
    )


def test_a_part_that_lacks_classes_is_refused(tmp_path):
    photographs(tmp_path / "train", {"cat": 5, "dog": 5})
    photographs(tmp_path / "val", {"cat": 5})
    with pytest.raises(
        DataError,
        match=r"val: the classes must be the same as in train/; missing dog\. "
        r".*data\.val=none",
    ):
        load(DataConfig(source=str(tmp_path)))


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_part_that_is_not_there_is_refused(part, tmp_path):
    photographs(tmp_path / "photos" / "held")
    photographs(tmp_path / "photos")
    with pytest.raises(DataError, match=f"does not exist. Did you mean data.{part}=.*photos/held"):
        load(DataConfig(source=str(tmp_path / "photos"), **{part: "held"}))
    with pytest.raises(DataError, match="only an image folder can have splits in other folders"):
        load(DataConfig(**{part: str(tmp_path)}))


# Links


def test_a_link_to_a_folder_above_adds_nothing(tmp_path):
    photographs(tmp_path / "train", {"cat": 8, "dog": 8})
    photographs(tmp_path / "test", {"cat": 3, "dog": 3})
    before = load(DataConfig(source=str(tmp_path), image_size=8)).facts
    (tmp_path / "train" / "cat" / "up").symlink_to("..")
    (tmp_path / "train" / "dog" / "round").symlink_to("../../..")
    (tmp_path / "train" / "all").symlink_to(tmp_path)
    (tmp_path / "test" / "cat" / "self").symlink_to(".")
    after = load(
        DataConfig(source=str(tmp_path), image_size=8, cache=str(tmp_path / "other"))
    ).facts
    assert after == before
    assert "links to a folder above" in "\n".join(after.summary)


def test_a_link_to_a_listed_image_is_passed_over(tmp_path):
    photographs(tmp_path / "train", {"cat": 8, "dog": 8})
    photographs(tmp_path / "test", {"cat": 3, "dog": 3})
    (tmp_path / "train" / "cat" / "more").symlink_to("../dog")
    (tmp_path / "train" / "dog" / "same.jpg").symlink_to("000.jpg")
    (tmp_path / "train" / "dog" / "seen").symlink_to("../../test/dog")
    facts = load(DataConfig(source=str(tmp_path), image_size=8)).facts
    assert facts.n_train + facts.n_val == 16
    assert "16 second paths to a file listed already" in "\n".join(facts.summary)
    (tmp_path / "val").symlink_to("train")
    with pytest.raises(DataError, match=r"val: no images found .*links to images listed elsewhere"):
        load(DataConfig(source=str(tmp_path), image_size=9))


def test_links_to_a_folder_elsewhere_are_followed(tmp_path):
    photographs(tmp_path / "store", {"a": 6, "b": 6})
    (tmp_path / "photos" / "train").mkdir(parents=True)
    for name, target in (("cat", "a"), ("dog", "b")):
        (tmp_path / "photos" / "train" / name).symlink_to(tmp_path / "store" / target)
    facts = load(DataConfig(source=str(tmp_path / "photos"), image_size=8)).facts
    assert (facts.classes, facts.n_train + facts.n_val + facts.n_test) == (("cat", "dog"), 12)


def test_hard_links_are_taken_once_in_a_class_and_told_across_parts(tmp_path):
    photographs(tmp_path / "train", {"cat": 8, "dog": 8})
    photographs(tmp_path / "test", {"cat": 3, "dog": 3})
    os.link(tmp_path / "train" / "cat" / "000.jpg", tmp_path / "train" / "cat" / "again.jpg")
    os.link(tmp_path / "train" / "cat" / "001.jpg", tmp_path / "test" / "cat" / "seen.jpg")
    facts = load(DataConfig(source=str(tmp_path), image_size=8, val_fraction=0.01)).facts
    assert (facts.n_train + facts.n_val, facts.n_test) == (16, 7)
    text = "\n".join(facts.summary)
    assert "1 second path to a file listed already" in text
    assert "1 test image is also among the" in text


# Names that look alike


def test_accents_are_compared_as_they_look(tmp_path):
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    assert composed != apart
    photographs(tmp_path / "train", {composed: 6, "tea": 6})
    photographs(tmp_path / "test", {apart: 3, "tea": 3})
    found = load(DataConfig(source=str(tmp_path), image_size=8))
    assert found.facts.classes == (composed, "tea")
    assert found.read_test().labels_N.bincount().tolist() == [3, 3]
    photographs(tmp_path / "train", {apart: 2})
    with pytest.raises(DataError, match="two folders are named 'café'"):
        load(DataConfig(source=str(tmp_path), image_size=9))


def test_a_train_folder_among_classes_is_a_class_and_it_is_said(tmp_path):
    photographs(tmp_path, {"bus": 6, "train": 6, "test_tube": 6})
    facts = load(DataConfig(source=str(tmp_path), image_size=8)).facts
    assert facts.classes == ("bus", "test_tube", "train")
    summary = "\n".join(facts.summary)
    assert "train/ is read as a class" in summary
    assert "test_tube/ is read as a class" in summary


def test_flat_parts_beside_classes_that_are_not_wanted_are_left_out(tmp_path):
    photographs(tmp_path, {"bus": 6, "cat": 6, "seg_test": 6, "test_images": 6, "seg_train": 6})
    facts = load(DataConfig(source=str(tmp_path), image_size=8, test="none")).facts
    assert facts.classes == ("bus", "cat", "seg_train")
    summary = "\n".join(facts.summary)
    for left_out in ("seg_test", "test_images"):
        assert f"{left_out}/ not used, as data.test= says" in summary
    assert "seg_train/ is read as a class" in summary


@pytest.mark.parametrize(
    ("name", "whole"),
    [("test_images", True), ("ValSet", True), ("testdata", True), ("crash_test", False)],
)
def test_words_for_what_every_part_holds_name_nothing_else(name, whole):
    assert read_name(name).whole == whole


def test_below_train_any_name_is_a_class(tmp_path):
    photographs(tmp_path / "train", {"test": 6, "val": 6})
    assert load(DataConfig(source=str(tmp_path), image_size=8)).facts.classes == ("test", "val")


def test_an_unreadable_folder_is_named(tmp_path):
    """In a process of its own, which has not root's right to read everything."""
    photographs(tmp_path)
    Path(tmp_path / "cat").chmod(0)
    alone = (
        ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
        if os.geteuid() == 0
        else []
    )
    words = (
        f"from hopsearch.data import DataConfig, load; load(DataConfig(source={str(tmp_path)!r}))"
    )
    done = subprocess.run(
        [*alone, sys.executable, "-c", words], capture_output=True, text=True, timeout=50
    )
    assert done.returncode == 1
    assert "DataError: " in done.stderr
    assert "cat: the folder must be readable: Permission denied" in done.stderr


# Images that are there twice


def copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def test_a_test_folder_that_copies_the_training_one_is_told_with_numbers(tmp_path):
    photographs(tmp_path / "train", {"cat": 8, "dog": 8})
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    text = said(load(DataConfig(source=str(tmp_path), image_size=8)))
    assert (
        "warning: 14 test images are also among the training images (88% of the test images; same "
        "contents, e.g. " in text
    )
    assert "warning: 2 test images are also among the validation images" in text
    assert "among the training images (100%" not in text


def test_images_in_two_parts_are_told_with_numbers(tmp_path):
    for part in ("train", "val", "test"):
        photographs(tmp_path / part, {"cat": 8, "dog": 8})
    clean = load(DataConfig(source=str(tmp_path), image_size=8))
    assert "warning" not in said(clean)
    for number in range(3):
        copy(
            tmp_path / "train" / "cat" / f"00{number}.jpg",
            tmp_path / "val" / "cat" / f"other-{number}.jpg",
        )
    copy(tmp_path / "val" / "dog" / "001.jpg", tmp_path / "test" / "dog" / "other.jpg")
    text = said(load(DataConfig(source=str(tmp_path), image_size=9)))
    assert (
        "warning: 3 validation images are also among the training images (16% of the validation "
        "images; same contents" in text
    )
    assert "e.g. val/cat/other-0.jpg = train/cat/000.jpg" in text
    assert "warning: 1 test image is also among the validation images (6% of" in text


def test_a_picture_with_two_labels_is_told(tmp_path):
    photographs(tmp_path, {"cat": 8, "dog": 8, "eel": 8})
    for number in range(2):
        copy(tmp_path / "cat" / f"00{number}.jpg", tmp_path / "dog" / f"copy-{number}.jpg")
    text = said(load(DataConfig(source=str(tmp_path), image_size=8)))
    assert "warning: 2 pictures are in more than one class (same contents), e.g. " in text


# The fingerprint


def fingerprint(source: object, **words) -> str:
    return load(
        DataConfig(source=str(source), image_size=words.pop("image_size", 8), **words)
    ).facts.fingerprint


def test_the_fingerprint_is_of_contents(tmp_path):
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "test")
    first = fingerprint(tmp_path / "photos", cache=str(tmp_path / "1"))
    picture = tmp_path / "photos" / "train" / "cat" / "003.jpg"
    before, stat = picture.read_bytes(), picture.stat()
    changed = bytearray(before)
    changed[-20] ^= 1
    picture.write_bytes(changed)
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert picture.stat().st_size == stat.st_size
    second = fingerprint(tmp_path / "photos", cache=str(tmp_path / "1"), memory_limit=2**29)
    assert second != first, "an image of the same size and time is another one"
    picture.write_bytes(before)
    assert fingerprint(tmp_path / "photos", cache=str(tmp_path / "1"), memory_limit=2**28) == first
    test = tmp_path / "photos" / "test" / "dog" / "001.jpg"
    test.write_bytes(test.read_bytes()[:-20] + bytes(20))
    assert fingerprint(tmp_path / "photos", cache=str(tmp_path / "1"), memory_limit=2**27) != first


def test_the_fingerprint_does_not_depend_on_the_spelling(tmp_path, monkeypatch):
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "test")
    here = fingerprint(tmp_path / "photos")
    shutil.copytree(
        tmp_path / "photos", tmp_path / "elsewhere" / "pictures", copy_function=shutil.copyfile
    )
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path / "photos")
    parts = {"val": None, "test": f"{tmp_path}/photos/test"}
    assert {
        fingerprint(f"{tmp_path}/photos/"),
        fingerprint("../photos"),
        fingerprint("."),
        fingerprint(tmp_path / "link"),
        fingerprint(tmp_path / "elsewhere" / "pictures"),
        fingerprint(tmp_path / "photos" / "train", **parts),
    } == {here}
    shutil.move(tmp_path / "photos" / "train" / "cat", tmp_path / "photos" / "train" / "Cat")
    shutil.move(tmp_path / "photos" / "test" / "cat", tmp_path / "photos" / "test" / "Cat")
    assert fingerprint(tmp_path / "photos", memory_limit=0) != here, "class names belong to it"


def test_a_second_start_reads_no_image(tmp_path, monkeypatch):
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "test")
    first = load(DataConfig(source=str(tmp_path / "photos"), image_size=8)).facts
    splits._load.cache_clear()
    monkeypatch.setattr(FilePart, "read", None)
    monkeypatch.setattr(FilePart, "open", None)
    assert load(DataConfig(source=str(tmp_path / "photos"), image_size=8)).facts == first


def test_the_former_fingerprint_is_that_of_names_and_sizes(tmp_path):
    """Recorded with version 0.1.0 on the same files."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (4, 4), number * 20).save(tmp_path / "photos" / name / f"{number}.bmp")
    facts = load(DataConfig(source=str(tmp_path / "photos"))).facts
    assert facts.former_fingerprint == "752b8a690a21b9bf84408272"
    assert facts.fingerprint.startswith("2:")
    photographs(tmp_path / "other" / "train")
    photographs(tmp_path / "other" / "val")
    assert load(DataConfig(source=str(tmp_path / "other"))).facts.former_fingerprint == "", (
        "val/ was read as the test part"
    )
    digits = load(DataConfig()).facts
    assert digits.fingerprint == digits.former_fingerprint


def test_reading_is_told_while_it_goes_on(tmp_path):
    photographs(tmp_path / "photos" / "train")
    photographs(tmp_path / "photos" / "test")
    told: list[tuple[str, int, int]] = []
    with watched_by(lambda *words: told.append(words)):
        load(DataConfig(source=str(tmp_path / "photos"), image_size=8))
    assert told[0] == ("looking at", 1, TOTAL), (
        "of colour images of a given size one header is enough"
    )
    assert told[1:] == [("decoding", n, TOTAL) for n in range(1, TOTAL + 1)] + [
        ("comparing", n, TOTAL) for n in range(1, TOTAL + 1)
    ]
