"""Budgets: when each is spent, what is left; and the plan of a search that is not started."""

import re

import pytest
import torch

from hopsearch import tune
from hopsearch.command_line.command import DONE, MISTAKE, run_verb
from hopsearch.command_line.words import read_words
from hopsearch.core.config import flatten, parse
from hopsearch.core.errors import ConfigError, ResourceError
from hopsearch.orchestration.budget import Budget, budget_epochs, modern
from hopsearch.orchestration.resources import TrialResources
from hopsearch.orchestration.simulation.plan import expected_epochs
from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.ray_backend.cluster.connection import slots
from hopsearch.reporting.terminal.console import make_console
from hopsearch.space import Space
from hopsearch.study import State, StudyView
from hopsearch.tasks import find_task
from hopsearch.tasks.images.classifier_config import SETTINGS
from hopsearch.tasks.images.classifier_run import ImageTrialRun
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
        (Budget(9, seconds=100), "", "40s"),
        (Budget(9, seconds=60), "the time budget of 1m is used up", "0s"),
        (Budget(9, epochs=6), "the budget of 6 epochs is used up", "0 epochs"),
        (Budget(9, epochs=7), "", "1 epochs"),
        (
            Budget(9, gpu_hours=3, gpus=2),
            "the budget of 3 GPU-hours is used up",
            "0.00 GPU-hours",
        ),
        (Budget(9, gpu_hours=4, gpus=2), "", "1.00 GPU-hours"),
        (Budget(9, money=3, per_hour=2), "the cost limit of 3 is reached", "a cost of 0.00"),
        (Budget(9, money=3.5, per_hour=2), "", "a cost of 0.50"),
    ],
)
def test_every_budget(study, budget, spent, left):
    assert budget.over(study, 60.0) == spent
    assert budget.left(study, 60.0) == [left]


@pytest.mark.parametrize(
    ("budget", "lasts", "reach"),
    [
        (Budget(9, seconds=100), 40.0, ("budget.time", 0, 900.0)),
        (Budget(9, seconds=60 + 9000, epochs=99), 9000.0, ("budget.time", 10, 900.0)),
        (Budget(9, seconds=60 + 9000, epochs=16), 4500.0, ("budget.epochs", 5, 0.0)),
        (Budget(9, epochs=5), 0.0, ("budget.epochs", 0, 0.0)),
        (Budget(9, gpu_hours=5, gpus=2), 1800.0, ("budget.gpu_hours", 2, 900.0)),
        (Budget(9, money=4, per_hour=2), 900.0, ("budget.cost", 1, 900.0)),
        (Budget(9, plateau=2), None, ("", None, 0.0)),
        (Budget(9), None, ("", None, 0.0)),
    ],
)
def test_how_long_a_budget_lasts_and_how_far_a_worker_gets_until_then(study, budget, lasts, reach):
    """An epoch takes 900 seconds; two workers train, and six epochs are done."""
    assert budget.lasts(study, 60.0, 2) == pytest.approx(lasts)
    assert budget.reach(study, 60.0, 2) == reach


def test_before_the_first_epoch_only_the_time_is_known(tmp_path):
    budget = Budget(9, seconds=100, epochs=4)
    with open_study(tmp_path) as study:
        study.ask(admit_all)
        assert budget.lasts(study, 60.0, 0) == 40.0
        assert budget.reach(study, 60.0, 1) == ("", None, 0.0)


def test_a_plateau_counts_the_trials_that_came_since_the_best(study):
    spent = "no better value in the last 1 trials"
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
    """None of them ends before the search is over; and a study that is opened again says the
    same.
    """
    budget = Budget(99, plateau=12)
    with open_study(tmp_path, pruner=pruner) as study:
        while not budget.over(study, 0.0):
            record = study.next(admit_all, 99)
            while record.state == State.RUNNING:
                study.report(
                    record.number,
                    record.epoch + 1,
                    1 / (1 + record.number) + record.epoch / 100,
                    1.0,
                )
        assert 12 <= study.count < 40
        assert budget.left(study, 0.0) == budget.left(StudyView.open(tmp_path / "test"), 0.0)


