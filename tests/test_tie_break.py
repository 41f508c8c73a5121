"""The winner among trials that do not differ by more than chance: trained again, the best mean
chosen, whatever interrupts it.
"""

import shutil
from pathlib import Path

import pytest
import torch

from hopsearch.core.config import parse
from hopsearch.core.errors import StudyError
from hopsearch.data import DataConfig
from hopsearch.jobs.job import Job, JobRun
from hopsearch.orchestration.budget import Budget
from hopsearch.orchestration.dispatcher import Dispatcher
from hopsearch.orchestration.tie_break import Election, FinishConfig
from hopsearch.reporting import facts_of
from hopsearch.reporting.document import winner_of
from hopsearch.study import State, Study, StudyView, TrialRecord
from hopsearch.study.significance import tied
from hopsearch.study.winner_choice import elect, election_words
from hopsearch.training import Constraint
from tests.conftest import SPACE, identity, open_study
from tests.test_report import written

THRICE = FinishConfig(repeats=3)


@pytest.fixture
def copied(searched, tmp_path) -> Path:
    """The folder of a real little search, to write to."""
    return Path(shutil.copytree(searched, tmp_path / searched.name))


def opened(folder: Path) -> Study:
    return Study(folder, StudyView.open(folder).identity, "random", "asha")


def election(study: Study, digits, config: FinishConfig) -> Election:
    return Election(Dispatcher(study, DataConfig(), digits.facts, Constraint(), Budget(10)), config)


def train(job: Job, epochs: int | None = None) -> list:
    run, rows = JobRun(job), {}
    while epochs is None or len(rows) < epochs:
        progress = run.advance()
        assert not progress.failure, progress.reason
        rows |= {row["epoch"]: row for row in progress.rows}
        if progress.done:
            break
    return list(rows.values())


def test_a_tie_is_told_in_the_words_of_the_task():
    election = {"first": 0, "tied": [0, 1], "values": {}, "metric": "val_hits", "images": 96.0}
    for task, items in (("images", "images"), ("tests.toy_task:Line", "items")):
        study = identity(space=SPACE | {"task": task})
        assert study.items == items
        words = election_words(election, study.items)
        assert f"by no more than chance (val_hits, 96 {items}). " in words


def test_once_by_default_and_a_tie_is_told(copied, digits):
    with opened(copied) as study:
        chosen = election(study, digits, FinishConfig())
        assert len(tied(study)) > 1, "the fixture's best trials tie"
        assert (chosen.missing(), chosen.decide()) == ([], study.ranked()[0])
    words = election_words(StudyView.open(copied).optuna.user_attrs["election"])
    assert "by no more than chance (val_acc, 228 images)" in words
    assert "finish.repeats=3" in words


def test_candidates_are_trained_again_and_the_best_mean_wins(copied, digits):
    with opened(copied) as study:
        one = election(study, digits, THRICE)
        first, jobs = study.ranked()[0], one.missing()
        assert [job.number for job in jobs[:3]] == [record.number for record in one.candidates], (
            "a round at a time"
        )
        assert (
            len({job.trial.seed for job in jobs} | {record.seed for record in one.candidates})
            == 3 * 3 + 3
        ), "fresh seeds"
        assert all(
            job.trial.model_copy(update={"seed": 0}) == study_trial(one, job) for job in jobs
        )
        for job in jobs:
            one.take(job, train(job))
        best = one.decide()
        noted = study.optuna.user_attrs["repeats"]
        means = {
            record.number: sum(noted[f"{record.number}:{repeat}"]["value"] for repeat in (1, 2, 3))
            / 3
            for record in one.candidates
        }
        assert best.number == max(means, key=means.__getitem__)
        assert not list((copied / "finishing").glob("*/*")), "the repeats' files are removed"
        study.note("winner", study.winner | {"trial": best.number})
    view = StudyView.open(copied)
    text = winner_of(facts_of(view))
    assert "3 times with fresh seeds (val_acc, mean ± standard deviation)" in text
    assert (
        f"changed from trial {first.number} to"
        if best.number != first.number
        else "The choice stayed"
    ) in text
    assert " of 3 rounds" in text
    facts = facts_of(view).to_dict()
    assert facts["cost"]["finishing_epochs"] == 27
    assert facts["cost"]["epochs"] == view.epochs, "the search's own epochs are told apart"
    assert "27 more epochs" in written(copied, "format=md")


