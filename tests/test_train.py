"""Real trainings on Ray Train: killed, continued, spread over machines that die."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch import train
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.data import DataConfig, data_identity, load
from hopsearch.jobs.job import Job, JobRun, Progress, cause
from hopsearch.ray_backend import long_training
from hopsearch.ray_backend.workers.hanging_workers import GroupWatch
from hopsearch.space import Space
from hopsearch.study import Identity, Study, StudyLock, StudyView
from hopsearch.tasks.images import Images
from hopsearch.training import CheckpointFolder
from tests.conftest import SPACE, environment, finish, folder_of_images, hear_interrupts, open_study
from tests.processes import begun, descendants, is_loopback, listening, wait_for, wait_gone

SMALL = ["model=imixer_s16_224", "model.dim=32", "model.depth=2", "model.patch_size=2", "name=mine"]
SEARCH = ["space=imixer", "model.dim=32", "model.depth=2", "model.patch_size=2"]


def command(tmp_path: Path, *words: str, verb: str = "train") -> list[str]:
    return [sys.executable, "-m", f"hopsearch.{verb}", f"storage={tmp_path / 'runs'}", *words]


def run(tmp_path: Path, *words: str, **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(tmp_path, *words, **more),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=280,
    )


def start(tmp_path: Path, *words: str, **more: str) -> subprocess.Popen:
    with (tmp_path / "log.txt").open("a") as log:
        words_of_it = command(tmp_path, *words, **more)
        return subprocess.Popen(
            words_of_it,
            env=environment(tmp_path),
            stdout=log,
            stderr=log,
            preexec_fn=hear_interrupts,
        )


def epoch(folder: Path) -> int:
    """The newest epoch that is saved."""
    return max(
        (int(file.stem.split("_")[1]) for file in (folder / "checkpoints").glob("epoch_*.pt")),
        default=0,
    )


def steps(folder: Path, tag: str = "validation/val_acc") -> list[int]:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return [event.step for event in events.Scalars(tag)]


def test_two_trainings_of_one_name(tmp_path, monkeypatch, capsys):
    """The second is refused before anything of the first is touched."""
    monkeypatch.chdir(tmp_path)
    lock = StudyLock(tmp_path / "runs" / "mine")
    assert run_verb(train.main, train.TrainingConfig, "about", SMALL) == MISTAKE
    said = capsys.readouterr().err
    assert (
        f"runs/mine: only one process may write here, got a second one besides process "
        f"{os.getpid()} on " in said
    )
    assert (
        "Wait for it, stop it, or use another name: study=<name> for a search, name=<name> for a "
        "training" in said
    )
    lock.release()
    assert [file.name for file in (tmp_path / "runs" / "mine").iterdir()] == [".lock"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "exactly one of model= and from= is required"),
            (["model=imixer_s16_224", "from=x"], "exactly one of model= and from= is required"),
            (["model=imixr_s16_224"], "Did you mean imixer_s16_224?"),
            (
                ["from=s#"],
                (
                    "command line: from: a trial is named by its number, got 's#'. Write e.g. "
                    "s#0, or "
                    "s for the winner"
                ),
            ),
            (["from=s#1#2"], "command line: from: a trial is named by its number"),
            (["form=x"], "command line: form: unknown key. Did you mean from?"),
            (["model=imixer_s16_224", "workers=4..2"], "workers: must be a number or fewest..most"),
            (["model=imixer_s16_224", "model.depht=2"], "Did you mean depth?"),
            (["from=nothing"], "must contain a study, got no journal.log"),
            (["model=imixer_s16_224", "model.patch_size=2", "storage=taken"], "must be writable"),
        ],
    )
    def test_is_a_sentence(self, tmp_path, monkeypatch, capsys, words, message):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "taken").write_text("a file")
        assert run_verb(train.main, train.TrainingConfig, "about", words) == MISTAKE
        assert message in capsys.readouterr().err

    def test_another_training_in_the_folder(self, tmp_path, digits):
        def trial(*words):
            config = train.TrainingConfig.model_validate({"model": "imixer_s16_224"})
            return train.what_to_train(config, digits.facts, {"model.patch_size": 2, **dict(words)})

        data = data_identity(DataConfig(), digits.facts)
        train.require_same(tmp_path / "training.json", trial(), data)
        train.require_same(tmp_path / "training.json", trial(("train.micro_batch", 8)), data)
        with pytest.raises(train.ConfigError, match=r"model.depth: 3 != 8"):
            train.require_same(tmp_path / "training.json", trial(("model.depth", 3)), data)
        with pytest.raises(train.ConfigError, match=r"data.fingerprint: 0 != "):
            train.require_same(tmp_path / "training.json", trial(), data | {"fingerprint": "0"})
        older = json.loads((tmp_path / "training.json").read_text())
        del older["train.class_weights"]  # a setting that came later
        (tmp_path / "training.json").write_text(json.dumps(older))
        train.require_same(tmp_path / "training.json", trial(), data)
        with pytest.raises(train.ConfigError, match="class_weights: balanced != none"):
            train.require_same(
                tmp_path / "training.json", trial(("train.class_weights", "balanced")), data
            )

    def test_a_trial_the_study_does_not_have(self, tmp_path, digits):
        with open_study(tmp_path) as study:
            finish(study, study.ask(lambda config: train_admission()).number)
        config = train.TrainingConfig.model_validate({"from": "test#7", "storage": str(tmp_path)})
        with pytest.raises(train.StudyError, match="must have trial 7"):
            train.what_to_train(config, digits.facts, {})


class TestDataOfTheStudy:
    """``from=`` takes the study's data and split with the trial, and refuses others."""

    def words(self, searched, *more):
        return [f"from={searched.name}", f"storage={searched.parent}", "epochs=1", *more]

    def config(self, *words):
        values = train.read_words(words, train.TrainingConfig, None, {"data": "data.source"})
        return train.parse(train.TrainingConfig, values, "command line")

    def test_the_settings_are_the_studys(self, tmp_path, digits):
        splits = DataConfig(split_seed=7, val_fraction=0.2)
        facts = load(splits).facts
        about = Identity(
            "seven",
            Space.from_dict(SPACE),
            data_identity(splits, facts),
            "default",
            {},
            0,
            Images().data_description(splits, facts),
        )
        with Study(tmp_path / "seven", about, "random", "asha") as study:
            finish(study, study.ask(lambda config: train_admission()).number)
        view = train.study_of(config := self.config("from=seven", f"storage={tmp_path}"))
        found = train.data_of_study(config, view)
        assert (found.split_seed, found.val_fraction) == (7, 0.2)
        other = self.config("from=seven", f"storage={tmp_path}", "data.split_seed=8")
        found = train.data_of_study(other, view)
        assert found.split_seed == 8
        assert "test_fraction" not in found.model_fields_set, "a default is nobody's setting"
        with pytest.raises(
            train.StudyError,
            match=r"the data differ from those of study seven .*fingerprint.*data.split_seed=7",
        ):
            train.what_to_train(other.model_copy(update={"data": found}), load(found).facts, {})

    def test_another_source_is_refused(self, tmp_path, searched, capsys):
        folder = folder_of_images(tmp_path / "photos", classes=10, images=8)
        for words in ([f"data={folder}"], ["data.split_seed=1"], ["data.val_fraction=0.3"]):
            assert (
                run_verb(train.main, train.TrainingConfig, "about", self.words(searched, *words))
                == MISTAKE
            )
            assert f"the data differ from those of study {searched.name}" in capsys.readouterr().err

    def test_what_differs_is_said_in_the_words_of_the_command_line(self, searched, capsys):
        words = self.words(searched, "data.crop_pct=0.8")
        assert run_verb(train.main, train.TrainingConfig, "about", words) == MISTAKE
        out, error = capsys.readouterr()
        assert f"data as in study {searched.name}, except data.crop_pct=0.8" in out
        assert "data.crop_pct: 0.8 != 1.0" in error
        assert "data.test_fraction" not in error

    def test_what_it_would_not_use_is_refused(self, searched, capsys):
        assert (
            run_verb(
                train.main, train.TrainingConfig, "about", self.words(searched, "recipe=paper")
            )
            == MISTAKE
        )
        assert (
            "recipe must not be set together with from=, got recipe=paper"
            in capsys.readouterr().err
        )


