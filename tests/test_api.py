"""hopsearch from Python: names that cost nothing until used, a study as data frames, and a real
search in a real notebook.
"""

import json
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
import pytest
import torch

import hopsearch
from hopsearch import Study
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.reporting.leaderboard import leaderboard
from hopsearch.study import StudyView
from tests.conftest import drive, environment, open_study

NOTEBOOK = Path(__file__).parents[1] / "docs" / "search.ipynb"


def test_importing_is_light_and_looking_needs_no_ray(searched):
    code = f"""
import sys, hopsearch
heavy = {{"torch", "ray", "optuna", "pydantic", "timm", "pandas"}}
assert not heavy & set(sys.modules), "import hopsearch"
assert {{"search", "Study", "load"}} <= set(dir(hopsearch))
study = hopsearch.Study.open("{searched.name}", "{searched.parent}")
model = hopsearch.load(study.folder)
assert study.best.number == study.trials.index[0]
assert "ray" not in sys.modules, "looking"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'hopsearch' has no attribute 'serach'"):
        hopsearch.serach  # noqa: B018


class TestStudy:
    def test_trials_are_the_leaderboard(self, searched):
        study, view = Study.open("little", str(searched.parent)), StudyView.open(searched)
        rows = leaderboard(view)
        frame = study.trials
        assert list(frame.index) == [row.record.number for row in rows]
        assert frame["val_acc"].tolist() == [row.value for row in rows]
        assert frame["rank"].tolist() == [row.rank for row in rows]
        assert int(frame["epochs"].sum()) == view.epochs
        assert (frame["started"] <= frame["ended"]).all()
        for row in rows:  # a parameter that a trial does not have is missing, not zero
            for name in view.identity.space.parameters:
                assert pd.isna(frame.loc[row.record.number, name]) == (
                    name not in row.record.params
                )
        assert frame["cosine/tokens/mean"].between(-1, 1).all()

    def test_best_and_curves(self, searched):
        study = Study.open("little", str(searched.parent))
        best = study.best
        assert best.value == study.curves["val_acc"].max()
        at = study.curves.query("trial == @best.number and epoch == @best.epoch")
        assert at["val_acc"].tolist() == [best.value]
        assert {name: best.config[name] for name in best.params} == pytest.approx(best.params)
        assert study.winner["trial"] == best.number

    def test_what_a_notebook_shows(self, searched):
        study = Study.open("little", str(searched.parent))
        html = study._repr_html_()
        assert repr(study).startswith("<study little: 10 trials, ")
        assert html.count("<tr") == 11  # the head, and the ten
        assert "NaN" not in html

    def test_one_that_is_searched_meanwhile(self, tmp_path):
        with open_study(tmp_path) as writer:
            study = Study.open("test", str(tmp_path))
            assert study.trials.empty
            with pytest.raises(StudyError, match="must have a trial with a value, got none"):
                study.best  # noqa: B018
            assert "0 trials, 0 epochs" in study._repr_html_()
            drive(writer, 5)
            assert len(study.refresh().trials) == 5

    def test_report_and_export(self, searched, tmp_path):
        study = Study.open("little", str(searched.parent))
        page = study.report(tmp_path / "page.html", compare=study)
        assert page.read_text().startswith("<!DOCTYPE html>")
        folder = study.export(tmp_path / "model")
        images = torch.rand(2, 1, 8, 8)
        torch.testing.assert_close(
            hopsearch.load(folder)(images), hopsearch.load(searched)(images), rtol=0, atol=1e-5
        )

    def test_load_gives_the_winner(self, searched):
        model = hopsearch.load(searched)
        assert not model.training
        assert model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_mistake_names_the_setting():
    with pytest.raises(
        ConfigError, match=r"search\(\): samplr: unknown key. Did you mean sampler\?"
    ):
        hopsearch.search(space="imixer", samplr="gp")
    with pytest.raises(
        ConfigError,
        match=r"search\(\): dry_run: must be False, since a study is returned, got True",
    ):
        hopsearch.search(space="imixer", dry_run=True)


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_notebook_runs(tmp_path, monkeypatch):
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}
    )
    done = client.execute()  # raises where a cell does
    assert (tmp_path / "runs" / "imixer-digits" / "winner" / "model.safetensors").exists()
    text = nbformat.writes(done)
    assert "study imixer-digits: " in text
    assert "Traceback" not in text


# What a process shares between all that runs in it, before and after a search.
SHARED = """
import json, locale, logging, os, signal, sys, threading, warnings
import hopsearch

def state():
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGTSTP", "SIGCHLD", "SIGALRM")
    numbers = [getattr(signal, name) for name in names]
    logger = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "warnings": [str(each) for each in warnings.filters],
        "shown by": list(
            map(repr, (warnings.showwarning, warnings.formatwarning, threading.excepthook))
        ),
        "logging": [logger.level, logging.root.manager.disable, list(map(repr, logger.handlers))],
        "signals": [str(signal.getsignal(number)) for number in numbers],
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "alarm": signal.getitimer(signal.ITIMER_REAL),
        "locale": locale.setlocale(locale.LC_ALL),
        "place": [os.getcwd(), sys.argv, id(sys.stdout), id(sys.stderr), os.umask(0o22)],
        "threads": [thread.name for thread in threading.enumerate() if not thread.daemon],
    }

before = state()
model = {"model.dim": 16, "model.depth": 1, "model.patch_size": 4, "train.epochs": 1}
for trials in (1, 2):
    study = hopsearch.search(space="imixer", trials=trials, finish=False, fixed=model)
    with open(f"after{trials}.json", "w") as file:
        json.dump([before, state(), len(study.trials)], file)
import ray
ray.init(num_cpus=1, include_dashboard=False)
print(ray.get(ray.remote(lambda: "a cluster of one's own").remote()))
"""


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_search_leaves_the_process_as_it_was(tmp_path):
    command = [sys.executable, "-c", SHARED]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "a cluster of one's own" in done.stdout
    for trials in (1, 2):
        before, after, known = json.loads((tmp_path / f"after{trials}.json").read_text())
        assert known == trials
        found, left = before.pop("environment"), after.pop("environment")
        # asked once a process; torch's own
        added = {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "TORCHINDUCTOR_CACHE_DIR"}
        assert {
            name: value for name, value in left.items() if found.get(name) != value
        }.keys() <= added
        assert found.items() <= left.items()
        old, new = before.pop("warnings"), after.pop("warnings")
        # libraries add theirs when they are imported
        assert [each for each in new if each in old] == old
        assert before == after
