"""The cut of the project, held by tests: imports point one way, engines stay in their package, files stay small."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "hopsearch").rglob("*.py"))
# A package may import from those on its own line's left only (and from itself).
LAYERS = [
    {"core"},
    {"command_line", "storage"},
    {"space", "models", "data"},
    {"artifact"},
    {"training"},
    {"study"},
    {"orchestration"},
    {"reporting"},
    {"ray_backend"},
    {"cluster_check"},
    {"verbsettings"},
    {"tune", "train", "report", "export", "predict", "doctor"},
    {"api"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
HOME = {
    "ray": ("ray_backend", "cluster_check"),
    "optuna": ("study",),
    "plotly": ("reporting",),
    "pandas": ("reporting", "api"),
    "tensorboard": ("reporting",),
    "pyarrow": ("storage",),
    "boto3": ("ray_backend", "cluster_check"),
    "botocore": ("ray_backend", "cluster_check"),
}
MAX_LINES, MAX_FUNCTION_LINES, MAX_FILES = 320, 45, 14


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "hopsearch").parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports, so that this test can read them"
            names.update({node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names})
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
            assert "encoding" in given, f'{path}:{node.lineno}: {ast.unparse(node)[:80]}: write encoding="utf-8"'


def _of_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text: of a file, or of a process."""
    name = ast.unparse(call.func)
    if name.startswith("subprocess."):
        return any(keyword.arg in ("text", "universal_newlines") for keyword in call.keywords)
    words = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    modes = [word.value for word in words if isinstance(word, ast.Constant) and re.fullmatch("[rwaxtb+]+", str(word.value))]
    if name in ("open", "os.fdopen") or (name.endswith(".open") and modes):
        return not any("b" in mode for mode in modes)
    return name.endswith((".read_text", ".write_text"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES, f"{path} has become two ideas: cut it where they part"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node)
            lines = node.end_lineno - node.lineno + 1 - (len(docstring.splitlines()) if docstring else 0)
            assert lines <= MAX_FUNCTION_LINES, f"{path}: {node.name} is {lines} lines long: give its steps names"


def test_folders_stay_small():
    folders = {path.parent for path in SOURCES}
    for folder in folders:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, f"{folder} has {len(files)} files: cut it by what they are for"


def test_what_is_above_is_not_imported_inside_a_package():
    """A folder's files may import from the folders below them in the same package, and these from none of its files."""
    for path in SOURCES:
        parts = path.relative_to(ROOT / "hopsearch").parts
        if len(parts) < 3 or path.name == "__init__.py":
            continue
        package, folder = parts[0], parts[1]
        above = [name for name in imports_of(path) if name.startswith(f"hopsearch.{package}.")]
        files = {file.stem for file in (ROOT / "hopsearch" / package).glob("*.py")}
        for name in above:
            assert name.split(".")[2] not in files, f"{path}: {package}/{folder} must not import {name}"
