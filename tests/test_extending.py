"""The recipes of docs/extending.md: they are applied to a copy of the project, and then run."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.processes import output

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
COPIED = ("hopsearch", "search_spaces", "tests", "docs")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def apply(difference: str, root: Path) -> None:
    """Change files as a difference says: what a hunk takes away and keeps must be there once."""
    for part in re.split(r"^--- ", difference, flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@$\n", part, flags=re.MULTILINE)
        file = root / name.strip()
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        for hunk in hunks:
            lines = hunk.splitlines(keepends=True)
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            found = len(re.findall(rf"^{re.escape(old)}", text, re.MULTILINE)) if old else not text
            assert found == 1, f"docs/extending.md: {name.strip()} has this {found} times:\n{old}"
            text = text.replace(old, new, 1) if old else new
        file.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the project with every recipe in it."""
    root = tmp_path_factory.mktemp("extended")
    for name in COPIED:
        shutil.copytree(
            ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.svg", "*.png")
        )
    shutil.copy(ROOT / "pyproject.toml", root)
    for difference in blocks("diff"):
        apply(difference, root)
    return root


def run(root: Path, *command: str) -> str:
    """In a copy, which is imported instead of the project."""
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    return output([sys.executable, *command], root, environment)


def test_every_program_of_the_page_runs(extended):
    programs = blocks("python")
    assert len(programs) >= 4
    said = run(extended, "-c", "\n".join(programs))
    assert "torch.Size([2, 1000])" in said
    assert "16 ('horizontal', 'vertical')" in said


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_contract_tests_take_what_was_added(extended):
    """The page's commands in one process."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    parts = [re.fullmatch(r"python -m pytest (tests/\w+\.py) -k (\w+)", line) for line in lines]
    files, names = zip(*(part.groups() for part in parts), strict=True)
    words = [*dict.fromkeys(files), "-k", " or ".join(names), "-q", "-x", "-p", "no:cacheprovider"]
    said = run(extended, "-m", "pytest", *words)
    assert int(re.search(r"(\d+) passed", said)[1]) > 5 * len(names), said
