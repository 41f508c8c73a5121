"""The end of a budget: the best trial goes on to full epochs, and a study tells why, whatever
interrupts it.
"""

from dataclasses import asdict, replace

import pytest

from hopsearch.data import DataConfig
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.simulation.simulator import Faults, Simulation
from hopsearch.space import Fidelity
from hopsearch.study import MEMORY, PRUNERS, State, Study, StudyView
from hopsearch.study.stopping.finalists import finalist
from hopsearch.study.stopping.rung_values import Arrival, Evidence
from hopsearch.training import Constraint
from tests.conftest import SPACE, admit_all, identity, work
from tests.test_simulator import Choosy, Hills, facts

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

LAST, BUDGET, WORKERS = 9, 48, 3
PAUSING = ["adaptive_asha", "asha_promotion", "delayed_asha", "one_epoch", "pasha"]
LONG = SPACE | {"fidelity": {"min_epochs": 1, "max_epochs": 27, "reduction": 3}}
FAULTS = Faults(failure=0.02, preemption=0.1, away=2.0, seed=1)


def opened(folder, pruner="asha_promotion", sampler="random", space=None, database=None):
    return Study(folder / "test", identity(space=space), sampler, pruner, database)


def sent_on(view):
    return [record for record in view.counted() if record.sent_on(LAST)]


class TestByHand:
    """Rungs at 1, 3, 9 and 27 epochs: 26, 24 and 18 are missing there."""

    FIDELITY = Fidelity(1, 27, 3)

    def evidence(self, *waiting):
        """With who waits where, and how good: (number, epoch, value)."""
        evidence = Evidence(lambda number: 0)
        for number, epoch, value in waiting:
            evidence.add(Arrival(number, epoch, (value,), 0), paused=True)
        return evidence

    RIVALS = ((10, 9, 0.1), (11, 9, 0.2), (12, 3, 0.3))

    @pytest.mark.parametrize(
        ("reach", "chosen"),
        [(27, None), (24, None), (23, (2, 9)), (18, (2, 9)), (17, None), (1, None), (0, None)],
    )
    def test_the_best_goes_on_while_it_gets_there_and_nobody_a_rung_lower_would(
        self, reach, chosen
    ):
        evidence = self.evidence((0, 1, 0.6), (1, 9, 0.5), (2, 9, 0.7), *self.RIVALS)
        assert finalist(evidence, self.FIDELITY, reach) == chosen

    @pytest.mark.parametrize(
        ("reach", "chosen"), [(26, None), (25, (0, 3)), (24, (0, 3)), (23, None)]
    )
    def test_it_may_wait_lower_than_others(self, reach, chosen):
        evidence = self.evidence(
            (0, 3, 0.8), (2, 9, 0.7), *((number, 3, 0.1) for number in range(20, 28))
        )
        assert finalist(evidence, self.FIDELITY, reach) == chosen

    def test_nobody_goes_on_while_a_better_one_trains_or_is_trained(self):
        evidence = self.evidence((1, 9, 0.5), (2, 9, 0.7), *self.RIVALS)
        evidence.leave(2, 9)
        assert finalist(evidence, self.FIDELITY, 20) is None
        evidence.drop(2, [9])
        assert finalist(evidence, self.FIDELITY, 20) == (1, 9), "it has failed"

    def test_nobody_goes_on_who_had_no_rivals(self):
        assert finalist(self.evidence((1, 9, 0.5), (2, 9, 0.7)), self.FIDELITY, 20) is None
        assert finalist(
            self.evidence((1, 9, 0.5), (2, 9, 0.7), (3, 9, 0.1)), self.FIDELITY, 20
        ) == (2, 9)
        assert finalist(Evidence(lambda number: 0), self.FIDELITY, 20) is None

    def test_of_several_objectives_one_that_nobody_beats(self):
        evidence = Evidence(lambda number: 0)
        for number, values in enumerate([(0.9, -5.0), (0.5, -5.0), (0.8, -1.0)]):
            evidence.add(Arrival(number, 9, values, 0), paused=True)
        assert finalist(evidence, self.FIDELITY, 20) == (0, 9)
        evidence.leave(0, 9)
        assert finalist(evidence, self.FIDELITY, 20) == (2, 9)
        evidence.leave(2, 9)
        assert finalist(evidence, self.FIDELITY, 20) is None


