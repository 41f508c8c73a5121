"""Mistakes on the command line, each with its message: before Ray is started, so in this process."""

import os
import subprocess
import sys

import pytest

from hopsearch import report, tune
from hopsearch.command import MISTAKE, run_verb
from tests.conftest import environment, folder_of_images


@pytest.fixture
def tell(tmp_path, monkeypatch, capsys):
    """Runs a verb in an empty folder; returns what a mistake prints."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, verb=tune, schema=tune.TuneConfig) -> str:
        code = run_verb(verb.main, schema, "about", words)
        error = capsys.readouterr().err
        assert (code, error.count("\n"), "Traceback" in error) == (MISTAKE, 1, False), error
        return error

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["spce=imixer"], "hopsearch: command line: spce: unknown key. Did you mean space?"),
        (["space=imixr"], "Did you mean imixer?"),
        (["space=imixer", "trials=none"], "command line: trials: "),
        (["space=imixer", "time=soon"], "must be a number with a unit s, m, h or d, got 'soon'. Write e.g. time=15m"),
        (["space=imixer", "model.dpth=3"], "model: dpth: unknown key. Did you mean depth?"),
        (["space=imixer", "sampler=tpee"], "Did you mean tpe?"),
        (["space=imixer", "pruner=ahsa"], "Did you mean asha?"),
        (["space=imixer", "recipe=papers"], "Did you mean paper?"),
        (["space=imixer", "data=/no/such/folder"], "the image folder must exist, got nothing there. Check the path"),
        (["space=imixer", "data=digit"], "Did you mean digits?"),
        (["space=imixer", "address=127.0.0.1:1"], "address: a Ray cluster must answer at 127.0.0.1:1"),
        (["imixer"], "every word must read key=value, got 'imixer'"),
    ],
)
def test_a_mistake_is_a_sentence(tell, words, message):
    assert message in tell(*words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: [1, 2", "mine.yaml:1:18: must be YAML: expected ',' or ']'"),
        ("parameters:\n  model.depth: {type: int, low: 8, high: 2}\n", "model.depth: low <= high must hold, got low=8, high=2"),
        ("parameter:\n  model.depth: {type: int, low: 1, high: 2}\n", "Did you mean parameters?"),
    ],
)
def test_a_broken_space_names_its_file(tell, tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    error = tell("space=mine.yaml")
    assert message in error
    assert "mine.yaml" in error


def test_a_folder_with_one_class(tell, tmp_path):
    folder_of_images(tmp_path / "images", classes=1)
    assert "at least two class folders are needed, got one, 'class0'" in tell("space=mixer", "data=images")


def test_a_corrupt_image_is_named(tell, tmp_path):
    (folder_of_images(tmp_path / "images") / "class0" / "bad.png").write_bytes(b"not a picture")
    assert "bad.png" in tell("space=mixer", "data=images")


def test_a_study_folder_that_cannot_be_made(tell, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    assert "the study's folder must be writable" in tell("space=imixer", "storage=taken")


def test_a_report_without_a_study(tell):
    assert "must hold a study, got no journal.log" in tell("study=none", verb=report, schema=report.ReportConfig)


def test_from_the_shell(tmp_path):
    command = [sys.executable, "-m", "hopsearch.tune", "spce=imixer"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=50)
    assert done.returncode == 2
    assert done.stderr == "hopsearch: command line: spce: unknown key. Did you mean space?\n"
    assert done.stdout == ""
    assert not [name for name in os.listdir(tmp_path) if name != "cache"]
