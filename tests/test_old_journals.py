"""Journals that earlier versions wrote are opened, made again, reported and gone on with.

All were written by ``hopsearch tune space=small.yaml study=small trials=9``, a search of the
embedded digits in which trials are stopped, fail and win: that of format 1.1 when this test was
written; those of format 1.0, without a format and a chain, by the first revision that could search
(3853bb4) and by the last one before 1.1 (d0ce996). They are never made anew. A change that no
longer reads them needs a new major format; a new format needs one more of them.
"""

import json
import shutil
from pathlib import Path

import pytest

from hopsearch import report, tune
from hopsearch.core.errors import StudyError
from hopsearch.reporting.leaderboard import leaderboard, summary
from hopsearch.study import Study, StudyView
from hopsearch.study.persistence.journal_file import read_journal
from hopsearch.study.record.format_version import FORMAT
from tests.conftest import drive

ASSETS = Path(__file__).parent / "assets" / "journals"
WRITTEN = {
    "0.1.0-format-1.1": {
        "states": {"complete": 2, "pruned": 4, "failed": 3},
        "ranked": [12, 0, 3, 2, 11, 4],
        "best": 0.986842,
        "test_acc": 0.962825,
        "decisions": 12,
        "epochs": 33,
        "integrity": "journal: 216 lines, none missing, altered or moved",
    },
    "0.1.0-format-1.0-last": {
        "states": {"complete": 1, "pruned": 6, "failed": 2},
        "ranked": [0, 2, 3, 9, 10, 4, 11],
        "best": 0.973684,
        "test_acc": 0.977695,
        "decisions": 9,
        "epochs": 19,
        "integrity": "journal: 176 lines of an older version, without a hash chain",
    },
    "0.1.0-format-1.0-first": {
        "states": {"complete": 1, "pruned": 6, "failed": 2},
        "ranked": [0, 2, 10, 11, 3, 9, 4],
        "best": 0.982456,
        "test_acc": 0.959108,
        "decisions": 9,
        "epochs": 17,
        "integrity": "journal: 172 lines of an older version, without a hash chain",
    },
}


@pytest.fixture(params=WRITTEN)
def version(request) -> str:
    return request.param


@pytest.fixture
def known(version) -> dict:
    return WRITTEN[version]


@pytest.fixture
def folder(version, tmp_path) -> Path:
    """A study's folder with nothing but the journal: no checkpoint, no winner's weights."""
    there = tmp_path / "small"
    there.mkdir()
    shutil.copy(ASSETS / f"hopsearch-{version}.log", there / "journal.log")
    return there


def facts(view: StudyView) -> dict:
    return {number: vars(record).copy() for number, record in view.records.items()}


def test_the_newest_one_is_of_todays_format():
    newest = ASSETS / f"hopsearch-{next(iter(WRITTEN))}.log"
    logs = read_journal(newest)
    formats = [log["user_attr"]["hopsearch"]["format"] for log in logs if _names(log)]
    assert formats == [list(FORMAT)], "add a journal of the new format to tests/assets/journals"


def _names(log: dict) -> bool:
    return "hopsearch" in log.get("user_attr", {})


def test_it_opens_and_says_what_was_found(folder, known):
    view = StudyView.open(folder)
    states = summary(view)
    assert {name: states[name] for name in known["states"]} == known["states"]
    assert [record.number for record in view.ranked()] == known["ranked"]
    assert leaderboard(view)[0].value == pytest.approx(known["best"], abs=1e-6)
    assert view.winner["trial"] == known["ranked"][0]
    assert view.winner["test_acc"] == pytest.approx(known["test_acc"], abs=1e-6)
    assert view.epochs == known["epochs"]
    failed = [record for record in view.counted() if record.state.value == "failed"]
    assert all(record.reason.startswith("diverged: ") for record in failed)
    assert view.integrity == known["integrity"]


def test_every_decision_is_made_again(folder, known):
    view = StudyView.open(folder)
    assert sum(len(record.decisions) for record in view.records.values()) == known["decisions"]
    assert view.audit() == []


@pytest.mark.parametrize("layout", ["html", "json", "md", "csv"])
def test_it_is_reported(folder, known, layout, capsys):
    to = folder / f"to.{layout}"
    words = ["study=small", f"storage={folder.parent}", f"format={layout}", f"to={to}"]
    report.main([*words, "audit=true"])
    assert f"{known['decisions']} decisions recomputed, 0 differ" in capsys.readouterr().out
    text = to.read_text(encoding="utf-8")
    assert f"{known['best']:.4f}" in text or f"{known['best']:.6g}" in text
    if layout == "json":
        assert json.loads(text)["winner"]["trial"] == known["ranked"][0]


def test_it_goes_on(folder, known):
    """More trials, their curves made up: what was there stays as it was, and all is made again."""
    before = facts(StudyView.open(folder))
    trials = sum(known["states"].values())
    identity = StudyView.open(folder).identity
    with Study(folder, identity, "tpe_gp", "adaptive_asha") as study:
        drive(study, trials + 5)
        assert len(study.counted()) == trials + 5
    view = StudyView.open(folder)
    assert view.audit() == []
    assert {number: facts(view)[number] for number in before} == before


def test_the_same_command_is_the_same_study(folder, version, monkeypatch, capsys):
    """``tune`` refuses a study that its settings do not fit, also for a plan."""
    monkeypatch.chdir(folder.parent)
    shutil.copy(ASSETS / "small.yaml", folder.parent)
    words = ["space=small.yaml", "study=small", f"storage={folder.parent}", "dry_run=true"]
    if version == "0.1.0-format-1.0-first":
        # It knew the digits by another fingerprint: whether they were split alike cannot be told.
        with pytest.raises(StudyError, match=r"\(requested != saved\): data\.fingerprint: \S+ != "):
            tune.main(words)
    else:
        tune.main(words)
        assert "rungs: " in capsys.readouterr().out
