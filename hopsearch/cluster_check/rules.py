"""Checks of a file for ``ray up`` beyond Ray's own: cost, access, and workers that never start.

Each check is a function from the file's contents to findings; `hopsearch.cluster_check.checks`
tells which kind of file it is for. None contacts a cloud.
"""

import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any

from hopsearch.cluster_check.file import ClusterFile, Finding, listed, mapping
from hopsearch.cluster_check.machine_types import MachineType, amazon_type, google_type
from hopsearch.ray_backend.cluster.fallbacks import chain

REQUIREMENTS = "cluster/node/requirements.txt"


def bounds(file: ClusterFile) -> Iterator[Finding]:
    """Costs are limited, and nothing is paid for when there is no work."""
    if not isinstance(file.contents.get("max_workers"), int):
        yield Finding(
            "max_workers",
            "the number of machines must be limited, got no limit",
            "Set the most you are willing to pay for",
        )
    for name, node in file.node_types.items():
        if node.get("min_workers", 0) > 0:
            place = f"available_node_types.{name}.min_workers"
            yield Finding(
                place, f"must be 0, got {node['min_workers']}: it costs money while idle", "Set 0"
            )
    if file.contents.get("idle_timeout_minutes", 5) > 30:
        minutes = file.contents["idle_timeout_minutes"]
        yield Finding(
            "idle_timeout_minutes",
            f"idle machines should be removed within 30 minutes, got {minutes}",
            "Set 5",
        )
    if (file.contents.get("provider") or {}).get("cache_stopped_nodes", True) is not False:
        rule = (
            "must be false: otherwise Ray only stops machines, and their disks keep costing money"
        )
        yield Finding("provider.cache_stopped_nodes", rule, "Set false")


def doors(file: ClusterFile) -> Iterator[Finding]:
    """Only the operator has access."""
    if (file.contents.get("provider") or {}).get("type") == "aws":
        rule = "Ray's own AWS provider opens SSH to anyone, in addition to the addresses given here"
        yield Finding(
            "provider.type",
            rule,
            "Write type: external, module: hopsearch.ray_backend.cluster.aws_provider.SpotPool",
        )
    group = (file.contents.get("provider") or {}).get("security_group") or {}
    rules = group.get("IpPermissions")
    if file.kind == "aws" and rules is None:
        rule = "must restrict SSH: otherwise Ray opens it to the whole internet"
        yield Finding("provider.security_group", rule, "Copy it from cluster/aws.yaml")
    for rule in rules or []:
        for source in rule.get("IpRanges", []):
            if source.get("CidrIp") == "0.0.0.0/0":
                place = "provider.security_group.IpPermissions"
                yield Finding(
                    place,
                    f"port {rule.get('FromPort')} must not be open to 0.0.0.0/0",
                    "Set your own address, …/32",
                )
    for key, lines in file.commands.items():
        for line in lines:
            if re.search(r"--dashboard-host[= ]['\"]?0\.0\.0\.0", line):
                yield Finding(
                    key,
                    "the dashboard must listen on loopback, got --dashboard-host=0.0.0.0",
                    "Use 127.0.0.1 and a tunnel",
                )


def token(file: ClusterFile) -> Iterator[Finding]:
    """Token authentication is on, and every machine has the token."""
    mounts = file.contents.get("file_mounts") or {}
    if not any(str(target).rstrip("/").endswith(".ray") for target in mounts):
        rule = "the token must be copied to the machines, got no mount of a .ray folder"
        yield Finding(
            "file_mounts",
            rule,
            "Add /home/ubuntu/.ray: ~/.ray/hopsearch, and run cluster/new-token.sh",
        )
    everything = "\n".join(line for lines in file.commands.values() for line in lines)
    if "RAY_AUTH_MODE=token" not in everything:
        rule = "must set RAY_AUTH_MODE=token: a worker does not enable it by itself"
        yield Finding("setup_commands", rule, "Copy the line from cluster/aws.yaml")


def versions(file: ClusterFile) -> Iterator[Finding]:
    """The machines get this project's versions, not a nightly or a different release."""
    for key, lines in file.commands.items():
        for line in lines:
            if re.search(r"ray-[^ ]*dev[^ ]*\.whl|ray==?[^ ]*dev|ray-nightly", line):
                yield Finding(
                    key,
                    f"a released version of Ray must be installed, got {line[:80]!r}",
                    f"Use {REQUIREMENTS}",
                )
    pinned = file.path.parent / "node" / "requirements.txt"
    for name, version in re.findall(
        r"^([\w-]+)(?:\[[^\]]*\])?==([\w.]+)",
        pinned.read_text(encoding="utf-8") if pinned.exists() else "",
        re.M,
    ):
        if name not in ("ray", "torch", "optuna", "timm"):
            continue
        here = importlib.metadata.version(name).partition("+")[0]
        if here != version:
            rule = (
                f"machines must have the same versions as this one, got {name} {version} there and "
                f"{here} here"
            )
            yield Finding(REQUIREMENTS, rule, f"Change one of the two: {name}=={here}")


