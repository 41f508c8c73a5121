"""The desk between study and workers, without Ray: jobs out, progress in."""

import resource

import pytest

from hopsearch.core.errors import StudyError
from hopsearch.data import DataConfig
from hopsearch.jobs.job import Progress
from hopsearch.orchestration.checkpoint_cleanup import CheckpointConfig
from hopsearch.orchestration.dispatcher import Budget, Dispatcher
from hopsearch.orchestration.failures.death_causes import Cause, Death
from hopsearch.study import State, Study, StudyView
from hopsearch.tasks.images import Images
from hopsearch.training import Constraint
from tests.conftest import identity, work

SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
    "fixed": {"model.family": "imixer", "model.dim": 16, "model.patch_size": 4},
    "parameters": {"model.depth": {"type": "int", "low": 1, "high": 4}},
}


@pytest.fixture
def desk(tmp_path, digits):
    with Study(tmp_path / "test", identity(space=SPACE), "random", "none") as study:
        yield Dispatcher(study, DataConfig(), digits.facts, Constraint(), Budget(trials=3))


def row(epoch, value=0.5):
    return {"epoch": epoch, "val_acc": value, "seconds": 1.0}


def test_all_trials_come_and_go(desk):
    work(desk, lambda record: row(record.epoch + 1))
    assert desk.queue.finished
    assert [record.state for record in desk.study.counted()] == [State.COMPLETE] * 3


def test_a_new_trials_settings_are_resolved_once(desk, digits, monkeypatch):
    resolve, seeds = Images.resolve, []

    def counted(task, values, facts, seed, *how):
        seeds.append(seed)
        return resolve(task, values, facts, seed, *how)

    monkeypatch.setattr(Images, "resolve", counted)
    jobs = []
    while job := desk.next_job():
        jobs.append(job)
        for epoch in (1, 2, 3):
            desk.take(job.number, Progress(rows=(row(epoch),), done=epoch == 3))
    assert len(jobs) == 3
    assert seeds == [0] * len(desk.study.records), "each proposal once, duplicates too"
    for job in jobs:
        record = desk.study.records[job.number]
        assert record.seed > 0
        assert job.trial == resolve(Images(), record.config, digits.facts, record.seed)
        assert desk.job(record) == job.model_copy(update={"fresh": False})


def test_an_epochs_metrics_are_kept_but_for_those_of_single_blocks(desk):
    job = desk.next_job()
    more = {
        "val_loss": 1.5,
        "cosine/tokens/mean": 0.25,
        "cosine/tokens/max": 0.5,
        "cosine/tokens/block0": 0.1,
    }
    desk.take(job.number, Progress(rows=(row(1) | more,)))
    assert desk.study.records[job.number].metrics == {"val_loss": 1.5, "cosine/tokens/mean": 0.25}


def test_a_lost_worker_goes_on_and_one_that_kills_is_given_up(desk):
    job = desk.next_job()
    desk.take(job.number, Progress(rows=(row(1),)))
    for _ in range(2):
        desk.lose(job.number)
        assert desk.next_job().number == job.number
    # an epoch further: the count begins anew
    desk.take(job.number, Progress(rows=(row(1), row(2))))
    for _ in range(2):
        desk.lose(job.number)
        assert desk.next_job().number == job.number
    desk.lose(job.number)
    record = desk.study.records[job.number]
    assert (record.state, record.losses) == (State.FAILED, 5)
    assert record.reason.startswith(
        "lost: its worker died 3 times in a row without finishing an epoch; the last time "
    )


def test_a_worker_that_left_by_itself_never_counts_against_its_trial(desk):
    job = desk.next_job()
    for _ in range(5):
        desk.lose(job.number, Death(Cause.LEFT, "it left"))
        assert desk.next_job().number == job.number
    assert desk.study.records[job.number].state == State.RUNNING


def test_an_observer_that_cannot_write_ends_the_search(desk):
    class Full:
        def begin(self, record):
            raise OSError("No space left on device")

    desk.observers = (Full(),)
    assert desk.next_job() is None
    assert desk.queue.finished
    assert "cannot write to the study folder: No space left on device" in str(desk.error)


