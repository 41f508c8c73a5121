"""What a joined cluster can grow to, read from its autoscaler's file.

Ray has a record for it (`get_max_resources_from_cluster_config`), but its open-source autoscalers
never fill that in (as of 2.60). The file is on the head, named in the command line of the
autoscaler's process; if KubeRay runs the autoscaler, it is not visible.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_MONITOR = "/monitor.py"  # the autoscaler's process, either version
_PATIENCE = 60  # seconds for a head that is busy
HEAD = "node:__internal_head__"  # a resource that only the head has


@dataclass(frozen=True)
class NodeType:
    """Machines of one type.

    Attributes:
        name: as in the cluster file.
        resources: of one machine, e.g. ``{"CPU": 4, "GPU": 1}``.
        most: maximum number.
    """

    name: str
    resources: dict[str, float]
    most: int

    def __str__(self) -> str:
        shown = ", ".join(
            f"{unit} {self.resources[unit]:g}"
            for unit in ("CPU", "GPU")
            if self.resources.get(unit)
        )
        return f"{self.name} ({shown})" if shown else self.name


@dataclass(frozen=True)
class Growth:
    """The bounds of a cluster.

    Attributes:
        types: node types other than the head.
        most: maximum number of machines, without the head.
    """

    types: tuple[NodeType, ...]
    most: int

    @classmethod
    def of(cls, contents: dict[str, Any]) -> "Growth | None":
        """Read the limits from a cluster file, as `ray up` leaves it on the head; None if it does
        not list machine resources.
        """
        most = int(contents.get("max_workers", 0))
        head = contents.get("head_node_type")
        types = tuple(
            NodeType(name, known, min(most, int(node.get("max_workers", most))))
            for name, node in (contents.get("available_node_types") or {}).items()
            if name != head
            and (
                known := {
                    unit: float(count) for unit, count in (node.get("resources") or {}).items()
                }
            )
        )
        types = tuple(each for each in types if each.most > 0)
        return cls(types, most) if types else None

    def fit(self, each: Iterable[int]) -> int:
        """How many items fit when fully grown, given how many fit on a machine of each type."""
        left = self.most
        total = 0
        for holds, node in sorted(zip(each, self.types, strict=True), key=lambda pair: -pair[0]):
            count = min(left, node.most)
            left = left - count
            total = total + count * holds
        return total

    def __str__(self) -> str:
        machines = "1 machine" if self.most == 1 else f"{self.most} machines"
        return f"{machines}: {', '.join(f'at most {each.most} {each}' for each in self.types)}"


def growth() -> Growth | None:
    """What the connected cluster can grow to; None if it does not grow, or its head does not
    tell.
    """
    context = ray.get_runtime_context()
    heads = [node["NodeID"] for node in ray.nodes() if node["Alive"] and HEAD in node["Resources"]]
    if not heads:
        return None
    if heads[0] == context.get_node_id():
        contents = autoscaler_file(context.gcs_address)
    else:
        there = NodeAffinitySchedulingStrategy(heads[0], soft=False)
        task = ray.remote(autoscaler_file).options(num_cpus=0, scheduling_strategy=there)
        try:
            contents = ray.get(task.remote(context.gcs_address), timeout=_PATIENCE)
        except (
            ray.exceptions.RayError
        ):  # e.g. a head that runs no work and does not have this project
            return None
    return Growth.of(contents) if contents else None


def autoscaler_file(address: str) -> dict[str, Any] | None:
    """The cluster file of the autoscaler on this machine that serves the cluster at ``address``;
    None if there is none.

    Args:
        address: ``host:port`` of the cluster.
    """
    port = address.rpartition(":")[2]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []  # None of another user's
        given = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if (
            any(word.endswith(_MONITOR) for word in words)
            and given.get("--gcs-address", "").rpartition(":")[2] == port
        ):
            return _read(given.get("--autoscaling-config", ""))
    return None


def _read(path: str) -> dict[str, Any] | None:
    try:
        contents = (
            yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8")) if path else None
        )
    except (OSError, yaml.YAMLError):
        return None
    return contents if isinstance(contents, dict) else None
