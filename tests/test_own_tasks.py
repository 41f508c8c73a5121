"""A mistake in a task of the user's own is a sentence, with nothing lost."""

import contextlib
import io
import re

import pytest
import yaml

from hopsearch import train, tune
from hopsearch.artifact import load_model
from hopsearch.command_line.command import BUG, DONE, MISTAKE, run_verb
from hopsearch.core import paths, user_code
from hopsearch.core.errors import ConfigError, ModelError, TaskError
from hopsearch.jobs.job import Job, JobRun, Progress, failure_of
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.orchestration.failures.lost_epochs import Booking
from hopsearch.space import Space
from hopsearch.study import Admission, Identity, Study
from hopsearch.tasks import find_task
from tests.test_tasks import SPACE

BROKEN = "tests.broken_tasks"
HOW = ("random", "none")


@pytest.fixture(autouse=True)
def named(monkeypatch):
    # What one test names must not make another one's errors the user's.
    monkeypatch.setattr(user_code, "_NAMED", {})
    find_task.cache_clear()
    yield
    find_task.cache_clear()


def plan(folder, task, *words, **more):
    """The exit code and the message of a dry run."""
    space = folder / "own.yaml"
    space.write_text(yaml.safe_dump({**SPACE, "task": task, **more}))
    error = io.StringIO()
    with contextlib.redirect_stderr(error):
        code = run_verb(
            tune.main,
            tune.TuneConfig,
            "",
            [f"space={space}", "dry_run=true", "trials=3", f"storage={folder}", *words],
        )
    return code, error.getvalue()


def test_a_plan_says_that_a_cost_is_of_another_model(tmp_path, capsys):
    assert plan(tmp_path, f"{BROKEN}:Miscounting") == (DONE, "")
    said = capsys.readouterr().out
    found = re.search(r"task line: cost\(\) says n_params=1, but the model has (\d+) param", said)
    assert int(found[1]) % 3 == 1
    assert plan(tmp_path, "tests.toy_task:Line") == (DONE, "")
    assert "but the model has" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "rule"),
    [
        ("NoMetrics", "NoMetrics.metrics must be a tuple of at least one Metric"),
        ("OtherSplit", "a name must be val_ and a word, got 'error'"),
        ("Twice", "names must differ, got val_error, val_error"),
        ("Plain", "Plain.data must be a subclass of hopsearch.tasks.Settings"),
        ("Sourceless", "must have a setting source"),
        ("Single", "config.depth must be a group of settings"),
        ("Unfinished", "Unfinished must define cost, load, start"),
        ("Arguments", "Arguments must be made without arguments"),
        ("Taken", "config.trial must not be named like a setting of the command"),
        ("Required", "data.source: is required. Add data.source="),
        ("Unreadable", "load must not raise an error, got ValueError: no such column"),
        ("Factless", "load() must return an object with facts"),
        ("Empty", "facts.n_val must be at least 1, got 0"),
        ("Costless", "cost() must return a Cost of three numbers, got 3"),
        ("Unknowing", "condition_facts() must return values by name, got None"),
        ("Idle", "start() must return a hopsearch.tasks.TrialRun, got None"),
        ("UncountedTask", "prepare() must set n_train"),
        ("NoModelTask", "NoModel: build() must return a torch.nn.Module, got None"),
        ("NothingToLearnTask", "build() must return a model with parameters to train"),
        ("LossPerItemTask", "one number with a gradient, got shape (64, 1). Return the mean"),
        ("LossOfFloatTask", "one number with a gradient, got one without a gradient"),
        ("LossRaisesTask", "loss must not raise an error, got KeyError: 'width'"),
    ],
)
def test_a_mistake_is_a_sentence_before_anything_is_started(tmp_path, task, rule):
    code, said = plan(tmp_path, f"{BROKEN}:{task}")
    assert code == MISTAKE, said
    assert rule in said
    assert said.count("\n") == 1
    assert "Traceback" not in said


def test_the_place_of_an_error_is_the_users_file_and_v_prints_the_traceback(tmp_path):
    code, said = plan(tmp_path, f"{BROKEN}:Unreadable", "-v")
    assert code == MISTAKE
    assert f"task {BROKEN}:Unreadable: broken_tasks.py:" in said
    assert "Traceback" in said


