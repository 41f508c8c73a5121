"""Workers that hang, die, or run out of memory: what is judged, and what is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hopsearch.jobs.job import Progress
from hopsearch.orchestration.failures.death_causes import Cause, Death
from hopsearch.orchestration.failures.hang_watch import Watch
from hopsearch.orchestration.failures.lost_workers import Losses
from hopsearch.ray_backend.workers.hanging_workers import GroupWatch
from hopsearch.study import State, StudyView, TrialRecord
from hopsearch.study.record.journal_keys import REPEATS
from tests.conftest import environment, hear_interrupts
from tests.processes import begun, start, trainers, wait_for, wait_gone

# As Ray 2.60 writes them.
MEMORY = """1 worker(s) were killed due to the node running low on memory.
Memory on the node (IP: 192.0.2.2, ID: 70e7) was 7.80GB used / 23.54GB limit (0.331454)
Selected to kill: (Task: job ID=01000000, pid=6693, actual memory used=0.16GB, …)"""
CRASH = """The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
Worker exit detail: Worker unexpectedly exits with a connection error code 2. End of file. \
Some common causes include: (1) …"""
NODE = (
    "The actor died unexpectedly before finishing this task. The actor is dead because its "
    "node has died. Node Id: 8d00"
)


# A search's and a training's command with waits that a test can sit out, and otherwise as it is.
QUICK = """
import sys
from hopsearch.command_line import signals
signals.supervise()
from hopsearch.orchestration.failures import hang_watch
from hopsearch.ray_backend.workers import hanging_workers
hang_watch._LEAST = 6.0
hang_watch._LEAST_AT_FIRST = 20.0
hanging_workers._AN_IMAGE = 0.0
hanging_workers.LOOK_EVERY = 1.0
from hopsearch import train, tune
from hopsearch.command_line.command import run_as_program
verb = {"train": (train, train.TrainingConfig), "tune": (tune, tune.TuneConfig)}[sys.argv.pop(1)]
run_as_program(verb[0].main, verb[1], "")
"""


class TestWatch:
    @pytest.fixture
    def watch(self):
        watch = Watch(lambda: watch.now)
        watch.now = 0.0
        return watch

    def advance(self, watch, record, *seconds):
        for one in seconds:
            watch.now += one
            watch.heard(record)

    def test_an_epoch_is_judged_by_its_trials_own(self, watch):
        record = TrialRecord(0, State.RUNNING)
        watch.handed_out(0)
        self.advance(watch, record, 30, 20, 8)
        watch.now += 199
        assert not watch.hangs(record)
        watch.now += 2
        assert "no epoch for 201 s; 200 s are allowed, 10 times its longest epoch" in watch.hangs(
            record
        )

    def test_quick_epochs_have_a_minute(self, watch):
        record = TrialRecord(0, State.RUNNING)
        watch.handed_out(0)
        self.advance(watch, record, 1, 0.2, 0.2)
        watch.now += 59
        assert not watch.hangs(record)
        watch.now += 2
        assert watch.hangs(record)

    def test_the_history_of_a_trial_that_resumes_is_no_epoch(self, watch):
        record = TrialRecord(0, State.RUNNING, curve={1: 0.1, 2: 0.2}, seconds=800.0)
        watch.handed_out(0)
        watch.now += 3
        watch.heard(record, trained=False)
        watch.now += 3999
        assert not watch.hangs(record)  # an epoch takes 400 s
        watch.now += 2
        assert watch.hangs(record)
        watch.handed_out(0)
        assert watch.allowed(record) == 4000  # also before its worker has said a word
        watch.handed_out(1)
        # three seconds were no epoch's either
        assert watch.allowed(TrialRecord(1, State.RUNNING)) is None

    def test_a_first_epoch_is_judged_by_others_and_the_size_of_the_model(self, watch):
        small, large = (
            TrialRecord(number, State.RUNNING, cost={"flops": flops})
            for number, flops in ((0, 1e6), (1, 4e6))
        )
        watch.handed_out(1)
        watch.now = 1e5
        assert not watch.hangs(large)  # nothing to judge by: the data may be large
        assert watch.hangs(large, last=True)
        watch.handed_out(1)
        watch.handed_out(0)
        self.advance(watch, small, 40)
        watch.now += 1500
        assert not watch.hangs(large)  # 10 times 40 s, times 4
        watch.now += 100
        assert watch.hangs(large)


class TestDeaths:
    def test_causes(self):
        from hopsearch.ray_backend.workers.ray_errors import death_of

        assert death_of(MEMORY) == Death(
            Cause.MEMORY,
            "7.80 of 23.54 GB were in use on 192.0.2.2, 0.16 GB of them by this worker",
        )
        assert death_of(CRASH).cause == Cause.PROCESS
        assert "by a signal or by the kernel" in death_of(CRASH).detail
        assert death_of(NODE).cause == Cause.MACHINE
        assert (
            death_of(
                "hopsearch.ray_backend.workers.group.Leaving: this machine is being preempted"
            ).cause
            == Cause.LEFT
        )
        assert death_of("The actor is dead because it was killed by `ray.kill`.").detail.startswith(
            "its worker did not answer"
        )

    def test_memory_lowers_how_many_run_and_condemns_nobody_that_may_fit(self):
        said: list[str] = []
        losses, short = Losses(said.append), Death(Cause.MEMORY, "9 of 10 GB were in use")
        assert [losses.verdict(7, short, others) for others in (3, 2, 1)] == ["", "", ""]
        assert losses.room == 1
        assert (
            said[-1]
            == "out of memory (9 of 10 GB were in use): from now on at most 1 trial runs at once"
        )
        assert losses.verdict(7, short, 0) == ""
        assert (
            losses.verdict(7, short, 0)
            == "out_of_memory: it does not fit even when run alone: 9 of 10 GB were in use"
        )

    def test_machines_that_go_condemn_nobody_and_crashes_in_a_row_do(self):
        losses = Losses(print)
        gone = Death(Cause.MACHINE, "its machine is gone")
        assert not any(losses.verdict(1, gone, 0) for _ in range(9))
        losses.new_epoch(1)
        assert not any(losses.verdict(1, gone, 0) for _ in range(9))
        assert losses.verdict(1, gone, 0).startswith(
            "lost: its machine disappeared 10 times in a row"
        )
        crashes = [losses.verdict(1, Death(Cause.PROCESS, "it crashed"), 0) for _ in range(3)]
        assert crashes == [
            "",
            "",
            (
                "lost: its worker died 3 times in a row without finishing an epoch; the last time "
                "it "
                "crashed"
            ),
        ]


class TestGroupWatch:
    """One long training, by a clock that the test moves."""

    @pytest.fixture
    def group(self):
        group = GroupWatch(images=20_000, clock=lambda: group.now)
        group.now = 0.0
        return group

    EPOCH = Progress(rows=({"epoch": 1, "seconds": 1.0},))

    def wait(self, group, seconds):
        group.now += seconds
        return group.hangs()

    def test_nothing_hangs_before_a_group_has_come_together_or_after_it_was_lost(self, group):
        assert not self.wait(group, 1e6)
        group.begun(1)
        group.gone()
        assert not self.wait(group, 1e6)

    def test_the_first_epoch_has_the_time_in_which_its_images_can_be_decoded(self, group):
        group.begun(1)
        assert not self.wait(group, 1999)
        assert "no epoch for 2001 s; 2000 s are allowed" in self.wait(group, 2)

    def test_later_epochs_have_ten_times_the_longest(self, group):
        group.begun(2)
        group.now += 30
        group.heard(self.EPOCH)
        group.now += 50
        group.heard(self.EPOCH)
        assert not self.wait(group, 499)
        assert "no epoch for 501 s; 500 s are allowed, 10 times its longest epoch" in self.wait(
            group, 2
        )

    def test_a_group_that_shrank_may_take_longer_by_as_much(self, group):
        group.begun(8)
        for _ in range(2):
            group.now += 60
            group.heard(self.EPOCH)
        group.begun(1)
        assert not self.wait(group, 4799)
        assert self.wait(group, 2)
        group.begun(8)
        assert self.wait(group, 2001), "and what its images need"

    def test_history_is_no_epoch_and_an_end_is_waited_for_by_nobody(self, group):
        group.begun(1)
        group.now += 1
        group.heard(Progress(history=True))
        assert not self.wait(group, 1999), "the first epoch of a training that resumes"
        group.heard(Progress(paused=True))
        assert not self.wait(group, 1e6)
        group.begun(1)
        group.heard(Progress(done=True))
        assert not self.wait(group, 1e6)


WORDS = [
    "space=imixer",
    "model.dim=32",
    "model.depth=2",
    "model.patch_size=2",
    "train.epochs=9",
    "finish=false",
]


def epochs_of_running(folder):
    return {
        record.number: record.epoch
        for record in StudyView.open(folder).records.values()
        if record.state == State.RUNNING
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.in_turns("a worker that hangs")
@pytest.mark.timeout(400)
class TestReal:
    def stop_one(self, tmp_path, process):
        folder = tmp_path / "runs" / "imixer-digits"
        assert wait_for(lambda: sum(begun(folder).values()) >= 4, process)
        for _ in range(10):
            victim = trainers(process.pid)[0]
            os.kill(victim, signal.SIGSTOP)
            before = epochs_of_running(folder)
            time.sleep(3)
            after = epochs_of_running(folder)
            if any(epoch and after.get(number) == epoch for number, epoch in before.items()):
                return folder, victim
            # it had just begun a trial, whose first epoch is given ten minutes
            os.kill(victim, signal.SIGCONT)
            time.sleep(1)
        raise AssertionError("no worker was found in a later epoch")

    def test_the_time_budget_ends_a_search_whose_worker_hangs(self, tmp_path):
        began = time.monotonic()
        process = start(tmp_path, *WORDS, "trials=400", "budget.time=40s")
        folder, victim = self.stop_one(tmp_path, process)
        assert process.wait(timeout=200) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        said = (tmp_path / "log.txt").read_text()
        assert "the time limit passed" in said
        assert "raise budget.time= in the same command to continue them" in said
        assert StudyView.open(folder).seconds < 40 + 45, said
        assert time.monotonic() - began < 250
        assert wait_gone([victim])
        assert {record.state for record in StudyView.open(folder).counted()} <= {
            State.OPEN,
            State.COMPLETE,
        }

    def test_a_worker_that_hangs_is_replaced(self, tmp_path):
        process = start(tmp_path, *WORDS, "trials=12", "pruner=none")
        folder, victim = self.stop_one(tmp_path, process)
        assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        said = (tmp_path / "log.txt").read_text()
        assert "its worker is killed and the trial resumes from its last epoch" in said
        view = StudyView.open(folder)
        assert [record.state for record in view.counted()] == [State.COMPLETE] * 12
        assert sum(record.losses for record in view.counted()) == 1
        assert view.wasted_epochs == 1
        assert view.audit() == []
        assert wait_gone([victim])

    def test_a_training_with_a_fresh_seed_that_hangs_is_begun_elsewhere(self, tmp_path):
        space = {
            "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
            "fixed": {
                "model.family": "imixer",
                "model.dim": 32,
                "model.depth": 2,
                "model.patch_size": 2,
            },
            # so the best two tie
            "parameters": {"optim.lr": {"type": "float", "low": 2e-3, "high": 2.1e-3}},
        }
        (tmp_path / "ties.yaml").write_text(json.dumps(space))
        words = ["study=ties", "trials=2", "pruner=none", "finish.repeats=2", "finish.candidates=2"]
        process = start(tmp_path, f"space={tmp_path / 'ties.yaml'}", *words)
        folder = tmp_path / "runs" / "ties"
        logs = folder / "finishing"
        assert wait_for(lambda: [*logs.glob("*/epoch_0004.pt")], process), (
            tmp_path / "log.txt"
        ).read_text()[-3000:]
        victim = trainers(process.pid, b"Finisher")[0]
        os.kill(victim, signal.SIGSTOP)
        assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        assert (
            "its worker is killed, the training resumes from the last epoch"
            in (tmp_path / "log.txt").read_text()
        )
        trained = StudyView.open(folder).optuna.user_attrs[REPEATS]
        assert {(training["epochs"], training.get("reason")) for training in trained.values()} == {
            (9, None)
        }
        assert len(trained) == 4
        assert wait_gone([victim])

    def quick(self, tmp_path, verb, *words):
        log = (tmp_path / "log.txt").open("a")
        words = [sys.executable, "-c", QUICK, verb, f"storage={tmp_path / 'runs'}", *words]
        with log:
            return subprocess.Popen(
                words, env=environment(tmp_path), stdout=log, stderr=log, preexec_fn=hear_interrupts
            )

    TRAIN = (
        "model=imixer_s16_224",
        "model.dim=32",
        "model.depth=2",
        "model.patch_size=2",
        "name=mine",
    )

    def said(self, tmp_path, process):
        assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        return (tmp_path / "log.txt").read_text()

    @pytest.mark.parametrize("workers", [1, 2])
    def test_a_training_that_hangs_is_begun_anew(self, tmp_path, workers):
        process = self.quick(
            tmp_path, "train", *self.TRAIN, "epochs=14", f"workers={workers}", "cpus=0.5"
        )
        checkpoints = tmp_path / "runs" / "mine" / "checkpoints"
        assert wait_for(lambda: [*checkpoints.glob("epoch_0003.pt")], process), (
            tmp_path / "log.txt"
        ).read_text()[-3000:]
        victims = trainers(process.pid, b"RayTrainWorker")
        assert len(victims) == workers
        os.kill(victims[-1], signal.SIGSTOP)
        said = self.said(tmp_path, process)
        assert said.count("its workers are killed and it resumes from its last epoch") == 1, said
        assert "trained 14 epochs" in said
        begun_at = [
            line.split()[0] for line in (checkpoints / "epochs.log").read_text().splitlines()
        ]
        assert set(begun_at) == {str(epoch) for epoch in range(1, 15)}
        assert len(begun_at) == 15, "one epoch was begun twice"
        assert wait_gone(victims)

    def stop_finisher(self, process) -> int:
        """Stop the evaluation's worker as soon as it is there."""
        assert wait_for(lambda: trainers(process.pid, b"Finisher"), process)
        (victim,) = trainers(process.pid, b"Finisher")
        os.kill(victim, signal.SIGSTOP)
        return victim

    def test_an_evaluation_that_hangs_is_made_by_another_worker(self, tmp_path):
        process = self.quick(tmp_path, "train", *self.TRAIN, "epochs=2")
        victim = self.stop_finisher(process)
        said = self.said(tmp_path, process)
        assert "training: no test result for " in said
        assert "its worker is killed, another one evaluates the model" in said
        assert "test_acc" in said
        assert Path(tmp_path / "runs" / "mine" / "model" / "model.safetensors").exists()
        assert wait_gone([victim])

    def test_a_winners_worker_that_hangs_before_its_first_epoch_is_replaced(self, tmp_path):
        """It hangs while it finds out how many threads are fastest."""
        process = self.quick(
            tmp_path, "tune", *WORDS[:-1], "trials=2", "budget.epochs=3", "study=s"
        )
        victim = self.stop_finisher(process)
        said = self.said(tmp_path, process)
        assert "winner: no epoch for " in said
        assert "its worker is killed, the training resumes from the last epoch" in said
        assert StudyView.open(tmp_path / "runs" / "s").winner["epochs"] == 9
        assert wait_gone([victim])