def test_the_time_it_took_is_known_though_it_was_killed_before_any_trial_ended(tmp_path, digits):
    now = [100.0]
    for spent in (30.0, 60.0):
        with Study(tmp_path / "test", identity(space=SPACE), "random", "asha_promotion") as study:
            desk = Dispatcher(
                study,
                DataConfig(),
                digits.facts,
                Constraint(),
                Budget(trials=9),
                clock=lambda: now[0],
            )
            job = desk.next_job()
            now[0] += 30
            desk.take(job.number, Progress(rows=(row(study.records[job.number].epoch + 1),)))
            assert not any(record.state.ended for record in study.counted())
        assert StudyView.open(tmp_path / "test").seconds == spent


def test_a_limit_on_what_is_measured_ends_trials_and_the_sampler_is_told(tmp_path, digits):
    space = SPACE | {"parameters": {"model.depth": {"type": "int", "low": 1, "high": 40}}}
    with Study(tmp_path / "test", identity(space=space), "tpe", "asha_promotion") as study:
        limit = Constraint(max_latency=0.02)
        desk = Dispatcher(study, DataConfig(), digits.facts, limit, Budget(trials=18))

        def measured(record):
            assert desk.job(record).latency
            depth = record.config["model.depth"]
            more = {} if record.epoch else {"latency": depth / 1000}
            return row(record.epoch + 1, depth / 50) | more

        work(desk, measured)
    view = StudyView.open(tmp_path / "test")
    slow = [record for record in view.counted() if record.config["model.depth"] > 20]
    assert len(view.counted()) == 18
    assert {(record.state, record.epoch) for record in slow} == {(State.FAILED, 0)}
    assert slow[0].reason == f"latency <= 0.02 must hold, got {slow[0].cost['latency']:.4g}"
    assert all(record.config["model.depth"] <= 20 for record in view.ranked())
    told = {trial.number: trial.constraints for trial in view.optuna.trials if trial.constraints}
    assert told == {
        record.number: {"latency": pytest.approx(record.cost["latency"] / 0.02 - 1)}
        for record in slow
    }
    assert view.audit() == []


def test_a_quota_minds_what_the_workers_say_they_hold(tmp_path, digits):
    said: list[str] = []
    with Study(tmp_path / "test", identity(space=SPACE), "random", "none") as study:
        keeping = CheckpointConfig(quota=2500)
        desk = Dispatcher(
            study,
            DataConfig(),
            digits.facts,
            Constraint(),
            Budget(trials=4),
            keeping=keeping,
            say=said.append,
        )
        jobs = [desk.next_job() for _ in range(4)]
        for job, value in zip(jobs[:3], (0.5, 0.7, 0.6), strict=True):
            for epoch in (1, 2, 3):
                desk.take(
                    job.number, Progress(rows=(row(epoch, value),), held=1000, done=epoch == 3)
                )
        assert (study.kept, said) == ([1, 2], [])
        desk.take(jobs[3].number, Progress(rows=(row(1, 0.9),), held=2000))
        desk.take(jobs[3].number, Progress(failure="trial", reason="diverged: too hot"))
        assert (study.kept, said) == ([1, 2], [])
        assert study.ranked()[0].number == 1


def test_a_mistake_of_the_users_ends_the_search(desk):
    job = desk.next_job()
    assert not desk.take(
        job.number, Progress(failure="search", reason="the image folder does not exist")
    )
    assert desk.queue.finished
    assert "the image folder does not exist" in str(desk.error)
    assert desk.study.records[job.number].state == State.RUNNING  # to be continued


def test_bugs_in_a_row_end_the_search(desk):
    while job := desk.next_job():
        desk.take(
            job.number,
            Progress(failure="trial", reason="error: ZeroDivisionError: x", trace="Traceback …"),
        )
    assert isinstance(desk.error, RuntimeError)
    assert "Traceback" in str(desk.error)