def test_an_error_of_hopsearch_stays_one(tmp_path, monkeypatch):
    def wrong(*given):
        return {}["missing"]

    # its innermost frame must lie in the package, as that of a bug does
    monkeypatch.setattr("hopsearch.tune.slug", lambda name: tune.derive_name(None, None))
    code, said = plan(tmp_path, "tests.toy_task:Line")
    assert code == BUG
    assert "a bug in hopsearch" in said


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("raise RuntimeError('at import')", "own.py:1: the module must be importable, got Runtime"),
        ("import sys; sys.exit(3)", "the module must be importable, got SystemExit: 3"),
        ("import no_such_thing", "the module must be importable, got ModuleNotFoundError"),
        ("def x(:", "must be importable, got: SyntaxError"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path, monkeypatch, text, rule):
    (tmp_path / "own.py").write_text(text + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises((ConfigError, TaskError), match=rule.replace("(", r"\(")):
        find_task("own:Task")


@pytest.mark.parametrize("name", [":Line", "tests.toy_task:", "..toy:Line", "/a/toy.py:Line"])
def test_a_name_that_is_none(name):
    with pytest.raises(ConfigError):
        find_task(name)


def test_a_file_is_named_as_a_module():
    with pytest.raises(ConfigError, match="Write toy:Line, with the file's folder on PYTHONPATH"):
        find_task("/a/toy.py:Line")


def begun(task, folder):
    name = f"{BROKEN}:{task}Task"
    found = find_task(name)
    trial = found.resolve({"train.epochs": 1, "optim.warmup_epochs": 0}, None, 1)
    return JobRun(Job(number=0, task=name, trial=trial, data=found.data(), folder=str(folder)))


class TestTraining:
    """What a worker says."""

    @pytest.mark.parametrize(
        ("task", "rule"),
        [
            ("NoRow", "NoRow.validate(): must return numbers by name, got None"),
            ("OtherMetric", "validate() must return a finite number for val_error, got only"),
            ("Word", "must return a number for val_error, got 'small'"),
            ("LossPerItem", "loss() must return a tensor of one number"),
        ],
    )
    def test_a_broken_contract_ends_the_search(self, tmp_path, task, rule):
        progress = begun(task, tmp_path).advance()
        assert progress.failure == "search"
        assert rule in progress.reason
        assert not progress.trace

    def test_a_metric_that_is_not_finite_is_a_fact_about_the_trial(self, tmp_path):
        progress = begun("Infinite", tmp_path).advance()
        assert progress.failure == "trial"
        assert "diverged: epoch 1: val_error must be finite, got inf" in progress.reason

    def test_an_error_in_its_code_is_the_users(self, tmp_path):
        progress = begun("LossRaises", tmp_path).advance()
        assert progress.failure == "trial"
        assert "Traceback" in progress.trace
        error = failure_of(Progress.model_validate_json(progress.model_dump_json()))
        assert isinstance(error, TaskError)
        assert "broken_tasks.py:" in error.place
        assert "KeyError: 'width'" in error.rule

    def test_an_error_of_ours_is_ours(self):
        failed = Progress(failure="trial", reason="error: KeyError: 'x'", trace="Traceback")
        assert type(failure_of(failed)) is RuntimeError

    @pytest.mark.parametrize(
        ("task", "rule"),
        [
            (
                "Untested",
                r"test\(\) must return a finite number for test_error, got only val_error",
            ),
            ("TestNaN", r"test\(\) must return a finite number for test_error, got nan"),
            ("TestRaises", "test must not raise an error, got ValueError: no test file"),
        ],
    )
    def test_a_winner_without_a_test_is_not_written(self, tmp_path, task, rule):
        run = begun(task, tmp_path / "trial")
        assert run.advance().done
        with pytest.raises(TaskError, match=rule):
            run.finish(tmp_path / "winner")
        assert not (tmp_path / "winner").exists()


def finished_line(folder):
    """The winner's folder of a toy trial."""
    task = find_task("tests.toy_task:Line")
    trial = task.resolve({"train.epochs": 1, "optim.warmup_epochs": 0}, None, 1)
    job = Job(
        number=0,
        task="tests.toy_task:Line",
        trial=trial,
        data=task.data(),
        folder=str(folder / "trial"),
    )
    run = JobRun(job)
    run.advance()
    run.finish(folder / "winner")
    return folder / "winner"


def test_its_model_is_not_read_as_one_of_images(tmp_path):
    with pytest.raises(ModelError, match="must describe a classifier of images, got a model of"):
        load_model(finished_line(tmp_path))


def test_it_is_not_trained_by_the_verb_for_images(tmp_path, capsys):
    space = Space.from_dict({**SPACE, "objective": "val_error", "direction": "minimize"})
    with Study(tmp_path / "line", Identity("line", space, {}, "default", {}, 0), *HOW):
        pass
    code = run_verb(
        train.main, train.TrainingConfig, "", ["from=line", f"storage={tmp_path}", "quiet=true"]
    )
    said = capsys.readouterr().err
    assert code == MISTAKE, said
    assert "from=line: must be a study of images, got one of task tests.toy_task:Line" in said
    assert not user_code._NAMED, "a study is read without importing its task"


def test_an_epoch_that_ended_the_search_is_counted_once(tmp_path):
    space = Space.from_dict({**SPACE, "objective": "val_error", "direction": "minimize"})
    with Study(tmp_path / "line", Identity("line", space, {}, "default", {}, 0), *HOW) as study:
        record = study.ask(lambda values: Admission({"params": 1, "flops": 1, "memory": 1}, "", 0))
        folder = study.folder / paths.trial(record.number)
        folder.mkdir(parents=True)
        (folder / "epochs.log").write_text("1 here 1\n")
        booking = Booking(study, Watch(lambda: 0.0))
        booking.failed(record, 1, 0.5)
        booking.resumed(record)
        assert study.wasted_epochs == 1
