"""SIGTERM, SIGHUP and SIGINT, once and twice, at every moment: exit 130, a sentence, everything
saved, no process left.
"""

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hopsearch.core.errors import ResourceError
from hopsearch.study import State, StudyView
from hopsearch.training import CheckpointFolder
from tests.conftest import environment, hear_interrupts
from tests.processes import begun, descendants, is_alive, wait_for, wait_gone

# A command as hopsearch's are, without their imports: quick enough to be tried in every way.
WORK = """
import os, signal, subprocess, sys, time
from hopsearch.command_line import signals
signals.supervise()
print("started", flush=True)
{before}
signals.begin()
print("begun", os.getpid(), flush=True)
try:
    while True:
        time.sleep(0.01)
        {each}
except KeyboardInterrupt:
    signals.saving()
    time.sleep(0.6)
    signals.tell("interrupted. Saved.")
    open("saved", "w").close()
    signals.finish(130)
"""
TAKEN = (
    "[signal.signal(number, lambda *_: os.abort()) for number in (signal.SIGTERM, signal.SIGHUP)]"
)
ORPHAN = "subprocess.Popen(['sh', '-c', 'trap : TERM HUP; sleep 99'], start_new_session=True)"
SWALLOWS = """
def deaf(left=[1]):
    try:
        time.sleep(0.05)
    except KeyboardInterrupt:
        if not left: raise
        left.clear()
"""


class Work:
    """The command above, started as a shell would."""

    def __init__(
        self,
        folder: Path,
        before: str = "",
        each: str = "pass",
        prefix: tuple[str, ...] = (),
        **more,
    ) -> None:
        self.folder = folder
        (folder / "work.py").write_text(WORK.format(before=before, each=each))
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), **more}
        with (folder / "log.txt").open("w") as log:
            command = [*prefix, sys.executable, "work.py"]
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=env,
                stdout=log,
                stderr=log,
                preexec_fn=hear_interrupts,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def until(self, word: str) -> list[int]:
        assert wait_for(lambda: word in self.log, self.process, 20), self.log
        return descendants(self.process.pid)

    def ends(self, *sent: int, whole_group: bool = False, code: int = 130) -> None:
        family = self.until("begun")
        for number in sent:
            (os.killpg if whole_group else os.kill)(self.process.pid, number)
            time.sleep(0.2)
        assert self.process.wait(20) == code, self.log
        assert wait_gone(family, 2)


