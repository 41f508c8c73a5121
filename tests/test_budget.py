"""Budgets: when each is spent, what is left; and the plan of a search that is not started."""

import pytest

from hopsearch import tune
from hopsearch.command import DONE, MISTAKE, run_verb
from hopsearch.distributed.budget import Budget
from hopsearch.distributed.plan import expected_epochs
from hopsearch.space import Space
from hopsearch.study import State, StudyView
from tests.conftest import SPACE, admit_all, open_study


@pytest.fixture
def study(tmp_path):
    """Two trials of 1800 seconds each, then one that is worse."""
    with open_study(tmp_path, pruner="none") as study:
        for values in ((0.5, 0.6), (0.7, 0.8), (0.1, 0.2)):
            record = study.ask(admit_all)
            for epoch, value in enumerate(values, start=1):
                study.report(record.number, epoch, value, 900.0 * epoch)
        yield study


@pytest.mark.parametrize(
    ("budget", "spent", "left"),
    [
        (Budget(9, seconds=100), "", "40 s"),
        (Budget(9, seconds=60), "the time budget of 60 s is spent", "0 s"),
        (Budget(9, epochs=6), "the budget of 6 epochs is spent", "0 epochs"),
        (Budget(9, epochs=7), "", "1 epochs"),
        (Budget(9, gpu_hours=3, gpus=2), "the budget of 3 GPU-hours is spent", "0.00 GPU-hours"),
        (Budget(9, gpu_hours=4, gpus=2), "", "1.00 GPU-hours"),
        (Budget(9, money=3, per_hour=2), "the budget of 3 money is spent", "0.00 money"),
        (Budget(9, money=3.5, per_hour=2), "", "0.50 money"),
    ],
)
def test_every_budget(study, budget, spent, left):
    assert budget.over(study, 60.0) == spent
    assert budget.left(study, 60.0) == [left]


def test_a_plateau_counts_the_trials_that_came_since_the_best(study):
    spent = "the last 1 trials brought nothing better"
    budget = Budget(9, plateau=1)
    assert budget.over(study, 0.0) == spent  # trial 2 came after trial 1 had its best
    study.report(0, 3, 0.9, 900.0)
    assert budget.over(study, 0.0) == ""  # an old trial may become the best
    study.report(0, 4, 0.8, 900.0)
    study.report(2, 3, 0.3, 900.0)
    assert budget.left(study, 0.0) == ["1 trials to a plateau"]  # nobody new
    study.report(study.ask(admit_all).number, 1, 0.5, 900.0)
    assert budget.over(study, 0.0) == spent


@pytest.mark.parametrize("pruner", ["asha", "asha_promotion", "one_epoch", "pasha"])
def test_a_plateau_is_reached_where_trials_wait(tmp_path, pruner):
    """None of them ends before the search is over; and a study that is opened again says the same."""
    budget = Budget(99, plateau=12)
    with open_study(tmp_path, pruner=pruner) as study:
        while not budget.over(study, 0.0):
            record = study.next(admit_all, 99)
            while record.state == State.RUNNING:
                study.report(record.number, record.epoch + 1, 1 / (1 + record.number) + record.epoch / 100, 1.0)
        assert 12 <= study.count < 40
        assert budget.left(study, 0.0) == budget.left(StudyView.open(tmp_path / "test"), 0.0)


def test_no_budget_is_never_spent(study):
    assert Budget(1).over(study, 1e9) == ""
    assert Budget(1).left(study, 1e9) == []


@pytest.mark.parametrize(("pruner", "least", "most"), [("none", 540, 540), ("one_epoch", 98, 98), ("asha", 60, 400)])
def test_expected_epochs(pruner, least, most):
    space = Space.from_dict(SPACE | {"fidelity": {"min_epochs": 1, "max_epochs": 27, "reduction": 3}})
    assert least <= expected_epochs(space, pruner, 20, 4, seed=0) <= most


def test_a_dry_run_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["space=imixer", "model.depth=2", "model.dim=32", "model.patch_size=2", "constraint.max_flops=1.2e6"]
    assert run_verb(tune.main, tune.TuneConfig, "about", [*words, "dry_run=true", "trials=6", "cost.per_hour=2"]) == DONE
    said = capsys.readouterr().out
    assert "rungs: 1, 3, 9, 27 epochs" in said
    assert said.count("s an epoch") == 5
    assert "% of 200 drawn at random" in said
    assert " money" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trials=0"], "trials: input should be greater than 0, got 0"),
        (["gpu_hours=0", "trial.gpus=1"], "gpu_hours: input should be greater than 0"),
        (["gpu_hours=1"], "trials must have GPUs for a budget of them, got trial.gpus=0. Give trial.gpus=1"),
        (["cost.limit=5"], "cost.limit needs a price. Give cost.per_hour="),
        (["plateau=0"], "plateau: input should be greater than 0"),
        (["objective=val_acc,parms"], "Did you mean params?"),
        (["objective=val_acc,params", "sampler=cmaes"], "cmaes takes one objective"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert run_verb(tune.main, tune.TuneConfig, "about", ["space=imixer", *words, "dry_run=true"]) == MISTAKE
    assert message in capsys.readouterr().err
