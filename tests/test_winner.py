"""A winner that is trained on after the search: every number told of it is of the weights that are
published.
"""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hopsearch
from hopsearch import train
from hopsearch.data import DataConfig
from hopsearch.export import write_export
from hopsearch.jobs.job import JobRun
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.closing import conclude
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.reporting.data_frames import trials_frame
from hopsearch.reporting.facts import facts_of
from hopsearch.reporting.tensorboard import Board
from hopsearch.study import State, Study, StudyView
from hopsearch.study.record.journal_keys import ELECTION
from hopsearch.training import CheckpointFolder, Constraint
from tests.conftest import identity

_SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 4, "reduction": 2},
    "fixed": {
        "model.family": "imixer",
        "model.dim": 16,
        "model.depth": 1,
        "model.patch_size": 4,
        "train.epochs": 4,
    },
    "parameters": {"optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True}},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory, digits):
    """The view of a search that ended after an epoch of each trial, with the second best trained on
    and made the winner.
    """
    folder = tmp_path_factory.mktemp("winner") / "test"
    about = identity(space=_SPACE)
    about.data.update(fingerprint=digits.facts.fingerprint, image_size=digits.facts.image_size)
    with Study(folder, about, "random", "one_epoch") as study:
        board = Board(study)
        desk = Dispatcher(
            study, DataConfig(), digits.facts, Constraint(), Budget(3, epochs=3), (board,)
        )
        while job := desk.next_job():
            run = JobRun(job)
            while desk.take(job.number, run.advance()):
                pass
        conclude(desk)
        chosen = study.ranked()[1]
        run = JobRun(desk.job(chosen))
        while True:
            progress = run.advance()
            board.rows(chosen, progress.rows)
            if progress.done:
                break
        facts = run.finish(folder / "winner")
        spent = {"finish_epochs": 3, "finish_seconds": 1.5, "folder": "winner", "test_reads": 1}
        study.note("winner", {"trial": chosen.number, **facts, **spent})
        numbers = [record.number for record in study.ranked()]
        told = {
            "chosen": chosen.number,
            "first": numbers[0],
            "tied": numbers[:2],
            "metric": "val_acc",
            "images": 228.0,
            "sign": 1,
        }
        values = {str(numbers[0]): [0.1, 0.1], str(chosen.number): [0.2, 0.2]}
        study.note(ELECTION, told | {"values": values})
        board.close()
    return StudyView.open(folder)


def of_weights(view):
    """The epoch of the published weights as its training noted it."""
    best = CheckpointFolder(view.folder / "trials" / f"{view.winner['trial']:04d}").load_best()
    return best["history"][best["epoch"] - 1]


def test_json_and_data_frame_are_of_the_published_weights(finished):
    number, expected = finished.winner["trial"], of_weights(finished)
    record = finished.records[number]
    assert (record.epoch, finished.winner["epochs"], expected["epoch"] > 1) == (1, 4, True), (
        "it was trained on, and got better"
    )
    row = next(row for row in facts_of(finished).leaderboard if row["trial"] == number)
    assert {"train_loss", "fixed_point/residual/mean"} <= set(row["metrics"])
    assert row["metrics"] == {
        name: pytest.approx(expected[name], rel=1e-4) for name in record.metrics
    }
    assert row["metrics"]["train_loss"] != record.metrics["train_loss"]
    frame = trials_frame(finished).loc[number]
    for name in ("train_loss", "val_loss", "val_balanced_acc", "fixed_point/residual/mean"):
        assert frame[name] == pytest.approx(expected[name], rel=1e-4), name
    assert frame["val_acc"] == expected["val_acc"]
    assert json.loads(json.dumps(finished.winner["metrics"])) == finished.winner["metrics"]


def test_an_older_winner_has_no_metrics_rather_than_those_of_its_search(finished, monkeypatch):
    older = {name: value for name, value in finished.winner.items() if name != "metrics"}
    monkeypatch.setattr(StudyView, "winner", property(lambda self: older))
    row = next(row for row in facts_of(finished).leaderboard if row["trial"] == older["trial"])
    assert row["metrics"] == {}


def test_the_best_trial_in_python_has_the_value_of_its_row(finished, monkeypatch):
    study = hopsearch.Study(finished)
    assert study.best.value == study.trials.iloc[0]["val_acc"]
    first = finished.ranked()[0].number
    monkeypatch.setattr(
        StudyView,
        "winner",
        property(lambda self: self.optuna.user_attrs["winner"] | {"trial": first}),
    )
    assert study.best.number == first
    assert (study.best.value, study.best.epoch) == (
        of_weights_value(finished),
        finished.winner["epoch"],
    )
    assert f"{study.best.value:.4f} (trial {first})" in repr(study)


def of_weights_value(view):
    return view.optuna.user_attrs["winner"]["val_acc"]


def test_the_card_tells_its_training_and_how_it_was_chosen(finished, tmp_path):
    card = (write_export(finished, tmp_path / "winner") / "README.md").read_text()
    for text in (
        f"| epoch of the weights | {finished.winner['epoch']} |",
        "| epochs trained | 4 |",
        "| epochs after the search | 3 |",
        (
            f"The choice changed from trial {finished.ranked()[0].number} to trial "
            f"{finished.winner['trial']}."
        ),
    ):
        assert text in card, text
    same = (
        write_export(finished, tmp_path / "number", finished.winner["trial"]) / "README.md"
    ).read_text()
    assert "| epochs trained | 4 |" in same, "also where the winner is exported by its number"
    other = (
        write_export(finished, tmp_path / "other", finished.ranked()[0].number) / "README.md"
    ).read_text()
    assert "| epochs trained | 1 |" in other
    assert "after the search" not in other


def test_tensorboard_shows_the_whole_training_and_keeps_it(finished):
    folder, value = (
        finished.folder / "tensorboard" / f"trial_{finished.winner['trial']:04d}",
        of_weights(finished)["val_acc"],
    )

    def run():
        return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()

    before = run()
    assert [point.step for point in before.Scalars("validation/val_loss")] == [1, 2, 3, 4]
    assert before.Scalars("best/val_acc")[-1].value == pytest.approx(value)
    assert before.summary_metadata["_hparams_/session_end_info"]
    outcome = before.Tensors("outcome/text_summary")[-1].tensor_proto.string_val[0].decode()
    assert outcome == (
        "open after 1 epochs: stopped: the budget of 3 epochs is used up; trained to 4 epochs "
        "after the search"
    )
    assert (folder / ".final").exists(), (
        "else the next start writes it again from the search's curve alone"
    )
    Board(finished).close()  # the same command again
    assert len(run().Scalars("validation/val_loss")) == 4


def test_train_from_a_study_takes_the_winner(finished, digits):
    assert finished.ranked()[0].number != finished.winner["trial"]
    assert finished.records[finished.winner["trial"]].state == State.OPEN
    config = train.TrainingConfig(**{"from": "test", "storage": str(finished.folder.parent)})
    assert (
        train.what_to_train(config, digits.facts, {}).seed
        == finished.records[finished.winner["trial"]].seed
    )
