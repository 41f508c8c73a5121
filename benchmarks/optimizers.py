"""Optimizers at equal processor time: accuracy of each, as a ratio to adamw's.

    python benchmarks/optimizers.py [--data digits]
            [--names adamw nadamuon …] [--epochs 18] [--seeds 4]
    python benchmarks/optimizers.py --data <CIFAR-10 folder> --train 768 --val 1000

What adamw needs for its epochs is what each optimizer gets: its epochs are scaled by the processor
time of its training steps, which are measured in turns, and its schedule is laid out for them. Each
learns at three rates, three times apart. A seed decides initial weights, order and augmentation,
and is shared by all optimizers; ratios are of the same seed's last weights, each optimizer at the
rate with the best median. One thread; `taskset` keeps it on one core.
"""

import argparse
import statistics
import time
from typing import Any

import timm
import torch
from machine import machine
from record_tables import Plan, subset

from hopsearch.data import DataConfig, ImageSet, Splits, load
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun

BASELINE = "adamw"
NAMES = ["adamw", "nadamw", "adoptw", "lion", "muon", "nadamuon"]
AS_ADAMW = (2e-3, 6e-3, 2e-2)
RATES = {
    "lion": (4e-4, 1.2e-3, 4e-3),
    "clion": (4e-4, 1.2e-3, 4e-3),
    "lamb": (6e-3, 2e-2, 6e-2),
    "sgdw": (3e-2, 1e-1, 3e-1),
}
TURNS, STEPS = 7, 12
WATCHED = 64  # images that each epoch is measured on; the last on all, once


def trial(
    options: argparse.Namespace, splits: Splits, seed: int = 0, epochs: int = 1, **optim: Any
) -> ImageTrialRun:
    """An iMixer like the first point of its space, on these images."""
    values = {
        "model.family": "imixer",
        "model.depth": options.depth,
        "model.dim": options.dim,
        "model.patch_size": max(2, splits.facts.image_size // 4),
        "augment.label_smoothing": 0.1,
        "train.epochs": epochs,
    }
    named = {f"optim.{key}": value for key, value in optim.items()}
    return ImageTrialRun(resolve(values | named, splits.facts, seed), splits)


def costs(options: argparse.Namespace, splits: Splits) -> dict[str, tuple[float, float, float]]:
    """Processor time of a training step by optimizer, as a ratio to the baseline's: median and
    quartiles over turns.
    """
    runs = {name: trial(options, splits, name=name) for name in options.names}
    ratios: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        spent = {}
        for name, run in runs.items():
            started = time.process_time()
            run.time_epoch(STEPS)
            spent[name] = time.process_time() - started
        for name, seconds in spent.items():
            if turn:  # the first is to warm up
                ratios[name].append(seconds / spent[BASELINE])
    return {name: quartiles(found) for name, found in ratios.items()}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def accuracy(run: ImageTrialRun, images: ImageSet) -> float:
    """Train to the end; accuracy of the last weights."""
    while not run.done:
        run.step()
    return run.evaluate_test(images).accuracy


def told(values: list[float], digits: int) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", help="digits, or an image folder")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument(
        "--rates", nargs="+", type=float, help="learning rates of all that are named"
    )
    parser.add_argument("--epochs", type=int, default=18, help="of the baseline")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--train", type=int, default=300, help="images to train on")
    parser.add_argument("--val", type=int, default=900, help="images to measure on")
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--dim", type=int, default=64)
    options = parser.parse_args()
    if options.names[0] != BASELINE:
        parser.error(f"--names must begin with {BASELINE}, which the others are compared with")
    torch.set_num_threads(1)
    splits = subset(
        load(DataConfig(source=options.data)), Plan("imixer", train=options.train, val=options.val)
    )
    measured = splits.val
    watched = ImageSet(measured.images_NCHW[:WATCHED], measured.labels_N[:WATCHED])
    splits = Splits(splits.facts, splits.train, watched, splits.read_test)
    took = costs(options, splits)
    facts = splits.facts
    print(
        f"{machine()}, timm {timm.__version__}; {facts.name}, {facts.n_train} images to train on, "
        f"{facts.n_val} to measure on; "
    )
    print(
        f"iMixer of depth {options.depth}, dim {options.dim}, {options.seeds} seeds, "
        f"{options.epochs} epochs of {BASELINE}\n"
    )
    print(
        "| optimizer | time per step | epochs | lr: median accuracy | best lr | accuracy | ratio "
        "to adamw | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|")
    reference: list[float] = []
    for name in options.names:
        epochs = max(2, round(options.epochs / took[name][1]))
        accuracies: dict[float, list[float]] = {}
        started = time.process_time()
        for lr in options.rates or RATES.get(name, AS_ADAMW):
            runs = [
                trial(options, splits, seed, epochs, name=name, lr=lr)
                for seed in range(options.seeds)
            ]
            accuracies[lr] = [accuracy(run, measured) for run in runs]
        spent = (time.process_time() - started) / (len(accuracies) * options.seeds)
        best = max(accuracies, key=lambda lr: statistics.median(accuracies[lr]))
        reference = reference or accuracies[best]
        ratios = [ours / theirs for ours, theirs in zip(accuracies[best], reference, strict=True)]
        low, middle, high = took[name]
        tried = ", ".join(
            f"{lr:g}: {statistics.median(found):.3f}" for lr, found in accuracies.items()
        )
        cells = [
            name,
            f"{middle:.2f} [{low:.2f}, {high:.2f}]",
            epochs,
            tried,
            f"{best:g}",
            told(accuracies[best], 3),
        ]
        print(f"| {' | '.join(map(str, cells))} | {told(ratios, 3)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
