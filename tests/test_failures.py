"""Trials that fail: what samplers learn from them, and that nobody waits behind them."""

import pytest

from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.study import MEMORY, State, Study, StudyView
from hopsearch.study.sampling.sampler_view import sampler_view
from hopsearch.study.stopping.rung_values import Rung
from tests.conftest import admit_all, identity, open_study

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

RATES = {
    "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
    "fixed": {"model.family": "imixer"},
    "parameters": {
        "model.depth": {"type": "int", "low": 1, "high": 8},
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
}
LIMIT = 1e-3  # half of the rates, on their scale


class Cliff:
    """The larger the learning rate the better, up to the one from which on every training
    diverges.
    """

    def cost(self, config):
        return {"n_params": 1000 * config["model.depth"], "flops": 1, "memory": 1}

    def train(self, config, seed):
        rate = config["optim.lr"]
        values = [(0.5 + rate / LIMIT / 2) * (1 - 0.7**epoch) for epoch in range(1, 10)]
        return Training([] if rate > LIMIT else values, [1.0] * 9)


@pytest.mark.parametrize(
    ("sampler", "trials", "most"),
    [("tpe", 60, 0.45), ("gp", 24, 0.45), ("nsgaii", 60, 0.5), ("cmaes", 60, 0.5)],
)
def test_samplers_learn_to_leave_where_trials_diverge(tmp_path, sampler, trials, most):
    """Told as failed, of which no sampler learns, the second half's share is .89 with tpe."""
    with Study(tmp_path / "test", identity(space=RATES), sampler, "asha", MEMORY) as study:
        Simulation(study, Cliff(), 4, trials).run()
        later = study.counted()[trials // 2 :]
        assert sum(record.state == State.FAILED for record in later) / len(later) <= most
        assert {
            trial.state.name for trial in study.optuna.trials if "failure" in trial.user_attrs
        } == {"FAIL"}


@pytest.mark.parametrize("objective", ["val_acc", "val_acc,n_params"])
def test_what_is_seen_of_a_failed_trial(tmp_path, objective):
    with open_study(tmp_path, space=RATES | {"objective": objective}) as study:
        records = [study.ask(admit_all) for _ in range(6)]
        for record, value in zip(records[:2], (0.2, 0.6), strict=True):
            study.report(record.number, 1, value, 1.0)
        study.report(2, 1, 0.9, 1.0)
        study.fail(2, "diverged: too hot")
        study.fail(3, "lost: its worker died", learn=False)
        study.exclude(4, "latency", "latency <= 1 must hold", 0.5)
        view = sampler_view(study.optuna, study.objectives, study.identity.space.fidelity.rungs)
        seen = {trial.number: trial for trial in view.get_trials()}
        worst = [
            0.2,
            *([max(r.cost["n_params"] for r in records[:2])] if "n_params" in objective else []),
        ]
        assert (seen[2].values, seen[4].values) == (worst, worst)
        assert (seen[3].state.name, seen[5].state.name) == ("FAIL", "RUNNING")


def search(study, trials, fails):
    """One worker; ``fails`` says which trial fails after which epoch."""
    while (record := study.next(admit_all, trials)) is not None:
        while record.state == State.RUNNING:
            if fails(record):
                study.fail(record.number, "diverged: simulated", epochs=1)
            else:
                study.report(record.number, record.epoch + 1, 1 / (1 + record.number), 1.0)
    study.retire()


@pytest.mark.parametrize("pruner", ["asha_promotion", "pasha", "one_epoch"])
def test_where_the_best_fails_the_next_one_is_promoted(tmp_path, pruner):
    """The first four trials are the best ones, and all fail once they have gone on from a rung."""
    with open_study(tmp_path, pruner=pruner) as study:
        search(
            study,
            9,
            lambda record: record.number < 4 and record.epoch >= 1 and bool(record.promotions),
        )
        assert [record.number for record in study.ranked() if record.state == State.COMPLETE], (
            pruner
        )
        assert study.audit() == []
        assert sum(record.state == State.FAILED for record in study.counted()) > 0
    assert StudyView.open(tmp_path / "test").audit() == []


def test_a_failed_trial_is_compared_with_no_longer_where_others_are_stopped(tmp_path):
    with open_study(tmp_path, pruner="asha") as study:
        first, second = study.ask(admit_all), study.ask(admit_all)
        study.report(first.number, 1, 0.9, 1.0)
        study.report(first.number, 2, 0.9, 2.0)
        study.fail(first.number, "diverged: simulated")
        study.report(second.number, 1, 0.1, 1.0)  # the best of those that are left
        assert second.state == State.RUNNING
        assert (second.decisions[1].rank, second.decisions[1].of) == (1, 1)
        assert study.audit() == []


@pytest.mark.parametrize("objectives", [1, 2])
def test_a_rung_without_a_failed_trial_is_one_that_it_never_came_to(objectives):
    values = {number: (number * 7 % 5 / 5, number * 3 % 4)[:objectives] for number in range(12)}
    rung, never = Rung(), Rung()
    for number, value in values.items():
        rung.add(number, value, paused=number % 2 == 0)
        if number != 4:
            never.add(number, value, paused=number % 2 == 0)
    rung.drop(4)
    assert rung.standing() == never.standing()
    assert (len(rung), rung.came, rung.first_waiting()) == (len(never), 12, never.first_waiting())
    assert [rung.rank(value, behind) for value in values.values() for behind in (True, False)] == [
        never.rank(value, behind) for value in values.values() for behind in (True, False)
    ]


@pytest.mark.parametrize("objective", ["val_acc", "val_acc,n_params"])
def test_a_plateau_without_a_look_at_all_trials_is_the_one_with_it(tmp_path, objective):
    with open_study(
        tmp_path, pruner="asha_promotion", space=RATES | {"objective": objective}
    ) as study:

        def fails(record):
            assert study.since_best == StudyView.since_best.fget(study)
            assert study.epochs == StudyView.epochs.fget(study)
            assert study.trained_seconds == pytest.approx(StudyView.trained_seconds.fget(study))
            return record.number % 7 == 3 and record.epoch == 1

        search(study, 40, fails)
