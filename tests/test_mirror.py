"""The copy of a folder in a storage that outlives the machine."""

import pytest

from hopsearch.distributed.job import Job, JobRun
from hopsearch.distributed.mirror import Mirror
from hopsearch.errors import CheckpointError


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


def test_what_is_there_is_not_brought_again(tmp_path, uri):
    here = tmp_path / "here"
    here.mkdir()
    (here / "a").write_text("newer")
    (tmp_path / "storage/deep").mkdir(parents=True)
    (tmp_path / "storage/deep/a").write_text("older")
    Mirror(uri).pull(here)
    assert contents(here) == {"a": "newer"}


def test_an_empty_storage(tmp_path, uri):
    Mirror(uri).pull(tmp_path / "here")
    assert contents(tmp_path / "here") == {}


@pytest.mark.parametrize("bad", ["ftp://nowhere/x", "no storage"])
def test_an_unknown_kind(bad):
    with pytest.raises(CheckpointError, match="the storage must be reachable and writable"):
        Mirror(bad)


def test_a_job_goes_on_from_its_copy(tmp_path, uri, tiny):
    from hopsearch.data import DataConfig

    def job(name):
        return Job(number=0, trial=tiny, data=DataConfig(), folder=str(tmp_path / name), mirror=f"{uri}/checkpoints")

    first = JobRun(job("a"))
    rows = [first.advance().rows[0] for _ in range(2)]
    second = JobRun(job("b"))  # another machine, with nothing on it
    assert list(second.advance().rows) == rows
    second.advance()
    second.advance()
    second.finish(tmp_path / "model")
    assert sorted(contents_names(tmp_path / "storage/deep/model")) == ["config.json", "model.safetensors"]


def contents_names(folder):
    return [file.name for file in folder.iterdir()]