def train_admission():
    from hopsearch.study import Admission

    return Admission({"n_params": 1, "flops": 1, "memory": 1})


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(400)
class TestTraining:
    @pytest.mark.long
    @pytest.mark.in_turns("a training goes on")
    def test_killed_and_run_again(self, tmp_path):
        folder = tmp_path / "runs" / "mine"
        words = [*SMALL, "workers=2", "epochs=8"]
        process = start(tmp_path, *words)
        assert wait_for(lambda: epoch(folder) >= 2, process, 150), (
            tmp_path / "log.txt"
        ).read_text()[-3000:]
        ranks = [pid for pid in descendants(process.pid) if is_rank(pid)]
        doors = listening(process.pid)
        assert len(ranks) == 2
        assert len(doors) > 5
        assert not {address: who for address, who in doors.items() if not is_loopback(address)}
        process.kill()
        process.wait()
        assert wait_gone(ranks), "a killed driver's ranks must end by themselves"
        saved = epoch(folder)
        done = run(tmp_path, *words)
        assert done.returncode == 0, done.stderr[-3000:]
        assert f"epoch {saved}/8" in done.stdout  # where it goes on from
        assert steps(folder) == list(range(1, 9))
        began = [
            line.split()[0]
            for line in (folder / "checkpoints" / "epochs.log").read_text().splitlines()
        ]
        assert len(began) <= 8 + 1  # only the epoch that was cut off was trained twice
        result = json.loads((folder / "result.json").read_text())
        assert result["epochs"] == 8
        assert "Traceback" not in done.stderr

    def test_interrupted_in_the_middle_of_an_epoch(self, tmp_path):
        folder = tmp_path / "runs" / "mine"
        words = [*SMALL, "epochs=3", "optim.batch_size=1"]  # many steps
        process = start(tmp_path, *words)
        assert wait_for(lambda: begun_epochs(folder) >= 1, process, 100), (
            tmp_path / "log.txt"
        ).read_text()[-3000:]
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=100) == 130, (tmp_path / "log.txt").read_text()[-3000:]
        state = CheckpointFolder(folder / "checkpoints").load_newest()
        assert state is not None
        assert state["position"] > 0
        assert "Run the same command to resume." in (tmp_path / "log.txt").read_text()

    @pytest.mark.long
    @pytest.mark.in_turns("a training goes on")
    def test_a_winner_trained_on_is_as_good(self, tmp_path):
        search = [
            "space=imixer",
            "model.dim=32",
            "model.depth=2",
            "model.patch_size=2",
            "train.epochs=3",
            "trials=2",
            "finish=false",
        ]
        assert run(tmp_path, *search, verb="tune").returncode == 0
        view = StudyView.open(tmp_path / "runs" / "imixer-digits")
        done = run(tmp_path, "from=imixer-digits", "epochs=12", "name=longer")
        assert done.returncode == 0, done.stderr[-3000:]
        result = json.loads((tmp_path / "runs" / "longer" / "result.json").read_text())
        assert result["val_acc"] >= view.value(view.ranked()[0])

    @pytest.mark.parametrize(
        ("word", "message"),
        [
            (
                "workers=999",
                "the cluster must have room for 999 workers of 1 CPU and 0 GPU, got room for",
            ),
            (
                "gpus=64",
                "hopsearch: gpus: a machine of the cluster must have 64 GPU for a worker, got",
            ),
        ],
    )
    def test_more_than_the_cluster_has(self, tmp_path, word, message):
        done = run(tmp_path, *SMALL, word)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


