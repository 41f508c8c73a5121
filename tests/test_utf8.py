"""Where the locale knows ASCII alone, files, names and words are UTF-8 all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hopsearch.data import DataConfig, load
from hopsearch.reporting.facts import facts_of
from hopsearch.study import StudyView
from tests.conftest import search_little
from tests.layouts import photographs

ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CLASSES = {"café": 12, "λύκος": 12}
SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 1, "reduction": 3},
    "fixed": {
        "model.family": "paramixer",
        "model.dim": 8,
        "model.depth": 1,
        "model.patch_size": 4,
        "train.epochs": 1,
    },
    "parameters": {"optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True}},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of studies with one of photographs whose classes are not ASCII, and the
    photographs.
    """
    place = tmp_path_factory.mktemp("ünïcode")
    photographs(place / "fotos-é", CLASSES)
    data = DataConfig(source=str(place / "fotos-é"), image_size=8)
    search_little(place / "runs" / "Käse", load(data), SPACE, 2, data)
    return place


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """A program in the C locale; its output as bytes."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "PYTHONIO"))
    } | ASCII
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, timeout=100
    )


def verb(folder: Path, name: str, *words: str) -> str:
    done = run(folder, "-m", f"hopsearch.{name}", *words)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


@pytest.mark.slow
def test_a_plan_names_classes_and_folders(runs):
    said = verb(
        runs,
        "tune",
        "space=imixer",
        "data=fotos-é",
        "data.image_size=8",
        "model.dim=8",
        "dry_run=true",
    )
    assert "data fotos-é: 24 images, 2 classes (café, λύκος), 8 × 8 px" in said
    assert "plan of study imixer-fotos" in said


@pytest.mark.slow
def test_every_form_of_a_report_is_utf_8(runs):
    for layout in ("json", "md", "csv", "html"):
        verb(runs, "report", "study=Käse", f"format={layout}", f"to=bericht-ß.{layout}")
    assert "café" in (runs / "bericht-ß.html").read_text(encoding="utf-8")
    assert "# Study Käse" in (runs / "bericht-ß.md").read_text(encoding="utf-8")
    told = json.loads((runs / "bericht-ß.json").read_text(encoding="utf-8"))
    assert told["study"]["name"] == "Käse"
    assert {row["class"] for row in told["winner"]["recalls"]} == set(CLASSES)
    header = (runs / "bericht-ß.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "recall/café" in header.split(",")


@pytest.mark.slow
def test_help_export_and_predict(runs):
    assert "[key=value …]" in verb(runs, "tune", "--help")
    verb(runs, "export", "study=Käse", "to=modèle")
    card = (runs / "modèle" / "README.md").read_text(encoding="utf-8")
    assert "# Käse, trial" in card
    assert "café, λύκος." in card
    said = verb(runs, "predict", "model=modèle", "top=2", "fotos-é/café/000.jpg")
    assert "fotos-é/café/000.jpg  " in said
    assert "λύκος 0." in said


def test_help_on_a_terminal_that_cannot_show_all_of_it(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "hopsearch.tune", "--help"],
        env=environment,
        capture_output=True,
        timeout=50,
    )
    assert (done.returncode, b"[key=value ?]" in done.stdout, done.stderr) == (0, True, b"")


@pytest.mark.slow
def test_from_python_without_a_program_of_ours(runs):
    """A notebook's process keeps its locale; what it writes is UTF-8 too."""
    code = (
        "import sys; assert sys.getfilesystemencoding() == 'ascii';"
        "from pathlib import Path; from hopsearch.study import StudyView; from hopsearch.report "
        "import write_report;"
        "view = StudyView.open(next(Path('runs').iterdir()));"
        "[write_report(view, layout, Path('out.' + layout), []) for layout in ('json', 'md', "
        "'csv', 'html')]"
    )
    done = run(runs, "-c", code)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads((runs / "out.json").read_text(encoding="utf-8"))["study"]["name"] == "Käse"
    assert "# Study Käse" in (runs / "out.md").read_text(encoding="utf-8")
    assert "recall/café" in (runs / "out.csv").read_text(encoding="utf-8")
    assert "café" in (runs / "out.html").read_text(encoding="utf-8")


def test_a_name_that_is_no_utf_8_is_shown_by_its_bytes(tmp_path):
    """As an archive from another system leaves them."""
    photographs(tmp_path / "photos", {"tea": 6, "coffee": 6})
    os.rename(
        os.fsencode(tmp_path / "photos" / "coffee"), os.fsencode(tmp_path / "photos") + b"/caf\xe9"
    )
    found = load(DataConfig(source=str(tmp_path / "photos"), image_size=8))
    assert found.facts.classes == ("caf\\xe9", "tea")
    assert "\n".join(found.facts.summary).encode(), "it can be written"
    config = DataConfig(source=str(tmp_path / "photos"), image_size=8)
    folder = search_little(tmp_path / "runs" / "bytes", found, SPACE, 1, config)
    assert "caf\\\\xe9" in json.dumps(facts_of(StudyView.open(folder)).to_dict())
