"""From files of all sorts to pixels, and the cache of what was decoded."""

import json
import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hopsearch.core.errors import DataError
from hopsearch.data import DataConfig, load, splits
from hopsearch.data.files import cache, decoding, preprocessing
from tests.test_data_sources import fill, picture

RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)


def pixels(image: Image.Image, path: Path, channels: int = 3, size: int = 8) -> np.ndarray:
    image.save(path)
    with Image.open(path) as opened:
        return preprocessing.to_pixels(opened, size, channels)


# Kinds of images


def test_colour_modes_become_rgb(tmp_path):
    image = picture(0, (8, 8))
    expected = np.asarray(image).transpose(2, 0, 1)
    assert np.array_equal(pixels(image, tmp_path / "a.png"), expected)
    assert np.array_equal(pixels(image.convert("RGBA"), tmp_path / "b.png"), expected)
    assert (
        np.abs(pixels(image.convert("CMYK"), tmp_path / "c.tif").astype(int) - expected).max() <= 2
    )
    assert pixels(image.convert("P"), tmp_path / "d.png").shape == (3, 8, 8)
    assert pixels(image.convert("YCbCr"), tmp_path / "e.tif").shape == (3, 8, 8)
    assert set(np.unique(pixels(image.convert("1"), tmp_path / "f.png"))) <= {0, 255}
    assert np.array_equal(pixels(Image.fromarray(RAMP), tmp_path / "g.png"), np.stack([RAMP] * 3))


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = Image.fromarray(RAMP.astype(np.uint16) * 257)
    assert np.array_equal(pixels(deep, tmp_path / "a.png", channels=1)[0], RAMP)
    assert np.array_equal(pixels(deep, tmp_path / "a.tif", channels=1)[0], RAMP)


def test_transparent_pixels_show_white(tmp_path):
    image = picture(0, (8, 8), "RGBA")
    image.putalpha(0)
    assert pixels(image, tmp_path / "a.png").min() == 255
    palette = picture(0, (8, 8)).convert("P")
    assert pixels(palette, tmp_path / "b.gif").shape == (3, 8, 8)
    palette.info["transparency"] = 0
    assert pixels(palette, tmp_path / "c.png").shape == (3, 8, 8)


def test_photos_are_turned_upright(tmp_path):
    image = Image.fromarray(RAMP)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        turned = preprocessing.to_pixels(opened, 8, 1)[0]
    assert np.array_equal(turned, np.rot90(RAMP, -1))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({}, {}, (12, 3)),
        ({"mode": "L"}, {"mode": "L"}, (12, 1)),
        ({"mode": "L"}, {}, (12, 3)),
        ({"size": (12, 12)}, {"size": (14, 14)}, (224, 3)),
        ({"size": (12, 14)}, {"size": (12, 14)}, (224, 3)),
    ],
)
def test_natural_format(tmp_path, first, second, expected):
    fill(tmp_path, {"a": 3}, **first)
    fill(tmp_path, {"b": 3}, **second)
    facts = load(DataConfig(source=str(tmp_path))).facts
    assert (facts.image_size, facts.channels) == expected


def test_a_single_odd_image_in_many_is_seen(tmp_path):
    fill(tmp_path, {"a": 150, "b": 150}, mode="L")
    picture(0).save(tmp_path / "b" / "299.png")
    assert load(DataConfig(source=str(tmp_path))).facts.channels == 3


# The cache


@pytest.fixture
def folder(tmp_path) -> Path:
    return fill(tmp_path / "images", {"cat": 30, "dog": 30})


def forget() -> None:
    splits._load.cache_clear()


def count_decoding(monkeypatch) -> list[int]:
    calls: list[int] = []
    real = cache.decode_all

    def counted(part, *words):
        calls.append(len(part))
        return real(part, *words)

    monkeypatch.setattr(cache, "decode_all", counted)
    return calls


def test_a_machine_decodes_once(folder, monkeypatch):
    calls = count_decoding(monkeypatch)
    first = load(DataConfig(source=str(folder)))
    forget()
    monkeypatch.setattr(splits, "natural_format", None)  # headers are not opened again either
    second = load(DataConfig(source=str(folder)))
    assert second is not first
    assert torch.equal(first.train.images_NCHW, second.train.images_NCHW)
    load(DataConfig(source=str(folder), val_fraction=0.3))
    assert len(calls) == 1, "another val_fraction is another cut of the same pixels"


