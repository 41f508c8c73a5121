"""The cut of the project, held by tests: imports point one way, engines stay in their package,
files stay small.
"""

import ast
import itertools
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from docs import architecture
from hopsearch.study.record import journal_keys

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "hopsearch").rglob("*.py"))
# A package may import from those on its own line's left only (and from itself).
LAYERS = [
    {"core"},
    {"command_line", "storage"},
    {"space", "models", "data"},
    {"artifact"},
    {"training"},
    {"tasks"},
    {"jobs", "study"},
    {"orchestration"},
    {"reporting"},
    {"ray_backend"},
    {"cluster_check"},
    {"verb_settings"},
    {"tune", "train", "report", "export", "predict", "doctor", "__main__"},
    {"api"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
HOME = {
    "ray": ("ray_backend", "cluster_check"),
    "optuna": ("study",),
    "plotly": ("reporting",),
    "pandas": ("reporting", "api"),
    "tensorboard": ("reporting",),
    "jinja2": ("reporting", "artifact"),
    "psutil": ("ray_backend",),
    "pyarrow": ("storage",),
    "boto3": ("ray_backend", "cluster_check"),
    "botocore": ("ray_backend", "cluster_check"),
}
ABOVE = {
    "orchestration": ("simulation",),
    "reporting": ("terminal",),
    "tasks": ("density", "images"),
}
"""Folders in a package that import from its files; all others are imported by these."""
TOP = {"tasks/registry.py"}
"""Files that name what lies in the folders above their siblings."""
MAX_LINES, MAX_FUNCTION_LINES, MAX_FILES = 400, 66, 14


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "hopsearch").parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path}: write absolute imports, so that this test can read them"
            )
            names.update(
                {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
            )
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path):
    here = part_of(path)
    if here == "__init__":
        return
    for name in imports_of(path):
        engine = name.split(".")[0]
        if engine in HOME:
            assert here in HOME[engine], f"{path}: {engine} is imported in {HOME[engine]} only"
        if name.startswith("hopsearch."):
            there = name.split(".")[1]
            if there in RANK and there != here:
                assert RANK[there] < RANK[here], f"{path}: {here} must not import {there}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_have_an_encoding(path):
    """Of the locale none is taken: a study that was written on one machine is read on another."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and _of_text(node):
            given = {keyword.arg for keyword in node.keywords}
            assert "encoding" in given, (
                f'{path}:{node.lineno}: {ast.unparse(node)[:80]}: write encoding="utf-8"'
            )


def _of_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text: of a file, or of a process."""
    name = ast.unparse(call.func)
    if name.startswith("subprocess."):
        return any(keyword.arg in ("text", "universal_newlines") for keyword in call.keywords)
    words = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [
        word.value
        for word in words
        if isinstance(word, ast.Constant) and re.fullmatch("[rwaxtb+]+", str(word.value))
    ]
    if name in ("open", "os.fdopen") or (name.endswith(".open") and modes):
        return not any("b" in mode for mode in modes)
    return name.endswith((".read_text", ".write_text"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES, (
        f"{path} has become two ideas: cut it where they part"
    )
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node)
            lines = (
                node.end_lineno
                - node.lineno
                + 1
                - (len(docstring.splitlines()) if docstring else 0)
            )
            assert lines <= MAX_FUNCTION_LINES, (
                f"{path}: {node.name} is {lines} lines long: give its steps names"
            )


def test_folders_stay_small():
    folders = {path.parent for path in SOURCES}
    for folder in folders:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, (
            f"{folder} has {len(files)} files: cut it by what they are for"
        )


def test_no_two_files_have_the_same_name():
    """A file is named alone in a traceback, an editor's tab and a search: there, too, it must say
    which it is.
    """
    by_name: dict[str, list[str]] = {}
    for path in SOURCES:
        if path.name != "__init__.py":
            by_name.setdefault(path.name, []).append(str(path.relative_to(ROOT)))
    for name, paths in by_name.items():
        assert len(paths) == 1, (
            f"{' and '.join(paths)} are both {name}: give the newer one the name of what only it "
            f"holds, as training/trial_run.py beside study/record/trial.py"
        )


def test_a_packages_folders_are_below_its_files_or_above_them():
    for path in SOURCES:
        package, *rest = path.relative_to(ROOT / "hopsearch").with_suffix("").parts
        if not rest or rest[-1] == "__init__" or str(path.relative_to(ROOT / "hopsearch")) in TOP:
            continue
        folder = ROOT / "hopsearch" / package
        files = {file.stem for file in folder.glob("*.py")}
        for name in imports_of(path):
            parts = name.split(".")
            if parts[:2] == ["hopsearch", package] and len(parts) > 2:
                upwards = parts[2] in files if len(rest) > 1 else parts[2] in ABOVE.get(package, ())
                allowed = len(rest) > 1 and rest[0] in ABOVE.get(package, ())
                assert allowed or not upwards, f"{path} must not import {name}"


def test_the_page_on_the_architecture_is_what_the_source_says():
    text = architecture.PAGE.read_text(encoding="utf-8")
    assert architecture.page(text) == text, "make it anew: python -m docs.architecture"


def test_every_path_that_a_page_names_is_there():
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = page.read_text(encoding="utf-8").split("## Every file")[0]
        for path in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md|yaml))`", text):
            assert (ROOT / path).exists() or (ROOT / "hopsearch" / path).exists(), (
                f"{page.name} names {path}, which is not there"
            )


def test_the_page_on_the_format_names_every_attribute():
    page = (ROOT / "docs" / "study-format.md").read_text(encoding="utf-8")
    for name, value in vars(journal_keys).items():
        if name.isupper():
            assert re.search(rf"`{re.escape(value)}[\d`]", page), (
                f"docs/study-format.md must tell what {value!r} holds"
            )


def test_everything_that_is_imported_is_declared():
    """Directly, not only because something else needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    declared = {re.match(r"[\w.-]+", line)[0].lower() for line in lines}
    homes = packages_distributions()
    for path in SOURCES:
        for name in (
            {name.split(".")[0] for name in imports_of(path)}
            - sys.stdlib_module_names
            - {"hopsearch"}
        ):
            known = {home.lower() for home in homes.get(name, ())}
            assert known & declared, (
                f"{path} imports {name}: declare {' or '.join(known) or name} in pyproject.toml"
            )


def test_links_between_pages_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "cluster").glob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_reading_a_study_needs_no_ray():
    program = (
        "import os, sys\n"
        "import hopsearch.report, hopsearch.export, hopsearch.predict\n"
        "assert 'ray' not in sys.modules\n"
        "assert not [name for name in os.environ if name.startswith('RAY_')]\n"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr


def test_examples_in_docstrings_are_python():
    """An indented example of a package's docstring; commands are checked by the pages' test."""
    for path in SOURCES:
        for block in re.findall(r"(?:^ {4}.+\n?)+", _docstring(path), re.MULTILINE):
            code = textwrap.dedent(block)
            if re.match(r"\w+ = |import ", code):
                ast.parse(code)


def _docstring(path: Path) -> str:
    # as it stands, its blocks indented
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")), clean=True) or ""
