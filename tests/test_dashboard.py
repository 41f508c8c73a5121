"""optuna-dashboard opens a study's journal as it is (a development dependency; on loopback
only).
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hopsearch.study import State, StudyView


@contextmanager
def dashboard(journal: Path):
    """A real optuna-dashboard; yields a function that asks it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("optuna-dashboard")
    log = (journal.parent / "dashboard.txt").open("w")
    process = subprocess.Popen(
        [command, "--host", "127.0.0.1", "--port", str(port), journal], stdout=log, stderr=log
    )

    def ask(path: str) -> dict:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return json.loads(answer.read())

    try:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline:
            with suppress(OSError):
                ask("api/meta")
                break
            time.sleep(0.1)
        yield ask
    finally:
        process.terminate()
        process.wait()
        log.close()


@pytest.mark.long
@pytest.mark.timeout(100)
def test_it_shows_our_study(searched, tmp_path):
    view, journal = StudyView.open(searched), tmp_path / "journal.log"
    shutil.copyfile(searched / "journal.log", journal)
    before = journal.read_bytes()
    told = {State.COMPLETE: "Complete", State.PRUNED: "Pruned", State.FAILED: "Fail"}
    with dashboard(journal) as ask:
        (study,) = ask("api/studies")["study_summaries"]
        assert study["study_name"] == "little"
        shown = ask(f"api/studies/{study['study_id']}")
        assert shown["directions"] == ["maximize"]
        assert {trial["number"]: trial["state"] for trial in shown["trials"]} == {
            record.number: told[record.state] for record in view.counted()
        }
        for trial in shown["trials"]:
            record = view.records[trial["number"]]
            assert {
                entry["step"]: entry["value"] for entry in trial["intermediate_values"]
            } == record.curve
            assert {param["name"] for param in trial["params"]} == set(record.params)
            # Optuna gives a pruned trial its last value; a finished one is told its best.
            assert trial["values"] == [
                view.value(record) if record.state == State.COMPLETE else record.curve[record.epoch]
            ]
    assert journal.read_bytes() == before  # looking changes nothing
