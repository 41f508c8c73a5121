"""Checkpoints: whose may go, that nothing a restart needs ever does, and that a removal waits until
its reason is safe.
"""

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from hopsearch import export, report
from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError, ResourceError, StudyError
from hopsearch.orchestration.checkpoint_cleanup import CheckpointConfig, Checkpoints, in_words
from hopsearch.orchestration.checkpoint_retention import Retention, retain
from hopsearch.orchestration.simulation.simulator import Faults, Simulation, Training
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.printout import show
from hopsearch.storage import mirror
from hopsearch.storage.mirror import Mirror, Place
from hopsearch.study import PRUNERS, State, Study, StudyView
from hopsearch.training import CheckpointFolder
from tests.conftest import SPACE, admit_all, environment, identity, open_study

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

BOTH = SPACE | {"objective": "val_acc,n_params"}


@pytest.fixture
def study(tmp_path) -> Iterator[Study]:
    """Of trials that are told to end with what a test says."""
    with open_study(tmp_path, pruner="none") as study:
        yield study


def trial(study: Study, value: float, ends: bool = True) -> int:
    """A trial that has come to ``value``, and has ended or runs on."""
    number = study.ask(admit_all).number
    for epoch in range(1, 10 if ends else 2):
        study.report(number, epoch, value * epoch / 9 if ends else value, 1.0, "x.pt")
    return number


class TestRetain:
    def test_the_best_few_are_kept_best_first(self, study):
        for value in (0.1, 0.4, 0.2, 0.3):
            trial(study, value)
        assert retain(study, dict.fromkeys(range(4), 10), keep=2) == Retention(
            (), (1, 3), (0, 2), 20
        )

    def test_those_that_run_and_wait_stay_and_take_nobodys_place(self, tmp_path):
        with open_study(tmp_path, pruner="asha_promotion") as study:
            waiting = trial(study, 0.9, ends=False)
            running = study.ask(admit_all).number
            failed = trial(study, 0.8, ends=False)
            study.fail(failed, "diverged")
            assert study.records[waiting].state == State.PAUSED
            assert retain(study, {waiting: 5, running: 5, failed: 5}, keep=1) == Retention(
                (waiting, running), (), (failed,), 10
            )

    def test_the_best_that_ended_stays_while_a_better_one_runs(self, study):
        best, better = trial(study, 0.5), trial(study, 0.9, ends=False)
        trial(study, 0.4)
        assert retain(study, dict.fromkeys(range(3), 1), keep=1).kept == (best,)
        study.fail(better, "diverged")
        assert study.ranked()[0].number == best

    def test_the_front_of_several_objectives_stays(self, tmp_path):
        with open_study(tmp_path, pruner="none", space=BOTH) as study:
            numbers = [trial(study, study_value) for study_value in (0.5, 0.6, 0.7, 0.8)]
            verdict = retain(study, dict.fromkeys(numbers, 1), keep=1)
            assert set(verdict.kept) == {record.number for record in study.front()}
            assert retain(study, dict.fromkeys(numbers, 1), keep=1, quota=0).kept == (
                study.ranked()[0].number,
            )

    def test_above_the_quota_the_lowest_ranked_go_down_to_the_best(self, study):
        for value in (0.1, 0.4, 0.2, 0.3):
            trial(study, value)
        sizes = dict.fromkeys(range(4), 10)
        kept = {quota: retain(study, sizes, keep=4, quota=quota).kept for quota in (40, 39, 20, 5)}
        assert kept == {40: (1, 3, 2, 0), 39: (1, 3, 2), 20: (1, 3), 5: (1,)}

    def test_who_has_no_weights_is_not_missed(self, study):
        for value in (0.1, 0.4, 0.2, 0.3):
            trial(study, value)
        assert retain(study, {0: 1, 2: 1}, keep=1) == Retention((), (2,), (0,), 1)

    def test_a_folder_that_the_journal_does_not_know_stays(self, study):
        # a new head's journal may be behind
        assert retain(study, {7: 3}, keep=1) == Retention((7,), (), (), 3)


