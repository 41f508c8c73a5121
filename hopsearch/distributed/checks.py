"""Which checks a cluster file goes through, by its kind."""

from collections.abc import Callable, Iterator

from hopsearch.config import did_you_mean
from hopsearch.distributed import cloudapis, clusterfile, kuberay
from hopsearch.distributed.clusterfile import ClusterFile, Finding
from hopsearch.errors import ConfigError

_CLOUD = (
    clusterfile.schema,
    clusterfile.bounds,
    clusterfile.doors,
    clusterfile.token,
    clusterfile.versions,
    clusterfile.images,
    clusterfile.placement,
)
CHECKS: dict[str, tuple[Callable[[ClusterFile], Iterator[Finding]], ...]] = {
    "aws": (*_CLOUD, cloudapis.amazon),
    "gcp": (*_CLOUD, cloudapis.google),
    "local": (clusterfile.schema, clusterfile.token, clusterfile.versions),
    "kuberay": (kuberay.fields, kuberay.cluster, kuberay.groups),
}
"""Checks by kind of file."""


def examine(file: ClusterFile) -> list[Finding]:
    """All that is wrong with ``file``.

    Raises:
        ConfigError: a kind of file that is not known.
    """
    if file.kind not in CHECKS:
        raise ConfigError(f"{file.path}: provider.type", f"must be known, got {file.kind!r}", did_you_mean(file.kind, CHECKS))
    return [finding for check in CHECKS[file.kind] for finding in check(file)]