# Searches in which the best waits when the end comes: its sampler and rule, workers, and epochs.
ENDS = [
    ("tpe_gp", "adaptive_asha", 3, 90),
    ("random", "asha_promotion", 3, 40),
    ("tpe_gp", "delayed_asha", 3, 60),
    ("random", "one_epoch", 3, 48),
    ("random", "pasha", 3, 48),
    ("random", "one_epoch", 1, 66),
]


def ended(folder, sampler, pruner, workers, epochs, database=MEMORY):
    """A search with failures and lost workers, until its budget is spent."""
    study = opened(folder, pruner, sampler, database=database)
    return Choosy(study, Hills(), workers, 99, FAULTS, epochs)


@pytest.mark.parametrize("end", ENDS)
def test_the_best_trains_to_the_end(tmp_path, end):
    simulation = ended(tmp_path, *end)
    simulation.run()
    study, chosen = simulation.study, sent_on(simulation.study)
    assert study.audit() == []
    assert chosen
    # lost workers take epochs of the budget
    assert {record.state for record in chosen} <= {State.COMPLETE, State.RUNNING}
    assert not any(
        made.pause or made.stop
        for record in chosen
        for made in record.decisions.values()
        if record.sent_on(made.epoch)
    )
    study.close()


def test_several_objectives(tmp_path):
    with opened(
        tmp_path, "one_epoch", space=SPACE | {"objective": "val_acc,n_params"}, database=MEMORY
    ) as study:
        Simulation(study, Hills(), WORKERS, 99, epochs=60).run()
        assert sent_on(study)
        assert study.audit() == []


@pytest.mark.parametrize("pruner", sorted(set(PRUNERS) - set(PAUSING)))
def test_where_nobody_waits_all_is_as_it_was(tmp_path, pruner):
    found = []
    for budget in (None, BUDGET):
        with opened(tmp_path / str(budget), pruner, database=MEMORY) as study:
            for _ in Simulation(study, Hills(), WORKERS, 99, epochs=budget).events():
                if study.epochs >= BUDGET:
                    break
            found.append(facts(study))
    assert found[0] == found[1]


@pytest.mark.parametrize("end", ENDS)
def test_opened_again_it_is_the_same_search(tmp_path, end):
    """After a kill, and after a budget's end that has closed all trials."""
    sampler, pruner, *_ = end
    simulation = ended(tmp_path / "straight", *end)
    simulation.run()
    straight = facts(simulation.study)
    simulation.study.close()
    simulation = ended(tmp_path / "again", *end, database=None)
    for turn, _ in enumerate(simulation.events()):
        if turn % 5 == 4:
            if turn % 10 == 4:
                list(simulation.study.conclude("stopped: a budget is spent"))
            simulation.study.close()
            simulation.study = opened(tmp_path / "again", pruner, sampler)
    simulation.study.close()
    with opened(tmp_path / "again", pruner, sampler) as study:
        assert facts(study) == straight
        assert study.audit() == []