class TestFailures:
    gone = Progress(
        failure="trial",
        reason="error: RuntimeError: [gloo] Connection closed by peer",
        trace="Traceback: gloo",
    )
    bug = Progress(failure="trial", reason="error: ZeroDivisionError: x", trace="Traceback: mine")
    diverged = Progress(failure="trial", reason="diverged: the loss must be finite")

    def test_the_cause_comes_before_its_consequences(self):
        assert cause([self.gone, self.bug, self.gone]) is self.bug
        assert cause([self.gone, self.bug, self.diverged]) is self.diverged
        assert cause([self.gone]) is self.gone
        assert (self.gone.others_gone, self.bug.others_gone, self.diverged.others_gone) == (
            True,
            False,
            False,
        )

    def test_a_rank_that_cannot_begin_shows_its_own_traceback(self, tmp_path, tiny, monkeypatch):
        def begin(*_):
            raise ZeroDivisionError("of this rank alone")

        monkeypatch.setattr(Images, "start", begin)
        told = JobRun(Job(number=0, trial=tiny, data=DataConfig(), folder=str(tmp_path))).advance()
        with pytest.raises(
            RuntimeError,
            match=r"(?s)a rank ended in an error:.*in begin.*ZeroDivisionError: of this rank alone",
        ):
            long_training._Run(None, print, print, (1, 1), GroupWatch(9))._fail(told)

    def test_a_diverged_training_is_the_users_to_mend(self):
        with pytest.raises(train.StudyError, match="the training failed: diverged"):
            long_training._Run(None, print, print, (1, 1), GroupWatch(9))._fail(self.diverged)