class Hills:
    """A landscape with a best depth and learning rate; too high a rate diverges in its third
    epoch.
    """

    def cost(self, config):
        return {"n_params": 1000 * config["model.depth"], "flops": 1}

    def train(self, config, seed):
        level = 1 - abs(config["model.depth"] - 6) / 8 + 10 * config["optim.lr"]
        epochs = 2 if config["optim.lr"] > 5e-3 else 9
        return Training(
            [level * (1 - 0.7**epoch) for epoch in range(1, epochs + 1)],
            [1.0 + config["model.depth"] / 10] * 9,
        )


class OnDisk(Simulation):
    """A simulated search whose workers leave checkpoints and go on from them.

    Attributes:
        disk: the epoch of each trial's newest checkpoint.
    """

    def __init__(self, study: Study, trials: int, faults: Faults, disk: dict[int, int]) -> None:
        super().__init__(study, Hills(), 4, trials, faults)
        self.disk = disk

    def _begin_epoch(self, worker, record):
        assert self.disk.get(record.number, 0) >= record.epoch, (
            f"trial {record.number} cannot go on"
        )
        super()._begin_epoch(worker, record)

    def _hear_of(self, worker, record):
        # it saves first, then tells; what it tells may be lost
        self.disk[record.number] = record.epoch + 1
        return super()._hear_of(worker, record)


class TestNothingThatARestartNeedsIsDropped:
    """Over simulated searches that are killed now and then, also between a decision and its
    removals, and go on.
    """

    TRIALS = 25

    LATER: ClassVar = [
        pytest.param(seed, marks=(pytest.mark.long, pytest.mark.in_turns)) for seed in range(1, 10)
    ]

    @pytest.mark.parametrize("seed", [0, *LATER])
    @pytest.mark.parametrize("objective", ["val_acc", "val_acc,n_params"])
    @pytest.mark.parametrize("pruner", sorted(PRUNERS))
    def test_in_searches_with_kills(self, tmp_path, pruner, objective, seed):
        chance = random.Random(f"{pruner} {objective} {seed}")
        keep, quota = chance.choice((1, 2, 5)), chance.choice((None, 0, 30, 60))
        kills = self.search(tmp_path, pruner, SPACE | {"objective": objective}, keep, quota, chance)
        assert kills >= 1

    def search(self, folder, pruner, space, keep, quota, chance) -> int:
        disk: dict[int, int] = {}
        faults = Faults(failure=0.02, preemption=0.1, away=2.0, seed=chance.randrange(100))
        kills, over = 0, False
        while not over:
            with Study(folder / "test", identity(space=space), "random", pruner) as study:
                simulation = OnDisk(study, self.TRIALS, faults, disk)
                self.sweep(study, disk, keep, quota, chance)
                for turn, _ in enumerate(simulation.events()):
                    swept = self.sweep(study, disk, keep, quota, chance)
                    if not swept or chance.random() < 0.06 or (turn == 9 and not kills):
                        kills += 1
                        break
                else:
                    over = True
                    self.sweep(study, disk, keep, quota, chance=None)
                    assert study.ranked()[0].number in disk
                    assert len(study.counted()) == self.TRIALS
        return kills

    def sweep(self, study, disk, keep, quota, chance) -> bool:
        """Decide and remove; False where a kill comes in between."""
        sizes = {number: 1 + (7 * number + epoch) % 13 for number, epoch in disk.items()}
        verdict = retain(study, sizes, keep, quota)
        unended = [record for record in study.counted() if not record.state.ended]
        ended = [record for record in study.counted() if record.state.ended]
        assert {record.number for record in unended} & set(disk) <= set(verdict.needed)
        assert not set(verdict.needed) & set(verdict.dropped)
        assert sorted((*verdict.needed, *verdict.kept, *verdict.dropped)) == sorted(disk)
        assert verdict.held == sum(sizes[number] for number in (*verdict.needed, *verdict.kept))
        if quota is None:
            assert {record.number for record in study.rank(ended)[:keep]} <= set(verdict.kept)
        else:
            assert verdict.held <= quota or len(verdict.kept) <= 1
        # Whoever of those that run fails, the best of all the others has its weights.
        fail = (
            set()
            if chance is None
            else {record.number for record in unended if chance.random() < 0.5}
        )
        left = study.rank(record for record in study.counted() if record.number not in fail)
        assert not left or left[0].number in {*verdict.needed, *verdict.kept}
        for number in verdict.dropped:
            if chance is not None and chance.random() < 0.05:
                return False
            del disk[number]
        return True


