"""The machine and the software that a figure was measured on, in a line; every benchmark prints
it.
"""

import os
import platform
from pathlib import Path

import torch


def machine(device: str = "cpu") -> str:
    """Processor (or GPU), cores, load, Python and torch."""
    where = (
        torch.cuda.get_device_name() if device == "cuda" else f"{_cpu()}, {os.cpu_count()} cores"
    )
    return (
        f"{where}, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, torch "
        f"{torch.__version__}"
    )


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
