"""The wheel and the sdist as a user gets them: built, installed in an environment of its own, and
used from an empty folder.
"""

import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.processes import output
from tests.test_help import VERBS

ROOT = Path(__file__).parents[1]
SHIPPED = {"search_spaces": "hopsearch/search_spaces", "cluster": "hopsearch/cluster"}
"""Folders beside the package that the wheel has inside it."""

pytestmark = [pytest.mark.ray, pytest.mark.long, pytest.mark.timeout(170)]


def files_of(folder: Path) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder with both. The wheel is made from the sdist, which so must hold all it takes."""
    folder = tmp_path_factory.mktemp("dist")
    # Not isolated: hatchling is in the dev extra, at a version that `build` checks, and nothing is
    # fetched while tests run.
    words = ["-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The folder of programs of an environment in which hopsearch is installed from the wheel.

    Torch and Ray would take minutes and gigabytes once more. They and all others come from the
    environment of the tests, by a .pth file; hopsearch itself cannot: a .pth file in a folder that
    was named by one is not read, and that is how an editable installation is found.
    """
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, symlinks=True)
    programs = home / "bin"
    (wheel,) = built.glob("*.whl")
    where = ["--python", str(programs / "python")]
    pip = (
        [sys.executable, "-m", "pip", *where, "install", "--disable-pip-version-check"]
        if _has_pip()
        else ["uv", "pip", "install", *where]  # `make` uses uv where it is there
    )
    # before the others are to be seen, so that pip does not take the tests' hopsearch for it
    subprocess.run([*pip, "--quiet", "--no-deps", str(wheel)], check=True)
    (own,) = (home / "lib").glob("python*/site-packages")
    (own / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return programs


def _has_pip() -> bool:
    return (
        subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode
        == 0
    )


@pytest.fixture
def run(installed, tmp_path):
    """Runs a program of that environment in an empty folder, and returns what it printed."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PATH": f"{installed}{os.pathsep}{environment['PATH']}", "COLUMNS": "200"}
    environment.pop("VIRTUAL_ENV", None)
    folder = tmp_path / "empty"
    folder.mkdir()

    def run(*words: str) -> str:
        return output([str(installed / words[0]), *words[1:]], folder, environment)

    return run


def test_the_wheel_holds_the_package_and_what_it_reads(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = files_of(ROOT / "hopsearch")
    for folder, inside in SHIPPED.items():
        expected |= {name.replace(folder, inside, 1) for name in files_of(ROOT / folder)}
    assert {name for name in names if ".dist-info/" not in name} == expected
    for name in ("py.typed", "command_line/helptexts/tune.txt", "reporting/page.css"):
        assert f"hopsearch/{name}" in names


def test_the_sdist_holds_what_a_checkout_does(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for folder in ("hopsearch", "search_spaces", "cluster", "tests", "docs"):
        assert files_of(ROOT / folder) <= names
    assert {"Makefile", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml"} <= names


def test_it_is_the_installed_one(installed, run):
    where = Path(run("python", "-c", "import hopsearch; print(hopsearch.__file__)").strip())
    assert where.is_relative_to(installed.parent)


def test_every_verb_shows_its_help(run):
    assert run("hopsearch", "--help").startswith("usage: hopsearch VERB")
    for verb in VERBS:
        assert run("hopsearch", verb, "--help").startswith("Usage:")


def test_a_shipped_space_is_planned(run):
    assert "rung" in run("hopsearch", "tune", "space=imixer", "dry_run=true")


def test_it_searches_reports_exports_and_predicts(run, tmp_path):
    tiny = ["model.depth=1", "model.dim=16", "model.patch_size=4", "train.epochs=1"]
    assert "winner: trial" in run("hopsearch", "tune", "space=imixer", "trials=2", *tiny)
    assert "report.html" in run("hopsearch", "report", "study=imixer-digits")
    run("hopsearch", "export", "study=imixer-digits", "to=model")
    loaded = "import hopsearch; print(type(hopsearch.load('model')).__module__)"
    assert run("python", "-c", loaded).startswith("hopsearch.")