@pytest.mark.parametrize(
    ("again", "amount", "spent", "key"),
    [
        (1, {"epochs": 8}, "the last 25% of budget.epochs=8 is reserved for", "budget.epochs="),
        (0, {"epochs": 8}, "", ""),
        (9, {"seconds": 3700.0}, "", ""),
        (9, {"seconds": 3600.0}, "the last 25% of budget.time=1h is reserved for", "budget.time="),
        (
            9,
            {"gpu_hours": 4, "gpus": 2},
            "the last 25% of budget.gpu_hours=4 is reserved for",
            "budget.gpu_hours=",
        ),
        (
            9,
            {"money": 3.9, "per_hour": 2},
            "the last 23% of budget.cost=3.9 is reserved for",
            "budget.cost=",
        ),
        (9, {"epochs": 6}, "the budget of 6 epochs is used up", "budget.epochs="),
    ],
)
def test_a_quarter_of_a_budget_at_most_is_kept_for_trials_that_tie(
    study, again, amount, spent, key
):
    """Six epochs of 900 seconds are done, two at once, so in 2700 seconds."""
    budget = Budget(9, again=lambda view: again, **amount)
    said = budget.over(study, 2700.0)
    assert (said.startswith(spent), bool(said)) == (True, bool(spent))
    assert budget.remedy(study, 2700.0) == key


def test_no_more_is_kept_than_the_trainings_take(study):
    """One of them is nine epochs."""
    one, two = (Budget(99, epochs=80, again=lambda view, count=count: count) for count in (1, 2))
    record = study.next(admit_all, 99)
    while study.epochs < 80:
        left = 80 - study.epochs
        assert (bool(one.over(study, 1.0)), bool(two.over(study, 1.0))) == (left <= 9, left <= 18)
        assert one.reach(study, 1.0, 1)[1] == (left if left > 20 else max(0, left - 9))
        if record.state != State.RUNNING:
            record = study.next(admit_all, 99)
        study.report(record.number, record.epoch + 1, 0.5, 900.0 * (record.epoch + 1))


def test_trials_that_tie_are_not_looked_for_before_it_matters(study):
    def again(view):
        raise AssertionError("asked")

    assert Budget(9, epochs=9, again=again).over(study, 1.0) == ""


def test_no_budget_is_never_spent(study):
    assert Budget(1).over(study, 1e9) == ""
    assert Budget(1).left(study, 1e9) == []


@pytest.mark.parametrize(
    ("pruner", "least", "most"), [("none", 540, 540), ("one_epoch", 98, 98), ("asha", 60, 400)]
)
def test_expected_epochs(pruner, least, most):
    space = Space.from_dict(
        SPACE | {"fidelity": {"min_epochs": 1, "max_epochs": 27, "reduction": 3}}
    )
    assert least <= expected_epochs(space, pruner, 20, 4, seed=0) <= most


def test_a_dry_run_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "space=imixer",
        "model.depth=2",
        "model.dim=32",
        "model.patch_size=2",
        "model.h_ratio=2.0",
        "constraint.max_flops=1.2e6",
    ]
    assert (
        run_verb(
            tune.main,
            tune.TuneConfig,
            "about",
            [*words, "dry_run=true", "trials=6", "cost.per_hour=2"],
        )
        == DONE
    )
    said = capsys.readouterr().out
    assert "rungs: 1, 3, 9, 27 epochs" in said
    assert said.count(" s per epoch") == 5
    assert not re.search(r" 0(\.0+)? s per epoch|\d hours with", said), "in units that fit"
    assert re.search(
        (
            r"expected, at the speed of this machine: [\d.]+ (second|minute)s? with \d+ at once, a "
            r"cost of [\d.]+\n"
        ),
        said,
    )
    assert "% of 200 random draws" in said
    assert ", a cost of " in said
    assert not (tmp_path / "runs").exists()


SMALL = [
    "space=imixer",
    "model.depth=2",
    "model.dim=32",
    "model.patch_size=2",
    "train.epochs=3",
    "trials=6",
]


