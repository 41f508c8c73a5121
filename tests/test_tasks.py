"""Tasks: one contract for all of them, and one of a user's own through search, kill, resume, report
and export.
"""

import html
import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from hopsearch import tune
from hopsearch.command_line.command import run_verb
from hopsearch.core.errors import ConfigError, SpaceError
from hopsearch.core.metrics import Kind, Metric, metrics_from
from hopsearch.jobs.job import Job, JobRun
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.data_reading import read_data
from hopsearch.space import Space, load_space
from hopsearch.study import State, StudyView
from hopsearch.tasks import TASKS, find_task, task_of
from hopsearch.tasks.loading import forget_data, load_data
from hopsearch.training import CheckpointFolder, TrialConfig
from tests.conftest import environment
from tests.processes import (
    check_nothing_lost,
    command,
    descendants,
    is_alive,
    output,
    start,
    wait_for,
    wait_gone,
)

LINE = "tests.toy_task:Line"
SPACE = {
    "task": LINE,
    "fidelity": {"min_epochs": 1, "max_epochs": 4, "reduction": 2},
    "parameters": {
        "optim.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "model.hidden": {"type": "int", "low": 1, "high": 16},
    },
}
# What a trial of each task may be set to; the rest are defaults.
SMALL = {
    "images": {
        "model.family": "imixer",
        "model.patch_size": 4,
        "model.dim": 8,
        "model.depth": 1,
        "optim.batch_size": 256,
        "train.epochs": 2,
    },
    "density": {
        "model.n_hidden": 20,
        "optim.lr": 0.01,
        "optim.batch_size": 100,
        "train.epochs": 2,
    },
    LINE: {"model.hidden": 3, "optim.batch_size": 32, "train.epochs": 2},
}


@pytest.fixture(params=[*TASKS, LINE])
def task(request):
    return find_task(request.param)


@pytest.fixture
def data(task):
    return task.load(task.data())


@pytest.fixture
def config(task, data):
    name = next(name for name in SMALL if find_task(name) is task)
    return task.resolve(SMALL[name], data.facts, 1)