@pytest.mark.parametrize("pruner", PAUSING)
def test_a_budget_raised_in_the_midst_of_a_finalists_training(tmp_path, pruner):
    """It goes on to the end, whatever its values, and the search goes on with new trials."""
    sampler, _, workers, epochs = next(end for end in ENDS if end[1] == pruner)
    simulation = ended(tmp_path, sampler, pruner, workers, epochs, database=None)
    for _ in simulation.events():
        if running := [one for one in sent_on(simulation.study) if one.state == State.RUNNING]:
            break
    number, before = running[0].number, simulation.study.count
    list(simulation.study.conclude("stopped: a budget is spent"))
    simulation.study.close()
    with opened(tmp_path, pruner, sampler) as study:
        assert study.records[number].state == State.RUNNING
        Choosy(study, Hills(), workers, 99, epochs=3 * epochs).run()
        assert study.records[number].state == State.COMPLETE
        assert study.count > before
        assert study.audit() == []


def test_all_trials_are_begun_before_anyone_is_sent_on(tmp_path):
    """Where trials= ends the search and not the budget, its rule alone says who goes on."""
    found = []
    for budget in (None, 40):
        with opened(tmp_path / str(budget), database=MEMORY) as study:
            events = Simulation(study, Hills(), 1, 9, epochs=budget).run()
            found.append(facts(study))
            assert events[-1].epochs < 40
    assert found[0] == found[1]


class TestForged:
    @pytest.fixture
    def view(self, tmp_path):
        simulation = ended(tmp_path, *ENDS[3])
        simulation.run()
        with simulation.study as study:
            yield StudyView(study.folder, study.optuna, study.identity)

    @pytest.mark.parametrize("reach", [1, 9])
    def test_it_could_not_have_got_there_or_it_was_too_early(self, view, reach):
        record, made = self.chosen(view)
        record.promotions[made.epoch] = replace(made, reach=reach)
        assert view.audit() == [
            f"trial {record.number}, epoch {made.epoch}: promoted, recomputed None"
        ]

    def test_the_rule_had_not_promoted_it(self, view):
        record, made = self.chosen(view)
        record.promotions[made.epoch] = replace(made, reach=0)
        assert view.audit()[0].startswith(
            f"trial {record.number}, epoch {made.epoch}: promoted, recomputed "
        )

    def test_another_was_better(self, view):
        record, made = self.chosen(view)
        del record.promotions[made.epoch]
        worse = next(one for one in view.waiting() if one.number != record.number)
        worse.promotions[worse.epoch] = replace(made, epoch=worse.epoch)
        assert (
            f"trial {worse.number}, epoch {worse.epoch}: promoted, recomputed "
            f"{record.number, made.epoch}" in view.audit()
        )

    def test_a_decision_kept_it_from_the_end(self, tmp_path):
        """At a rung above it is looked at, so that others are compared with it, and goes on
        whatever its value.
        """
        with opened(tmp_path, "asha_promotion", space=LONG, database=MEMORY) as study:
            for number in range(9):
                record = study.ask(admit_all)
                for epoch in range(1, 4 if number else 10):
                    if record.state == State.PAUSED:
                        study._go_on((number, record.epoch), over=False)
                    study.report(number, epoch, 0.9 if number == 1 else 0.01 * number, 1.0)
            record = study.next(admit_all, 99, reach=25)
            assert (record.number, record.promotions[3].reach) == (1, 25)
            for epoch in range(4, 28):
                study.report(1, epoch, 0.0, 1.0)
            assert record.state == State.COMPLETE
            view = StudyView(study.folder, study.optuna, study.identity)
            assert not [
                line
                for line in view.audit()
                if line.startswith(("trial 1, epoch 3", "trial 1, epoch 9"))
            ]
            view.records[1].decisions[9] = replace(view.records[1].decisions[9], pause=True)
            assert any(line.startswith("trial 1, epoch 9: recorded ") for line in view.audit())

    def chosen(self, view):
        record = sent_on(view)[0]
        assert view.audit() == []
        return record, next(made for made in record.promotions.values() if made.reach)


