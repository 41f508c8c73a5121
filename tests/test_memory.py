"""Searches under Ray's memory monitor, told that nothing is left: its threshold is set below what
is in use.
"""

import re
import subprocess

import pytest

from hopsearch.study import State, StudyView
from tests.conftest import environment
from tests.processes import command

SMALL = [
    "space=imixer",
    "model.depth=1",
    "model.dim=16",
    "model.patch_size=4",
    "train.epochs=2",
    "pruner=none",
]
SHORT = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}


def tune(tmp_path, *words: str, **more: str) -> subprocess.CompletedProcess:
    environ = environment(tmp_path) | more
    return subprocess.run(
        command(tmp_path, *words), env=environ, capture_output=True, text=True, timeout=200
    )


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(400)
class TestMemory:
    def test_trials_run_one_by_one_and_those_that_do_not_fit_are_told_so(self, tmp_path):
        done = tune(tmp_path, *SMALL, "trials=2", **SHORT)
        assert done.returncode == 0, done.stderr[-3000:]
        assert re.search(
            (
                r"out of memory \([\d.]+ of [\d.]+ GB were in use.*\): from now on at most 1 trial "
                r"runs at once"
            ),
            done.stdout,
        )
        records = StudyView.open(tmp_path / "runs" / "imixer-digits").counted()
        assert [record.state for record in records] == [State.FAILED] * 2
        assert all("it does not fit even when run alone" in record.reason for record in records)
        assert "Traceback" not in done.stdout + done.stderr

    def test_a_winner_is_left_for_another_time(self, tmp_path):
        words = [*SMALL, "trials=1"]
        assert tune(tmp_path, *words, "finish=false").returncode == 0
        done = tune(tmp_path, *words, **SHORT)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "the winner's training lost its worker 3 times in a row" in done.stderr
        assert "out of memory" in done.stderr or "GB were in use" in done.stderr
        assert "Traceback" not in done.stderr
        done = tune(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert "winner: trial 0" in done.stdout
