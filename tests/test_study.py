"""The study: durable, restartable anywhere, its decisions made again from its own records."""

import json
import os
import subprocess
import sys
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.reporting.leaderboard import leaderboard, summary, write_csv
from hopsearch.reporting.tensorboard import Board
from hopsearch.space import Fidelity
from hopsearch.study import PRUNERS, SAMPLERS, Admission, State, StudyView, make_pruner
from tests.conftest import SPACE, admit_all, curve, drive, finish, open_study

GRID = SPACE | {
    "parameters": {name: spec for name, spec in SPACE["parameters"].items() if name != "optim.lr"},
    "first": [],
}


def facts(study):
    return {
        number: (
            record.state,
            record.params,
            record.curve,
            record.decisions,
            record.seed,
            record.reason,
        )
        for number, record in study.records.items()
    }


class TestEverySampler:
    """The contract of a sampler: proposes inside the space, takes every outcome, goes on after a
    restart as if there was none.
    """

    @pytest.fixture(params=sorted(SAMPLERS))
    def words(self, request):
        return {"sampler": request.param} | ({"space": GRID} if request.param == "grid" else {})

    def test_search_and_restart_equivalence(self, tmp_path, words):
        with open_study(tmp_path / "straight", **words) as study:
            drive(study, 14)
            straight = facts(study)
        for trials in range(1, 15):  # a new process for each trial
            with open_study(tmp_path / "restarted", **words) as study:
                drive(study, trials)
                restarted = facts(study)
        assert restarted == straight
        assert (
            len(
                {
                    json.dumps(record[1], sort_keys=True)
                    for record in straight.values()
                    if record[0].counted
                }
            )
            == 14
        )

    def test_takes_failures_and_refusals(self, tmp_path, words):
        def small_only(config):
            depth = config["model.depth"]
            return Admission(
                {"n_params": depth},
                "" if depth < 4 else f"params <= 3 must hold, got {depth}",
                max(0, depth - 3) / 3,
            )

        with open_study(tmp_path, **words) as study:
            for turn in range(8):
                record = study.ask(small_only)
                assert record.config["model.depth"] < 4
                study.fail(record.number, "diverged: too hot") if turn % 2 else finish(
                    study, record.number
                )
            assert sum(record.state == State.FAILED for record in study.counted()) == 4
            assert all(
                record.reason
                for record in study.records.values()
                if record.state == State.INFEASIBLE
            )


class TestEveryPruner:
    """The contract of a pruner: decides from records alone, so that every decision can be made
    again.
    """

    @pytest.fixture(params=sorted(PRUNERS))
    def pruner(self, request):
        return request.param

    def test_audit_finds_no_difference(self, tmp_path, pruner):
        with open_study(tmp_path, pruner=pruner) as study:
            drive(study, 40)
        view = StudyView.open(tmp_path / "test")
        assert view.audit() == []
        assert {record.state for record in view.counted()} <= {State.COMPLETE, State.PRUNED}
        assert all(record.epoch == 9 for record in view.counted() if record.state == State.COMPLETE)

    def test_audit_finds_a_forged_decision(self, tmp_path, pruner):
        with open_study(tmp_path, pruner=pruner) as study:
            drive(study, 12)
        view = StudyView.open(tmp_path / "test")
        forged = [(record, epoch) for record in view.counted() for epoch in record.decisions]
        assert bool(forged) is (pruner != "none")  # which decides nothing
        for record, epoch in forged:
            recorded = record.curve[epoch]
            record.curve[epoch] += 1.0
            differences = view.audit()
            assert any(
                line.startswith(f"trial {record.number}, epoch {epoch}: ") for line in differences
            )
            record.curve[epoch] = recorded
        assert view.audit() == []

    def test_saves_epochs_and_keeps_the_best(self, tmp_path, pruner):
        with open_study(tmp_path, pruner=pruner) as study:
            drive(study, 40)
            counts = summary(study)
            assert study.ranked()[0].state == State.COMPLETE
        # the curves rise to the end
        assert counts["epochs"] < counts["full_epochs"] or pruner in ("none", "patience")


