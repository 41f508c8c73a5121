"""Provenance of a study; informational, not compared."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path

import hopsearch
from hopsearch.core.redaction import redacted_words


def origin() -> dict[str, object]:
    """Provenance: versions, code revision, command. Informational, not compared."""
    packages = {
        name: importlib.metadata.version(name) for name in ("ray", "optuna", "torch", "timm")
    }
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        revision = subprocess.run(
            git, capture_output=True, encoding="utf-8", timeout=5, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = ""
    return {
        "hopsearch": hopsearch.__version__,
        "revision": revision,
        "python": platform.python_version(),
        **packages,
        "command": redacted_words(sys.argv[1:]),
    }
