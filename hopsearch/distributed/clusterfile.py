"""A cluster file, read offline: what kind it is, and what is wrong with it as a file for ``ray up``.

Each check is a function from the file's contents to findings; `hopsearch.distributed.checks` says which kind of file it is for.
None asks a cloud.
"""

import importlib.metadata
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import ray.autoscaler
import yaml

from hopsearch.config import did_you_mean
from hopsearch.errors import ConfigError

REQUIREMENTS = "cluster/node/requirements.txt"


@dataclass(frozen=True)
class Finding:
    """Something wrong with a cluster file.

    Attributes:
        place: dotted path in the file.
        rule: what must hold, and what was found instead.
        remedy: what to do.
    """

    place: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}. {self.remedy}"


@dataclass(frozen=True)
class ClusterFile:
    """A file for ``ray up``, or a KubeRay object.

    Attributes:
        path: where it was read.
        contents: as YAML gives them.
        trial: CPUs and GPUs that a worker of a trial is to be given.
    """

    path: Path
    contents: dict[str, Any]
    trial: tuple[float, float] = (1, 1)

    @property
    def kind(self) -> str:
        """kuberay, local, aws or gcp; external providers of ours count as their cloud."""
        if "apiVersion" in self.contents:
            return "kuberay"
        provider = self.contents.get("provider") or {}
        return "aws" if "spot_pool" in str(provider.get("module")) else str(provider.get("type", "unknown"))

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """Node types by name; empty where the file has none."""
        return {name: value or {} for name, value in (self.contents.get("available_node_types") or {}).items()}

    @property
    def commands(self) -> dict[str, list[str]]:
        """Lists of shell commands by key."""
        return {key: value for key, value in self.contents.items() if key.endswith("_commands") and isinstance(value, list)}


def read_cluster_file(path: Path, trial: tuple[float, float]) -> ClusterFile:
    """Read a file.

    Raises:
        ConfigError: it is not there, not YAML, or not a mapping.
    """
    try:
        contents = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(str(path), f"must be readable, got: {error.strerror}", "Give e.g. cluster/aws.yaml") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"{path}:{line}", f"must be YAML: {error.problem}", "Mend this line or the one before it") from None
    if not isinstance(contents, dict):
        raise ConfigError(str(path), "must be a mapping", "Begin with cluster/aws.yaml")
    return ClusterFile(path, contents, trial)


def schema(file: ClusterFile) -> Iterator[Finding]:
    """Ray's own schema, unknown fields included."""
    known = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    for error in jsonschema.Draft7Validator(known).iter_errors(file.contents):
        place = ".".join(map(str, error.absolute_path)) or "the file"
        unknown = re.search(r"\('(\w+)' was unexpected\)", error.message)
        if unknown:
            fields = error.schema.get("properties", {})
            yield Finding(f"{place}.{unknown[1]}".removeprefix("the file."), "unknown field", did_you_mean(unknown[1], fields))
        else:
            yield Finding(place, f"must fit Ray's schema: {error.message[:200]}", "See the comments in cluster/aws.yaml")
    head = file.contents.get("head_node_type")
    if file.node_types and head not in file.node_types:
        yield Finding("head_node_type", f"must be one of the node types, got {head!r}", did_you_mean(str(head), file.node_types))


def bounds(file: ClusterFile) -> Iterator[Finding]:
    """What is paid for is bounded, and nothing is paid for when there is no work."""
    if not isinstance(file.contents.get("max_workers"), int):
        yield Finding("max_workers", "the number of machines must be bounded, got no bound", "Set the most you would pay for")
    for name, node in file.node_types.items():
        if node.get("min_workers", 0) > 0:
            place = f"available_node_types.{name}.min_workers"
            yield Finding(place, f"must be 0, got {node['min_workers']}: it is paid for without work", "Set 0")
    if file.contents.get("idle_timeout_minutes", 5) > 30:
        minutes = file.contents["idle_timeout_minutes"]
        yield Finding("idle_timeout_minutes", f"idle machines should go within 30 minutes, got {minutes}", "Set 5")
    if (file.contents.get("provider") or {}).get("cache_stopped_nodes", True) is not False:
        rule = "must be false: Ray stops machines otherwise, and their disks are paid for"
        yield Finding("provider.cache_stopped_nodes", rule, "Set false")


