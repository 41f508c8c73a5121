"""One rank of `tests/test_ranks.py`: a process of its own, as in earnest. ``python -m
tests.rank_process <folder> <rank>``.
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from hopsearch.data import DataConfig, load
from hopsearch.tasks.images.classifier_config import ImageTrialConfig, resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.training import Ranks

WORLDS = (4, 2)


def config(**more: object) -> ImageTrialConfig:
    """A small iMixer whose batches divide by no number of ranks, nor does the set."""
    values = {
        "model.family": "imixer",
        "model.depth": 2,
        "model.dim": 16,
        "model.patch_size": 4,
        "optim.batch_size": 54,
        "optim.lr": 3e-3,
        "train.epochs": 3,
        "augment.flip": False,
    }
    return resolve(values | more, load(DataConfig()).facts, seed=1)


def first_step(run: ImageTrialRun) -> dict[str, torch.Tensor]:
    """The gradients of the first batch."""
    run._train_step(torch.arange(54), step=0, steps=10)
    return {name: parameter.grad.clone() for name, parameter in run.model.named_parameters()}


def work(folder: Path) -> None:
    """Gradients plain and accumulated, validation, a curve; rank 0 writes them down."""
    splits = load(DataConfig())
    world, found = Ranks().world, {}
    for name, micro in (("plain", None), ("accumulated", 5)):
        torch.manual_seed(0)
        gradients = first_step(ImageTrialRun(config(**{"train.micro_batch": micro}), splits))
        if Ranks().rank == 0:
            torch.save(gradients, folder / f"{name}_{world}.pt")
    run = ImageTrialRun(config(), splits)
    validation = run.evaluate_validation()
    found["validation"] = [validation.loss, validation.accuracy, validation.hits, validation.images]
    found["curve"] = [run.step()["train_loss"] for _ in range(3)]
    found["val_acc"] = run.history[-1]["val_acc"]
    if Ranks().rank == 0:
        (folder / f"{world}.json").write_text(json.dumps(found))


def main(folder: Path, rank: int) -> None:
    """Join groups of falling size, and work in each."""
    torch.set_num_threads(1)
    for world in WORLDS:
        if rank >= world:
            return
        store = dist.FileStore(str(folder / f"store_{world}"), world)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
        work(folder)
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