def test_a_promotion_of_an_older_version_is_no_finalists(tmp_path):
    with opened(tmp_path) as study:
        for _ in Simulation(study, Hills(), 1, 99).events():
            if record := next(
                (one for one in study.counted() if 1 in one.promotions and not one.state.ended),
                None,
            ):
                break
        made = record.promotions[1]
        study._set(
            record.number,
            "promotion:1",
            {name: value for name, value in asdict(made).items() if name != "reach"},
        )
    view = StudyView.open(tmp_path / "test")
    assert view.records[record.number].promotions[1] == made
    assert not sent_on(view)
    assert view.audit() == []


class TestDesk:
    """With a real dispatcher, a worker at a time; an epoch takes a second."""

    FAST = SPACE | {"fixed": {"model.dim": 16, "model.patch_size": 4}, "first": []}

    def work(self, folder, digits, pruner="one_epoch", workers=1, **budget):
        said: list[str] = []
        seconds = [0.0]
        with opened(folder, pruner, space=self.FAST) as study:
            desk = Dispatcher(
                study,
                DataConfig(),
                digits.facts,
                Constraint(),
                Budget(99, **budget),
                say=said.append,
                clock=lambda: seconds[0],
            )

            def row(record):
                seconds[0] += 1 / workers
                epoch = record.epoch + 1
                value = 0.05 * epoch + 0.001 * record.number
                return {"epoch": epoch, "val_acc": value, "seconds": 1.0}

            work(desk, row, workers)
            return study, said

    @pytest.mark.parametrize(
        ("name", "budget"),
        [
            ("budget.epochs", {"epochs": 60}),
            ("budget.time", {"seconds": 60.0}),
            ("budget.gpu_hours", {"gpu_hours": 120 / 3600, "gpus": 2.0}),
            ("budget.cost", {"money": 60 / 3600, "per_hour": 1.0}),
        ],
    )
    def test_every_budget_sends_the_best_on_and_it_is_said(self, tmp_path, digits, name, budget):
        study, said = self.work(tmp_path, digits, **budget)
        chosen = sent_on(study)
        assert chosen
        assert chosen[0].state == State.COMPLETE
        reach = next(
            promotion.reach for promotion in chosen[0].promotions.values() if promotion.reach
        )
        told = [line for line in said if line.startswith("budget.")]
        left = f"{reach} epochs left per worker, too few for a new trial to reach 9"
        who = f"trial {chosen[0].number}, ahead of all others at the rungs"
        assert told[0] == f"{name}: {left}, so {who}, trains to the end"
        assert len(told) == len(chosen)
        assert study.audit() == []

    def test_one_that_is_too_slow_is_not_sent_on(self, tmp_path):
        """With 32 s left, for eight epochs in the median: for a trial that takes 8 s an epoch they
        are not enough.
        """
        for seconds, goes_on in ((4.0, True), (8.0, False)):
            with opened(tmp_path / str(seconds), "one_epoch", space=self.FAST) as study:
                for number in range(12):
                    study.report(study.ask(admit_all).number, 1, 0.1 + 0.001 * number, seconds)
                record = study.next(admit_all, 99, reach=8, pace=4.0)
                assert bool(record.promotions) == goes_on

    def test_several_workers_share_what_is_left(self, tmp_path, digits):
        study, _ = self.work(tmp_path, digits, workers=3, epochs=60)
        reaches = [
            promotion.reach
            for one in sent_on(study)
            for promotion in one.promotions.values()
            if promotion.reach
        ]
        assert reaches
        assert set(reaches) == {8}
        assert study.epochs >= 60

    @pytest.mark.parametrize("pruner", PAUSING)
    def test_a_budget_too_small_for_anything_begins_trials_all_the_same(
        self, tmp_path, digits, pruner
    ):
        study, said = self.work(tmp_path, digits, pruner, epochs=2)
        assert study.epochs == 2
        assert not [line for line in said if line.startswith("budget.")]

    def test_without_a_budget_nothing_is_told_of_an_end(self, tmp_path, digits):
        study, _ = self.work(tmp_path, digits, plateau=40)
        assert study.epochs > 60
        assert not sent_on(study)