def doors(file: ClusterFile) -> Iterator[Finding]:
    """Nobody but the operator gets in."""
    group = (file.contents.get("provider") or {}).get("security_group") or {}
    rules = group.get("IpPermissions")
    if file.kind == "aws" and rules is None:
        rule = "must say who reaches SSH: Ray opens it to the whole world otherwise"
        yield Finding("provider.security_group", rule, "Copy it from cluster/aws.yaml")
    for rule in rules or []:
        for source in rule.get("IpRanges", []):
            if source.get("CidrIp") == "0.0.0.0/0":
                place = "provider.security_group.IpPermissions"
                yield Finding(place, f"port {rule.get('FromPort')} must not be open to 0.0.0.0/0", "Give your own address, …/32")
    for key, lines in file.commands.items():
        for line in lines:
            if re.search(r"--dashboard-host[= ]['\"]?0\.0\.0\.0", line):
                yield Finding(
                    key, "the dashboard must listen on loopback, got --dashboard-host=0.0.0.0", "Use 127.0.0.1 and a tunnel"
                )


def token(file: ClusterFile) -> Iterator[Finding]:
    """Token authentication is on, and every machine has the token."""
    mounts = file.contents.get("file_mounts") or {}
    if not any(str(target).rstrip("/").endswith(".ray") for target in mounts):
        rule = "the token must be shipped to the machines, got no mount of a .ray folder"
        yield Finding("file_mounts", rule, "Add /home/ubuntu/.ray: ~/.ray/hopsearch, and run cluster/new-token.sh")
    everything = "\n".join(line for lines in file.commands.values() for line in lines)
    if "RAY_AUTH_MODE=token" not in everything:
        rule = "must set RAY_AUTH_MODE=token: a worker does not turn it on by itself"
        yield Finding("setup_commands", rule, "Copy the line from cluster/aws.yaml")


def versions(file: ClusterFile) -> Iterator[Finding]:
    """The machines get this project's versions: no nightly, no release of another year."""
    for key, lines in file.commands.items():
        for line in lines:
            if re.search(r"ray-[^ ]*dev[^ ]*\.whl|ray==?[^ ]*dev|ray-nightly", line):
                yield Finding(key, f"a released Ray must be installed, got {line[:80]!r}", f"Use {REQUIREMENTS}")
    pinned = file.path.parent / "node" / "requirements.txt"
    for name, version in re.findall(r"^([\w-]+)(?:\[[^\]]*\])?==([\w.]+)", pinned.read_text() if pinned.exists() else "", re.M):
        here = importlib.metadata.version(name).partition("+")[0]
        if name in ("ray", "torch", "optuna", "timm") and here != version:
            rule = f"machines must have the versions of this one, got {name} {version} there and {here} here"
            yield Finding(REQUIREMENTS, rule, f"Change one of the two: {name}=={here}")


def images(file: ClusterFile) -> Iterator[Finding]:
    """Images that are named and still maintained."""
    for name, node in file.node_types.items():
        config = node.get("node_config") or {}
        image = str(config.get("ImageId", ""))
        place = f"available_node_types.{name}.node_config"
        if file.kind == "aws" and not image:
            yield Finding(
                f"{place}.ImageId", "must be given: Ray's default is Ubuntu 18.04 with CUDA 11", "Copy it from cluster/aws.yaml"
            )
        if re.search(r"ubuntu-?(14|16|18)", image, re.I):
            yield Finding(f"{place}.ImageId", f"must be a maintained system, got {image}", "Use Ubuntu 22.04 or later")
        if file.kind == "aws" and (config.get("MetadataOptions") or {}).get("HttpTokens") != "required":
            rule = "IMDSv2 must be required: any program on the machine reads its credentials otherwise"
            yield Finding(f"{place}.MetadataOptions", rule, "Set {HttpTokens: required, HttpPutResponseHopLimit: 2}")
        if file.kind == "aws" and not config.get("IamInstanceProfile"):
            rule = "must name a profile: a head gets all of EC2 and S3 otherwise, a worker nothing"
            yield Finding(f"{place}.IamInstanceProfile", rule, "Run cluster/aws_iam.py and name its profiles")


def placement(file: ClusterFile) -> Iterator[Finding]:
    """The head is not taken away, and some machine holds a trial."""
    head = str(file.contents.get("head_node_type"))
    config = (file.node_types.get(head) or {}).get("node_config") or {}
    if "InstanceMarketOptions" in config or (config.get("scheduling") or {}).get("provisioningModel") == "SPOT":
        yield Finding(f"available_node_types.{head}", "the head must not be a spot machine: the search goes with it", "On demand")
    cpus, gpus = file.trial
    workers = {name: node.get("resources") or {} for name, node in file.node_types.items() if name != head}
    if workers and not any(there.get("CPU", 0) >= cpus and there.get("GPU", 0) >= gpus for there in workers.values()):
        most = "; ".join(f"{name}: CPU {there.get('CPU', 0)}, GPU {there.get('GPU', 0)}" for name, there in workers.items())
        rule = f"some machine must hold a worker of {cpus:g} CPU and {gpus:g} GPU, got {most}"
        yield Finding("available_node_types", rule, "Lower trial.cpus or trial.gpus, or give larger machines")
