"""The cores and GPUs of a cloud's machine type, as far as its name tells.

Amazon's sizes count in steps: an ``xlarge`` has four virtual CPUs, an ``Nxlarge`` at most 4 N; GPUs
are in a table of the families that have them. A test compares both with EC2's own description of
its types. Google's names contain the CPUs.
"""

import re
from dataclasses import dataclass

_SMALL_SIZES = {"nano": 2, "micro": 2, "small": 2, "medium": 2, "large": 2}
_MORE_CPUS = {"c1.xlarge": 8, "c4.8xlarge": 36, "d2.8xlarge": 36}  # than four per step
_AMAZON_GPUS = {
    "g4dn": "xlarge:1 2xlarge:1 4xlarge:1 8xlarge:1 12xlarge:4 16xlarge:1",
    "g5": "xlarge:1 2xlarge:1 4xlarge:1 8xlarge:1 12xlarge:4 16xlarge:1 24xlarge:4 48xlarge:8",
    "g5g": "xlarge:1 2xlarge:1 4xlarge:1 8xlarge:1 16xlarge:2",
    "g6": "xlarge:1 2xlarge:1 4xlarge:1 8xlarge:1 12xlarge:4 16xlarge:1 24xlarge:4 48xlarge:8",
    "g6e": "xlarge:1 2xlarge:1 4xlarge:1 8xlarge:1 12xlarge:4 16xlarge:1 24xlarge:4 48xlarge:8",
    "gr6": "4xlarge:1 8xlarge:1",
    "p3dn": "24xlarge:8",
    "p4d": "24xlarge:8",
    "p4de": "24xlarge:8",
    "p5": "4xlarge:1 48xlarge:8",
    "p5e": "48xlarge:8",
    "p5en": "48xlarge:8",
    "p6-b200": "48xlarge:8",
}
# families of the general, compute, memory and storage kinds
_WITHOUT_GPU = re.compile(r"[cmrtxidhz]\d")
_GOOGLE_G2 = {4: 1, 8: 1, 12: 1, 16: 1, 24: 2, 32: 1, 48: 4, 96: 8}  # virtual CPUs to GPUs


@dataclass(frozen=True)
class MachineType:
    """The largest resources of a type; None if its name does not tell.

    Attributes:
        cpus: virtual CPUs.
        gpus: GPUs.
    """

    cpus: int | None = None
    gpus: int | None = None


def amazon_type(name: str) -> MachineType:
    """An EC2 instance type, e.g. ``g5.12xlarge``."""
    family, _, size = name.partition(".")
    step = re.fullmatch(r"(\d*)xlarge", size)
    cpus = 4 * int(step[1] or 1) if step else _SMALL_SIZES.get(size)
    table = dict(pair.split(":") for pair in _AMAZON_GPUS.get(family, "").split())
    gpus = int(table[size]) if size in table else None
    if gpus is None and _WITHOUT_GPU.match(family):
        gpus = 0
    return MachineType(_MORE_CPUS.get(name, cpus), gpus)


def google_type(name: str, accelerators: int = 0) -> MachineType:
    """A Compute Engine machine type, e.g. ``g2-standard-24`` or ``a2-highgpu-4g``.

    Args:
        name: the type.
        accelerators: GPUs attached to it by ``guestAccelerators``.
    """
    built_in = re.fullmatch(r"a[234]-(?:high|mega|ultra)gpu-(\d+)g(?:-\w+)?", name)
    if built_in:
        return MachineType(None, int(built_in[1]))
    cpus = re.fullmatch(
        r"[a-z]\w*-(?:standard|highmem|highcpu|megamem|ultramem|custom)-(\d+)(?:-\w+)*|custom-(\d+)-.*",
        name,
    )
    count = int(cpus[1] or cpus[2]) if cpus else None
    if name.startswith("g2-"):
        return MachineType(count, _GOOGLE_G2.get(count or 0))
    return MachineType(count, accelerators)
