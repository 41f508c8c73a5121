"""Tests that continuous integration runs in turns: many alike, each a real search or training.

``HOPSEARCH_TEST_TURNS=3`` runs a third of the cases of every test (or named group of tests) marked
``in_turns``; the commit decides which third, so that each comes up again and again. Without it all
are run.
"""

import os
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

TURNS = "HOPSEARCH_TEST_TURNS"


def turns() -> int:
    """Over how many runs the marked tests are spread: 1 where all are run.

    Raises:
        pytest.UsageError: the variable holds no number above 0.
    """
    text = os.environ.get(TURNS, "1")
    if not text.isdecimal() or int(text) == 0:
        raise pytest.UsageError(f"{TURNS}: a number above 0 is required, got {text!r}")
    return int(text)


def this_turn() -> int:
    """A number that the commit decides; 0 outside a checkout."""
    command = ["git", "rev-parse", "--short=8", "HEAD"]
    asked = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return int(asked.stdout, 16) if asked.returncode == 0 else 0


def not_now(items: Iterable[pytest.Item], turns: int, turn: int) -> list[pytest.Item]:
    """The marked tests whose turn it is not. Of every group at least one is run."""
    groups: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("in_turns")
        if mark is not None:
            groups[mark.args[0] if mark.args else item.nodeid.split("[")[0]].append(item)
    return [
        item
        for group in groups.values()
        for number, item in enumerate(group)
        if (number + turn) % min(turns, len(group))
    ]
