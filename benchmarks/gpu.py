"""How close to its limit one GPU trains: images/s and utilisation per model, augmentation's share,
many small trials at once.

    python benchmarks/gpu.py [--repeats 20] [--compile] [--only mapped] [--smoke]

Models: iMixer and MLP-Mixer at S/16 224 px and at CIFAR's size, beside timm's mixer_s16_224, iMixer
written the published way, and an MLP-Mixer with as many FLOPs as iMixer. A step is forward under
bf16 autocast, cross-entropy, backward, fused AdamW. Rivals take turns; ratios are per turn, median
and quartiles.

Utilisation is 3 × the forward pass's FLOPs over the step's time, against the rate of one bf16
matrix product of 8192 × 8192 measured in the same minute (power iterations are not counted as
useful work). Augmentation's share is the time of the paper's augmentation of a batch over that plus
the step's. Small trials: eight processes that train a digits-size iMixer at once, against one after
the other. Mapped images: a step of iMixer that fetches its own batch, from a set on the device and
from one that stays mapped on disk; ``--only mapped`` measures that alone, in a minute. ``--smoke``
runs all of it on a CPU at toy sizes, to show that the script works.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from machine import machine
from model_step import ReferenceMixer, equal_flops, quartiles, turns
from torch import nn

from hopsearch.data import Augment, DataConfig, ImageSet, epoch_batches, load
from hopsearch.data.augmentation.augment import PAPER_AUGMENT
from hopsearch.models import IMixerConfig, MlpMixerConfig, build
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.cost_estimate import estimate_cost

KNOBS = {"h_ratio": 2.0, "n_iter": 2, "n_power": 8}
S16 = IMixerConfig(classes=10, **KNOBS)
CIFAR = IMixerConfig(image_size=32, patch_size=4, dim=128, depth=8, classes=10, **KNOBS)
TOY = IMixerConfig(image_size=32, patch_size=8, dim=32, depth=2, classes=10, **KNOBS)
TRIALS = 8


def plain(config: IMixerConfig) -> MlpMixerConfig:
    """MLP-Mixer of the same sizes."""
    return MlpMixerConfig(
        **config.model_dump(exclude={"family", "h_ratio", "n_iter", "n_power", "spectral_coeff"})
    )


def stepper(model: nn.Module, x_BCHW: torch.Tensor, compiled: bool) -> Callable[[], None]:
    labels_B = torch.zeros(len(x_BCHW), dtype=torch.int64, device=x_BCHW.device)
    model = model.to(x_BCHW.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        with torch.autocast(x_BCHW.device.type, torch.bfloat16):
            logits_BK = forward(x_BCHW)
        F.cross_entropy(logits_BK.float(), labels_B).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def matmul_rate(device: str, size: int) -> float:
    """FLOP/s of one bf16 matrix product."""
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    times = turns({"matmul": lambda: a @ a}, 10, 5, device)["matmul"]
    return 2 * size**3 / min(times)


def flops(config: IMixerConfig | MlpMixerConfig) -> int:
    facts = load(DataConfig()).facts
    trial = resolve({"model.family": config.family, "model.patch_size": 2}, facts, 0)
    return estimate_cost(trial.model_copy(update={"model": config})).flops


def models(config: IMixerConfig, batch: int, options: argparse.Namespace, rate: float) -> None:
    x_BCHW = torch.randn(
        batch, config.channels, config.image_size, config.image_size, device=options.device
    )
    rivals = {
        "imixer": build(config),
        "mlpmixer": build(plain(config)),
        "equal FLOPs": build(equal_flops(config)),
    }
    rivals["published"] = ReferenceMixer(config)
    if config is S16:
        rivals["timm"] = timm.create_model("mixer_s16_224", num_classes=10)
    work = {
        "imixer": flops(config),
        "mlpmixer": flops(plain(config)),
        "equal FLOPs": flops(equal_flops(config)),
    }
    work |= {"published": work["imixer"], "timm": work["mlpmixer"]}
    times = turns(
        {name: stepper(model, x_BCHW, options.compile) for name, model in rivals.items()},
        5,
        options.repeats,
        options.device,
    )
    for name, own in times.items():
        middle = statistics.median(own)
        ratio = quartiles([a / b for a, b in zip(times["imixer"], own, strict=True)])
        used = 3 * work[name] * batch / middle / rate
        print(
            (
                f"| {name} | {config.image_size} px | {batch} | {batch / middle:,.0f} | "
                f"{used:.1%} | "
                f"{ratio} |"
            ),
            flush=True,
        )
    if config.channels == 3:
        part = share(x_BCHW, statistics.median(times["imixer"]))
        print(f"\naugmentation's share of a step at {config.image_size} px: {part:.1%}\n")


def checkpointing(config: IMixerConfig, batch: int, options: argparse.Namespace) -> None:
    """What recomputing the blocks saves and costs."""
    x_BCHW = torch.randn(
        batch, config.channels, config.image_size, config.image_size, device=options.device
    )
    peaks, steps = [], {}
    for name, enable in (("kept", False), ("computed again", True)):
        model = build(config)
        model.set_grad_checkpointing(enable)
        steps[name] = stepper(model, x_BCHW, options.compile)
        steps[name]()
        if options.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            steps[name]()
            peaks.append(torch.cuda.max_memory_allocated() / 2**20)
    times = turns(steps, 5, options.repeats, options.device)
    ratio = quartiles([a / b for a, b in zip(times["computed again"], times["kept"], strict=True)])
    saved = (
        f", peak {peaks[0]:,.0f} → {peaks[1]:,.0f} MiB (both models' weights included)"
        if peaks
        else ""
    )
    print(f"activations computed again at {config.image_size} px: {ratio} × the step{saved}\n")


def mapped(config: IMixerConfig, batch: int, options: argparse.Namespace) -> None:
    """What it costs that images stay on disk and move to the device a batch at a time."""
    count, side = 8 * batch, config.image_size
    labels_N = torch.zeros(count, dtype=torch.int64)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "images.npy")
        np.save(
            path,
            np.random.default_rng(0).integers(
                0, 256, (count, config.channels, side, side), dtype=np.uint8
            ),
        )
        sets = {
            "on the device": ImageSet(torch.from_numpy(np.load(path)), labels_N),
            "mapped": ImageSet(
                torch.from_numpy(np.load(path, mmap_mode="c")), labels_N, mapped=True
            ),
        }
        steps: dict[str, Callable[[], None]] = {}
        for name, images in sets.items():
            steps[name] = fetching_stepper(config, images.to(options.device), batch, options)
            steps[f"{name}, fetching alone"] = fetching_stepper(
                None, images.to(options.device), batch, options
            )
        times = turns(steps, 16, options.repeats, options.device)
    for name, own in times.items():
        over = quartiles([a / b for a, b in zip(own, times["on the device"], strict=True)])
        print(
            f"images {name}: {1000 * statistics.median(own):.2f} ms a batch of {batch}, {over} × "
            f"the step on the device"
        )


def fetching_stepper(
    config: IMixerConfig | None, images: ImageSet, batch: int, options: argparse.Namespace
) -> Callable[[], None]:
    order = torch.Generator(images.device).manual_seed(0)
    batches: list[torch.Tensor] = []

    def fetch() -> torch.Tensor:
        if not batches:
            batches.extend(epoch_batches(len(images), batch, order, device=images.index_device))
        return Augment.normalize(images.batch(batches.pop())[0])

    if config is None:

        def fetch_alone() -> None:
            fetch()

        return fetch_alone
    x_BCHW = fetch()
    step = stepper(build(config), x_BCHW, options.compile)

    def fetch_and_step() -> None:
        x_BCHW.copy_(fetch())
        step()

    return fetch_and_step


def share(x_BCHW: torch.Tensor, step: float) -> float:
    """Of the paper's augmentation in augmentation + step."""
    facts = load(DataConfig()).facts
    augment = Augment(PAPER_AUGMENT, facts)
    images_BCHW = (x_BCHW.clamp(-1, 1) * 127 + 128).to(torch.uint8)
    labels_B = torch.zeros(len(images_BCHW), dtype=torch.int64, device=images_BCHW.device)
    generator = torch.Generator(images_BCHW.device)
    times = turns(
        {"augment": lambda: augment(images_BCHW, labels_B, generator)},
        3,
        5,
        images_BCHW.device.type,
    )["augment"]
    return statistics.median(times) / (statistics.median(times) + step)