def begun_epochs(folder: Path) -> int:
    log = folder / "checkpoints" / "epochs.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def is_rank(pid: int) -> bool:
    try:
        return b"RayTrainWorker" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.fixture
def head(tmp_path, monkeypatch):
    """A cluster that has only a head without CPUs."""
    from ray.cluster_utils import Cluster

    token = tmp_path / "token"
    token.write_text("a token of this test alone")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def three_nodes(head):
    """The cluster, and two nodes in it."""
    # Addresses of their own, so that the driver joins the head and not a machine that is to be
    # lost.
    return head, [
        head.add_node(num_cpus=1, node_ip_address=f"127.0.0.{number}") for number in (2, 3)
    ]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.in_turns("a machine is lost")
@pytest.mark.timeout(500)
class TestMachines:
    def test_a_training_survives_a_machine(self, tmp_path, three_nodes):
        cluster, nodes = three_nodes
        folder = tmp_path / "runs" / "mine"
        process = start(tmp_path, *SMALL, "workers=1..2", "epochs=12", f"address={cluster.address}")
        try:
            assert wait_for(lambda: epoch(folder) >= 2, process, 150), (
                tmp_path / "log.txt"
            ).read_text()[-3000:]
            saved = epoch(folder)
            cluster.remove_node(nodes[1], allow_graceful=False)
            assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            process.kill()
        began = [
            int(line.split()[0])
            for line in (folder / "checkpoints" / "epochs.log").read_text().splitlines()
        ]
        assert sorted(set(began)) == list(range(1, 13))
        assert len(began) - 12 <= 1, (saved, began)
        assert json.loads((folder / "result.json").read_text())["epochs"] == 12

    def test_a_machine_taken_away_with_notice_costs_no_epoch(self, tmp_path, three_nodes):
        cluster, nodes = three_nodes
        folder = tmp_path / "runs" / "mine"
        words = [
            *SMALL,
            "workers=1..2",
            "epochs=3",
            "optim.batch_size=2",
            f"address={cluster.address}",
        ]
        process = start(tmp_path, *words)
        try:
            assert wait_for(lambda: begun_epochs(folder) >= 1, process, 150), (
                tmp_path / "log.txt"
            ).read_text()[-3000:]
            drain(cluster, nodes[1])
            assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            process.kill()
        assert "checkpointed mid-epoch; resumes there" in (tmp_path / "log.txt").read_text()
        assert steps(folder) == [1, 2, 3]

    def test_a_search_of_groups_survives_a_machine(self, tmp_path, three_nodes):
        cluster, nodes = three_nodes
        folder = tmp_path / "runs" / "imixer-digits"
        words = [*SEARCH, "train.epochs=9", "trials=6", "finish=false"]
        process = start(
            tmp_path, *words, "trial.workers=2", f"address={cluster.address}", verb="tune"
        )
        try:
            assert wait_for(lambda: sum(begun(folder).values()) >= 2, process, 150), (
                tmp_path / "log.txt"
            ).read_text()[-3000:]
            cluster.remove_node(nodes[1], allow_graceful=False)
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4")
            assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            process.kill()
        view = StudyView.open(folder)
        assert [record.number for record in view.counted()] == list(range(6))
        assert not [record for record in view.counted() if record.state.value == "running"]
        again = begun(folder)
        assert sum(again.values()) - len(again) <= 1
        assert left_behind(cluster.address, os.environ) == []

    def test_a_search_waits_for_machines_to_come(self, tmp_path, head):
        folder = tmp_path / "runs" / "imixer-digits"
        words = [*SEARCH, "train.epochs=1", "trials=2", "finish=false", f"address={head.address}"]
        refused = run(tmp_path, *words, verb="tune")
        assert refused.returncode == 2
        assert (
            "trial.cpus: a machine of the cluster must have 1 CPU for a worker, got 0 at most"
            in refused.stderr
        )
        process = start(tmp_path, *words, "trial.concurrent=2", verb="tune")
        try:
            assert wait_for(
                lambda: (
                    len(StudyView.open(folder).records) >= 1
                    if (folder / "journal.log").exists()
                    else False
                ),
                process,
            )
            head.add_node(num_cpus=1, node_ip_address="127.0.0.2")
            assert process.wait(timeout=200) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            process.kill()
        assert [record.state.value for record in StudyView.open(folder).counted()] == [
            "complete"
        ] * 2

    def test_a_search_leaves_a_machine_with_notice(self, tmp_path, three_nodes):
        cluster, nodes = three_nodes
        folder = tmp_path / "runs" / "imixer-digits"
        words = [*SEARCH, "train.epochs=3", "trials=2", "finish=false"]
        words += ["optim.batch_size=2", "pruner=none", f"address={cluster.address}"]
        process = start(tmp_path, *words, verb="tune")
        try:
            assert wait_for(lambda: len(begun(folder)) >= 2, process, 150), (
                tmp_path / "log.txt"
            ).read_text()[-3000:]
            drain(cluster, nodes[1])
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4")
            assert process.wait(timeout=300) == 0, (tmp_path / "log.txt").read_text()[-3000:]
        finally:
            process.kill()
        records = StudyView.open(folder).counted()
        assert [(record.state.value, record.epoch) for record in records] == [("complete", 3)] * 2
        assert sum(record.losses for record in records) == 1
        assert sum(begun(folder).values()) == 6 + 1  # the epoch that moved was begun in two places


def drain(cluster, node) -> None:
    """Tell the cluster that a node will be taken away, as a spot watcher does."""
    words = ["drain-node", "--address", cluster.address, "--node-id", node.node_id]
    words += [
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "spot",
        "--deadline-remaining-seconds",
        "120",
    ]
    subprocess.run(
        [str(Path(sys.executable).parent / "ray"), *words],
        check=True,
        capture_output=True,
        timeout=60,
    )


def left_behind(address: str, environ) -> list[str]:
    """States of the placement groups that are still there, asked by a process of its own."""
    ask = (
        "import ray; ray.init(address='%s', log_to_driver=False);"
        "print([group['state'] for group in ray.util.placement_group_table().values() if "
        "group['state'] != 'REMOVED'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", ask % address],
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout.strip().splitlines()[-1].replace("'", '"'))
