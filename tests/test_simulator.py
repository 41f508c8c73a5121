"""Simulated searches: the study's own code with made-up workers, and that nothing it decides
depends on who was running.
"""

import json
import time
from typing import ClassVar

import pytest

from hopsearch.orchestration.simulation.simulator import Faults, Simulation, Training
from hopsearch.orchestration.simulation.tables import TableLandscape, write_table
from hopsearch.reporting.leaderboard import summary
from hopsearch.space import Space
from hopsearch.study import MEMORY, PRUNERS, SAMPLERS, Admission, State, Study, StudyView
from hopsearch.study.sampling.samplers import proposer
from tests.conftest import SPACE, identity

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

GRID = SPACE | {
    "parameters": {name: spec for name, spec in SPACE["parameters"].items() if name != "optim.lr"},
    "first": [],
}


# Nine configurations: three are refused as too deep, so nobody can propose much without repeating
# itself. The first points are a pair of equals and a refused one.
TINY = SPACE | {
    "parameters": {
        "model.depth": {"type": "int", "low": 6, "high": 8},
        "model.n_iter": {"type": "int", "low": 0, "high": 1},
        "model.h_ratio": {
            "type": "float",
            "low": 0.5,
            "high": 1.0,
            "step": 0.5,
            "when": {"model.n_iter": {"min": 1}},
        },
    },
    "first": [
        {"model.depth": 6, "model.n_iter": 0},
        {"model.depth": 6, "model.n_iter": 0},
        {"model.depth": 8, "model.n_iter": 1, "model.h_ratio": 0.5},
    ],
}
TINY_ADMITTED = 6


class Hills:
    """A landscape with a best depth and learning rate; too high a rate diverges in its third
    epoch.
    """

    def cost(self, config):
        return {"n_params": 1000 * config["model.depth"], "flops": 1}

    def train(self, config, seed):
        good = 1 - abs(config["model.depth"] - 6) / 8 - 0.1 * config["model.n_iter"]
        rate = config.get("optim.lr", 1e-3)
        epochs = 2 if rate > 8e-3 else 9
        values = [good * (1 - 0.7 ** (epoch * (1 + 100 * rate))) for epoch in range(1, epochs + 1)]
        return Training(values, [1.0 + config["model.depth"] / 10] * 9)


class Choosy(Simulation):
    """Refuses the deepest models, as a constraint would."""

    def admit(self, config):
        depth = config["model.depth"]
        return Admission(
            {"n_params": 1000 * depth},
            f"params <= 7000 must hold, got {1000 * depth}" if depth > 7 else "",
            depth / 7 - 1,
        )


def words(sampler):
    return {"space": GRID} if sampler == "grid" else {}


def open_study(folder, sampler, pruner, database=None):
    return Study(folder / "test", identity(**words(sampler)), sampler, pruner, database)


def facts(study):
    return {
        number: (
            record.state,
            record.params,
            record.curve,
            record.decisions,
            record.promotions,
            record.reason,
        )
        for number, record in study.records.items()
    }


