"""Every source through one contract, and each bad input with its message."""

import dataclasses
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError, DataError
from hopsearch.core.seeds import derive
from hopsearch.data import DataConfig, load


def picture(seed: int, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def fill(folder: Path, classes: dict[str, int], suffix: str = ".png", **words) -> Path:
    """A folder for each class with so many images."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(derive(folder.name, name, i), **words).save(folder / name / f"{i:03}{suffix}")
    return folder


def one_folder(tmp_path: Path) -> str:
    return str(fill(tmp_path / "animals", {"cat": 20, "dog": 13}))


def two_folders(tmp_path: Path) -> str:
    fill(tmp_path / "set" / "train", {"cat": 10, "dog": 9, "eel": 3}, ".JPG")
    fill(tmp_path / "set" / "test", {"cat": 2, "dog": 2, "eel": 1}, ".jpeg")
    return str(tmp_path / "set")


def grey_and_test(tmp_path: Path) -> str:
    fill(tmp_path / "set" / "train", {"0": 10, "1": 9}, mode="L")
    fill(tmp_path / "set" / "test", {"0": 2, "1": 2}, mode="L")
    return str(tmp_path / "set")


def nested(tmp_path: Path) -> str:
    fill(tmp_path / "set" / "cat", {"siamese": 5, "tabby": 5})
    fill(tmp_path / "set" / "dog", {"pug": 5})
    return str(tmp_path / "set")


def fashion_mnist(tmp_path: Path) -> str:
    """Torchvision's files on disk, with 60 and 20 images."""
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + pixels.tobytes()
        )
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )
    return f"fashion_mnist:{tmp_path}"


SOURCES = {
    "digits": lambda _: "digits",
    "one folder": one_folder,
    "train and test": two_folders,
    "grey train and test": grey_and_test,
    "nested classes": nested,
    "fashion_mnist": fashion_mnist,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES.keys())
class TestEverySource:
    def test_shapes_and_facts_agree(self, make, tmp_path):
        splits = load(DataConfig(source=make(tmp_path)))
        facts = splits.facts
        for part, count in (
            (splits.train, facts.n_train),
            (splits.val, facts.n_val),
            (splits.read_test(), None),
        ):
            assert part.images_NCHW.dtype == torch.uint8
            assert part.images_NCHW.shape == (
                len(part),
                facts.channels,
                facts.image_size,
                facts.image_size,
            )
            assert (part.labels_N.dtype, part.labels_N.shape) == (torch.int64, (len(part),))
            assert count is None or count == len(part)
            assert set(part.labels_N.tolist()) == set(range(len(facts.classes))), (
                "every part has every class"
            )
        assert facts.skipped == ()

    def test_no_image_is_in_two_parts(self, make, tmp_path):
        splits = load(DataConfig(source=make(tmp_path)))
        seen = [
            {image.numpy().tobytes() for image in part.images_NCHW}
            for part in (splits.train, splits.val, splits.read_test())
        ]
        assert seen[0] | seen[1] | seen[2]
        for first, second in ((0, 1), (0, 2), (1, 2)):
            assert not seen[first] & seen[second]

    def test_split_follows_its_seed_alone(self, make, tmp_path):
        config = DataConfig(source=make(tmp_path))
        splits = load(config)
        torch.manual_seed(5)
        np.random.seed(5)  # the global state that a trial seeds must not matter
        same = load(config.model_copy(update={"cache": str(tmp_path / "elsewhere")}))
        assert torch.equal(same.val.images_NCHW, splits.val.images_NCHW)
        assert same.facts == splits.facts
        other = load(config.model_copy(update={"split_seed": 1}))
        assert not torch.equal(other.val.images_NCHW, splits.val.images_NCHW)
        assert other.facts.fingerprint != splits.facts.fingerprint

    def test_validation_holds_its_share_of_every_class(self, make, tmp_path):
        splits = load(DataConfig(source=make(tmp_path), val_fraction=0.4))
        train_K, val_K = splits.train.labels_N.bincount(), splits.val.labels_N.bincount()
        assert ((val_K - 0.4 * (train_K + val_K)).abs() <= 1).all()

    def test_a_second_load_is_the_same_object(self, make, tmp_path):
        config = DataConfig(source=make(tmp_path))
        assert load(config) is load(DataConfig(**config.model_dump()))
        assert load(config).read_test() is load(config).read_test()

    def test_images_can_be_resized(self, make, tmp_path):
        splits = load(DataConfig(source=make(tmp_path), image_size=20))
        assert splits.facts.image_size == 20
        assert (
            splits.train.images_NCHW.shape[2:]
            == splits.read_test().images_NCHW.shape[2:]
            == (20, 20)
        )


