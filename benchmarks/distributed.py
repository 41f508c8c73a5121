"""What training over several processes costs: scaling, start-up, and Ray Train's share of an epoch.

    python benchmarks/distributed.py [--epochs 30] [--repeats 3] [--dim 64] [--depth 4]

One thread a worker, gloo, digits. Each turn runs, one after the other:

* ``plain``: `TrialRun.step` in a process of its own, no Ray, no group. The limit of one worker.
* ``train, 1 worker`` and ``train, 2 workers``: the same training through Ray Train, as
  ``hopsearch.train`` runs it, with the checkpoint of every epoch.

Seconds an epoch are between an epoch's end and the next one's, checkpoint included, the first left
out. Overhead is ``train, 1 worker`` over ``plain``; efficiency is ``train, 1 worker`` over twice
``train, 2 workers``; start-up is from the command to the first rank's first step, Ray's own start
left out. The batch is the same for all, so that it is the same training. The script starts itself
again with the C library's settings that workers have (`ray_backend.cluster.environment`), so that
all have them.
"""

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from machine import machine

from hopsearch.data import DataConfig, load
from hopsearch.jobs.job import Job, JobRun, Progress
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.cluster.connection import connect
from hopsearch.ray_backend.long_training import run_training
from hopsearch.tasks.images.classifier_config import ImageTrialConfig, resolve


def config(options: argparse.Namespace) -> ImageTrialConfig:
    values = {
        "model.family": "imixer",
        "model.depth": options.depth,
        "model.dim": options.dim,
        "model.patch_size": 2,
    }
    values |= {"optim.batch_size": 128, "train.epochs": options.epochs}
    return resolve(values, load(DataConfig()).facts, 0)


def job(options: argparse.Namespace, folder: Path) -> Job:
    return Job(number=0, trial=config(options), data=DataConfig(), folder=str(folder))


def plain(options: argparse.Namespace, folder: Path) -> float:
    """Seconds an epoch of the plain loop, checkpoints included."""
    torch.set_num_threads(1)
    work, ends = JobRun(job(options, folder)), []
    for _ in range(options.epochs):
        work.advance()
        ends.append(time.perf_counter())
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def through_train(options: argparse.Namespace, folder: Path, workers: int) -> tuple[float, float]:
    """Seconds an epoch, and seconds from the call to the first epoch's end less that epoch."""
    ends: list[float] = []

    def take(progress: Progress) -> None:
        ends.append(time.perf_counter())

    start = time.perf_counter()
    run_training(job(options, folder), (workers, workers), TrialResources(), take, print)
    # The mailbox is read five times a second, which blurs single epochs: the mean over all but the
    # first is exact to that.
    epoch = (ends[-1] - ends[0]) / (len(ends) - 1)
    return epoch, ends[0] - start - epoch


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    if "AGAIN" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"AGAIN": "1"})
    print(f"{machine()}; depth {options.depth}, dim {options.dim}, {options.epochs} epochs")
    overhead, efficiency, starts, begins = [], [], [], []
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            alone = plain(options, Path(scratch) / "plain")
            start = time.perf_counter()
            with connect():
                begins.append(time.perf_counter() - start)
                one, start_one = through_train(options, Path(scratch) / "one", 1)
                two, start_two = through_train(options, Path(scratch) / "two", 2)
            overhead.append(one / alone - 1)
            efficiency.append(one / two / 2)
            starts += [start_one, start_two]
            print(
                (
                    f"  plain {alone:.3f} s an epoch, train 1 worker {one:.3f} s, 2 workers "
                    f"{two:.3f} "
                    f"s"
                ),
                flush=True,
            )
    print("\n| figure | median [least, most] |\n|---|---|")
    print(
        f"| Ray Train's share of an epoch, 1 worker over the plain loop, less 1 | "
        f"{spread(overhead)} |"
    )
    print(f"| scaling efficiency, 1 to 2 workers | {spread(efficiency)} |")
    print(f"| seconds to start a group, 1 or 2 workers | {spread(starts)} |")
    print(f"| seconds to start Ray itself | {spread(begins)} |")


if __name__ == "__main__":
    main()
