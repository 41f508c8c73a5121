"""The copy of a folder in a storage that outlives the machine."""

import time

import pytest

from hopsearch.core.errors import ResourceError, StudyError
from hopsearch.jobs.job import Job, JobRun
from hopsearch.storage.mirror import JournalMirror, Mirror


@pytest.fixture
def uri(tmp_path):
    return f"file://{tmp_path}/storage/deep"


def contents(folder):
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_there_and_back(tmp_path, uri):
    here = tmp_path / "here"
    here.mkdir()
    (here / "a.pt").write_text("one")
    (here / "b.pt").write_text("two")
    (here / ".scratch").write_text("no")
    mirror = Mirror(uri)
    mirror.push(here)
    (here / "a.pt").unlink()
    (here / "b.pt").write_text("three")
    mirror.push(here)
    assert contents(tmp_path / "storage/deep") == {"b.pt": "three"}
    Mirror(uri).pull(tmp_path / "elsewhere")
    assert contents(tmp_path / "elsewhere") == {"b.pt": "three"}


def test_the_copy_is_the_newer_one(tmp_path, uri):
    here = tmp_path / "here"
    here.mkdir()
    (here / "a").write_text("of a save that was cut off")
    (here / "b").write_text("of another")
    Mirror(uri).pull(here)  # nothing there yet
    assert sorted(contents(here)) == ["a", "b"]
    (tmp_path / "storage/deep").mkdir(parents=True)
    (tmp_path / "storage/deep/a").write_text("saved")
    Mirror(uri).pull(here)
    assert contents(here) == {"a": "saved"}


def test_an_empty_storage(tmp_path, uri):
    Mirror(uri).pull(tmp_path / "here")
    assert contents(tmp_path / "here") == {}


@pytest.mark.parametrize("bad", ["ftp://nowhere/x", "no storage"])
def test_an_unknown_kind(bad):
    with pytest.raises(ResourceError, match="the storage must be reachable and writable"):
        Mirror(bad)


def test_a_job_goes_on_from_its_copy(tmp_path, uri, tiny):
    from hopsearch.data import DataConfig

    def job(name):
        return Job(
            number=0,
            trial=tiny,
            data=DataConfig(),
            folder=str(tmp_path / name),
            mirror=f"{uri}/checkpoints",
        )

    first = JobRun(job("a"))
    rows = [first.advance().rows[0] for _ in range(2)]
    second = JobRun(job("b"))  # another machine, with nothing on it
    assert list(second.advance().rows) == rows
    second.advance()
    second.advance()
    second.finish(tmp_path / "model", f"{uri}/model")
    assert sorted(contents_names(tmp_path / "storage/deep/model")) == [
        "config.json",
        "model.safetensors",
    ]


def contents_names(folder):
    return [file.name for file in folder.iterdir()]


def test_a_fresh_job_takes_nothing_from_its_folder(tmp_path, uri, tiny):
    from hopsearch.data import DataConfig

    def job(trial, fresh):
        return Job(
            number=0,
            trial=trial,
            data=DataConfig(),
            folder=str(tmp_path / "a"),
            mirror=f"{uri}/a",
            fresh=fresh,
        )

    JobRun(job(tiny, fresh=False)).advance()
    # the number was given to another trial before the machine was lost
    other = tiny.model_copy(update={"seed": 99})
    progress = JobRun(job(other, fresh=True)).advance()
    assert [row["epoch"] for row in progress.rows] == [1]
    assert JobRun(job(other, fresh=False)).advance().rows == progress.rows


class TestJournal:
    @pytest.fixture
    def journal(self, tmp_path):
        return tmp_path / "here" / "journal.log"

    def test_follows(self, tmp_path, uri, journal):
        journal.parent.mkdir()
        journal.write_text("1\n")
        copy = tmp_path / "storage/deep/journal.log"
        with JournalMirror(journal, uri):
            deadline = time.monotonic() + 20
            while not (copy.exists() and copy.read_text() == "1\n") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert copy.read_text() == "1\n"
            journal.write_text("1\n2\n")
        assert copy.read_text() == "1\n2\n"

    def test_a_new_head_goes_on(self, tmp_path, uri, journal):
        (tmp_path / "storage/deep").mkdir(parents=True)
        (tmp_path / "storage/deep/journal.log").write_text("1\n2\n3")  # the last line is torn
        with JournalMirror(journal, uri):
            assert journal.read_text() == "1\n2\n"

    def test_the_longer_one_is_the_truth(self, tmp_path, uri, journal):
        journal.parent.mkdir()
        journal.write_text("1\n2\n")
        (tmp_path / "storage/deep").mkdir(parents=True)
        (tmp_path / "storage/deep/journal.log").write_text("1\n")
        with JournalMirror(journal, uri):
            assert journal.read_text() == "1\n2\n"

    def test_two_ways(self, tmp_path, uri, journal):
        journal.parent.mkdir()
        journal.write_text("1\n2\n")
        (tmp_path / "storage/deep").mkdir(parents=True)
        (tmp_path / "storage/deep/journal.log").write_text("1\n3\n")
        with pytest.raises(StudyError, match="must share one history, got two that diverged"):
            JournalMirror(journal, uri)
        assert journal.read_text() == "1\n2\n"