class TestContract:
    """What a search relies on, whatever is trained."""

    def test_metrics_are_of_the_validation_split(self, task):
        assert task.metrics
        assert all(metric.name.startswith("val_") for metric in task.metrics)
        assert metrics_from([metric.to_dict() for metric in task.metrics]) == task.metrics

    def test_a_config_survives_json(self, task, config):
        assert isinstance(config, TrialConfig)
        assert type(config).model_validate_json(config.model_dump_json()) == config

    def test_an_unknown_section_is_refused(self, task, data):
        with pytest.raises(ConfigError, match="unknown section"):
            task.resolve({"modl.depth": 3}, data.facts, 1)

    def test_an_unknown_recipe_is_refused(self, task, data):
        with pytest.raises(ConfigError, match="unknown recipe"):
            task.resolve({}, data.facts, 1, recipe="cake")

    def test_every_epoch_reports_what_the_task_says(self, task, data, config):
        run = task.start(config, data)
        row = run.step()
        always, then = set(task.reported(data.facts)), set(task.reported(data.facts, config))
        assert always <= then & row.keys()
        assert then >= row.keys() - {"epoch"}
        assert all(metric.name in row for metric in task.metrics)
        assert run.epoch == 1
        assert not run.done

    def test_a_checkpoint_continues_the_same_curve(self, task, data, config, tmp_path):
        whole = task.start(config, data)
        rows = [whole.step(), whole.step()]
        folder = CheckpointFolder(tmp_path)
        first = task.start(config, data)
        first.step()
        first.save(folder, task.metrics[0].name, task.metrics[0].maximize)
        second = task.start(config, data)
        assert second.load_newest(folder)
        row = second.step()
        for name in ("train_loss", *(metric.name for metric in task.metrics)):
            assert row[name] == rows[1][name]

    def test_a_split_batch_learns_the_same(self, task, data, config):
        parts = config.train.model_copy(update={"micro_batch": 16})
        whole = task.start(config, data).step()
        split = task.start(config.model_copy(update={"train": parts}), data).step()
        assert split["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-3)

    def test_a_job_crosses_to_another_process_as_text(self, task, config):
        name = next(name for name in SMALL if find_task(name) is task)
        job = Job(number=3, task=name, trial=config, data=task.data(), folder="x")
        again = Job.model_validate_json(job.model_dump_json())
        assert again == job
        assert type(again.trial) is type(config)
        assert type(again.data) is task.data

    def test_a_winner_is_tested_once_and_published(self, task, config, tmp_path):
        name = next(name for name in SMALL if find_task(name) is task)
        job = Job(
            number=0, task=name, trial=config, data=task.data(), folder=str(tmp_path / "trial")
        )
        run = JobRun(job)
        while not run.advance().done:
            pass
        facts = run.finish(tmp_path / "winner")
        assert facts["epochs"] == 2
        first = task.metrics[0]
        assert {first.name, first.of_test} <= facts.keys()
        json.dumps(facts)
        about = json.loads((tmp_path / "winner" / "config.json").read_text())
        assert task.config.model_validate(about["hopsearch"]["trial"]) == config
        weights = load_file(tmp_path / "winner" / "model.safetensors")
        assert (
            weights.keys() == task.start(config, task.load(task.data())).model.state_dict().keys()
        )

    @pytest.mark.parametrize("decay", [None, 0.9])
    def test_it_is_in_evaluation_mode_where_it_is_evaluated(
        self, task, data, config, decay, monkeypatch, tmp_path
    ):
        name = next(name for name in SMALL if find_task(name) is task)
        train = config.train.model_copy(update={"ema_decay": decay, "epochs": 1})
        trial = config.model_copy(update={"train": train})
        modes = []

        def watched(method):
            def called(run, *data):
                training = (run.model.training, run.evaluated.training)
                modes.append((method.__name__, *training, torch.is_grad_enabled()))
                return method(run, *data)

            return called

        kind = type(task.start(trial, data))
        for method in (kind.validate, kind.measure, kind.results):
            monkeypatch.setattr(kind, method.__name__, watched(method))
        draw = watched(lambda run: type(task).draw(task, run))
        monkeypatch.setattr(task, "draw", draw, raising=False)
        job = Job(
            number=0, task=name, trial=trial, data=task.data(), folder=str(tmp_path), pictures=(1,)
        )
        run = JobRun(job)
        assert run.advance().done
        run.finish(tmp_path / "winner")
        assert {found for found, *_ in modes} == {"validate", "measure", "results", "<lambda>"}
        assert {tuple(rest) for _, *rest in modes} == {(False, False, True)}
        assert run._run.model.training

    def test_its_cost_and_latency_are_known(self, task, data, config):
        cost = task.cost(config)
        run = task.start(config, data)
        assert cost.n_params == sum(parameter.numel() for parameter in run.model.parameters())
        assert cost.flops > 0
        assert run.measure_latency(repeats=2) > 0


def test_data_are_read_once_a_process(tmp_path, monkeypatch):
    task, reads = find_task(LINE), []
    load = type(task).load
    monkeypatch.setattr(type(task), "load", lambda own, data: reads.append(1) or load(own, data))
    forget_data()
    config = task.resolve(SMALL[LINE], load_data(task, task.data()).facts, 1)
    for number in range(2):
        folder = str(tmp_path / str(number))
        run = JobRun(Job(number=number, task=LINE, trial=config, data=task.data(), folder=folder))
        while not run.advance().done:
            pass
    assert len(reads) == 1
    load_data(task, task.data(count=64))
    assert len(reads) == 2
    read_data(task, task.data(), make_console(quiet=True))  # a verb reads them again
    assert len(reads) == 3


def test_names():
    assert find_task("images").name == "images"
    with pytest.raises(ConfigError, match=r"unknown task, got 'imges'.*Did you mean images"):
        find_task("imges")
    with pytest.raises(ConfigError, match="must be importable, got: No module named 'nowhere'"):
        find_task("nowhere:Task")
    with pytest.raises(ConfigError, match=r"must be importable, got: .*has no attribute 'Lines'"):
        find_task("tests.toy_task:Lines")
    with pytest.raises(ConfigError, match=r"must be a subclass of hopsearch\.tasks\.Task"):
        find_task("tests.toy_task:LineRun")


def test_a_space_without_a_task_is_of_images_and_says_nothing_of_it():
    space = Space.from_dict({**SPACE, "task": "images"})
    assert task_of(space).name == "images"
    assert "task" not in space.to_dict()
    assert space.fingerprint == Space.from_dict({**SPACE, "task": "images"}).fingerprint
    line = Space.from_dict(SPACE)
    assert Space.from_dict(line.to_dict()) == line
    assert line.fingerprint != space.fingerprint
    assert "task: images, in the other tests.toy_task:Line" in space.difference(line)


def test_the_name_of_a_task_is_a_word():
    with pytest.raises(SpaceError, match="must be the name of a task, got 3"):
        Space.from_dict({**SPACE, "task": 3})


def test_what_a_metric_is_called_for_the_test_split():
    metric = Metric("val_error", maximize=False, kind=Kind.NUMBER)
    assert metric.of_test == "test_error"
    assert metric.direction == "minimize"


def told(tmp_path: Path, *words: str) -> str:
    return output([sys.executable, "-m", *words], tmp_path, environment(tmp_path))


@pytest.fixture
def on_path(monkeypatch):
    # As a user would do it: the task's module is on PYTHONPATH.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


def test_the_page_on_extending_has_this_task():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "extending.md").read_text(encoding="utf-8")
    assert (root / "tests" / "toy_task.py").read_text(encoding="utf-8") in page


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
class TestSearch:
    """A task of a user's own, in real processes."""

    def test_killed_resumed_reported_exported(self, tmp_path, on_path):
        space = tmp_path / "line.yaml"
        space.write_text(yaml.safe_dump(SPACE))
        words = (f"space={space}", "trials=6", "sampler=random", "data.count=64")
        study = tmp_path / "runs" / "line-points"
        search = start(tmp_path, *words)
        assert wait_for(lambda: len(list(study.glob("trials/*/epochs.log"))) >= 2, search)
        ours = descendants(search.pid)
        search.kill()
        search.wait()
        for pid in ours:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        assert wait_gone(ours)
        printed = output(command(tmp_path, *words), tmp_path, environment(tmp_path))
        assert "resuming with" in printed
        assert "winner: trial" in printed
        assert "test_error" in printed
        view = StudyView.open(study)
        check_nothing_lost(study, 6, 1)
        assert view.objective == "val_error"
        assert view.sign == -1
        assert view.identity.data["count"] == 64
        ended = [record for record in view.records.values() if record.state == State.COMPLETE]
        best = min(ended, key=view.value)
        assert view.winner["val_error"] <= view.value(best) + 1e-9
        assert not view.audit()

        told(tmp_path, "hopsearch.report", "study=line-points", f"storage={tmp_path / 'runs'}")
        page = html.unescape((study / "report.html").read_text(encoding="utf-8"))
        assert "winner's test_error" in page
        assert "val_acc" not in page.partition("<script>")[0]
        told(
            tmp_path,
            "hopsearch.export",
            "study=line-points",
            f"storage={tmp_path / 'runs'}",
            f"to={tmp_path / 'line'}",
        )
        weights = load_file(tmp_path / "line" / "model.safetensors")
        assert weights["0.weight"].shape == (
            view.records[view.winner["trial"]].params["model.hidden"],
            1,
        )


@pytest.mark.parametrize(
    ("word", "rule"),
    [
        ("data.cuont=3", "Did you mean count"),
        ("model.hiden=3", "Did you mean hidden"),
        ("augment.flip=true", "Did you mean"),
        ("objective=val_acc", "must be a metric reported every epoch, got 'val_acc'"),
        ("recipe=paper", "unknown recipe 'paper'"),
    ],
)
def test_its_settings_are_checked_like_any(tmp_path, capsys, word, rule):
    space = tmp_path / "line.yaml"
    space.write_text(yaml.safe_dump(SPACE))
    words = [f"space={space}", f"storage={tmp_path}", word]
    assert run_verb(tune.main, tune.TuneConfig, "about", words) == 2
    assert rule in capsys.readouterr().err


def test_the_first_metric_is_the_objective_where_a_space_names_none(tmp_path):
    file = tmp_path / "line.yaml"
    file.write_text(yaml.safe_dump(SPACE))
    found = load_space(str(file)).resolve({})
    assert (found.task, found.objective) == (LINE, "")
    images = load_space("imixer")
    assert images.parts.task == "images"
