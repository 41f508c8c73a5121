"""How much a training step of iMixer costs: against an MLP-Mixer of equal FLOPs, and against iMixer
written the published way.

    python benchmarks/model_step.py [--device cuda] [--threads 1] [--repeats 30] [--compile]

A step is forward, cross-entropy, backward and fused AdamW, over one fixed batch. The rivals take
turns in one process, so that a change in the machine's load meets all of them, and each turn gives
one ratio; the table has the median ratio and its quartiles.

The equal-FLOP mixer is our own ``mlpmixer`` with a wider token MLP. iMixer's token MLP costs 2 S T
+ 2 n_iter T H multiplications a column (S tokens, T width, H hierarchy width), MLP-Mixer's 2 S T',
so T' = T + n_iter T H / S, rounded. The power iterations are not counted: they are iMixer's to pay.
``--same-code`` puts MLP-Mixer in iMixer's place, which shows the noise.

How the C library returns memory matters on a CPU: with MALLOC_TRIM_THRESHOLD_ and
MALLOC_MMAP_THRESHOLD_ raised, wide models are spared the page faults of every step.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from machine import machine
from torch import nn

from hopsearch.models import IMixerConfig, MlpMixerConfig, build

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from reference_models import ReferenceMixer

IMIXER = {"h_ratio": 2.0, "n_iter": 2, "n_power": 8}
SIZES = {
    "digits": (
        IMixerConfig(image_size=8, channels=1, patch_size=2, dim=64, depth=4, classes=10, **IMIXER),
        64,
        64,
        10,
    ),
    "cifar": (
        IMixerConfig(image_size=32, patch_size=4, dim=128, depth=8, classes=10, **IMIXER),
        128,
        128,
        1,
    ),
    "s16": (IMixerConfig(classes=10, **IMIXER), 4, 256, 1),
}
"""Name to (config, batch on a CPU, batch on a GPU, steps a turn)."""


def equal_flops(config: IMixerConfig) -> MlpMixerConfig:
    width = round(
        config.tokens_dim + config.n_iter * config.tokens_dim * config.hidden_dim / config.tokens
    )
    common = config.model_dump(exclude={"family", "h_ratio", "n_iter", "n_power", "spectral_coeff"})
    return MlpMixerConfig(**common | {"token_ratio": width / config.dim})


def stepper(
    model: nn.Module, x_BCHW: torch.Tensor, labels_B: torch.Tensor, compiled: bool
) -> Callable[[], None]:
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    forward = torch.compile(model) if compiled else model

    def step() -> None:
        F.cross_entropy(forward(x_BCHW), labels_B).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(step: Callable[[], None], steps: int, device: str) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / steps


def turns(
    rivals: dict[str, Callable[[], None]], steps: int, repeats: int, device: str
) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for step in rivals.values():
        for _ in range(3):
            seconds(step, steps, device)
    for turn in range(repeats):
        # Every other turn backwards, so that nobody always runs first after the same neighbour.
        for name in rivals if turn % 2 else reversed(rivals):
            times[name].append(seconds(rivals[name], steps, device))
    return times


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def measure_size(name: str, options: argparse.Namespace) -> str:
    config, batch_cpu, batch_gpu, steps = SIZES[name]
    device, batch = options.device, batch_gpu if options.device == "cuda" else batch_cpu
    torch.manual_seed(0)
    x_BCHW = torch.randn(
        batch, config.channels, config.image_size, config.image_size, device=device
    )
    labels_B = torch.randint(10, (batch,), device=device)
    models = {
        "imixer": build(config),
        "equal": build(equal_flops(config)),
        "published": ReferenceMixer(config),
    }
    if options.same_code:
        models["imixer"] = build(equal_flops(config))
    rivals = {
        key: stepper(model.to(device), x_BCHW, labels_B, options.compile)
        for key, model in models.items()
    }
    times = turns(rivals, steps, options.repeats, device)
    own = times["imixer"]
    over = quartiles([a / b for a, b in zip(own, times["equal"], strict=True)])
    faster = quartiles([b / a for a, b in zip(own, times["published"], strict=True)])
    return f"| {name} | {batch} | {statistics.median(own) * 1e3:.2f} ms | {over} | {faster} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--same-code", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine(options.device)}; {options.threads} thread(s); {options.repeats} turns\n")
    print(
        "| size | batch | iMixer step | over the equal-FLOP mixer | faster than published "
        "|\n|---|---|---|---|---|"
    )
    for name in options.sizes:
        print(measure_size(name, options), flush=True)


if __name__ == "__main__":
    main()