def test_hyperband_brackets_follow_from_numbers():
    hyperband = make_pruner("hyperband", Fidelity(1, 9, 3))
    brackets = [hyperband.bracket(number) for number in range(300)]
    assert brackets == [hyperband.bracket(number) for number in range(300)]
    assert brackets.count(0) > brackets.count(1) > brackets.count(2) > 0


def test_pruned_trials_keep_their_curve_and_optuna_reads_the_journal(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 12)
        ours = {record.number: record.curve for record in study.counted()}
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "test" / "journal.log")))
    theirs = optuna.load_study(study_name="test", storage=storage)
    assert {trial.number: trial.intermediate_values for trial in theirs.trials} == ours
    states = [trial.state.name for trial in theirs.trials]
    assert set(states) == {"PRUNED", "COMPLETE"}


def test_restart_between_any_two_journal_lines_changes_nothing(tmp_path):
    """Cut the journal after every line, as a SIGKILL would, and go on: same trials, same
    decisions.
    """
    with open_study(tmp_path / "straight", sampler="random") as study:
        drive(study, 5)
        straight = facts(study)
    lines = (tmp_path / "straight" / "test" / "journal.log").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines)):
        folder = tmp_path / f"cut{cut}" / "test"
        folder.mkdir(parents=True)
        torn = lines[cut][: len(lines[cut]) // 2]
        (folder / "journal.log").write_bytes(b"".join(lines[:cut]) + torn)
        with open_study(folder.parent, sampler="random") as study:
            drive(study, 5)
            assert facts(study) == straight, f"cut after line {cut}: {lines[cut - 1]!r}"
            assert study.audit() == []


def test_an_epoch_is_taken_in_once(tmp_path):
    with open_study(tmp_path) as study:
        number = study.ask(admit_all).number
        study.report(number, 1, 0.5, 1.0)
        study.report(number, 1, 0.9, 1.0)
        assert study.records[number].curve == {1: 0.5}


def test_the_newest_metrics_are_kept(tmp_path):
    with open_study(tmp_path) as study:
        number = study.ask(admit_all).number
        study.report(number, 1, 0.5, 1.0, metrics={"val_loss": 1.0, "cosine/tokens/mean": 0.25})
        study.report(
            number, 2, 0.4, 2.0, metrics={"val_loss": 1 / 3, "cosine/tokens/mean": float("nan")}
        )
        assert study.records[number].metrics == {"val_loss": 0.33333}
    assert StudyView.open(tmp_path / "test").records[number].metrics == {"val_loss": 0.33333}


def test_trials_are_extended(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 4)
        before = facts(study)
    with open_study(tmp_path) as study:
        drive(study, 9)
        assert len(study.counted()) == 9
        assert {number: facts(study)[number] for number in before} == before


def test_first_points_come_first(tmp_path):
    with open_study(tmp_path) as study:
        record = study.ask(admit_all)
    assert (record.config["model.depth"], record.config["optim.lr"], record.source) == (
        4,
        2e-3,
        "first point",
    )


def test_duplicates_are_not_trained_and_an_exhausted_space_ends(tmp_path):
    space = SPACE | {
        "parameters": {"model.depth": {"type": "int", "low": 1, "high": 3}},
        "first": [{"model.depth": 2}],
    }
    with open_study(tmp_path, sampler="tpe", space=space) as study:
        asked = []
        while (record := study.ask(admit_all)) is not None:
            asked.append(record.config["model.depth"])
            finish(study, record.number)
        assert sorted(asked) == [1, 2, 3]
        assert all(
            record.reason.startswith("same configuration as trial")
            for record in study.records.values()
            if not record.state.counted
        )


def test_constraints_that_nothing_meets(tmp_path):
    with (
        open_study(tmp_path) as study,
        pytest.raises(StudyError, match=r"some configuration must satisfy the constraints"),
    ):
        study.ask(lambda config: Admission({}, "params <= 1 must hold, got 1000", 999.0))


def test_another_space_is_refused_with_the_difference(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 1)
    other = json.loads(json.dumps(SPACE))
    other["parameters"]["model.depth"]["high"] = 6
    other["first"] = []
    with pytest.raises(
        StudyError,
        match=r"model\.depth: a whole number from 1 to 6, in the other a whole number from 1 to "
        r"8.*study=<name>",
    ):
        open_study(tmp_path, space=other)
    with pytest.raises(StudyError, match="seed: 1 != 0"):
        open_study(tmp_path, seed=1)


def test_one_writer_at_a_time(tmp_path):
    with open_study(tmp_path), pytest.raises(StudyError, match=f"besides process {os.getpid()}"):
        open_study(tmp_path)
    open_study(tmp_path).close()  # given back


@pytest.mark.parametrize(
    ("words", "message"),
    [({"sampler": "tpee"}, "Did you mean tpe?"), ({"pruner": "ahsa"}, "Did you mean asha?")],
)
def test_unknown_names(tmp_path, words, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        open_study(tmp_path, **words)
    assert not (tmp_path / "test").exists()


def test_unwritable_folder(tmp_path):
    (tmp_path / "test").write_text("a file where the folder should be")
    with pytest.raises(StudyError, match=r"the folder must be writable, got: .*storage=<folder>"):
        open_study(tmp_path)


def test_no_study_to_read(tmp_path):
    with pytest.raises(StudyError, match="must contain a study"):
        StudyView.open(tmp_path / "nothing")


def test_a_database_instead_of_the_journal(tmp_path):
    from hopsearch.study import Study
    from tests.conftest import identity

    url = f"sqlite:///{tmp_path / 'study.db'}"
    for trials in (3, 6):
        with Study(tmp_path / "test", identity(), "random", "asha", url) as study:
            drive(study, trials)
            assert len(study.counted()) == trials
            assert study.audit() == []


def test_a_writer_killed_at_random_moments(tmp_path):
    """A real process, SIGKILLed while it writes: what it acknowledged is there, and the study goes
    on.
    """
    program = (
        "import sys; from pathlib import Path; from tests.conftest import *\n"
        "with open_study(Path(sys.argv[1])) as study:\n"
        "    drive(study, 400)\n"
    )
    acknowledged = 0
    for turn in range(3):
        process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
        journal = tmp_path / "test" / "journal.log"
        deadline = time.monotonic() + 40
        size = journal.stat().st_size if journal.exists() else 0
        while time.monotonic() < deadline and process.poll() is None:
            if journal.exists() and journal.stat().st_size > size + 20_000 + 7_001 * turn:
                break
            time.sleep(0.002)
        process.kill()
        process.wait()
        with open_study(tmp_path) as study:
            assert len(study.counted()) >= acknowledged
            acknowledged = len(study.counted())
            assert study.audit() == [] or any(
                record.state == State.RUNNING for record in study.counted()
            )
    with open_study(tmp_path) as study:
        drive(study, acknowledged + 3)
        assert study.audit() == []
        assert [record.number for record in study.counted()] == sorted(
            {record.number for record in study.counted()}
        )


def test_leaderboard(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 10)
        failed = study.ask(admit_all)
        study.fail(failed.number, "diverged: nan")
        rows = leaderboard(study)
        path = write_csv(study)
    values = [row.value for row in rows[:-1]]
    assert values == sorted(values, reverse=True)
    assert rows[0].value == max(
        curve(record.number, epoch) for record in study.counted() for epoch in record.curve
    )
    assert (rows[-1].rank, rows[-1].record.reason) == (0, "diverged: nan")
    assert len(path.read_text().splitlines()) == 12


class TestBoard:
    def read(self, folder):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        return events

    def test_runs_have_scalars_hparams_and_no_double_points(self, tmp_path):
        with open_study(tmp_path) as study:
            board = Board(study)
            record = study.ask(admit_all)
            board.begin(record)
            for epoch in (1, 2):
                study.report(record.number, epoch, 0.5 + epoch / 10, 1.0)
                board.rows(
                    record, [{"epoch": epoch, "val_acc": 0.5 + epoch / 10, "train_loss": 1.0}]
                )
            # killed here: a new process writes the run again from what the trial carries
            board.close()
            board = Board(study)
            rows = [
                {"epoch": epoch, "val_acc": 0.5 + epoch / 10, "train_loss": 1.0} for epoch in (1, 2)
            ]
            study.report(record.number, 3, 0.6, 1.0)
            board.rows(record, [*rows, {"epoch": 3, "val_acc": 0.6, "train_loss": 1.0}])
            study.fail(record.number, "diverged: nan")
            board.end(record)
            board.close()
        events = self.read(tmp_path / "test" / "tensorboard" / "trial_0000")
        assert [
            (point.step, round(point.value, 3)) for point in events.Scalars("validation/val_acc")
        ] == [
            (1, 0.6),
            (2, 0.7),
            (3, 0.6),
        ]
        assert [round(point.value, 3) for point in events.Scalars("best/val_acc")] == [
            0.6,
            0.7,
            0.7,
        ]
        assert {"_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(
            events.summary_metadata
        )
        top = self.read(tmp_path / "test" / "tensorboard" / "study")
        assert [round(point.value, 3) for point in top.Scalars("study/best_val_acc_by_trials")] == [
            0.7
        ]

    def test_the_best_rises_after_the_epochs_of_all_trials(self, tmp_path):
        with open_study(tmp_path, pruner="none") as study:
            board, records = Board(study), [study.ask(admit_all) for _ in range(2)]
            for epoch, values in ((1, (0.3, 0.2)), (2, (0.4, 0.5))):
                for record, value in zip(records, values, strict=True):
                    study.report(record.number, epoch, value, 1.0)
                    board.rows(record, [{"epoch": epoch, "val_acc": value}])
            board.close()

            def rises():
                top = self.read(tmp_path / "test" / "tensorboard" / "study")
                return [
                    (point.step, round(point.value, 3))
                    for point in top.Scalars("study/best_val_acc_by_epochs")
                ]

            assert rises() == [(1, 0.3), (3, 0.4), (4, 0.5), (4, 0.5)]
            Board(study).close()  # after a restart the same, from the journal
            assert rises() == [(1, 0.3), (3, 0.4), (4, 0.5), (4, 0.5)]


def test_the_journal_finds_trials_that_wait_to_be_asked_for(tmp_path):
    waits = (optuna.trial.TrialState.WAITING,)
    with open_study(tmp_path, "random", "asha") as study:
        storage, study_id = study.optuna._storage, study.optuna._study_id

        def waiting():
            found = [trial.number for trial in storage.get_all_trials(study_id, states=waits)]
            assert found == [
                trial.number
                for trial in JournalStorage.get_all_trials(storage, study_id, states=waits)
            ]
            return found

        assert len(waiting()) == len(SPACE["first"])
        for _ in range(3):
            study.ask(admit_all)
            waiting()
        study.optuna.enqueue_trial({"model.depth": 1})
        study.optuna.enqueue_trial({"model.depth": 2})
        first, second = waiting()
        assert study.ask(admit_all).number == first
        assert waiting() == [second]
    with open_study(tmp_path, "random", "asha") as study:
        storage, study_id = study.optuna._storage, study.optuna._study_id
        assert waiting() == [second]
        assert study.ask(admit_all).number == second
        assert waiting() == []


@pytest.mark.parametrize("pruner", ["asha_promotion", "pasha"])
def test_of_equals_no_more_than_a_third_go_on(tmp_path, pruner):
    """As at chance level on many classes; before, all of them were trained to the end."""
    with open_study(tmp_path, pruner=pruner) as study:
        while (record := study.next(admit_all, 30)) is not None:
            while record.state == State.RUNNING:
                study.report(record.number, record.epoch + 1, 0.1, seconds=1.0)
        assert sum(record.epoch > 1 for record in study.counted()) <= 10
        assert study.audit() == []