@pytest.mark.parametrize("pruner", sorted(PRUNERS))
@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
class TestEverySamplerWithEveryPruner:
    """The contract: conditional parameters, failures, divergence, preemption, duplicates,
    infeasible points, a space that is tried out, and a study that is closed and opened again
    half-way decides what it would have decided.
    """

    FAULTS = Faults(failure=0.02, preemption=0.25, away=2.0, seed=1)
    TRIALS = 12

    def test_contract(self, tmp_path, sampler, pruner):
        with open_study(tmp_path / "straight", sampler, pruner, MEMORY) as study:
            Choosy(study, Hills(), 3, self.TRIALS, self.FAULTS).run()
            straight, judgements = facts(study), study.judgements
            self.check(study)
        study = open_study(tmp_path / "again", sampler, pruner)
        simulation = Choosy(study, Hills(), 3, self.TRIALS, self.FAULTS)
        for turn, _ in enumerate(simulation.events()):
            if turn % 20 == 9:
                simulation.study.close()
                simulation.study = open_study(tmp_path / "again", sampler, pruner)
        simulation.study.close()
        view = StudyView.open(tmp_path / "again" / "test")
        assert facts(view) == straight
        assert view.judgements == judgements
        assert view.audit() == []

    def test_a_space_that_is_tried_out(self, tmp_path, sampler, pruner):
        def opened(folder, database=None):
            return Study(folder / "test", identity(space=TINY), sampler, pruner, database)

        with opened(tmp_path / "straight", MEMORY) as study:
            Choosy(study, Hills(), 3, 99, self.FAULTS).run()
            self.check_tried_out(study, sampler)
            straight = facts(study)
        study = opened(tmp_path / "again")
        simulation = Choosy(study, Hills(), 3, 99, self.FAULTS)
        for turn, _ in enumerate(simulation.events()):
            if turn in (3, 9):
                simulation.study.close()
                simulation.study = opened(tmp_path / "again")
        assert facts(simulation.study) == straight
        assert simulation.study.ask(simulation.admit) is None
        simulation.study.close()
        # asking once more has left nothing
        assert facts(StudyView.open(tmp_path / "again" / "test")) == straight

    def check_tried_out(self, study, sampler):
        assert len(study.counted()) == TINY_ADMITTED
        assert (
            len({json.dumps(record.config, sort_keys=True) for record in study.counted()})
            == TINY_ADMITTED
        )
        assert all(record.state.ended for record in study.records.values())
        assert study.audit() == []
        first, twin, deep = (study.records[number] for number in range(3))
        assert first.state.counted
        assert (twin.state, twin.reason) == (State.DUPLICATE, "same configuration as trial 0")
        assert (deep.state, deep.reason) == (State.INFEASIBLE, "params <= 7000 must hold, got 8000")
        seed = study.identity.seed
        proposed = {
            each.state
            for each in study.records.values()
            if each.source == proposer(sampler, seed, each.number)
        }
        # A grid is walked over what is new and admitted only; every other sampler has repeated
        # itself, too.
        assert (State.DUPLICATE in proposed) == (sampler != "grid")
        rejected = [record for record in study.records.values() if not record.state.counted]
        assert not any(record.curve or record.made for record in rejected)

    def check(self, study):
        counted = study.counted()
        assert len(counted) == self.TRIALS
        assert all(record.state.ended for record in study.records.values())
        assert len({json.dumps(record.config, sort_keys=True) for record in counted}) == self.TRIALS
        assert study.audit() == []
        for record in study.records.values():
            study.identity.space.check(
                {name: record.config[name] for name in study.identity.space.active(record.config)}
            )
            assert ("model.h_ratio" in record.params) == (record.config["model.n_iter"] > 0)
            assert record.config["model.depth"] <= 7 or record.state == State.INFEASIBLE
            assert record.reason or record.state in (State.COMPLETE, State.PRUNED)
            assert (record.epoch == 9) == (record.state == State.COMPLETE)
        assert any(record.losses for record in counted)
        assert study.ranked()


LATER = [
    pytest.param(k, "tpe_gp", "adaptive_asha", marks=(pytest.mark.long, pytest.mark.in_turns))
    for k in range(2, 51)
]


@pytest.mark.parametrize(
    ("k", "sampler", "pruner"),
    [(1, "tpe", "asha_promotion"), (1, "tpe_gp", "adaptive_asha"), *LATER],
)
def test_opened_again_after_every_kth_event(tmp_path, k, sampler, pruner):
    """With trials enough that both samplers propose from what was learnt, and the first rung is
    judged.
    """
    faults = Faults(preemption=0.05)
    with open_study(tmp_path / "straight", sampler, pruner, MEMORY) as study:
        events = Simulation(study, Hills(), 4, 22, faults).run()
        straight = facts(study)
    simulation = Simulation(open_study(tmp_path / "again", sampler, pruner), Hills(), 4, 22, faults)
    seen = []
    for turn, event in enumerate(simulation.events(), start=1):
        seen.append(event)
        if turn % k == 0:
            simulation.study.close()
            simulation.study = open_study(tmp_path / "again", sampler, pruner)
    assert seen == events
    assert facts(simulation.study) == straight
    simulation.study.close()


def test_the_clock_runs_for_all_workers_at_once(tmp_path):
    spent = {}
    for workers in (1, 4):
        with open_study(tmp_path / str(workers), "random", "none", MEMORY) as study:
            events = Simulation(study, Hills(), workers, 16).run()
            spent[workers] = events[-1].clock
            assert [event.clock for event in events] == sorted(event.clock for event in events)
            assert events[-1].epochs == study.epochs
    assert 3 < spent[1] / spent[4] < 4.5


def test_preemptions_cost_epochs_and_change_no_curve(tmp_path):
    curves = []
    for faults in (Faults(), Faults(preemption=0.3, away=5.0)):
        with open_study(tmp_path / str(len(curves)), "random", "none", MEMORY) as study:
            events = Simulation(study, Hills(), 1, 6, faults).run()
            lost = sum(event.value is None for event in events) - summary(study)["failed"]
            assert lost == sum(record.losses for record in study.records.values())
            assert events[-1].epochs == study.epochs
            assert study.wasted_epochs == lost + summary(study)["failed"]
            curves.append({number: record.curve for number, record in study.records.items()})
    assert curves[0] == curves[1]