def test_what_is_known_of_each(tmp_path):
    digits = load(DataConfig()).facts
    assert (digits.image_size, digits.channels, digits.flip, len(digits.classes)) == (
        8,
        1,
        False,
        10,
    )
    assert digits.n_train + digits.n_val + digits.n_test == 1797
    assert load(DataConfig()).train.images_NCHW.max() == 255
    fashion = load(DataConfig(source=fashion_mnist(tmp_path))).facts
    assert (fashion.name, fashion.image_size, fashion.channels, fashion.flip) == (
        "fashion_mnist",
        28,
        1,
        False,
    )
    folder = load(DataConfig(source=two_folders(tmp_path))).facts
    assert (folder.name, folder.classes, folder.flip, folder.channels) == (
        "set",
        ("cat", "dog", "eel"),
        True,
        3,
    )
    assert (folder.n_train + folder.n_val, folder.n_test) == (22, 5)


def test_the_fingerprint_travels_and_tells_data_apart(tmp_path):
    here, there = (
        load(DataConfig(source=one_folder(tmp_path / name))).facts for name in ("here", "there")
    )
    assert here == there
    fill(tmp_path / "there" / "animals", {"cat": 21})
    changed = load(
        DataConfig(source=str(tmp_path / "there" / "animals"), cache=str(tmp_path / "other"))
    ).facts
    assert changed.fingerprint != here.fingerprint
    assert (
        load(DataConfig(source=str(tmp_path / "here" / "animals"), image_size=6)).facts.fingerprint
        != here.fingerprint
    )


def test_the_test_part_is_not_read_by_load(tmp_path):
    source = Path(two_folders(tmp_path))
    for path in (source / "test").rglob("*.jpeg"):
        path.write_bytes(b"nobody looks")
    splits = load(DataConfig(source=str(source)))
    with pytest.raises(DataError, match=r"test/.*the image cannot be read"):
        splits.read_test()


def test_a_test_part_of_other_sizes_takes_the_training_format(tmp_path):
    fill(tmp_path / "train", {"a": 4, "b": 4}, mode="L")
    fill(tmp_path / "test", {"a": 2, "b": 2}, size=(30, 20))
    splits = load(DataConfig(source=str(tmp_path)))
    assert splits.read_test().images_NCHW.shape == (4, 1, 12, 12)


# Bad input


def refused(source: object, match: str, **words) -> DataError:
    with pytest.raises(DataError, match=match) as caught:
        load(DataConfig(source=str(source), **words))
    assert caught.value.hint, "every message ends with a remedy"
    return caught.value


def test_unknown_source():
    refused("digit", "Did you mean digits")
    refused("cifer10:/data", "Did you mean cifar10")
    refused("", "got nothing")
    refused("digits:/data", "take no folder")
    refused("imagenet", "needs its folder")


def test_missing_folder(tmp_path):
    refused(tmp_path / "nowhere", "nowhere: the image folder does not exist")


def test_file_instead_of_folder(tmp_path):
    picture(0).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", r"a\.png: must be a folder of class folders, got a file")


def test_folder_without_classes(tmp_path):
    refused(tmp_path, "at least two class folders are needed, got none")
    picture(0).save(tmp_path / "a.png")
    refused(tmp_path, "got images without a class")


def test_one_class(tmp_path):
    refused(fill(tmp_path, {"cat": 5}), "at least two class folders are needed, got one, 'cat'")