def test_a_changed_file_is_decoded_again(folder, monkeypatch):
    calls = count_decoding(monkeypatch)
    load(DataConfig(source=str(folder)))
    forget()
    os.utime(folder / "cat" / "001.png", (1, 1))
    os.utime(folder / "cat" / "002.png", (1, 1))
    picture(7).save(folder / "cat" / "003.png")
    load(DataConfig(source=str(folder)))
    assert len(calls) == 2


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def flip_a_bit(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("memory_limit", "harm"),
    [(2**30, truncate), (2**30, flip_a_bit), (2**30, Path.unlink), (0, truncate)],
)
def test_a_damaged_cache_is_made_again(folder, tmp_path, memory_limit, harm):
    config = DataConfig(source=str(folder), memory_limit=memory_limit)
    images_NCHW = load(config).train.images_NCHW.clone()
    forget()
    (array,) = (tmp_path / "cache").glob("*.npy")
    harm(array)
    with pytest.warns(UserWarning, match="corrupt; decoding again"):
        assert torch.equal(load(config).train.images_NCHW, images_NCHW)
    forget()
    assert torch.equal(load(config).train.images_NCHW, images_NCHW)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"shape": [1]}', '{"shape": [1, 2, 3, 4], "crc32": "x"}']
)
def test_a_damaged_manifest_is_made_again(folder, tmp_path, text):
    images_NCHW = load(DataConfig(source=str(folder))).train.images_NCHW
    forget()
    (manifest,) = (tmp_path / "cache").glob("*.json")
    manifest.write_text(text)
    assert torch.equal(load(DataConfig(source=str(folder))).train.images_NCHW, images_NCHW)
    assert json.loads(manifest.read_text())["skipped"] == []


def test_large_sets_are_mapped(folder, tmp_path):
    read, mapped = (
        load(DataConfig(source=str(folder), memory_limit=limit)) for limit in (2**30, 0)
    )
    assert (read.train.mapped, mapped.train.mapped) == (False, True)
    assert torch.equal(read.train.images_NCHW, mapped.train.images_NCHW)
    assert torch.equal(read.read_test().images_NCHW, mapped.read_test().images_NCHW)
    mapped.train.images_NCHW[0] = 0  # stays in this process
    forget()
    assert torch.equal(
        load(DataConfig(source=str(folder), memory_limit=0)).train.images_NCHW,
        read.train.images_NCHW,
    )


def test_nothing_unfinished_is_left(folder, tmp_path):
    load(DataConfig(source=str(folder))).read_test()
    (folder / "cat" / "004.png").write_bytes(b"broken")
    forget()
    with pytest.raises(DataError):
        load(DataConfig(source=str(folder), memory_limit=0))
    assert not [
        path.name
        for path in (tmp_path / "cache").iterdir()
        if path.suffix not in (".npy", ".json", ".lock", ".sums")
    ]


def full_disk(*_, **__):
    raise OSError(28, "No space left on device")


def test_a_full_disk_costs_a_warning_or_is_explained(folder, monkeypatch):
    monkeypatch.setattr(cache.os, "fsync", full_disk)
    with pytest.warns(
        UserWarning, match="decoded images cannot be cached .No space left on device"
    ):
        assert len(load(DataConfig(source=str(folder))).train)
    with pytest.raises(
        DataError,
        match=r"must fit the cache: No space left on device\. Free 0\.0 GiB there, set data\.cache",
    ):
        load(DataConfig(source=str(folder), memory_limit=0))


def test_a_cache_that_cannot_be_made_costs_a_warning(folder, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="decoded images cannot be cached"):
        load(DataConfig(source=str(folder), cache=str(tmp_path / "file" / "cache")))


def _decode_in_a_process(source: str, memory_limit: int, start, results) -> None:
    calls = []
    real = cache.decode_all
    cache.decode_all = lambda *words: calls.append(1) or real(*words)
    start.wait()
    found = load(DataConfig(source=source, memory_limit=memory_limit))
    results.put((len(calls), found.facts.fingerprint, int(found.train.images_NCHW.long().sum())))


@pytest.mark.parametrize("memory_limit", [2**30, 0])
def test_processes_that_start_at_once_decode_once(folder, memory_limit):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(
            target=_decode_in_a_process, args=(str(folder), memory_limit, start, results)
        )
        for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    told = [results.get(timeout=50) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(calls for calls, _, _ in told) == [0, 1]
    assert len({rest for _, *rest in map(tuple, told) for rest in [tuple(rest)]}) == 1


def test_threads_that_were_started_do_not_wait_for_one_that_could_not_be(monkeypatch):
    start = threading.Thread.start

    def limited(thread):
        if thread.name == "decode_1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(decoding, "_cores", lambda: 3)
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(decoding.in_threads(str, 9))
    left = [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
    for thread in left:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in left)
