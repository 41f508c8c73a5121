"""What the library says goes through ``logging``: the terminal is one reader, a program another."""

import io
import logging
import subprocess
import sys

import pytest

from hopsearch import report, tune
from hopsearch.command_line.command import DONE, run_verb
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.live import LiveView
from tests.conftest import admit_all, drive, open_study

PLAN = ["space=imixer", "dry_run=true"]


@pytest.fixture
def logger():
    found = logging.getLogger("hopsearch")
    yield found
    found.setLevel(logging.NOTSET)


def sentences(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]


def test_importing_configures_nothing():
    program = (
        "import logging, hopsearch, hopsearch.tune\n"
        "assert logging.root.handlers == [] and logging.root.level == logging.WARNING\n"
        "ours = logging.getLogger('hopsearch')\n"
        "assert [type(one).__name__ for one in ours.handlers] == ['NullHandler']\n"
        "assert ours.level == logging.NOTSET and ours.propagate\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sentences_are_shown_and_not_logged_twice(capsys, monkeypatch, logger):
    """A program that has handlers of its own, as by basicConfig, gets none unasked."""
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    monkeypatch.setattr(logging.root, "handlers", [handler])
    make_console(name="hopsearch.test").print("one sentence [with] brackets", markup=False)
    assert capsys.readouterr().out == "one sentence [with] brackets\n"
    assert seen.getvalue() == ""


def test_a_program_captures_them(caplog, capsys, tmp_path):
    with caplog.at_level(logging.INFO, "hopsearch"):
        tune.main([*PLAN, "quiet=true", f"storage={tmp_path}"])
    assert capsys.readouterr().out == ""
    assert any(text.startswith("rungs: ") for text in sentences(caplog))
    assert {record.name for record in caplog.records} >= {"hopsearch.tune"}


def test_a_remark_on_an_old_name_is_a_sentence_like_any(caplog, capsys, tmp_path):
    remark = "time= is the old name of budget.time= and still accepted"
    words = [*PLAN, "time=2h", f"storage={tmp_path}"]
    with caplog.at_level(logging.INFO, "hopsearch"):
        tune.main([*words, "quiet=true"])
        assert capsys.readouterr().out == ""
        assert sentences(caplog)[0] == remark
        tune.main(words)
    assert capsys.readouterr().out.splitlines()[0] == remark


def test_what_is_captured_is_what_is_shown(caplog, capsys, tmp_path):
    with caplog.at_level(logging.INFO, "hopsearch"):
        tune.main([*PLAN, f"storage={tmp_path}"])
    shown = capsys.readouterr().out
    assert [text for text in sentences(caplog) if text not in shown] == []
    assert "".join(f"{text}\n" for text in sentences(caplog)) == shown


def test_a_level_above_info_silences(logger, capsys, tmp_path):
    logger.setLevel(logging.WARNING)
    tune.main([*PLAN, f"storage={tmp_path}"])
    assert capsys.readouterr().out == ""


def test_the_live_view_is_one_reader(tmp_path, caplog):
    out = io.StringIO()
    with (
        caplog.at_level(logging.INFO, "hopsearch"),
        open_study(tmp_path) as study,
        LiveView(study, 1, 1, "none", out, quiet=True) as view,
    ):
        view.begin(study.ask(admit_all))
        view.say("told")
    assert out.getvalue() == ""
    assert "told" in sentences(caplog)


def test_passwords_are_hidden_from_programs_too(caplog):
    with caplog.at_level(logging.INFO, "hopsearch"):
        make_console().print("at postgresql://me:hushhush@there/x")
    assert "hushhush" not in caplog.text
    assert "postgresql://me:***@there/x" in caplog.text


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_v_shows_what_is_opened_and_decided(tmp_path, capsys, logger, flag):
    with open_study(tmp_path) as study:
        drive(study, 3)
    words = ["study=test", f"storage={tmp_path}", "format=csv", flag]
    assert run_verb(report.main, report.ReportConfig, "about", words) == DONE
    shown = capsys.readouterr()
    assert f"hopsearch.study.reader: opened study {tmp_path / 'test'}: 3 trials" in shown.err
    assert (
        f"hopsearch.core.atomic_writes: wrote {tmp_path / 'test' / 'leaderboard.csv'}" in shown.err
    )
    # what the terminal shows is not said again
    assert "study test: " in shown.out
    assert "study test: " not in shown.err
    assert logger.level == logging.NOTSET
    assert run_verb(report.main, report.ReportConfig, "about", words[:-1]) == DONE
    assert capsys.readouterr().err == ""


def test_v_tells_decisions_and_hides_passwords(tmp_path, capsys, logger):
    def search(words):
        with open_study(tmp_path) as study:
            drive(study, 2)
        logging.getLogger("hopsearch.x").debug("at %s", "s3://key:verysecret@bucket")

    assert run_verb(search, report.ReportConfig, "about", ["-v"]) == DONE
    error = capsys.readouterr().err
    assert "hopsearch.study.writer: trial 0: Decision(epoch=1" in error
    assert "verysecret" not in error
