"""Trials that a budget leaves open: told as such everywhere, with values in Optuna; continued, the
search is the same.
"""

import os
import time
from collections import Counter

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch.data import DataConfig
from hopsearch.jobs.job import Progress
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.closing import conclude, leave
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.simulation.simulator import Faults, Simulation
from hopsearch.reporting.data_frames import trials_frame
from hopsearch.reporting.facts import facts_of
from hopsearch.reporting.leaderboard import leaderboard, summary
from hopsearch.reporting.tensorboard import Board
from hopsearch.study import MEMORY, PRUNERS, SAMPLERS, State, Study, StudyView, chronicle
from hopsearch.study.significance import no_better
from hopsearch.training import Constraint
from tests.conftest import SPACE, admit_all, identity
from tests.test_simulator import GRID, Hills, facts

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

WHY = "stopped: the time budget of 1m is used up"


def opened(folder, sampler="random", pruner="asha_promotion", space=None, database=None):
    return Study(folder / "test", identity(space=space), sampler, pruner, database)


# Not the product: what a sampler sees and what a rule decides on are kept apart, and the
# simulator's contract holds the pairs.
PAIRS = [(sampler, "asha_promotion") for sampler in sorted(SAMPLERS)] + [
    ("random", pruner) for pruner in sorted(PRUNERS)
]


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_a_search_that_budgets_ended_is_the_same(tmp_path, sampler, pruner):
    space = GRID if sampler == "grid" else None
    faults, trials = (
        Faults(failure=0.03, preemption=0.1, away=2.0, seed=1),
        24 if sampler.startswith("nsga") else 16,
    )
    with opened(tmp_path / "straight", sampler, pruner, space, MEMORY) as study:
        Simulation(study, Hills(), 3, trials, faults).run()
        straight = facts(study)
    simulation = Simulation(
        opened(tmp_path / "again", sampler, pruner, space), Hills(), 3, trials, faults
    )
    for turn, _ in enumerate(simulation.events()):
        if turn % 9 == 4:
            list(simulation.study.conclude(WHY))
            assert not [
                trial.number
                for trial in simulation.study.optuna.trials
                if trial.state.name == "RUNNING"
            ]
            simulation.study.close()
            simulation.study = opened(tmp_path / "again", sampler, pruner, space)
    simulation.study.close()
    view = StudyView.open(tmp_path / "again" / "test")
    assert facts(view) == straight
    assert view.audit() == []
    assert [report.epochs for report in chronicle(view)] == list(
        range(1, view.epochs - view.wasted_epochs + 1)
    )