def save(study: Study, value: float, ends: bool = True, place: Place | None = None) -> int:
    """A trial with a checkpoint of 1000 bytes, in its copy too."""
    number = trial(study, value, ends)
    folder = study.folder / "trials" / f"{number:04d}"
    folder.mkdir(parents=True)
    (folder / "best.pt").write_bytes(bytes(1000))
    (folder / "epochs.log").write_text("1 here 1\n")
    if place:
        Mirror(place.below("trials", folder.name)).push(folder)
    return number


def weights(folder: Path) -> list[int]:
    return sorted({int(file.parent.name) for file in folder.glob("trials/*/*.pt")})


class TestCheckpoints:
    def keeper(self, study, **words) -> tuple[Checkpoints, list[str]]:
        said: list[str] = []
        return Checkpoints(
            study, Place(study.folder), CheckpointConfig(**words), say=said.append
        ), said

    def test_the_decision_is_in_the_journal_before_anything_goes(self, study, monkeypatch):
        for value in (0.1, 0.3, 0.2):
            save(study, value)
        removed = []

        def remove(folder):
            removed.append(int(folder.path.name))
            assert StudyView.open(study.folder).kept == [1, 2]

        monkeypatch.setattr(CheckpointFolder, "remove", remove)
        self.keeper(study, keep=2)
        assert removed == [0]

    def test_a_trials_log_stays(self, study):
        save(study, 0.1)
        save(study, 0.2)
        self.keeper(study, keep=1)
        assert weights(study.folder) == [1]
        assert [file.name for file in (study.folder / "trials" / "0000").iterdir()] == [
            "epochs.log"
        ]

    def test_killed_between_decision_and_removal(self, tmp_path):
        """SIGKILL in a process of its own, at the first removal; the next one sweeps."""
        with open_study(tmp_path, pruner="none") as study:
            for value in (0.1, 0.3, 0.2):
                save(study, value)
        program = (
            "import os, signal, sys; from pathlib import Path\n"
            "from hopsearch.orchestration.checkpoint_cleanup import CheckpointConfig, "
            "CheckpointFolder, Checkpoints, Place, Study\n"
            "from hopsearch.study import StudyView\n"
            "CheckpointFolder.remove = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
            "folder = Path(sys.argv[1])\n"
            "with Study(folder, StudyView.open(folder).identity, 'random', 'none') as study:\n"
            "    Checkpoints(study, Place(folder), CheckpointConfig(keep=1))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(study.folder)],
            env=environment(tmp_path),
            timeout=50,
        )
        assert done.returncode == -signal.SIGKILL
        view = StudyView.open(tmp_path / "test")
        assert (view.kept, view.dropped, weights(view.folder)) == ([1], [0, 2], [0, 1, 2])
        with open_study(tmp_path, pruner="none") as study:
            self.keeper(study, keep=1)
            size = (study.folder / "journal.log").stat().st_size
            assert weights(study.folder) == [1]
            self.keeper(study, keep=1)  # and once more there is nothing to do or to note
            assert (study.folder / "journal.log").stat().st_size == size

    def test_more_may_be_kept_from_now_on(self, study):
        for value in (0.1, 0.3):
            save(study, value)
        self.keeper(study, keep=1)
        save(study, 0.2)
        self.keeper(study, keep=5)
        assert StudyView.open(study.folder).kept == [1, 2]

    def test_the_quota_takes_what_it_may_and_says_once_what_is_left(self, study):
        for value in (0.1, 0.3):
            save(study, value)
        save(study, 0.9, ends=False)
        keeper, said = self.keeper(study, quota="2kB")
        assert (weights(study.folder), said) == ([1, 2], [])
        keeper.saved(2, 2500)
        keeper.sweep()
        keeper.sweep()
        assert weights(study.folder) == [1, 2]
        assert said == [
            "checkpoint.quota: the study's checkpoints must fit 2 kB, got 3.5 kB: 2.5 kB of "
            "running trials, 1 kB of the best finished trial. They are needed for a restart or the "
            "winner, so they are kept. Raise "
            "it, or lower "
            "trial.concurrent"
        ]

    def test_what_cannot_be_removed_now_is_removed_later(self, study, monkeypatch):
        save(study, 0.1)
        save(study, 0.2)
        with monkeypatch.context() as away:
            away.setattr(
                CheckpointFolder,
                "remove",
                lambda folder: (_ for _ in ()).throw(OSError("stale file handle")),
            )
            keeper, said = self.keeper(study, keep=1)
            keeper.settle()
            assert said[-1] == (
                "could not delete the checkpoints of trials 0 (stale file handle); the next run "
                "retries"
            )
        keeper.settle()
        assert weights(study.folder) == [1]

    def test_a_cut_off_save_is_found_and_tidied(self, study):
        number = study.ask(admit_all).number
        folder = CheckpointFolder(study.folder / "trials" / f"{number:04d}")
        folder.save({"epoch": 1}, 1, best=True)
        whole = folder.size()
        assert whole == (folder.path / "best.pt").stat().st_size  # a second name takes no room
        assert folder.size(linked=False) == 2 * whole
        (folder.path / ".epoch_0002.99").write_bytes(bytes(50))
        assert folder.size() == whole + 50
        folder.tidy()
        assert folder.size() == whole
        (folder.path / ".epoch_0002.99").write_bytes(bytes(50))
        study.fail(number, "diverged")
        self.keeper(study)
        assert not folder.path.exists()