class TestWithoutRay:
    @pytest.mark.parametrize("whole_group", [False, True])
    @pytest.mark.parametrize(
        "sent",
        [
            (signal.SIGTERM,),
            (signal.SIGHUP,),
            (signal.SIGINT,),
            (signal.SIGTERM, signal.SIGTERM),
            (signal.SIGHUP,) * 3,
        ],
        ids=lambda sent: "-".join(each.name for each in sent),
    )
    def test_saves_and_says_so(self, tmp_path, sent, whole_group):
        work = Work(tmp_path)
        work.ends(*sent, whole_group=whole_group)
        assert (tmp_path / "saved").exists()
        assert work.log.count("interrupted. Saved.") == 1
        assert "Traceback" not in work.log

    def test_under_timeout(self, tmp_path):
        work = Work(tmp_path, prefix=("timeout", "1"))
        assert work.process.wait(20) == 124  # timeout's own code
        assert (tmp_path / "saved").exists()

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_library_that_takes_the_handlers_over_changes_nothing(self, tmp_path, number):
        work = Work(tmp_path, before=TAKEN)
        work.ends(number, number)
        assert (tmp_path / "saved").exists()

    def test_no_process_is_left(self, tmp_path):
        Work(tmp_path, before=ORPHAN).ends(signal.SIGTERM)

    def test_an_interruption_that_is_swallowed_comes_again(self, tmp_path):
        Work(tmp_path, before=SWALLOWS, each="deaf()").ends(signal.SIGTERM)
        assert (tmp_path / "saved").exists()

    def test_before_anything_is_begun_it_ends_at_once(self, tmp_path):
        work = Work(tmp_path, before="time.sleep(30)")
        work.until("started")
        work.process.send_signal(signal.SIGTERM)
        assert work.process.wait(5) == 130
        assert "interrupted before anything started; nothing to save." in work.log

    def test_hung_up_with_nohup_it_goes_on(self, tmp_path):
        work = Work(tmp_path, prefix=("nohup",))
        work.until("begun")
        work.process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert work.process.poll() is None
        work.ends(signal.SIGTERM)

    def test_stopped_and_continued_with_all_its_processes(self, tmp_path):
        work = Work(tmp_path)
        family = work.until("begun")
        work.process.send_signal(signal.SIGTSTP)
        assert wait_for(
            lambda: {state(pid) for pid in [work.process.pid, *family]} == {"T"}, work.process, 5
        )
        work.process.send_signal(signal.SIGCONT)
        assert wait_for(
            lambda: "T" not in {state(pid) for pid in [work.process.pid, *family]}, work.process, 5
        )
        work.ends(signal.SIGTERM)

    def test_killed_it_takes_its_child_along(self, tmp_path):
        work = Work(tmp_path)
        family = work.until("begun")
        work.process.kill()
        work.process.wait()
        assert wait_gone(family, 5)

    def test_a_child_that_is_killed_is_told_of(self, tmp_path):
        work = Work(tmp_path)
        os.kill(work.until("begun")[0], signal.SIGKILL)
        assert work.process.wait(5) == 1
        assert (
            "was killed by SIGKILL, often because the system ran out of memory. Completed epochs "
            "are saved." in work.log
        )

    def test_a_terminal_that_goes_away(self, tmp_path):
        (tmp_path / "work.py").write_text(WORK.format(before="", each="print('.' * 99)"))
        pid, terminal = pty.fork()
        if not pid:
            hear_interrupts()
            os.chdir(tmp_path)
            os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
            os.execv(sys.executable, [sys.executable, "work.py"])
        seen = b""
        while b"begun" not in seen:
            seen += os.read(terminal, 1000)
        family = descendants(pid)
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
        assert (tmp_path / "saved").exists()
        assert wait_gone(family, 2)

    def test_a_pipe_whose_reader_leaves(self, tmp_path):
        (tmp_path / "work.py").write_text(WORK.format(before="", each="print('.' * 99)"))
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        words = f"{sys.executable} work.py | head -n 3; exit ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=20
        )
        assert (done.returncode, done.stdout.count("\n"), done.stderr) == (
            130,
            3,
            "\nhopsearch: interrupted. Saved.\n",
        )
        assert (tmp_path / "saved").exists()

    def test_a_terminal_without_the_characters(self, tmp_path):
        work = Work(tmp_path, before="print('Käse λ')", PYTHONIOENCODING="ascii")
        work.ends(signal.SIGTERM)
        assert "K?se ?" in work.log


