"""Environment variables that Ray reads on import; the package imports this module before Ray."""

import os
import secrets
from pathlib import Path

# Read by Ray at import or start: no Tune loggers, no metrics, no change of directory, no hints in
# the middle of our table.
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
    # it treats SIGTERM as a crash: a C++ stack, and abort after 3 seconds
    "RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1",
    "RAY_AUTH_MODE": "token",
}
# Read by the C library of the workers, which inherit it: keep freed memory instead of faulting it
# in again at every step. Trainings allocate and free the same few large blocks continually; wide
# models train a fifth faster on a CPU.
_KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_MMAP_THRESHOLD_": str(2**25)}
# Ray would write one into the home directory, readable by everyone; it reads it once per process
_TOKEN = secrets.token_hex(32)


def arrange() -> None:
    """Set the variables that are not set yet; again if the environment was restored meanwhile."""
    for key, value in (_QUIET | _KEEP_MEMORY).items():
        os.environ.setdefault(key, value)
    if (
        not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
        and not (Path.home() / ".ray" / "auth_token").exists()
    ):
        os.environ["RAY_AUTH_TOKEN"] = _TOKEN


arrange()
