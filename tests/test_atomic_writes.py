"""Files that are written whole or not at all."""

import subprocess
import sys

import pytest

from hopsearch.core.atomic_writes import filled_whole, written_whole


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    (tmp_path / "a").write_text("old")
    with written_whole(tmp_path / "a", durable=True) as scratch:
        scratch.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "new")]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_after_an_error_nothing_is_left(tmp_path, error):
    (tmp_path / "a").write_text("old")

    def write():
        with written_whole(tmp_path / "a") as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    program = (
        "import os, signal, sys, pathlib\n"
        "from hopsearch.core.atomic_writes import written_whole\n"
        "with written_whole(pathlib.Path(sys.argv[1])) as scratch:\n"
        "    scratch.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "a").write_text("old")
    assert (
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "a")], check=False).returncode
        == -9
    )
    assert (tmp_path / "a").read_text() == "old"


def test_a_folder_keeps_what_is_not_replaced(tmp_path):
    target = tmp_path / "folder"
    target.mkdir()
    for name in ("a", "b"):
        (target / name).write_text("old")
    with filled_whole(target) as scratch:
        (scratch / "a").write_text("new")
    assert {file.name: file.read_text() for file in target.iterdir()} == {"a": "new", "b": "old"}

    def fill():
        with filled_whole(target) as scratch:
            (scratch / "b").write_text("half")
            raise ValueError("full")

    with pytest.raises(ValueError):
        fill()
    assert (target / "b").read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]
