"""On a CUDA device: training on images that stay mapped on disk. Needs neither Ray nor Optuna:

python -m pytest -m gpu tests/test_gpu.py tests/test_data_augment.py
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hopsearch.data import DataConfig, load
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.training_pictures import draw
from hopsearch.training import CheckpointFolder
from hopsearch.training.known_optimizers import OPTIMIZERS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:Unknown pytest.mark"),
    # torch says once that it does not see every wait
    pytest.mark.filterwarnings("ignore:Synchronization debug mode"),
]
VALUES = {
    "model.family": "imixer",
    "model.depth": 2,
    "model.dim": 32,
    "model.patch_size": 8,
    "optim.batch_size": 32,
    "augment.mixup": 0.2,
    "augment.randaugment": "rand-m9-mstd0.5-inc1",
    "train.epochs": 3,
    "train.eval_batch_size": 50,
    "train.device": "cuda",
    "train.amp": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root, random = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label in range(4):
        (root / f"class{label}").mkdir()
        for number in range(60):
            pixels = random.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"class{label}" / f"{number}.jpg", quality=95)
    return root


def trial(folder: Path, memory_limit: int) -> ImageTrialRun:
    splits = load(
        DataConfig(
            source=str(folder),
            cache=str(folder.parent / "cache"),
            image_size=32,
            memory_limit=memory_limit,
        )
    )
    assert splits.train.mapped == (memory_limit == 0)
    return ImageTrialRun(resolve(VALUES, splits.facts, 3), splits)


def test_mapped_images_give_the_same_training_on_a_gpu(folder):
    memory, mapped = (trial(folder, limit) for limit in (2**30, 0))
    assert (memory.train_set.images_NCHW.device.type, mapped.train_set.images_NCHW.device.type) == (
        "cuda",
        "cpu",
    )
    for _ in range(2):
        rows = [run.step() for run in (memory, mapped)]
        assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-3)
        assert rows[0]["val_loss"] == pytest.approx(rows[1]["val_loss"], rel=1e-3)
    for index in (slice(5, 40), torch.tensor([7, 3, 3, 100])):
        for ours, theirs in zip(
            memory.train_set.batch(index), mapped.train_set.batch(index), strict=True
        ):
            assert ours.device.type == theirs.device.type == "cuda"
            assert torch.equal(ours, theirs)


def test_all_that_looks_at_mapped_images_runs_on_a_gpu(folder):
    splits = load(
        DataConfig(
            source=str(folder), cache=str(folder.parent / "cache"), image_size=32, memory_limit=0
        )
    )
    run = trial(folder, 0)
    run.step()
    assert {tag.partition("/")[0] for tag in draw(run)} == {"tokens", "validation"}
    assert run.measure_latency(3) > 0
    assert run.time_epoch(2) > 0
    assert 0 <= run.evaluate_test(splits.read_test()).accuracy <= 1


@pytest.mark.parametrize("memory_limit", [2**30, 0])
def test_fetching_and_augmenting_a_batch_never_waits_for_the_gpu(folder, memory_limit):
    run = trial(folder, memory_limit)
    batches = run._batches(torch.Generator("cuda").manual_seed(0))
    # copies its tables, and pins its first memory
    run.augment(*run.train_set.batch(batches[0]), run._generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for index_B in batches[1:]:
            images_BCHW, _ = run.augment(*run.train_set.batch(index_B), run._generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert images_BCHW.device.type == "cuda"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_and_resumes_in_mixed_precision(folder, tmp_path, name, dtype):
    splits = load(DataConfig(source=str(folder), cache=str(folder.parent / "cache"), image_size=32))
    more = {"optim.name": name, "train.amp": True, "train.amp_dtype": dtype}
    config = resolve(VALUES | more, splits.facts, 3)
    straight, run = ImageTrialRun(config, splits), ImageTrialRun(config, splits)
    expected = [straight.step()["train_loss"] for _ in range(2)]
    first = run.step()["train_loss"]
    run.save(CheckpointFolder(tmp_path), "val_acc")
    again = ImageTrialRun(config, splits)
    assert again.load_newest(CheckpointFolder(tmp_path))
    # a GPU adds in any order
    assert [first, again.step()["train_loss"]] == pytest.approx(expected, rel=1e-2)
    assert all(torch.isfinite(parameter).all() for parameter in again.model.parameters())
