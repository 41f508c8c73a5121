"""What a verb shows while it reads images: a bar on a terminal and in a notebook, lines in a log,
and what was found.
"""

import io

import nbclient
import nbformat
import pytest
from rich.console import Console

from hopsearch.data import DataConfig
from hopsearch.reporting.terminal.data_reading import ReadingView, progress_words, read_data
from hopsearch.tasks.images import Images
from tests.layouts import photographs


def shown(seconds_each: float, count: int, **words) -> str:
    """What a console shows of ``count`` images that take so long each."""
    out, clock = io.StringIO(), [0.0]
    with ReadingView(Console(file=out, width=100, **words), now=lambda: clock[0]) as view:
        for done in range(1, count + 1):
            clock[0] += seconds_each
            view("decoding", done, count)
    return out.getvalue()


def test_words():
    assert (
        progress_words("decoding", 1200, 3000, 3.0)
        == "decoding 1,200 of 3,000 images, 400 images/s, 4s left"
    )
    assert progress_words("comparing", 3, 3, 6.0) == "comparing 3 of 3 images, 0.5 images/s, 6s"


def test_a_log_has_a_line_every_ten_seconds():
    lines = shown(1 / 32, 801).splitlines()  # exact in binary: no rounding moves a line
    assert lines == [
        "decoding 321 of 801 images, 32 images/s, 15s left",
        "decoding 641 of 801 images, 32 images/s, 5s left",
        "decoding 801 of 801 images, 32 images/s, 25s",
    ]
    assert shown(0.001, 200) == "", "what is quick needs no words"


def test_a_terminal_has_a_bar():
    text = shown(0.02, 300, force_terminal=True)
    assert "━" in text
    assert "50 images/s" in text
    assert "s left" in text
    assert shown(0.001, 200, force_terminal=True) == ""


def test_the_summary_follows(tmp_path):
    photographs(tmp_path / "photos [new]" / "train")
    (tmp_path / "photos [new]" / "train" / "cat" / "a.heic").write_bytes(b"x")
    out = io.StringIO()
    splits = read_data(
        Images(),
        DataConfig(source=str(tmp_path / "photos [new]"), image_size=8),
        Console(file=out, width=40),
    )
    assert out.getvalue().splitlines() == list(splits.facts.summary), (
        "one line each, brackets as they are"
    )
    assert "1 .heic" in out.getvalue()


def test_a_second_search_in_a_process_looks_again(tmp_path):
    photographs(tmp_path / "photos")
    config, console = (
        DataConfig(source=str(tmp_path / "photos"), image_size=8),
        Console(file=io.StringIO()),
    )
    first = read_data(Images(), config, console).facts
    assert read_data(Images(), config, console).facts == first
    (tmp_path / "photos" / "cat" / "000.jpg").write_bytes(
        (tmp_path / "photos" / "cat" / "001.jpg").read_bytes()
    )
    assert read_data(Images(), config, console).facts.fingerprint != first.fingerprint


CELL = """
import time
from hopsearch.reporting.terminal.data_reading import ReadingView
from hopsearch.reporting.terminal.console import make_console
with ReadingView(make_console()) as view:
    for done in range(1, 13):
        time.sleep(0.1)
        view("decoding", done, 12)
"""


@pytest.mark.slow
def test_a_notebook_has_a_bar_that_moves(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(
        notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    (output,) = (
        output for output in notebook.cells[0].outputs if output["output_type"] != "stream"
    )
    assert "█" in output["data"]["text/plain"]
    assert "12 of 12 images" in output["data"]["text/plain"], "one output, drawn over"