def test_no_images(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("none yet")
    refused(tmp_path, "no images found")


def test_an_empty_folder_is_no_class_and_it_is_said(tmp_path):
    root = fill(tmp_path / "images", {"cat": 5, "dog": 5})
    (root / "eel").mkdir()
    facts = load(DataConfig(source=str(root))).facts
    assert facts.classes == ("cat", "dog")
    assert "1 folder without images" in facts.summary[-1]
    (root / "eel" / "notes.txt").write_text("none yet")
    refused(
        root,
        r"eel: every class folder must contain images, this one has none, but 1 \.txt",
        image_size=8,
    )


def test_a_class_too_small_to_split(tmp_path):
    refused(
        fill(tmp_path / "a", {"cat": 5, "dog": 2}),
        "every class needs at least 3 images.*class 'dog' has 2",
    )
    fill(tmp_path / "b" / "test", {"cat": 1, "dog": 1})
    refused(
        fill(tmp_path / "b" / "train", {"cat": 5, "dog": 1}).parent,
        "at least 2 images.*class 'dog' has 1",
    )
    load(DataConfig(source=str(fill(tmp_path / "c", {"cat": 3, "dog": 3}))))


def test_a_test_fraction_that_leaves_too_little(tmp_path):
    refused(
        fill(tmp_path, {"cat": 40, "dog": 4}),
        "left by data.test_fraction: .*'dog'",
        test_fraction=0.9,
    )


def test_classes_of_test_and_train_differ(tmp_path):
    fill(tmp_path / "train", {"cat": 3, "dog": 3})
    fill(tmp_path / "test", {"cat": 3, "dgo": 3})
    refused(tmp_path, "the classes must be the same as in train/; missing dog; not in train/: dgo")


def test_test_without_train(tmp_path):
    refused(fill(tmp_path / "a", {"test": 3, "other": 3}), "test/ is named like a split")
    fill(tmp_path / "b" / "test", {"cat": 3, "dog": 3})
    refused(fill(tmp_path / "b", {"cat": 3, "dog": 3}), "test/ must also have train/")


def test_broken_link(tmp_path):
    fill(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    refused(tmp_path, r"gone\.png: every listed image must exist")


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist"])
def test_a_set_that_is_not_there_and_cannot_be_fetched(name, tmp_path, monkeypatch):
    from urllib.error import URLError

    from torchvision.datasets import CIFAR10, FashionMNIST

    def offline(_):
        raise URLError("no network")

    for kind in (CIFAR10, FashionMNIST):  # CIFAR100 is a CIFAR10
        monkeypatch.setattr(kind, "download", offline)
    refused(
        f"{name}:{tmp_path}/new",
        f"{name}:.*/new: the data set is not in the folder and cannot be downloaded: .*no network",
    )


def test_imagenet_that_is_not_there(tmp_path):
    refused(f"imagenet:{tmp_path}", "imagenet:.*not present in the root directory")


def test_hidden_and_other_files_are_passed_over(tmp_path):
    fill(tmp_path, {"cat": 5, "dog": 5, ".ipynb_checkpoints": 2, "__MACOSX": 2})
    (tmp_path / ".DS_Store").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("a,b")
    for name in (".DS_Store", "._000.png", "Thumbs.db"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    facts = load(DataConfig(source=str(tmp_path))).facts
    assert facts.classes == ("cat", "dog")
    assert facts.n_train + facts.n_val + facts.n_test == 10


def test_a_corrupt_image_is_named(tmp_path):
    folder = Path(two_folders(tmp_path))
    whole = (folder / "train" / "cat" / "003.JPG").read_bytes()
    (folder / "train" / "cat" / "003.JPG").write_bytes(whole[: len(whole) // 2])
    error = refused(folder, r"train/cat/003\.JPG: the image cannot be read: (?i:.*truncated)")
    assert "data.on_corrupt=skip" in error.hint


@pytest.mark.parametrize("memory_limit", [0, 2**30])
def test_corrupt_images_are_skipped_and_told(tmp_path, memory_limit):
    folder = Path(two_folders(tmp_path))
    before = load(DataConfig(source=str(folder))).facts
    bad = [
        folder / "train" / "cat" / "003.JPG",
        folder / "train" / "dog" / "001.JPG",
        folder / "test" / "cat" / "000.jpeg",
    ]
    for path in bad:
        path.write_bytes(b"broken")
    config = DataConfig(source=str(folder), on_corrupt="skip", memory_limit=memory_limit)
    with pytest.warns(UserWarning, match=r"2 unreadable images are skipped: .*\.JPG"):
        splits = load(config)
    assert sorted(splits.facts.skipped) == sorted(map(str, bad[:2]))
    assert (
        splits.facts.n_train + splits.facts.n_val
        == before.n_train + before.n_val - 2
        == len(splits.train) + len(splits.val)
    )
    assert splits.facts.fingerprint != before.fingerprint
    with pytest.warns(UserWarning, match="test part: 1 unreadable images"):
        assert len(splits.read_test()) == 4
    with pytest.warns(UserWarning, match="2 unreadable images"):  # from the cache this time
        again = load(config.model_copy(update={"memory_limit": memory_limit + 1}))
    assert dataclasses.asdict(again.facts) == dataclasses.asdict(splits.facts)


def test_all_images_corrupt(tmp_path):
    folder = fill(tmp_path / "images", {"cat": 3, "dog": 3})
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    for limit in (0, 2**30):
        refused(
            folder, "at least one image must be readable", on_corrupt="skip", memory_limit=limit
        )


def test_skipping_that_empties_a_class_is_refused(tmp_path):
    fill(tmp_path / "train", {"cat": 6, "dog": 3})
    fill(tmp_path / "test", {"cat": 1, "dog": 1})
    for path in (tmp_path / "train" / "dog").iterdir():
        path.write_bytes(b"broken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(tmp_path, "part: every class needs .*'dog' has 0", on_corrupt="skip")


@pytest.mark.parametrize(
    "values",
    [
        {"val_fraction": 0},
        {"val_fraction": 1},
        {"on_corrupt": "ignore"},
        {"image_size": 0},
        {"sorce": "digits"},
    ],
)
def test_bad_settings(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        parse(DataConfig, values, "data")
