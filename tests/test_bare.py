"""The runtime dependencies alone are enough: every verb is imported and a search runs where no
extra is installed.

An environment of its own would cost minutes and gigabytes, and hold the same. Here what is not
among the runtime dependencies, nor needed by one of them, is made invisible: Python's own finder is
replaced by one that does not find it, in every process that a test's program starts (a
``sitecustomize`` on PYTHONPATH). So an import fails, and ``find_spec`` says None, as if it was not
there. What this cannot see is a version that is too old, and data files of another package.
"""

import importlib.metadata
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes import output
from tests.test_help import VERBS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
pytestmark = pytest.mark.slow
EXTRAS = ("boto3", "moto", "selenium", "cocoex", "gcsfs", "onnx", "onnxruntime", "pytest", "mypy")

_SITE = """\
import sys
from importlib.machinery import PathFinder

HIDDEN = frozenset({hidden!r})
PACKAGES = {packages!r}


class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in HIDDEN and path is None:
            # a copy that another package brings along is found, as the psutil of Ray
            path = [place for place in sys.path if place not in PACKAGES]
        return super().find_spec(name, path, target)


sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
"""


def needed(lines: list[str]) -> set[str]:
    """Names of the distributions that requirements bring, all the way down."""
    found: set[tuple[str, str]] = set()
    left = [("", Requirement(line)) for line in lines]
    while left:
        extra, requirement = left.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        for asked in ("", *requirement.extras):
            known = (canonicalize_name(requirement.name), asked)
            if known not in found:
                found.add(known)
                inner = importlib.metadata.requires(known[0]) or []
                left += [(asked, Requirement(line)) for line in inner]
    return {name for name, _ in found}


def hidden() -> set[str]:
    """Names under which something else is imported."""
    runtime = needed(PROJECT["dependencies"]) | {"hopsearch"}
    return {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if runtime.isdisjoint(map(canonicalize_name, owners))
    }


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> dict[str, str]:
    """The environment of a program without extras."""
    folder = tmp_path_factory.mktemp("bare")
    packages = [place for place in sys.path if place.endswith("-packages")]
    text = _SITE.format(hidden=sorted(hidden()), packages=packages)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "HOPSEARCH_CACHE": str(folder / "cache"),
        "COLUMNS": "200",
    }


def run(bare: dict[str, str], *words: str, cwd: Path = ROOT) -> str:
    return output([sys.executable, *words], cwd, bare)


def test_what_is_hidden_is_not_found(bare):
    installed = [name for name in EXTRAS if name in importlib.metadata.packages_distributions()]
    assert len(installed) > 5
    program = (
        "import importlib, importlib.util, sys\n"
        "for name in sys.argv[1:]:\n"
        "    assert importlib.util.find_spec(name) is None, name\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ModuleNotFoundError:\n"
        "        print(name)\n"
    )
    assert run(bare, "-c", program, *installed).split() == installed


def test_a_runtime_dependency_is_not_hidden():
    names = {re.match(r"[\w.-]+", line)[0] for line in PROJECT["dependencies"]}
    homes = importlib.metadata.packages_distributions()
    ours = {name for name, owners in homes.items() if names & set(map(canonicalize_name, owners))}
    assert len(ours) > len(names) / 2
    assert ours.isdisjoint(hidden())


def test_every_verb_is_imported(bare):
    # in one process, as each would import torch and Ray anew
    run(bare, "-c", f"import {', '.join(f'hopsearch.{verb}' for verb in (*VERBS, 'api'))}")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_search_runs(bare, tmp_path):
    tiny = ["model.depth=1", "model.dim=16", "model.patch_size=4", "train.epochs=1"]
    words = ["-m", "hopsearch.tune", "space=mixer", "trials=2", *tiny]
    assert "winner: trial" in run(bare, *words, cwd=tmp_path)
    assert "report.html" in run(bare, "-m", "hopsearch.report", "study=mixer-digits", cwd=tmp_path)