def images(file: ClusterFile) -> Iterator[Finding]:
    """Images are set and still supported."""
    for name, node in file.node_types.items():
        config = node.get("node_config") or {}
        image = str(config.get("ImageId", ""))
        place = f"available_node_types.{name}.node_config"
        if file.kind == "aws" and not image:
            yield Finding(
                f"{place}.ImageId",
                "is required: Ray's default is Ubuntu 18.04 with CUDA 11",
                "Copy it from cluster/aws.yaml",
            )
        if re.search(r"ubuntu-?(14|16|18)", image, re.I):
            yield Finding(
                f"{place}.ImageId",
                f"must be a supported system, got {image}",
                "Use Ubuntu 22.04 or later",
            )
        if (
            file.kind == "aws"
            and mapping(config.get("MetadataOptions")).get("HttpTokens") != "required"
        ):
            rule = (
                "IMDSv2 must be required: otherwise any program on the machine can read its "
                "credentials"
            )
            yield Finding(
                f"{place}.MetadataOptions",
                rule,
                "Set {HttpTokens: required, HttpPutResponseHopLimit: 2}",
            )
        if file.kind == "aws" and not config.get("IamInstanceProfile"):
            rule = (
                "must name a profile: otherwise a head gets full access to EC2 and S3, and a "
                "worker none"
            )
            yield Finding(
                f"{place}.IamInstanceProfile", rule, "Run cluster/aws_iam.py and name its profiles"
            )


def placement(file: ClusterFile) -> Iterator[Finding]:
    """The head is not preemptible, and some machine has room for a trial."""
    head = str(file.contents.get("head_node_type"))
    config = (file.node_types.get(head) or {}).get("node_config") or {}
    if (
        "InstanceMarketOptions" in config
        or mapping(config.get("scheduling")).get("provisioningModel") == "SPOT"
    ):
        yield Finding(
            f"available_node_types.{head}",
            "the head must not be a spot machine: the search would end with it",
            "Use an on-demand machine",
        )
    cpus, gpus = file.trial
    workers = {
        name: node.get("resources") or {} for name, node in file.node_types.items() if name != head
    }
    if workers and not any(
        there.get("CPU", 0) >= cpus and there.get("GPU", 0) >= gpus for there in workers.values()
    ):
        most = "; ".join(
            f"{name}: CPU {there.get('CPU', 0)}, GPU {there.get('GPU', 0)}"
            for name, there in workers.items()
        )
        rule = (
            f"some machine must have room for a worker of {cpus:g} CPU and {gpus:g} GPU, got {most}"
        )
        yield Finding(
            "available_node_types",
            rule,
            "Lower trial.cpus or trial.gpus, or define larger machines",
        )


def sizes(file: ClusterFile) -> Iterator[Finding]:
    """No node type, including fallbacks, declares more than its machines have: trials would wait
    for it forever.
    """
    for name, node in file.node_types.items():
        promised = node.get("resources") or {}
        for wanted, there in _machines(file, node):
            for unit, most in (("CPU", there.cpus), ("GPU", there.gpus)):
                if most is not None and promised.get(unit, 0) > most:
                    rule = f"must be at most what a {wanted} has, {most}, got {promised[unit]}"
                    yield Finding(
                        f"available_node_types.{name}.resources.{unit}",
                        rule,
                        f"Set {unit}: {most}, or a larger type",
                    )


def _machines(file: ClusterFile, node: dict[str, Any]) -> Iterator[tuple[str, MachineType]]:
    config = node.get("node_config") or {}
    if file.kind == "aws":
        names = {
            str(choice["InstanceType"]) for choice in chain(config) if choice.get("InstanceType")
        }
        yield from ((name, amazon_type(name)) for name in sorted(names))
    if file.kind == "gcp" and config.get("machineType"):
        counts = [
            mapping(each).get("acceleratorCount")
            for each in listed(config.get("guestAccelerators"))
        ]
        count = sum(given for given in counts if isinstance(given, int))
        name = str(config["machineType"]).rpartition("/")[2]
        yield name, google_type(name, count)
