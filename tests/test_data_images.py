"""The one way to a batch: the same images whether they are in memory, mapped from the cache, or
wanted on another device.
"""

import contextlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hopsearch.data import DataConfig, ImageSet, epoch_batches, load
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.evaluation import evaluate
from hopsearch.tasks.images.training_pictures import draw
from hopsearch.training import Ranks
from tests.conftest import folder_of_images

ROOT = Path(__file__).parents[1]


def random_set(count: int = 40, side: int = 5, mapped: bool = False) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images_NCHW = torch.randint(256, (count, 3, side, side), dtype=torch.uint8, generator=generator)
    return ImageSet(images_NCHW, torch.arange(count) % 7, mapped)


def mapped_from(images: ImageSet, folder: Path) -> ImageSet:
    np.save(folder / "images.npy", images.images_NCHW.numpy())
    stored = np.load(folder / "images.npy", mmap_mode="c")
    return ImageSet(torch.from_numpy(stored), images.labels_N, mapped=True)


INDICES = [slice(3, 11), slice(0, 0), [5], [], [39, 0, 7, 7, 2], list(range(39, -1, -1))]


@pytest.mark.parametrize("side", [5, 80])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_a_batch_of_a_mapped_set_is_that_of_one_in_memory(tmp_path, index, side):
    images = random_set(side=side)
    chosen = index if isinstance(index, slice) else torch.tensor(index, dtype=torch.int64)
    for found in (images, mapped_from(images, tmp_path)):
        images_BCHW, labels_B = found.batch(chosen)
        assert torch.equal(images_BCHW, images.images_NCHW[chosen])
        assert torch.equal(labels_B, images.labels_N[chosen])
        assert images_BCHW.dtype == torch.uint8


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_batches_are_on_the_sets_device_wherever_images_and_indices_lie(index, mapped):
    images = random_set(mapped=mapped).to("meta")
    assert images.images_NCHW.device.type == ("cpu" if mapped else "meta")
    chosen = index if isinstance(index, slice) else torch.tensor(index, dtype=torch.int64)
    images_BCHW, labels_B = images.batch(chosen)
    assert {images_BCHW.device.type, labels_B.device.type, images.device.type} == {"meta"}
    assert images_BCHW.shape == random_set().batch(chosen)[0].shape


def test_indices_of_a_mapped_set_stay_where_they_are_read():
    for mapped, expected in ((True, "cpu"), (False, "meta")):
        images = random_set(mapped=mapped).to("meta")
        order = torch.Generator().manual_seed(0)
        for index_B in epoch_batches(len(images), 16, order, device=images.index_device):
            assert index_B.device.type == expected


def test_a_set_is_moved_once():
    images = random_set()
    assert images.to("cpu") is images
    assert images.to("meta") is images.to(torch.device("meta"))


def test_nothing_but_batch_looks_into_a_set():
    package = ROOT / "hopsearch"
    files = [path for path in package.rglob("*.py") if "data" not in path.parts]
    looking = [path for path in files if re.search(r"\bimages_NCHW\b(?!\w)", path.read_text())]
    assert not [path for path in looking if not path.stem.endswith("_pictures")]
    pictures = package / "tasks" / "images" / "training_pictures.py"
    assert ".images_NCHW" not in pictures.read_text()


# Training


def trial_of(splits, **values) -> ImageTrialRun:
    own = {
        "model.family": "imixer",
        "model.depth": 1,
        "model.dim": 16,
        "model.patch_size": 4,
        "optim.batch_size": 16,
        "optim.lr": 1e-3,
        "augment.mixup": 0.2,
        "train.epochs": 3,
        "train.eval_batch_size": 7,
    }
    return ImageTrialRun(resolve(own | values, splits.facts, 3), splits)


@pytest.fixture
def folder(tmp_path) -> str:
    return str(folder_of_images(tmp_path / "images", 3, 40))


def anonymous_memory(file: str) -> int:
    """Bytes that this process has of its own of a mapped file."""
    sizes = re.findall(
        rf"{re.escape(file)}\n(?:\w+:.*\n)*?Anonymous: +(\d+) kB",
        Path("/proc/self/smaps").read_text(encoding="utf-8"),
    )
    assert sizes, "the file is not mapped"
    return 1024 * sum(int(size) for size in sizes)


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_training_on_a_mapped_set_gives_the_same_curve(folder, tmp_path, micro_batch):
    runs = []
    for memory_limit in (2**30, 0):
        splits = load(DataConfig(source=folder, memory_limit=memory_limit))
        assert splits.train.mapped == (memory_limit == 0)
        run = trial_of(splits, **{"train.micro_batch": micro_batch})
        rows = [run.step() for _ in range(2)]
        told = [[row[name] for name in ("train_loss", "val_loss", "val_acc")] for row in rows]
        test = run.evaluate_test(splits.read_test())
        runs.append((told, test.loss, test.accuracy, draw(run)))
        assert run.measure_latency(2) > 0
        assert run.time_epoch(2) > 0
    assert runs[0] == runs[1]
    if Path("/proc/self/smaps").exists():
        (array,) = (
            path
            for path in (tmp_path / "cache").glob("*.npy")
            if path.stat().st_size > 128 + 18 * 8 * 8 * 3
        )
        assert anonymous_memory(str(array)) == 0, (
            "the pages are the file's own, shared by all processes"
        )


@pytest.mark.parametrize("mapped", [False, True])
def test_a_step_and_an_evaluation_on_a_second_device(folder, mapped, monkeypatch):
    """The meta device refuses what is on another one, as a GPU does, and needs none."""
    splits = load(DataConfig(source=folder, memory_limit=0 if mapped else 2**30))
    run = trial_of(splits, **{"augment.mixup": 0.0, "augment.flip": False})
    # meta has none
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    run.device = torch.device("meta")
    run.model.to("meta")
    run.train_set, run.val_set = splits.train.to("meta"), splits.val.to("meta")
    order = torch.Generator().manual_seed(0)
    batches = run._batches(order)
    assert run._train_step(batches[0], 0, len(batches)).device.type == "meta"
    devices: list[tuple[str, str]] = []
    run.model.register_forward_hook(
        lambda _, images, logits: devices.append((images[0].device.type, logits.device.type))
    )
    monkeypatch.setattr(
        Ranks, "sum", lambda self, tensor: torch.zeros(tensor.shape, dtype=tensor.dtype)
    )
    evaluate(run.model, run.val_set, run.augment.normalize, 7, 3, run.ranks)
    run.example(3)
    assert devices
    assert set(devices) == {("meta", "meta")}


@pytest.mark.slow
def test_batches_of_a_mapped_set_are_fast(tmp_path):
    images = mapped_from(random_set(300, 224), tmp_path)
    times: dict[str, list[float]] = {"indexed": [], "batch": []}
    order = torch.Generator().manual_seed(0)
    for _ in range(7):
        index_B = torch.randperm(300, generator=order)[:64]
        for name, fetch in (
            ("indexed", lambda i: images.images_NCHW[i]),
            ("batch", lambda i: images.batch(i)[0]),
        ):
            start = time.perf_counter()
            fetch(index_B)
            times[name].append(time.perf_counter() - start)
    assert min(times["batch"]) * 3 < min(times["indexed"])  # 10 and more on a quiet machine