class TestInAStorage:
    """With a copy elsewhere, from which a new head would go on."""

    @pytest.fixture(params=["file", "s3"])
    def place(self, request, tmp_path, monkeypatch) -> Place:
        monkeypatch.setattr(mirror, "_SOON", 1000.0)  # the journal's copy lags as far as it can
        storage = (
            f"file://{tmp_path}/storage"
            if request.param == "file"
            else request.getfixturevalue("s3")
        )
        return Place(tmp_path / "test", f"{storage}/test")

    def stored(self, place: Place) -> list[int]:
        return sorted(
            int(path[:4]) for path in Mirror(place.below("trials")).tree() if path.endswith(".pt")
        )

    def test_nothing_goes_before_the_journals_copy_tells_why(self, tmp_path, place):
        config = CheckpointConfig(keep=1)
        with place.journal() as journal, open_study(tmp_path, pruner="none") as study:
            keeper = Checkpoints(study, place, config, journal)
            for value in (0.1, 0.2):
                keeper.saved(save(study, value, place=place), 1000)
            keeper.sweep()
            # A head lost now would be followed by one that knows neither trial's end: it would need
            # both.
            assert (weights(study.folder), self.stored(place)) == ([0, 1], [0, 1])
            journal.flush()
            keeper.sweep()
            assert (weights(study.folder), self.stored(place)) == ([1], [1])
            keeper.saved(save(study, 0.3, place=place), 1000)
            keeper.settle()
            assert (weights(study.folder), self.stored(place)) == ([2], [2])

    def test_a_new_head_sweeps_what_an_old_one_left(self, tmp_path, place):
        with place.journal(), open_study(tmp_path, pruner="none") as study:
            for value in (0.1, 0.2):
                save(study, value, place=place)
        (tmp_path / "head").mkdir()
        here = Place(tmp_path / "head" / "test", place.remote)  # an empty machine
        with here.journal() as journal, open_study(tmp_path / "head", pruner="none") as study:
            Checkpoints(study, here, CheckpointConfig(keep=1), journal)
        assert self.stored(place) == [1]

    def test_a_storage_that_is_away_ends_no_search(self, tmp_path, place, monkeypatch):
        with place.journal() as journal, open_study(tmp_path, pruner="none") as study:
            for value in (0.1, 0.2):
                save(study, value, place=place)
            said: list[str] = []
            with monkeypatch.context() as away:
                away.setattr(
                    Mirror,
                    "clear",
                    lambda copy: (_ for _ in ()).throw(ResourceError("s3", "must be reachable")),
                )
                keeper = Checkpoints(study, place, CheckpointConfig(keep=1), journal, said.append)
                keeper.settle()
            assert self.stored(place) == [0, 1]
            assert "(s3: must be reachable" in said[-1]
            keeper.settle()
            assert self.stored(place) == [1]


