"""The journal's chain and format: what is missing, altered, doubled or moved is named; what is
newer or older is said.
"""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hopsearch import report
from hopsearch.core.errors import StudyError
from hopsearch.study import Identity, StudyView
from hopsearch.study.persistence import journal_file
from hopsearch.study.persistence.journal_file import read_journal
from hopsearch.study.record.format_version import FORMAT
from tests.conftest import admit_all, drive, identity, open_study


@pytest.fixture(scope="module")
def journal(tmp_path_factory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("chained")
    with open_study(folder) as study:
        drive(study, 6)
    return (folder / "test" / "journal.log").read_bytes().splitlines(keepends=True)


@pytest.fixture
def write(tmp_path):
    def lines(those: list[bytes]) -> Path:
        (tmp_path / "test").mkdir(exist_ok=True)
        (tmp_path / "test" / "journal.log").write_bytes(b"".join(those))
        return tmp_path / "test"

    return lines


def bare(line: bytes) -> bytes:
    """As an older version wrote it."""
    log = json.loads(line)
    del log["chain"]
    return json.dumps(log, separators=(",", ":")).encode() + b"\n"


def altered(line: bytes) -> bytes:
    return line.replace(b'"worker_id":"', b'"worker_id":"0', 1)


DAMAGES = [
    (
        "one missing",
        lambda lines: lines[:20] + lines[21:],
        "line 21 must follow line 20, got line 22 there: 1 line is missing",
    ),
    (
        "three missing",
        lambda lines: lines[:20] + lines[23:],
        "line 21 must follow line 20, got line 24 there: 3 lines are missing",
    ),
    (
        "the first missing",
        lambda lines: lines[1:],
        "line 1 must follow line 0, got line 2 there: 1 line is missing",
    ),
    (
        "doubled",
        lambda lines: [*lines[:21], *lines[20:]],
        "line 22 must follow line 21, got line 21 there: it is duplicated",
    ),
    (
        "moved",
        lambda lines: [*lines[:20], lines[21], lines[20], *lines[22:]],
        "line 21 .* got line 22 there: .* or out of order",
    ),
    (
        "altered",
        lambda lines: [*lines[:20], altered(lines[20]), *lines[21:]],
        "line 21 .* got another hash: it was altered",
    ),
    (
        "the last altered",
        lambda lines: [*lines[:-1], altered(lines[-1])],
        "got another hash: it was altered",
    ),
    (
        "one inserted",
        lambda lines: [*lines[:20], bare(lines[20]), *lines[20:]],
        "line 22 must .* got line 21 there",
    ),
    (
        "half a line",
        lambda lines: [*lines[:20], lines[20][:30] + b"\n", *lines[21:]],
        "line 21 must be complete",
    ),
    (
        "not text",
        lambda lines: [*lines[:20], b"\xff\xfe\n", *lines[21:]],
        "line 21 must be complete",
    ),
]


@pytest.mark.parametrize(
    ("damage", "message"), [pytest.param(*rest, id=name) for name, *rest in DAMAGES]
)
def test_a_damaged_line_is_named(write, journal, damage, message, capsys):
    folder = write(damage(journal))
    with pytest.raises(StudyError, match=message):
        StudyView.open(folder)
    with pytest.raises(StudyError, match=message):
        open_study(folder.parent)
    with pytest.raises(StudyError, match=message):
        report.main([f"study={folder.name}", f"storage={folder.parent}", "audit=true"])
    with pytest.raises(StudyError, match=message):
        read_journal(folder / "journal.log")


def test_what_the_hint_says_works(write, journal, tmp_path):
    folder = write(journal[:20] + journal[21:])
    with pytest.raises(StudyError, match="head -n 20"):
        StudyView.open(folder)
    write(journal[:20])
    with open_study(tmp_path) as study:
        drive(study, 6)
        assert study.audit() == []


def test_every_line_is_checked(write, journal):
    for number in range(len(journal)):
        with pytest.raises(
            StudyError, match=f"line {number + 1} must follow line {number}, .*altered"
        ):
            StudyView.open(
                write([*journal[:number], altered(journal[number]), *journal[number + 1 :]])
            )


def test_audit_says_that_all_is_there(write, journal, capsys):
    folder = write(journal)
    report.main([f"study={folder.name}", f"storage={folder.parent}", "audit=true", "format=csv"])
    assert f"0 differ; journal: {len(journal)} lines, none missing, altered or moved" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_torn_last_line_is_passed_over_and_written_over(write, journal, tmp_path):
    folder = write([*journal[:-1], journal[-1][:40]])
    assert StudyView.open(folder).integrity.startswith(f"journal: {len(journal) - 1} lines")
    with open_study(tmp_path) as study:
        drive(study, 8)
    assert StudyView.open(folder).audit() == []


def test_a_journal_of_an_older_version_goes_on_with_a_chain(write, journal, tmp_path):
    old = [bare(line) for line in journal]
    folder = write(old)
    assert "without a hash chain" in StudyView.open(folder).integrity
    with open_study(tmp_path) as study:
        drive(study, 8)
    assert f"; no chain before line {len(old) + 1}" in StudyView.open(folder).integrity
    grown = (folder / "journal.log").read_bytes().splitlines(keepends=True)
    write([*grown[:5], *grown[6:]])
    with pytest.raises(
        StudyError, match=f"line {len(old)} must follow .* got line {len(old) + 1} there"
    ):
        StudyView.open(folder)
    write([*grown[:5], altered(grown[5]), *grown[6:]])
    with pytest.raises(
        StudyError,
        match=f"line {len(old) + 1} .*it was altered, or one of the unlinked lines before it",
    ):
        StudyView.open(folder)


def test_lines_of_another_program_are_told_and_chained(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 2)
        file = study.folder / "journal.log"
        lines = len(file.read_bytes().splitlines())
        other = optuna.load_study(
            study_name="test", storage=JournalStorage(JournalFileBackend(str(file)))
        )
        other.set_user_attr("note", "by the dashboard, while we write")
        drive(study, 4)
    view = StudyView.open(tmp_path / "test")
    assert view.integrity.endswith(f"; written by another program: line {lines + 1}")
    assert view.audit() == []


def test_a_reader_follows_a_journal_that_grows(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 2)
        view = StudyView.open(tmp_path / "test")
        for trials in (3, 5):
            drive(study, trials)
            view.refresh()
            assert len(view.counted()) == trials


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    with open_study(tmp_path) as study:
        drive(study, 2)
        before = (study.folder / "journal.log").read_bytes()

        def full(file):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(
                StudyError, match="the journal must be writable, got: No space left"
            ):
                study.note("seconds", 1.0)
        assert (study.folder / "journal.log").read_bytes() == before
        drive(study, 3)
    assert StudyView.open(tmp_path / "test").audit() == []


class TestFormat:
    def test_a_newer_major_is_a_sentence(self):
        newer = identity().to_dict() | {"format": [2, 3], "origin": {"hopsearch": "9.1"}}
        message = (
            r"reads studies of format 1.x, got format 2.3, written by hopsearch 9.1. "
            r"Upgrade: pip install"
        )
        with pytest.raises(StudyError, match=message):
            Identity.from_dict(newer)

    def test_fields_of_a_newer_minor_are_passed_over(self):
        newer = identity().to_dict() | {"format": [FORMAT[0], 99], "mood": "good"}
        newer["space"]["colour"] = "red"
        assert Identity.from_dict(newer).difference(identity()) == []

    def test_in_a_trial_too(self, tmp_path):
        with open_study(tmp_path) as study:
            record = study.ask(admit_all)
            study.report(record.number, 1, 0.5, 1.0)
            made = record.decisions[1]
            study._set(record.number, "decision:1", {**vars(made), "mood": "good"})
        assert StudyView.open(tmp_path / "test").records[record.number].decisions == {1: made}

    def test_one_without(self):
        older = identity().to_dict()
        del older["format"]
        assert Identity.from_dict(older) == identity()


def test_a_copy_elsewhere_opens(write, journal, tmp_path):
    folder = write(journal)
    shutil.copytree(folder, tmp_path / "renamed")
    assert len(StudyView.open(tmp_path / "renamed").counted()) == 6


def test_another_program_that_writes_at_the_same_time(tmp_path):
    """E.g. optuna-dashboard, in which notes can be made: neither's lines break the chain."""
    over = threading.Event()

    def scribble():
        storage = JournalStorage(JournalFileBackend(str(tmp_path / "test" / "journal.log")))
        theirs = optuna.load_study(study_name="test", storage=storage)
        while not over.is_set():
            theirs.set_user_attr("note", "x")

    with open_study(tmp_path) as study:
        scribbler = threading.Thread(target=scribble)
        scribbler.start()
        try:
            drive(study, 8)
        finally:
            over.set()
            scribbler.join()
    view = StudyView.open(tmp_path / "test")
    assert view.audit() == []
    assert "written by another program" in view.integrity


def test_a_lock_that_a_killed_program_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_file, "_TURN", 0.1)
    (tmp_path / "test").mkdir()
    # as optuna-dashboard runs/… makes it
    (tmp_path / "test" / "journal.log.lock").symlink_to("runs/test/journal.log")
    with open_study(tmp_path) as study:
        drive(study, 1)
    assert not [*(tmp_path / "test").glob("journal.log.*")]


@pytest.mark.parametrize("moment", ["symlink", "fsync", "rename", "unlink"])
def test_a_signal_while_it_is_written_comes_after_the_line(tmp_path, monkeypatch, moment):
    """In its own words, and with the lock given back: between any two steps of a write."""
    there = getattr(os, moment)

    def signalled(*words):
        there(*words)
        monkeypatch.setattr(os, moment, there)
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with open_study(tmp_path) as study:
            file = tmp_path / "test" / "journal.log"
            lines = len(read_journal(file))
            monkeypatch.setattr(os, moment, signalled)
            with pytest.raises(KeyboardInterrupt):
                study.note("told", 1)
            assert [log["user_attr"] for log in read_journal(file)[lines:]] == [{"told": 1}]
            assert not list(file.parent.glob("journal.log.lock*"))
            drive(study, 2)
    finally:
        signal.signal(signal.SIGTERM, before)