def study_trial(one: Election, job: Job):
    return one._dispatcher.job(one._study.records[job.number]).trial.model_copy(update={"seed": 0})


def test_an_interrupted_election_goes_on_where_it_was(copied, digits):
    with opened(copied) as study:
        one = election(study, digits, THRICE)
        first, second, *_ = one.missing()
        one.take(first, train(first))
        half = train(second, epochs=1)
    with opened(copied) as study:
        again = election(study, digits, THRICE)
        jobs = again.missing()
        assert len(jobs) == 8
        assert jobs[0] == second
        whole = train(jobs[0])
        assert [row["epoch"] for row in whole] == [1, 2, 3]
        assert whole[0] == half[0], "continued from its checkpoint"
        lines = (Path(second.folder) / "epochs.log").read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["1", "2", "3"], "no epoch was trained twice"


def test_a_raised_number_of_repeats_trains_only_those_missing(copied, digits):
    with opened(copied) as study:
        one = election(study, digits, FinishConfig(repeats=2, candidates=2))
        for job in one.missing():
            one.take(job, train(job))
        assert len(election(study, digits, FinishConfig(repeats=3, candidates=2)).missing()) == 2


def elect_of(view, values):
    return elect(view, [TrialRecord(number, State.COMPLETE) for number in (3, 7)], values)


def test_a_clear_gap_needs_nothing(tmp_path):
    with open_study(tmp_path) as study:
        found = elect(study, [TrialRecord(1, State.COMPLETE)], {})
    assert (found["chosen"], election_words(found), election_words(None)) == (1, "", "")


@pytest.mark.parametrize(
    ("values", "chosen", "words"),
    [
        (
            {3: [0.9, 0.9], 7: [0.95, 0.93]},
            7,
            "changed from trial 3 to trial 7. With one training each, another trial",
        ),
        ({3: [0.9, 0.9], 7: [0.9, 0.9]}, 3, "The choice stayed trial 3."),
        (
            {3: [1.0, 1.0], 7: [1.0, 1.0]},
            3,
            "(val_acc, mean): trial 3 1.0000, trial 7 1.0000. The choice",
        ),
        (
            {3: [1.0, 1.0], 7: [0.9, 0.8]},
            3,
            "(val_acc, mean ± standard deviation): trial 3 1.0000, trial 7 0.8500 ± 0.0707.",
        ),
        (
            {3: [0.8, 0.9], 7: [0.99, None]},
            3,
            "trial 7 0.9900, 1 failed. The choice stayed trial 3.",
        ),
        (
            {3: [0.8, 0.9], 7: [0.81, 0.5]},
            3,
            "another trial would have been chosen in 1 of 2 rounds",
        ),
        ({3: [None, None], 7: [0.1, 0.1]}, 7, "trial 3 all failed"),
    ],
)
def test_the_best_mean_is_chosen_and_what_fails_stands_behind(tmp_path, values, chosen, words):
    with open_study(tmp_path) as study:
        found = elect_of(study, values)
    assert (found["chosen"], found["first"]) == (chosen, 3)
    assert words in election_words(found)


def test_no_trial_no_winner(tmp_path, digits):
    with (
        open_study(tmp_path) as study,
        pytest.raises(StudyError, match="needs a trial with a value"),
    ):
        election(study, digits, THRICE)


def test_finish_is_a_word_and_a_section():
    assert parse(FinishConfig, {"enabled": False}, "x") == FinishConfig.model_validate(False)
    assert FinishConfig.model_validate(True).repeats == 1


def test_more_threads_change_no_more_than_rounding(searched, digits, tmp_path):
    view = StudyView.open(searched)
    with Study(tmp_path / "test", identity("test"), "random", "asha") as study:
        desk = Dispatcher(study, DataConfig(), digits.facts, Constraint(), Budget(10))
        job = desk.job(view.ranked()[0]).model_copy(update={"folder": str(tmp_path / "one")})
    try:
        one = train(job)
        two = train(job.model_copy(update={"threads": 2, "folder": str(tmp_path / "two")}))
        run = JobRun(job.model_copy(update={"folder": str(tmp_path / "three")}))
        assert run.settle_threads(2) in (1, 2)
        assert run.advance().rows[0]["train_loss"] == pytest.approx(one[0]["train_loss"], rel=1e-4)
    finally:
        torch.set_num_threads(1)
    for name in ("train_loss", "val_loss"):
        assert [row[name] for row in two] == pytest.approx([row[name] for row in one], rel=1e-3)