@pytest.fixture
def tell(tmp_path, monkeypatch, capsys):
    """Runs tune in an empty folder; returns its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        code = run_verb(tune.main, tune.TuneConfig, "about", words)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def begin(words: list[str], trials: int, **how) -> None:
    """Begin the study that these words mean, with made-up curves."""
    values = read_words(words, tune.TuneConfig, SETTINGS)
    fixed = flatten({section: values.pop(section) for section in ("model", "train")})
    config = parse(tune.TuneConfig, values, "test")
    ready = tune._prepare(find_task("images"), config, fixed, make_console())
    with tune._open_study(config, ready) as study:
        Simulation(study, Level(), 1, trials).run()


class Level:
    """The best trial is the last."""

    def cost(self, config):
        return {"n_params": 1, "flops": 1, "memory": 1}

    def train(self, config, seed):
        return Training([0.1, 0.2, 0.3], [36.0] * 3)


def test_epochs_that_budgets_are_enough_for(study):
    """The study has 6 epochs in 1.5 hours; an epoch takes another half."""
    budget = Budget(9, seconds=7200, epochs=20, gpu_hours=10, gpus=2, money=2, per_hour=2)
    study.note("seconds", 3600)
    fresh, left = (budget_epochs(budget, begun, hours=0.5, at_once=3) for begun in (None, study))
    assert fresh == {
        "budget.epochs=20": 20,
        "budget.time=2h": 12,
        "budget.gpu_hours=10": 10,
        "budget.cost=2": 2,
    }
    assert left == {
        "budget.epochs=20": 14,
        "budget.time=2h": 6,
        "budget.gpu_hours=10": 7,
        "budget.cost=2": 0,
    }


def test_a_plan_tells_which_budget_is_spent_first(tell):
    code, said = tell(
        *SMALL, "dry_run=true", "budget.epochs=5", "budget.time=9d", "budget.plateau=2"
    )
    assert code == DONE
    assert re.search(
        r"budgets: budget\.epochs=5 ends it first, after about 5 of these \d+ epochs \(\d+%\)", said
    )
    assert "budget.plateau=2 may end it earlier" in said
    assert (
        "none ends the search early; the tightest, budget.time=9d, allows about "
        in tell(*SMALL, "dry_run=true", "budget.time=9d")[1]
    )


def test_a_plan_takes_off_what_is_done(tell):
    begin([*SMALL, "pruner=none"], 4)
    words = [*SMALL, "pruner=none", "dry_run=true", "budget.epochs=15"]
    code, said = tell(*words)
    assert code == DONE
    assert (
        "resuming: 4 trials, 12 epochs so far; the estimates below are for the 6 or so that remain"
        in said
    )
    assert "budget.epochs=15 ends it first, after about 3 of these 6 epochs (50%)" in said
    code, said = tell(*words, "recipe=paper")
    assert (code, "settings differ from the saved study" in said) == (MISTAKE, True)


def test_a_plan_tells_what_finishing_adds(tell):
    said = tell(*SMALL, "dry_run=true")[1]
    assert re.search(
        (
            r"finishing: the winner is trained to 3 epochs if it has fewer, [\d.]+ \w+ at most, "
            r"and tested, outside all budgets"
        ),
        said,
    )
    assert "retrained" not in said
    words = [
        *SMALL,
        "dry_run=true",
        "finish.repeats=5",
        "finish.candidates=4",
        "trial.concurrent=2",
    ]
    epochs = (
        r"5 × 4 × 3 epochs \(repeats × candidates × epochs\) = 60 epochs, [\d.]+ \w+ with 2 "
        r"at once; the winner is"
    )
    said = tell(*words)[1]
    assert re.search(rf"tied trials are retrained, at most {epochs}", said)
    assert "is reserved for that" not in said
    assert (
        "with 2 at once; at most the last quarter of a budget is reserved for that; the winner"
        in tell(*words, "budget.time=1h")[1]
    )
    assert "finishing: off (finish=false)" in tell(*SMALL, "dry_run=true", "finish=false")[1]


def test_a_plan_of_a_finished_search_knows_which_trials_tie(tell, tmp_path):
    begin([*SMALL, "pruner=none"], 6)  # all of them reach 0.3
    words = [*SMALL, "pruner=none", "dry_run=true", "finish.repeats=2"]
    assert "at most 6 × 3 epochs (trainings × epochs) = 18 epochs; the winner is" in tell(*words)[1]
    place = next((tmp_path / "runs").iterdir())
    stored = tune.StudyView.open(place)
    spent = {"value": 0.3, "epochs": 3, "seconds": 1.0}
    stored.optuna.set_user_attr("repeats", {f"{number}:1": spent for number in (0, 1, 2)})
    assert "at most 3 × 3 epochs (trainings × epochs) = 9 epochs; the winner is" in tell(*words)[1]
    stored.optuna.set_user_attr(
        "repeats", {f"{number}:{repeat}": spent for number in (0, 1, 2) for repeat in (1, 2)}
    )
    stored.optuna.set_user_attr("winner", {"trial": 1, "epochs": 3})
    assert "finishing: nothing left to do, the winner is trial 1" in tell(*words)[1]


def test_a_plan_of_a_study_in_a_database(tell, tmp_path):
    words = [*SMALL[:-1], "trials=1", "database=sqlite:///study.db"]
    assert tell(*words, "dry_run=true")[0] == DONE
    assert not (tmp_path / "study.db").exists()
    begin(words, 1)
    assert "resuming: all 1 trials have ended, " in tell(*words, "dry_run=true")[1]


def test_a_plan_of_a_finished_study(tell):
    begin(SMALL, 6)
    assert "resuming: all 6 trials have ended, " in tell(*SMALL, "dry_run=true")[1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("time=9d", "budget.time=9d"),
        ("epochs=5", "budget.epochs=5"),
        ("plateau=2", "budget.plateau=2"),
    ],
)
def test_old_words_are_understood_and_said_to_be_old(tell, old, new):
    code, said = tell(*SMALL, "dry_run=true", old)
    key = old.partition("=")[0]
    assert (code, said.count(f"{key}= is the old name of budget.{key}=")) == (DONE, 1)
    assert new in said
    assert ("all trials together, while train.epochs= is the length of each" in said) == (
        key == "epochs"
    )
    code, said = tell(*SMALL, "dry_run=true", old, new)
    assert (code, "twice" in said) == (MISTAKE, True)


def test_old_words_of_the_python_call():
    settings = {
        "space": "imixer",
        "time": "15m",
        "cost": {"limit": 3, "per_hour": 2},
        "prior": {"optim.lr": 1e-3},
    }
    assert modern(settings, "search()") == {
        "space": "imixer",
        "budget": {"time": "15m", "cost": 3},
        "cost": {"per_hour": 2},
        "prior": {"optim.lr": 1e-3},
    }
    with pytest.raises(
        ConfigError, match=r"budget\.time: must be given only once, got also its old name time"
    ):
        modern({"time": "15m", "budget": {"time": "2h"}}, "search()")


@pytest.mark.parametrize(
    ("words", "rungs"),
    [
        (["train.epochs=9"], "1, 3, 9"),
        (["fidelity.max_epochs=9"], "1, 3, 9"),
        (["train.epochs=8", "fidelity.min_epochs=2", "fidelity.reduction=2"], "2, 4, 8"),
    ],
)
def test_fidelity_on_the_command_line_is_part_of_the_study(tell, words, rungs):
    small = [word for word in SMALL if not word.startswith("train.epochs")]
    assert f"rungs: {rungs} epochs" in tell(*small, *words, "dry_run=true")[1]


@pytest.mark.parametrize(
    ("resources", "machine", "count"),
    [
        (TrialResources(), {"CPU": 8.0}, 8),
        (TrialResources(cpus=3), {"CPU": 8.0}, 2),
        (TrialResources(cpus=2, workers=2), {"CPU": 8.0}, 2),
        (TrialResources(gpus=1), {"CPU": 8.0, "GPU": 2.0}, 2),
        (TrialResources(gpus=0.5), {"CPU": 8.0, "GPU": 2.0}, 4),
        (TrialResources(gpus=1, workers=2), {"CPU": 8.0, "GPU": 2.0}, 1),
        (TrialResources(concurrent=3), {"CPU": 8.0}, 3),
        (TrialResources(concurrent=30), {"CPU": 8.0}, 8),
    ],
)
def test_trials_at_once_on_a_machine_alone(resources, machine, count):
    assert slots(resources, alone=machine) == count


def test_what_a_machine_alone_has_not(tell):
    with pytest.raises(
        ResourceError, match=r"trial.gpus: .* must have 1 GPU for a worker, got 0 at most"
    ):
        slots(TrialResources(gpus=1, concurrent=2), alone={"CPU": 8.0, "GPU": 0.0})
    for words in (["trial.cpus=4096"], ["trial.cpus=4096", "dry_run=true"]):
        code, said = tell(*SMALL, *words)
        assert (code, "must have 4096 CPU for a worker" in said) == (MISTAKE, True)
    code, said = tell(*SMALL, "trial.gpus=1", "dry_run=true", "address=auto")
    assert (
        code,
        "address=auto: not contacted, so it was not checked whether trials fit the cluster" in said,
    ) == (DONE, True)
    assert torch.cuda.is_available() or "at the speed of this machine without a GPU" in said


def test_an_epoch_is_timed_with_the_threads_of_a_trial(tell, monkeypatch):
    counts = []
    monkeypatch.setattr(
        ImageTrialRun,
        "time_epoch",
        lambda run, steps: counts.append(torch.get_num_threads()) or 1.0,
    )
    before = torch.get_num_threads()
    tell(*SMALL, "dry_run=true", "trial.cpus=2", "address=auto")
    assert counts == [2] * 5
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["objective=val_accuracy"],
            "objective: must be a metric reported every epoch, got 'val_accuracy'. Did you mean "
            "val_acc?",
        ),
        (
            ["objective=fixed_point/residual/mean"],
            "which imixer with n_iter 0 has not. Use one of val_acc, ",
        ),
        (["prior.optim.lr=99"], "prior: optim.lr: must be a number from 0.0003 to 0.01"),
        (["warm_start=nosuch"], "runs/nosuch: must contain a study"),
        (
            ["warm_start=nosuch", "sampler=qmc"],
            "must support learning from another study, got qmc. Use sampler=tpe_gp or",
        ),
        (
            ["prior.model.depth=2"],
            "a prior needs a searched parameter, got one that is fixed to 2",
        ),
        (
            ["prior.model.n_power=4", "model.n_power=4"],
            "got one that is fixed to 4",
        ),
        (
            ["prior.model.n_iter=2", "sampler=grid"],
            (
                "prior: has no effect with sampler=grid, which tries all values in order, got "
                "model.n_iter"
            ),
        ),
        (["trial.gpus=64"], "trial.gpus: a machine of the cluster must have 64 GPU for a worker"),
        (
            ["constraint.max_params=10"],
            "some configuration must satisfy the constraints, got none in 500 random ones",
        ),
        (["budget.gpu_hours=1"], "a GPU budget needs trials with GPUs"),
    ],
)
def test_a_dry_run_refuses_what_the_search_does_and_neither_leaves_anything(
    tell, tmp_path, words, message
):
    for dry in ([], ["dry_run=true"]):
        code, said = tell(*SMALL, *words, *dry)
        assert (code, message in said) == (MISTAKE, True), said
    assert not (tmp_path / "runs").exists()


def test_a_grid_of_which_nothing_is_admitted(tell, tmp_path):
    parameters = "parameters: {model.depth: {type: int, low: 1, high: 3}}"
    (tmp_path / "grid.yaml").write_text(
        f"fixed: {{model.family: imixer, model.patch_size: 4}}\n{parameters}"
    )
    code, said = tell("space=grid.yaml", "sampler=grid", "constraint.max_params=10", "dry_run=true")
    assert (code, "got none in the whole grid. Relax constraint.*" in said) == (MISTAKE, True)


def test_a_warm_start_that_comes_too_late(tell):
    begin([*SMALL, "study=old"], 3)
    begin([*SMALL, "study=new"], 3)
    begin([*SMALL, "study=warm", "warm_start=old"], 3)
    assert (
        "warm start: 3 trials of study old (on digits)"
        in tell(*SMALL, "study=third", "warm_start=old", "dry_run=true")[1]
    )
    assert (
        "warm_start=old ignored: study new already exists"
        in tell(*SMALL, "study=new", "warm_start=old", "dry_run=true")[1]
    )
    said = tell(*SMALL, "study=warm", "warm_start=old", "dry_run=true")[1]
    assert "warm start: 3 trials of study old were copied when study warm started" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trials=0"], "trials: input should be greater than 0, got 0"),
        (
            ["budget.gpu_hours=0", "trial.gpus=1"],
            "budget.gpu_hours: input should be greater than 0",
        ),
        (
            ["budget.gpu_hours=1"],
            "a GPU budget needs trials with GPUs, got trial.gpus=0. Set trial.gpus=1",
        ),
        (
            ["budget.cost=5"],
            "budget.cost: needs a price, got no cost.per_hour. Set cost.per_hour=",
        ),
        (["objective="], "command line: objective must have a value, got nothing after ="),
        (["warm_start="], "command line: warm_start must have a value"),
        (
            ["budget.time=5"],
            (
                "budget.time: must be a number with a unit s, m, h or d, got 5. Write e.g. "
                "budget.time=15m"
            ),
        ),
        (["budget.time=0s"], "budget.time: input should be greater than 0"),
        (["budget.plateau=0"], "budget.plateau: input should be greater than 0"),
        (
            ["fidelity.min_epochs=9", "train.epochs=3"],
            "fidelity.min_epochs: must be at most the epochs of a trial, got 9 and 3",
        ),
        (
            ["fidelity.max_epochs=9", "train.epochs=3"],
            "fidelity.max_epochs and train.epochs must agree, got 9 and 3",
        ),
        (
            ["fidelity.reduction=1"],
            "fidelity.reduction: input should be greater than or equal to 2",
        ),
        (["objective=val_acc,n_parms"], "Did you mean n_params?"),
        (["objective=val_acc,n_params", "sampler=cmaes"], "cmaes takes one objective"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert (
        run_verb(tune.main, tune.TuneConfig, "about", ["space=imixer", *words, "dry_run=true"])
        == MISTAKE
    )
    assert message in capsys.readouterr().err