ONE_TRIAL = """
import sys, torch
from hopsearch.data import DataConfig, load
from hopsearch.training import TrialRun, resolve
splits = load(DataConfig())
values = {"model.family": "imixer", "model.depth": 4, "model.dim": 64, "model.patch_size": 2}
values["train.device"] = sys.argv[1]
run = TrialRun(resolve(values | {"train.epochs": 27}, splits.facts, 0), splits)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    run.step()
print("done", flush=True)
"""


def trials_together(number: int, epochs: int, device: str) -> float:
    """Seconds for so many trials at once, from the moment all are ready."""
    command = [sys.executable, "-c", ONE_TRIAL, device, str(epochs)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    start = time.perf_counter()
    for process in running:
        print(file=process.stdin, flush=True)
    for process in running:
        process.wait()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="on a CPU, at toy sizes")
    parser.add_argument("--only", choices=("mapped",), help="measure this alone")
    options = parser.parse_args()
    options.device = "cpu" if options.smoke else "cuda"
    print(f"{machine(options.device)}; compile={options.compile}")
    large = (TOY, 16) if options.smoke else (S16, 256)
    if options.only == "mapped":
        mapped(*large, options)
        return
    rate = matmul_rate(options.device, 512 if options.smoke else 8192)
    print(f"one bf16 matrix product: {rate / 1e12:.2f} TFLOP/s\n")
    print(
        "| model | side | batch | images/s | utilisation | iMixer's step over it "
        "|\n|---|---|---|---|---|---|"
    )
    for config, batch in ((TOY, 16),) if options.smoke else ((S16, 256), (CIFAR, 512)):
        models(config, batch, options, rate)
        checkpointing(config, batch, options)
    mapped(*large, options)
    trials, epochs = (2, 1) if options.smoke else (TRIALS, 10)
    alone = trials_together(1, epochs, options.device)
    together = trials_together(trials, epochs, options.device)
    print(
        f"{trials} small trials at once: {trials * alone / together:.2f} × the trials an hour of "
        f"one at a time"
    )


if __name__ == "__main__":
    main()
