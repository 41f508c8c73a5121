"""The checks of a cluster file, by its kind."""

import importlib.util
from collections.abc import Callable, Iterator

from hopsearch.cluster_check import addresses, cloud_apis, kuberay, launch, rules, start_commands
from hopsearch.cluster_check.file import ClusterFile, Finding
from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import ConfigError

Check = Callable[[ClusterFile], Iterator[Finding]]

_RAYS = (launch.docker, launch.keys, launch.mounts, addresses.name, start_commands.starts)
_CLOUD = (
    *_RAYS,
    addresses.zones,
    addresses.visitors,
    rules.bounds,
    rules.doors,
    rules.token,
    rules.versions,
    rules.images,
    rules.placement,
    rules.sizes,
)
CHECKS: dict[str, tuple[Check, ...]] = {
    "aws": (*_CLOUD, cloud_apis.amazon),
    "gcp": (*_CLOUD, cloud_apis.google),
    "local": (*_RAYS, addresses.machines, rules.token, rules.versions),
    "kuberay": (kuberay.fields, kuberay.names, kuberay.cluster, kuberay.groups),
}
"""Checks by kind of file, after the structural ones; Ray's own come first."""


def examine(file: ClusterFile) -> list[Finding]:
    """All problems of ``file``; only structural ones if there are any, since the rest cannot be
    checked.

    Raises:
        ConfigError: an unknown kind of file.
    """
    if file.kind not in CHECKS:
        raise ConfigError(
            f"{file.path}: provider.type",
            f"must be known, got {file.kind!r}",
            did_you_mean(file.kind, CHECKS),
        )
    findings = list(kuberay.shape(file) if file.kind == "kuberay" else launch.schema(file))
    if any(finding.structural for finding in findings):
        return [*file.repeated, *findings]
    if file.kind != "kuberay" and not findings:
        findings += launch.preparation(file)
    findings += file.repeated
    for check in CHECKS[file.kind]:
        findings += [finding for finding in check(file) if finding not in findings]
    return findings


def unchecked(file: ClusterFile) -> list[str]:
    """Checks that could not run on this machine, one sentence each."""
    library = {"aws": "botocore", "gcp": "googleapiclient"}.get(file.kind)
    if library is None or importlib.util.find_spec(library) is not None:
        return []
    return [
        f"node_config was not checked: {library} is not installed: pip install "
        f"'hopsearch[{file.kind}]'"
    ]