def test_a_full_disk_ends_the_search_and_loses_nothing(desk, tmp_path, digits):
    job = desk.next_job()
    assert desk.take(job.number, Progress(rows=(row(1),)))
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "test" / "journal.log").stat().st_size
    # a quota: writing past it fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, old[1]))
    try:
        assert not desk.take(job.number, Progress(rows=(row(2, 0.6),)))
        assert desk.next_job() is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert isinstance(desk.error, StudyError)
    assert (
        "the journal must be writable, got: File too large. Free some space and run the same "
        "command again" in str(desk.error)
    )
    assert desk.queue.finished
    desk.study.close()
    # half a line is dropped
    with Study(tmp_path / "test", identity(space=SPACE), "random", "none") as study:
        again = Dispatcher(study, DataConfig(), digits.facts, Constraint(), Budget(trials=3))
        assert again.next_job().number == job.number
        assert study.records[job.number].epoch == 1


class TestBooking:
    """What was trained is counted, whether or not it is on a curve."""

    def test_a_limit_that_is_broken(self, tmp_path, digits):
        with Study(tmp_path / "test", identity(space=SPACE), "random", "none") as study:
            desk = Dispatcher(
                study,
                DataConfig(),
                digits.facts,
                Constraint(max_latency=1e-9),
                Budget(trials=9, epochs=3),
            )
            work(desk, lambda record: row(1) | {"latency": 1.0})
            assert desk.queue.stopped == "the budget of 3 epochs is used up"
            assert (study.epochs, study.wasted_epochs, study.trained_seconds) == (3, 3, 3.0)
        view = StudyView.open(tmp_path / "test")
        assert (view.epochs, view.wasted_epochs, view.trained_seconds) == (3, 3, 3.0)

    def test_an_epoch_that_diverges(self, desk):
        for failed in (
            Progress(
                failure="trial", reason="diverged: too hot", failed_epochs=1, failed_seconds=0.5
            ),
            Progress(failure="trial", reason="out_of_memory: before its first step"),
        ):
            desk.take(desk.next_job().number, failed)
        assert (desk.study.epochs, desk.study.trained_seconds) == (1, 0.5)
        # its own fault: the worst there is
        assert [record.failure.learn for record in desk.study.counted()] == [True, True]

    def test_epochs_lost_with_a_worker_or_trained_twice(self, desk):
        now = 0.0
        desk.watch._clock = lambda: now
        job = desk.next_job()
        desk.lose(job.number)  # not heard of: it had not begun
        assert desk.study.epochs == 0
        assert desk.next_job().number == job.number
        desk.take(job.number, Progress(rows=(row(1),)))
        now = 7.0
        desk.lose(job.number)
        assert (desk.study.epochs, desk.study.trained_seconds) == (2, 8.0)
        desk.next_job()
        desk.take(job.number, Progress(rows=(row(1),), history=True))
        assert desk.study.epochs == 2  # told, not trained
        desk.lose(job.number, Death(Cause.LEFT, "it left"))
        assert desk.study.epochs == 2  # the rest of that epoch is still to come
        desk.next_job()
        # its checkpoint was gone: from the beginning
        desk.take(job.number, Progress(rows=(row(1),)))
        assert (desk.study.epochs, desk.study.records[job.number].epoch) == (3, 1)

    def test_the_log_of_a_worker_tells_what_was_begun(self, tmp_path, digits):
        def opened():
            study = Study(tmp_path / "test", identity(space=SPACE), "random", "none")
            return study, Dispatcher(
                study, DataConfig(), digits.facts, Constraint(), Budget(trials=3)
            )

        study, desk = opened()
        log = desk.checkpoints.folder(desk.next_job().number) / "epochs.log"
        log.parent.mkdir(parents=True)
        log.write_text("1 here 1\n")
        desk.take(0, Progress(rows=(row(1),)))
        log.write_text("1 here 1\n2 here 1\n")  # and killed in it
        for _ in range(2):
            study.close()
            study, desk = opened()
            assert (study.epochs, study.records[0].epoch) == (2, 1)
        log.write_text("1 here 1\n2 here 1\n2 here 2\n")  # begun again, and its worker is lost
        desk.next_job()
        desk.lose(0)
        assert study.epochs == 3
        study.close()
