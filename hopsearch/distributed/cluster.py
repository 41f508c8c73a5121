"""The Ray cluster: started on this machine or joined, private by default, and asked what it has."""

import contextlib
import logging
import os
import secrets
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

# Read by Ray at import or start: no loggers of Tune's own, no metrics, no change of directory, no advice amid our table.
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "3600",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
}
for _key, _value in _QUIET.items():
    os.environ.setdefault(_key, _value)
if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys() and not (Path.home() / ".ray" / "auth_token").exists():
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)  # Ray would write one into the home directory, readable by everybody

import ray  # noqa: E402  # after the environment that it reads

from hopsearch.config import Settings  # noqa: E402
from hopsearch.errors import ResourceError  # noqa: E402


class TrialResources(Settings):
    """What one trial is given."""

    cpus: float = Field(default=1, gt=0)
    """CPU cores, and threads (at least one)."""
    gpus: float = Field(default=0, ge=0)
    """GPUs; a fraction lets several trials share one."""


@contextlib.contextmanager
def connect(address: str | None = None, memory: int = 200_000_000) -> Iterator[None]:
    """Join the cluster at ``address``, or start one on this machine and stop it afterwards.

    A cluster started here has token authentication on: with the user's own token, or one that only its processes know.

    Args:
        address: ``auto``, ``host:port``, or None for a cluster of this machine's own.
        memory: bytes of the local object store; jobs and results are small, so little is needed.

    Raises:
        ResourceError: no cluster answers at ``address``.
    """
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of its own future defaults
        try:
            if address:
                _require_answer(address)
                ray.init(address=address, **quiet)
            else:
                ray.init(include_dashboard=False, object_store_memory=memory, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            if not address:
                raise
            hint = "Start one with `ray start --head`, or leave address= out; one without tokens needs RAY_AUTH_MODE=disabled"
            raise ResourceError("address", f"a Ray cluster must answer at {address}, got: {error}", hint) from None
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    # Ray itself tries for minutes.
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit() and "://" not in address:
        socket.create_connection((host, int(port)), timeout=10).close()


def slots(resources: TrialResources) -> int:
    """How many trials the cluster can run at once.

    Raises:
        ResourceError: not even one.
    """
    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    if resources.gpus > gpus:
        hint = "Set trial.gpus=0 to train on CPUs, or join a cluster with GPUs: address=…"
        raise ResourceError("trial.gpus", f"the cluster must have {resources.gpus:g} GPU for a trial, got {gpus:g}", hint)
    if resources.cpus > cpus:
        raise ResourceError("trial.cpus", f"the cluster must have {resources.cpus:g} CPUs for a trial, got {cpus:g}", "Lower it")
    by_cpu = int(cpus // resources.cpus)
    if not resources.gpus:
        return by_cpu
    per_gpu = int(1 // resources.gpus) if resources.gpus < 1 else 0
    return min(by_cpu, int(gpus) * per_gpu if per_gpu else int(gpus // resources.gpus))
