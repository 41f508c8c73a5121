"""Two drivers on one study, where its truth is in a database or in a storage: one writes, whatever
happens to it.
"""

import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hopsearch.core.errors import StudyError
from hopsearch.storage.lease import Holder, LostLease
from hopsearch.storage.mirror import Mirror, Place
from hopsearch.storage.mirror_lease import Fence, Marks, StorageLease
from hopsearch.study import Study, StudyView
from tests.conftest import environment, identity
from tests.lone_driver import opened, search
from tests.processes import wait_for

SECONDS = 4.0  # without a heartbeat until a holder counts as dead


class Driver:
    """A search in a process and a folder of its own, as on a machine of its own; it waits to be let
    go on.
    """

    def __init__(self, tmp_path: Path, name: str, database: str, storage: str) -> None:
        self.folder, self.log = tmp_path / name, tmp_path / f"{name}.log"
        words = [sys.executable, "-m", "tests.lone_driver", str(self.folder), database, storage]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                words, env=environment(tmp_path), stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def go(self) -> None:
        self.process.stdin.close()
        assert wait_for(lambda: "told 1" in self.said, self.process, 90), self.said

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def journal(self) -> bytes:
        file = self.folder / "test" / "journal.log"
        return file.read_bytes() if file.exists() else b""

    def stop(self, database: str) -> None:
        """As by a debugger or a machine that sleeps; not while it holds the lock of an sqlite file,
        which ends with it only.
        """
        for _ in range(200):
            self.process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            if not database.startswith("sqlite"):
                return
            try:
                with contextlib.closing(
                    sqlite3.connect(database.removeprefix("sqlite:///"), timeout=0)
                ) as file:
                    file.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                self.process.send_signal(signal.SIGCONT)
                time.sleep(0.03)


@pytest.fixture(params=["sqlite", "postgresql", "file", "s3"])
def truth(request, tmp_path, monkeypatch) -> tuple[str, str, Callable[[], object]]:
    """Database, storage, and what all that is written there says now."""
    monkeypatch.setenv("HOPSEARCH_LEASE_SECONDS", str(SECONDS))
    if request.param in ("file", "s3"):
        storage = (
            f"file://{tmp_path}/storage"
            if request.param == "file"
            else request.getfixturevalue("s3")
        )
        return "-", storage, lambda: Mirror(f"{storage}/test").read("journal.log")
    url = (
        f"sqlite:///{tmp_path}/study.db"
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql")
    )

    def records() -> object:
        return {
            number: (record.state, record.curve)
            for number, record in StudyView.open(tmp_path / "test", url).records.items()
        }

    return url, "-", records


@pytest.fixture
def drivers(tmp_path, truth) -> Iterator[list[Driver]]:
    """Two, ready to begin."""
    made = [Driver(tmp_path, name, *truth[:2]) for name in ("first", "second")]
    yield made
    for driver in made:
        driver.process.kill()
        driver.process.wait()
        driver.process.stdin.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_drivers(tmp_path, truth, drivers):
    """A second is refused; the first, stopped and taken for dead, writes nothing more; one that is
    killed is taken over.
    """
    (database, storage, read), (first, second), said = truth, drivers, []
    here = (tmp_path / "here", database, storage, said.append)
    first.go()
    beside = (
        f"got a second one besides process {first.process.pid} on {socket.gethostname()} \\(user "
    )
    with pytest.raises(StudyError, match=beside), opened(*here):
        pass

    first.stop(database)
    with opened(*here) as study:
        search(study, len(study.counted()) + 2, said.append)
    assert f"taken over from process {first.process.pid}" in "".join(said)
    before, local = read(), first.journal
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(90) == 2, first.said
    assert "it was taken over by " in first.said or "the database must answer" in first.said, (
        first.said
    )
    assert read() == before
    assert first.journal.startswith(local)
    # stopped just before a write, in a folder of its own
    assert first.journal.count(b"\n") <= local.count(b"\n") + 1

    second.go()
    assert "taken over" not in second.said  # it was given back
    second.process.kill()  # at any moment: the journal's copy may lag behind
    second.process.wait()
    with opened(*here) as study:
        known = len(study.counted())
        search(study, known + 2, said.append)
        assert len(study.counted()) == known + 2
        assert study.audit() == []
    assert f"taken over from process {second.process.pid}" in said[-3]


class TestStorage:
    """What a process that has lost a copy can still do to it: nothing."""

    @pytest.fixture
    def uri(self, tmp_path):
        return f"file://{tmp_path}/storage"

    def test_no_write_gets_past_another_owner(self, tmp_path, uri):
        here = tmp_path / "here"
        here.mkdir()
        (here / "a").write_text("one")
        with StorageLease(uri, print) as lease:
            mirror = Mirror(f"{uri}/trials", lease.fence)
            mirror.push(here)
            Marks(uri).claim(Holder("other", "elsewhere", 1))
            (here / "a").write_text("another")
            (here / "b").write_text("two")
            for write in (
                lambda: mirror.push(here),
                mirror.clear,
                lambda: mirror.write(here / "b"),
            ):
                with pytest.raises(LostLease, match="it was taken over by process 1 on elsewhere"):
                    write()
            (here / "a").unlink()
            with pytest.raises(LostLease):
                mirror.push(here)
        assert [
            (file.name, file.read_text()) for file in (tmp_path / "storage/trials").iterdir()
        ] == [("a", "one")]
        # and the mark of the other is not taken away
        assert Marks(uri).holder() == Holder("other", "elsewhere", 1)

    def test_a_mark_survives_what_is_pushed_and_is_given_back(self, tmp_path, uri):
        (tmp_path / "here").mkdir()
        place = Place(tmp_path / "here", uri)
        with place.owned(print) as owned:
            owned.push()
            assert Fence(uri=uri, id=owned.fence.id) == owned.fence
            owned.fence.check()
        assert Marks(uri).holder() is None
        assert not list((tmp_path / "storage").iterdir())

    @pytest.mark.parametrize(
        ("storage", "below"),
        [
            ("s3://bucket/path/", "s3://bucket/path/study/trials/0001"),
            (
                "s3://bucket?region=x&endpoint_override=h",
                "s3://bucket/study/trials/0001?region=x&endpoint_override=h",
            ),
        ],
    )
    def test_a_copys_address(self, storage, below):
        assert Place.of(storage, "study").below("trials", "0001") == below


class TestHolder:
    def test_reads_what_it_writes(self):
        me = Holder.me()
        assert Holder.read(me.text) == me
        assert me.running is True
        assert Holder.read("half a l") is None
        assert Holder.read('{"id": "x"}') is None

    def test_a_process_that_is_gone(self):
        me = Holder.me()
        assert Holder(**vars(me) | {"started": "1"}).running is False  # its number was given again
        assert Holder(**vars(me) | {"machine": "another"}).running is None


def test_a_database_of_another_study_is_not_taken_for_this_one(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    with Study(tmp_path / "test", identity(), "random", "asha", url):
        pass
    with Study(tmp_path / "other", identity("other"), "random", "asha", url) as study:
        assert study.optuna.study_name == "other"
    with pytest.raises(
        StudyError,
        match=r"must contain study third, got none\. Did you mean other\? Known: other, test",
    ):
        StudyView.open(tmp_path / "third", url)


def test_a_database_that_is_away_is_a_sentence(tmp_path):
    url = "postgresql+psycopg://bob:hunter2hunter@127.0.0.1:1/x"
    pytest.importorskip("psycopg")
    with pytest.raises(StudyError, match="the database must answer, got") as told:
        StudyView.open(tmp_path / "test", url)
    assert "hunter2" not in str(told.value)