class TestWords:
    @pytest.mark.parametrize(
        ("given", "size"),
        [
            ("20GB", 20e9),
            ("1.5 MB", 1.5e6),
            ("500kB", 500e3),
            ("2TB", 2e12),
            ("1GiB", 2**30),
            (5000, 5000),
            (2e9, 2e9),
        ],
    )
    def test_of_a_quota(self, given, size):
        assert CheckpointConfig(quota=given).quota == size

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"quota": "20 gigs"},
                "must be a number of bytes, or one with a unit kB, MB, GB or TB, got '20 gigs'",
            ),
            ({"quota": "-1GB"}, "must be a number of bytes"),
            ({"quota": 0}, "quota: input should be greater than 0"),
            ({"keep": 0}, "keep: input should be greater than or equal to 1"),
        ],
    )
    def test_mistakes(self, given, message):
        with pytest.raises(ConfigError, match=message):
            parse(CheckpointConfig, given, "checkpoint")

    def test_of_sizes(self):
        assert [in_words(size) for size in (0, 999, 1500, 2_340_000, 5e9, 3e15)] == [
            "0 kB",
            "0.999 kB",
            "1.5 kB",
            "2.34 MB",
            "5 GB",
            "3e+03 TB",
        ]

    def test_who_looks_at_a_study_is_told(self, study, capsys, tmp_path):
        for value in (0.1, 0.3):
            save(study, value)
        running = study.ask(admit_all).number
        Checkpoints(study, Place(study.folder), CheckpointConfig(keep=1))
        view = StudyView.open(study.folder)
        show(view, make_console())
        again = "python -m hopsearch.train from=test#"
        assert (
            f"weights are kept for trials 1; {again}<trial> retrains another one"
            in capsys.readouterr().out
        )
        dropped = r"none: deleted when it ended, by checkpoint\.keep or checkpoint\.quota"
        rule = (
            rf"0000: the trial's weights must exist, got {dropped}. Weights are kept for "
            rf"trials 1; {again}0 retrains it"
        )
        with pytest.raises(StudyError, match=rule):
            export.write_export(view, tmp_path / "m", 0)
        with pytest.raises(
            StudyError, match=r"the trial must have trained an epoch, got none\. Wait for it"
        ):
            export.write_export(view, tmp_path / "m", running)
        page = report.write_report(view).read_text()
        assert page.count('<td class="word">dropped</td>') == 1
        assert page.count('<a href="trials/0001/">checkpoints</a>') == 1
        assert '"kept": [1], "dropped": [0]' in page
        assert f"{again}&lt;trial&gt; retrains one" in page


def test_of_a_real_search(searched):
    view = StudyView.open(searched)
    assert (
        weights(searched)
        == sorted({record.number for record in view.ranked()[:3]})
        == sorted(view.kept)
    )
    assert all(
        CheckpointFolder(searched / "trials" / f"{number:04d}").load_newest()
        for number in view.kept
    )
