"""Reads a cluster file: its kind, and errors that prevent any check."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hopsearch.core.errors import ConfigError


@dataclass(frozen=True)
class Finding:
    """A problem in a cluster file.

    Attributes:
        place: dotted path in the file.
        rule: the rule, and the value found instead.
        remedy: what to do.
        structural: whether the file lacks the structure that other checks rely on.
    """

    place: str
    rule: str
    remedy: str
    structural: bool = False

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}. {self.remedy}"


@dataclass(frozen=True)
class ClusterFile:
    """A file for ``ray up``, or a KubeRay object.

    Attributes:
        path: of the file.
        contents: parsed YAML.
        trial: CPUs and GPUs of a trial's worker.
        repeated: duplicate keys, of which YAML silently keeps the last.
    """

    path: Path
    contents: dict[str, Any]
    trial: tuple[float, float] = (1, 1)
    repeated: tuple[Finding, ...] = ()

    @property
    def kind(self) -> str:
        """kuberay, local, aws or gcp; our external providers count as their cloud."""
        if "apiVersion" in self.contents:
            return "kuberay"
        provider = self.contents.get("provider")
        if not isinstance(provider, dict):
            return "unknown"
        return (
            "aws"
            if "aws_provider" in str(provider.get("module"))
            else str(provider.get("type", "unknown"))
        )

    @property
    def node_types(self) -> dict[str, dict[str, Any]]:
        """Node types by name; empty if the file has none."""
        types = self.contents.get("available_node_types")
        if not isinstance(types, dict):
            return {}
        return {
            str(name): value or {} for name, value in types.items() if isinstance(value or {}, dict)
        }

    @property
    def commands(self) -> dict[str, list[str]]:
        """Lists of shell commands by key."""
        return {
            key: value
            for key, value in self.contents.items()
            if key.endswith("_commands") and isinstance(value, list)
        }


PROVIDER = "hopsearch.ray_backend.cluster.aws_provider.SpotPool"
"""Our own node provider for AWS."""
_MOVED = "hopsearch.distributed.spot_pool.SpotPool"


def mapping(value: object) -> dict[str, Any]:
    """A value that should be a mapping; empty if it is not one."""
    return value if isinstance(value, dict) else {}


def listed(value: object) -> list[Any]:
    """A value that should be a list; empty if it is not one."""
    return value if isinstance(value, list) else []


def read_cluster_file(path: Path, trial: tuple[float, float]) -> ClusterFile:
    """Read a file as Ray does (YAML 1.1), and record duplicate keys.

    Raises:
        ConfigError: it does not exist, or is not UTF-8, not YAML, or not a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        node = yaml.compose(text, yaml.SafeLoader)
        contents = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(
            str(path), f"must be readable, got: {error.strerror}", "Set e.g. cluster/aws.yaml"
        ) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        rule = f"must be UTF-8 text, got byte 0x{error.object[error.start]:02x}"
        raise ConfigError(f"{path}:{line}", rule, "Save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(
            f"{path}:{line}", f"must be YAML: {error.problem}", "Fix this line or the one above"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            str(path), f"must be YAML: {' '.join(str(error).split())[:200]}", "Fix what is named"
        ) from None
    if not isinstance(contents, dict):
        raise ConfigError(str(path), "must be a mapping", "Start from cluster/aws.yaml")
    if mapping(contents.get("provider")).get("module") == _MOVED:
        raise ConfigError(
            f"{path}: provider.module",
            f"must be {PROVIDER}, got its old name {_MOVED}",
            "Write the new one",
        )
    return ClusterFile(path, contents, trial, tuple(_repeated(node, "", set())))


def _repeated(node: object, place: str, seen: set[int]) -> Iterator[Finding]:
    if id(node) in seen:
        return  # an alias: the same part of the file again
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, part in enumerate(node.value):
            yield from _repeated(part, f"{place}.{number}", seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines = dict[str, int]()
    for key, value in node.value:
        name = str(key.value)
        line = key.start_mark.line + 1
        here = f"{place}.{name}".removeprefix(".")
        if isinstance(key, yaml.ScalarNode) and name in lines:
            rule = (
                f"must appear once, got it in lines {lines[name]} and {line}, of which only the "
                f"last counts"
            )
            yield Finding(here, rule, "Drop one of the two")
        lines[name] = line
        yield from _repeated(value, here, seen)