@pytest.mark.parametrize("verb", ["tune", "train"])
@pytest.mark.parametrize("after", [0.3, 1.0])
def test_while_it_is_imported(tmp_path, verb, after):
    words = [sys.executable, "-m", f"hopsearch.{verb}", "space=imixer", "storage=runs"]
    process = subprocess.Popen(
        words, env=environment(tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert wait_for(lambda: descendants(process.pid), process, 20)
    time.sleep(after)
    process.terminate()
    _, error = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in error) == (130, False), error
    assert "interrupted before anything started" in error
    assert not (tmp_path / "runs").exists()


def photographs(folder: Path, images: int) -> Path:
    """Images that take a while to decode."""
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    for number in range(images):
        (folder / f"class{number % 2}").mkdir(parents=True, exist_ok=True)
        file = folder / f"class{number % 2}" / f"{number}.jpg"
        if number < 2:
            Image.fromarray(pixels).save(file)
        else:
            file.write_bytes(
                (folder / f"class{number % 2}" / f"{number % 2}.jpg").read_bytes() + bytes([number])
            )
    return folder


class Run:
    """A verb, started; its log is that of all runs in the folder."""

    def __init__(self, tmp_path: Path, verb: str, *words: str) -> None:
        self._file = tmp_path / "log.txt"
        self._before = self._file.stat().st_size if self._file.exists() else 0
        with self._file.open("a") as log:
            command = [
                sys.executable,
                "-m",
                f"hopsearch.{verb}",
                f"storage={tmp_path / 'runs'}",
                *words,
            ]
            self.process = subprocess.Popen(
                command,
                env=environment(tmp_path),
                stdout=log,
                stderr=log,
                preexec_fn=hear_interrupts,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._file.read_text()[self._before :]

    def until(self, condition) -> "Run":
        assert wait_for(condition, self.process), self.log[-3000:]
        return self

    def said(self, text: str) -> "Run":
        return self.until(lambda: text in self.log)

    def ends(
        self, *sent: int, whole_group: bool = False, sentence: str = "interrupted. Saved"
    ) -> None:
        family = [self.process.pid, *descendants(self.process.pid)]
        for number in sent:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if whole_group else os.kill)(self.process.pid, number)
            time.sleep(0.3)
        assert self.process.wait(timeout=90) == 130, self.log[-3000:]
        assert sentence in self.log
        assert "Traceback" not in self.log
        assert "***" not in self.log  # a C++ stack
        assert wait_gone(family, 5), [
            Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family if is_alive(pid)
        ]


@pytest.mark.parametrize(
    "words", ["tune space=mixer", "train model=mixer_s16_224 model.patch_size=8"]
)
def test_while_images_decode(tmp_path, words):
    images = photographs(tmp_path / "images", 60)
    run = Run(tmp_path, *words.split(), f"data={images}", "data.image_size=32")
    run.until(lambda: list((tmp_path / "cache").glob("*")))
    run.ends(signal.SIGTERM, signal.SIGTERM, sentence="interrupted before anything started")
    assert not list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.in_turns("stopped at every moment")
@pytest.mark.timeout(600)
def test_a_search_at_every_moment(tmp_path):
    """One study, signalled in every part of its life, and then brought to its end."""
    folder = tmp_path / "runs" / "mine"
    words = [
        "space=imixer",
        "study=mine",
        "model.dim=32",
        "model.depth=2",
        "model.patch_size=2",
        "train.epochs=60",
    ]
    words += ["budget.epochs=4", "trials=12"]

    def run() -> Run:
        return Run(tmp_path, "tune", *words)

    run().said("watch it:").ends(signal.SIGTERM)  # Ray starts
    run().until(lambda: sum(begun(folder).values()) >= 1).ends(signal.SIGHUP, signal.SIGHUP)
    run().until(lambda: StudyView.open(folder).epochs >= 1).ends(
        signal.SIGTERM, signal.SIGTERM, whole_group=True
    )
    known = StudyView.open(folder)
    left = [record for record in known.counted() if not record.state.ended]
    assert {(record.state, record.reason) for record in left} == {(State.OPEN, "interrupted")}
    assert not [trial for trial in known.optuna.trials if trial.state.name == "RUNNING"], (
        "as optuna-dashboard sees it"
    )
    run().said("winner: trial").ends(signal.SIGTERM, signal.SIGHUP)
    view = StudyView.open(folder)
    assert all(
        record.curve.items() <= view.records[number].curve.items()
        for number, record in known.records.items()
    )
    last = run()
    assert last.process.wait(timeout=200) == 0, last.log[-3000:]
    assert StudyView.open(folder).winner["epochs"] == 60
    assert view.audit() == []
    assert view.epochs >= 4


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.in_turns("stopped at every moment")
@pytest.mark.timeout(600)
def test_a_training_at_every_moment(tmp_path):
    folder = tmp_path / "runs" / "mine"
    words = [
        "model=imixer_s16_224",
        "model.dim=32",
        "model.depth=2",
        "model.patch_size=2",
        "name=mine",
        "epochs=2",
    ]
    words += ["optim.batch_size=1"]  # many steps

    def run() -> Run:
        return Run(tmp_path, "train", *words)

    def begun_epochs() -> int:
        log = folder / "checkpoints" / "epochs.log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    run().said("watch it:").ends(signal.SIGHUP, signal.SIGHUP)  # Ray starts
    first = run().until(lambda: begun_epochs() >= 1)
    time.sleep(1)
    first.ends(signal.SIGTERM, signal.SIGTERM, whole_group=True)  # as `timeout` does
    state = CheckpointFolder(folder / "checkpoints").load_newest()
    assert state is not None
    assert state["position"] > 0  # the epoch is saved in its middle
    last = run()
    assert last.process.wait(timeout=200) == 0, last.log[-3000:]


def test_the_folder_of_rays_sockets(tmp_path, monkeypatch):
    from hopsearch.ray_backend.cluster import head

    long = tmp_path / ("x" * 90)
    long.mkdir()
    short = Path(tempfile.mkdtemp(prefix="h", dir="/tmp"))
    monkeypatch.setattr(head, "_PLACES", (str(long), "/nowhere", str(short)))
    folder = head.ray_folder()
    assert folder == short / f"hopsearch-{os.getuid()}" / "ray" == head.ray_folder()
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    folder.parent.chmod(0o755)  # somebody else may have been in it
    other = head.ray_folder()
    assert other.parent != folder.parent
    assert other.parent.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(head, "_PLACES", (str(long),))
    with pytest.raises(
        ResourceError,
        match="TMPDIR: Ray's sockets need a folder with a path of at most 40 characters",
    ):
        head.ray_folder()
    shutil.rmtree(short)


def state(pid: int) -> str:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]


def test_that_the_tests_see_a_process_that_is_left(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"])
    assert is_alive(process.pid)
    assert process.pid in descendants(os.getpid())
    process.kill()
    process.wait()
    assert not is_alive(process.pid)