@pytest.mark.parametrize("pruner", ["asha_promotion", "hyperband"])
def test_what_is_kept_as_trials_come_and_go_agrees_with_the_records(tmp_path, pruner):
    def check(study):
        assert study.waiting() == StudyView.waiting(study)
        assert study.epochs == StudyView.epochs.fget(study)
        assert study.wasted_epochs == StudyView.wasted_epochs.fget(study)
        assert study.since_best == StudyView.since_best.fget(study)
        for state, numbers in study._open.items():
            assert numbers == {
                number for number, record in study.records.items() if record.state == state
            }

    study = open_study(tmp_path, "random", pruner)
    simulation = Choosy(study, Hills(), 4, 30, Faults(failure=0.05, preemption=0.1))
    for turn, _ in enumerate(simulation.events()):
        check(simulation.study)
        if turn % 25 == 24:
            simulation.study.close()
            simulation.study = open_study(tmp_path, "random", pruner)
            check(simulation.study)
    check(simulation.study)
    simulation.study.close()


def test_waiting_trials_are_promoted_after_the_budget_was_raised(tmp_path):
    with open_study(tmp_path, "random", "asha_promotion") as study:
        simulation = Simulation(study, Hills(), 1, 8)
        for turn, _ in enumerate(simulation.events()):
            if turn == 4:
                break  # killed: some wait, none is to be lost
        waiting = study.waiting()
        assert waiting
    with open_study(tmp_path, "random", "asha_promotion") as study:
        assert [record.number for record in study.waiting()] == [
            record.number for record in waiting
        ]
        Simulation(study, Hills(), 1, 12).run()
        assert len(study.counted()) == 12
        assert study.audit() == []
        assert study.ranked()[0].state == State.COMPLETE


def test_a_hundred_trials_on_sixteen_workers(tmp_path):
    """About a second; the bound is for a machine that is busy otherwise."""
    began = time.perf_counter()
    with open_study(tmp_path, "random", "asha", MEMORY) as study:
        Simulation(study, Hills(), 16, 100).run()
        assert len(study.counted()) == 100
    assert time.perf_counter() - began < 20


RECORDED = {
    "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
    "parameters": {
        "model.family": {"type": "categorical", "choices": ["imixer", "mlpmixer"]},
        "model.n_iter": {"type": "int", "low": 1, "high": 5, "when": {"model.family": "imixer"}},
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
}


class TestTables:
    @pytest.fixture
    def table(self, tmp_path):
        def row(number, repeat, values, **params):
            params = {name.replace("__", "."): value for name, value in params.items()}
            cost = {"n_params": 10 * number}
            return {
                "number": number,
                "repeat": repeat,
                "params": params,
                "cost": cost,
                "val_acc": values,
                "seconds": [1.0] * len(values),
            }

        rows = [
            row(0, 0, [0.1, 0.2, 0.3], model__family="imixer", model__n_iter=1, optim__lr=1e-3),
            row(0, 1, [0.1, 0.2, 0.5], model__family="imixer", model__n_iter=1, optim__lr=1e-3),
            row(1, 0, [0.6, 0.7, 0.8], model__family="imixer", model__n_iter=5, optim__lr=1e-3),
            row(2, 0, [0.2], model__family="mlpmixer", optim__lr=1e-2),
        ]
        write_table(
            tmp_path / "table.jsonl.gz", {"space": Space.from_dict(RECORDED).to_dict()}, rows
        )
        return TableLandscape(tmp_path / "table.jsonl.gz")

    NEAR: ClassVar = {"model.family": "imixer", "model.n_iter": 4, "optim.lr": 2e-3}

    def test_the_nearest_row_is_trained(self, table):
        assert table.cost(self.NEAR) == {"n_params": 10}
        assert table.train(self.NEAR, 0).values == [0.6, 0.7, 0.8]
        assert table.train({"model.family": "mlpmixer", "optim.lr": 1e-3}, 0).values == [0.2]

    def test_a_row_is_trained_once_a_search(self, table):
        other = self.NEAR | {"optim.lr": 3e-3}
        assert table.train(self.NEAR, 0).values[-1] == 0.8
        assert table.train(other, 0).values[-1] in (0.3, 0.5)  # the next nearest
        assert table.train(self.NEAR, 0).values[-1] == 0.8  # the same trial
        assert table.fresh().train(other, 0).values[-1] == 0.8

    def test_the_seed_picks_among_repeats(self, table):
        config = {"model.family": "imixer", "model.n_iter": 1, "optim.lr": 1e-3}
        assert {table.train(config, seed).values[-1] for seed in range(20)} == {0.3, 0.5}
        assert table.train(config, 3).values == table.train(config, 3).values

    def test_best(self, table):
        assert table.best == 0.8

    def test_a_curve_cut_short_is_a_divergence(self, tmp_path, table):
        with Study(tmp_path / "test", identity(space=RECORDED), "random", "none", MEMORY) as study:
            Simulation(study, table, 2, 4).run()
            short = [record for record in study.counted() if record.epoch < 3]
            assert {(record.state, record.epoch, record.reason) for record in short} == {
                (State.FAILED, 1, "diverged: simulated")
            }