@pytest.mark.parametrize("database", [False, True])
@pytest.mark.parametrize("objective", ["val_acc", "val_acc,n_params"])
def test_what_optuna_sees(tmp_path, database, objective):
    url, space = (
        f"sqlite:///{tmp_path}/study.db" if database else None,
        SPACE | {"objective": objective},
    )
    with opened(tmp_path, space=space, database=url) as study:
        for turn, _ in enumerate(Simulation(study, Hills(), 3, 12).events()):
            if turn == 25:
                break
        known = len(list(study.conclude(WHY)))
        assert known > 5
        assert len(study.counted()) == known + sum(record.state.ended for record in study.counted())
    view = StudyView.open(tmp_path / "test", url)
    assert {record.state for record in view.counted()} <= {State.OPEN, State.COMPLETE, State.FAILED}
    assert summary(view)["open"] == known
    assert {record.reason for record in view.counted() if record.state == State.OPEN} == {WHY}
    assert view.audit() == []
    storage = url or JournalStorage(JournalFileBackend(str(tmp_path / "test" / "journal.log")))
    theirs = optuna.load_study(study_name="test", storage=storage)
    assert {trial.state.name for trial in theirs.trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    best = view.value(view.ranked()[0])
    if objective == "val_acc":
        assert theirs.best_value == best
        assert optuna.importance.get_param_importances(theirs, params=["model.depth"])
    else:
        assert max(trial.values[0] for trial in theirs.best_trials) == best
    with opened(tmp_path, space=space, database=url) as study:
        assert not [record for record in study.counted() if record.state == State.OPEN]
        Simulation(study, Hills(), 3, 14).run()
        assert len(study.counted()) == 14
        assert [record.number for record in study.counted()] == sorted(study.records)
        assert study.audit() == []
    carried = [
        trial
        for trial in optuna.load_study(study_name="test", storage=storage).trials
        if "continues" in trial.user_attrs
    ]
    assert carried
    assert len({trial.user_attrs["continues"] for trial in carried}) == len(carried)


class TestDesk:
    FAST = SPACE | {
        "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
        "fixed": {"model.dim": 16, "model.patch_size": 4},
    }

    def desk(self, study, digits, said, **budget):
        boards = (Board(study),)
        return Dispatcher(
            study,
            DataConfig(),
            digits.facts,
            Constraint(),
            Budget(9, **budget),
            boards,
            say=said.append,
        )

    def work(self, desk):
        while job := desk.next_job():
            rows = [
                {"epoch": n, "val_acc": 0.1 * n + 0.01 * job.number, "seconds": 1.0}
                for n in (1, 2, 3)
            ]
            epoch = desk.study.records[job.number].epoch
            goes_on = not epoch or desk.take(
                job.number, Progress(rows=tuple(rows[:epoch]), history=True)
            )
            while goes_on:
                epoch += 1
                goes_on = desk.take(job.number, Progress(rows=(rows[epoch - 1],), done=epoch == 3))
        conclude(desk)
        desk.observers[0].close()

    def test_told_as_open_and_with_values_in_tensorboard(self, tmp_path, digits):
        said: list[str] = []
        with opened(tmp_path, space=self.FAST) as study:
            desk = self.desk(study, digits, said, epochs=7)
            self.work(desk)
        view = StudyView.open(tmp_path / "test")
        left = [record.number for record in view.counted() if record.state == State.OPEN]
        assert said == [
            f"open trials: {len(left)}; raise budget.epochs= in the same command to continue them"
        ]
        assert {row["state"] for row in facts_of(view).leaderboard} <= {"open", "complete"}
        top = self.events(tmp_path, "study")
        assert [point.value for point in top.Scalars("study/best_val_acc_by_trials")]
        for number in left:
            run = self.events(tmp_path, f"trial_{number:04d}")
            assert run.Scalars("best/val_acc")
            assert "_hparams_/session_end_info" in run.summary_metadata
        # the rest: also the curves of those that waited in another process
        with opened(tmp_path, space=self.FAST) as study:
            desk = self.desk(study, digits, said)
            self.work(desk)
        view = StudyView.open(tmp_path / "test")
        assert all(record.state.ended for record in view.counted())
        for record in view.counted():
            assert (
                len(self.events(tmp_path, f"trial_{record.number:04d}").Scalars("best/val_acc"))
                == record.epoch
            )

    def test_an_interrupted_search_leaves_its_trials_open(self, tmp_path, digits):
        said: list[str] = []
        with opened(tmp_path, space=self.FAST) as study:
            desk = self.desk(study, digits, said)
            first, second = desk.next_job(), desk.next_job()
            desk.take(first.number, Progress(rows=({"epoch": 1, "val_acc": 0.5, "seconds": 1.0},)))
            leave(desk, "interrupted")
            desk.observers[0].close()
        view = StudyView.open(tmp_path / "test")
        assert {(record.state, record.reason) for record in view.counted()} == {
            (State.OPEN, "interrupted")
        }
        assert len(view.counted()) == 2
        assert [trial.state.name for trial in view.optuna.trials] == ["COMPLETE", "PRUNED"]
        assert view.optuna.best_value == 0.5
        assert said == [], "no budget is to be raised"
        assert "_hparams_/session_end_info" in self.events(tmp_path, "trial_0000").summary_metadata
        with opened(tmp_path, space=self.FAST) as study:
            desk = self.desk(study, digits, said)
            assert [record.number for record in study.waiting()] == [first.number]
            assert desk.next_job().number == second.number
            desk.observers[0].close()

    def test_closing_takes_no_longer_than_a_moment(self, tmp_path, digits, monkeypatch):
        """With as many trials that wait, and as slow a disk: the others go on like those that were
        closed.
        """
        with opened(
            tmp_path,
            "random",
            "asha_promotion",
            self.FAST | {"fidelity": {"min_epochs": 1, "max_epochs": 3}},
        ) as study:
            desk = Dispatcher(
                study, DataConfig(), digits.facts, Constraint(), Budget(99), (Board(study),)
            )
            for _ in range(60):
                job = desk.next_job()
                desk.take(
                    job.number, Progress(rows=({"epoch": 1, "val_acc": 0.5, "seconds": 1.0},))
                )
            monkeypatch.setattr(os, "fsync", lambda file: time.sleep(0.05))
            began = time.monotonic()
            leave(desk, "interrupted")
            assert time.monotonic() - began < 1.6
            desk.observers[0].close()
        states = Counter(record.state for record in StudyView.open(tmp_path / "test").counted())
        assert 0 < states[State.OPEN] < sum(states.values())
        monkeypatch.setattr(os, "fsync", lambda file: None)
        with opened(
            tmp_path,
            "random",
            "asha_promotion",
            self.FAST | {"fidelity": {"min_epochs": 1, "max_epochs": 3}},
        ) as study:
            assert len(study.waiting()) + len(study.resume(admit_all)) == sum(states.values())
            assert study.audit() == []

    @staticmethod
    def events(folder, run):
        events = EventAccumulator(
            str(folder / "test" / "tensorboard" / run), size_guidance={"scalars": 0, "tensors": 0}
        )
        events.Reload()
        return events

    def test_the_clock_stops_with_the_search(self, tmp_path, digits):
        with opened(tmp_path, space=self.FAST) as study:
            desk = self.desk(study, digits, [], epochs=2)
            desk.clock = lambda: desk._began + 5
            self.work(desk)
            desk.clock = lambda: desk._began + 500  # the winner is finished meanwhile
            assert desk.seconds == study.seconds == 5

    def test_the_winners_row_is_what_its_line_says(self, tmp_path, digits):
        with opened(tmp_path, space=self.FAST) as study:
            self.work(self.desk(study, digits, [], epochs=2))
            best = study.ranked()[0]
            assert best.epoch < 3
            facts = {
                "val_acc": 0.9,
                "val_loss": 1.0,
                "test_acc": 0.8,
                "test_loss": 1.1,
                "epoch": 2,
                "epochs": 3,
            }
            study.note(
                "winner", {"trial": best.number, **facts, "folder": "winner", "test_reads": 1}
            )
            top = leaderboard(study)[0]
            assert (top.record.number, top.value, top.best_epoch, top.epochs, top.state) == (
                best.number,
                0.9,
                2,
                3,
                "complete",
            )
            assert summary(study)["complete"] == 1

    def test_all_of_the_winners_row_is_of_its_finished_training(self, tmp_path, digits):
        with opened(tmp_path, space=self.FAST) as study:
            self.work(self.desk(study, digits, [], epochs=2))
            best = study.ranked()[0]
            best.peak = {
                "val_balanced_acc": 0.5,
                "val_worst_recall": 0.1,
                "val_loss": 2.0,
                "recall/0": 0.4,
                "recall/1": 0.6,
            }
            study.identity.origin["classes"] = ["0", "1"]
            study.identity.origin.update(val_by_class=[10, 10], images={"val": 20})
            facts = {
                "val_acc": 0.9,
                "val_balanced_acc": 0.85,
                "val_loss": 1.0,
                "test_acc": 0.8,
                "epoch": 2,
                "epochs": 3,
            }
            by_class = {
                "val": {"hits": [9, 8], "images": [10, 10]},
                "test": {"hits": [9, 8], "images": [10, 10]},
            }
            more = {
                "by_class": by_class,
                "finish_seconds": 7.0,
                "folder": "winner",
                "test_reads": 1,
            }
            study.note("winner", {"trial": best.number, **facts, **more})
            top = leaderboard(study)[0]
            expected = {
                "val_balanced_acc": 0.85,
                "val_worst_recall": 0.8,
                "val_loss": 1.0,
                "recall/0": 0.9,
                "recall/1": 0.8,
            }
            assert (top.peak, top.reason, top.seconds) == (expected, "", best.seconds + 7.0)
            assert best not in no_better(study), "whatever it had reached in the search"
            frame = trials_frame(study).loc[best.number]
            assert [frame[name] for name in expected] == list(expected.values())
