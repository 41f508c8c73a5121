"""Killed between any two writes of the journal, and opened again: the study decides what it would
have decided.
"""

import os

import pytest

from hopsearch.study import PRUNERS, Study
from hopsearch.study.persistence.journal_file import Journal as JournalFile
from tests.conftest import identity
from tests.test_simulator import TINY, Choosy, Hills, facts


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it. That a torn last line is survived is tested with the
    storage.
    """


@pytest.fixture
def journal(monkeypatch):
    """Counts the writes, and kills before the one after ``journal.lives``."""

    class Journal:
        lives, writes = 10**9, 0

    append = JournalFile.append_logs

    def counted(self, logs):
        if Journal.writes == Journal.lives:
            raise Killed
        Journal.writes += 1
        append(self, logs)

    monkeypatch.setattr(os, "fsync", lambda file: None)
    monkeypatch.setattr(JournalFile, "append_logs", counted)
    return Journal


def search(folder, sampler, pruner, space, ends=(), trials=6):
    """To its end; before that, ended by a budget after so many epochs, and opened again."""
    for epochs in ends:
        with Study(folder / "test", identity(space=space), sampler, pruner) as study:
            simulation = Choosy(study, Hills(), 1, 4 if space else trials)
            if study.epochs < epochs:
                for _ in simulation.events():
                    if study.epochs >= epochs:
                        break
                list(study.conclude("stopped: a budget is spent"))
    with Study(folder / "test", identity(space=space), sampler, pruner) as study:
        Choosy(study, Hills(), 1, 4 if space else trials).run()
        assert study.audit() == []
        return facts(study), study.epochs, study.judgements


@pytest.mark.parametrize("pruner", sorted(PRUNERS))
def test_every_rule(tmp_path, journal, pruner):
    check(tmp_path, journal, "random", pruner, None, 1 if pruner == "asha_promotion" else 7)


def test_refusals(tmp_path, journal):
    check(tmp_path, journal, "random", "asha_promotion", TINY, 1)


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "cmaes"])
def test_samplers_that_learn(tmp_path, journal, sampler):
    check(tmp_path, journal, sampler, "asha_promotion", None, 13)


def test_the_default_with_all_that_it_learns(tmp_path, journal):
    """With trials enough that both samplers propose from what was learnt, and the first rung is
    judged.
    """
    check(tmp_path, journal, "tpe_gp", "adaptive_asha", None, 97, trials=24)


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("random", "asha_promotion"), ("tpe", "pasha"), ("cmaes", "asha")]
)
def test_budgets_that_end_it_thrice(tmp_path, journal, sampler, pruner):
    """Between any two writes of closing what is open, and of carrying it on."""
    straight = search(tmp_path / "never", sampler, pruner, None)
    assert search(tmp_path / "ended", sampler, pruner, None, ends=(3, 7, 11)) == straight
    journal.writes = 0
    check(
        tmp_path, journal, sampler, pruner, None, 1 if sampler == "random" else 11, ends=(3, 7, 11)
    )


def check(tmp_path, journal, sampler, pruner, space, step, ends=(), trials=6):
    straight = search(tmp_path / "straight", sampler, pruner, space, ends, trials)
    for lives in range(0, journal.writes, step):
        folder, journal.lives, journal.writes = tmp_path / str(lives), lives, 0
        with pytest.raises(Killed):
            search(folder, sampler, pruner, space, ends, trials)
        journal.lives = 10**9
        assert search(folder, sampler, pruner, space, ends, trials) == straight, (
            f"killed after {lives} writes"
        )


def budgeted(folder):
    """Until a budget of twenty epochs is spent."""
    with Study(folder / "test", identity(), "random", "one_epoch") as study:
        Choosy(study, Hills(), 1, 99, epochs=20).run()
        assert study.audit() == []
        assert any(record.sent_on(9) for record in study.counted())
        return facts(study), study.epochs


def test_the_best_goes_on_while_a_budget_ends(tmp_path, journal):
    straight = budgeted(tmp_path / "straight")
    for lives in range(0, journal.writes, 2):
        folder, journal.lives, journal.writes = tmp_path / str(lives), lives, 0
        with pytest.raises(Killed):
            budgeted(folder)
        journal.lives = 10**9
        assert budgeted(folder) == straight, f"killed after {lives} writes"


class Interrupted(BaseException):
    """Stands for KeyboardInterrupt, which may come in the middle of a write: before the file has
    it, or after.
    """


def interrupted(folder, sampler, pruner, closed):
    """A search that is interrupted, and closes so many of its trials: as many as a moment is enough
    for.
    """
    study = None
    try:
        study = Study(folder, identity(), sampler, pruner)
        Choosy(study, Hills(), 1, 6).run()
    except Interrupted:
        for _ in zip(range(closed), study.conclude("interrupted") if study else (), strict=False):
            pass
    else:
        raise AssertionError("it was not interrupted")
    finally:
        if study:
            study.close()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("sampler", "pruner"), [("random", "asha_promotion"), ("random", "asha"), ("tpe", "pasha")]
)
def test_interrupted_at_any_write_and_closed_by_the_same_process(
    tmp_path, monkeypatch, sampler, pruner, after
):
    """Its memory may not know of the last write, or of half of what belongs together; how many are
    closed does not matter.
    """
    monkeypatch.setattr(os, "fsync", lambda file: None)
    append, count = JournalFile.append_logs, {"left": 10**9}

    def cut_off(self, logs):
        count["left"] -= 1
        if count["left"] or after:
            append(self, logs)
        if not count["left"]:
            raise Interrupted

    monkeypatch.setattr(JournalFile, "append_logs", cut_off)
    straight, writes = search(tmp_path / "straight", sampler, pruner, None), 10**9 - count["left"]
    for turn, lives in enumerate(range(1, writes, 5 if sampler == "random" else 17)):
        folder, count["left"] = tmp_path / str(lives), lives
        interrupted(folder / "test", sampler, pruner, closed=turn % 4)
        count["left"] = 10**9
        assert search(folder, sampler, pruner, None) == straight, (
            f"interrupted {'after' if after else 'before'} write {lives}"
        )
