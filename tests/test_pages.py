"""What the pages say is tried: links, command lines, spaces, programs, and the site itself."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs import architecture
from hopsearch import doctor, export, predict, report, train, tune
from hopsearch.__main__ import VERBS
from hopsearch.command_line.manual import path_of
from hopsearch.command_line.words import read_words
from hopsearch.core.config import parse
from hopsearch.core.yaml_reader import read_yaml
from hopsearch.orchestration.budget import ALIASES
from hopsearch.space import list_spaces
from hopsearch.space.schema import read_parts
from hopsearch.study import PRUNERS, SAMPLERS
from hopsearch.tasks.images import RECIPES, SETTINGS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OURS = [
    *sorted(DOCS.rglob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "cluster/README.md")),
]
LINKED = [*OURS, ROOT / "CHANGELOG.md", *sorted((ROOT / "benchmarks").rglob("*.md"))]
RUN = "<!-- run -->\n"
"""Before a program that is run, in a folder with the study that it opens."""
SCHEMAS = {
    "tune": tune.TuneConfig,
    "train": train.TrainingConfig,
    "report": report.ReportConfig,
    "export": export.ExportConfig,
    "predict": predict.PredictConfig,
    "doctor": doctor.DoctorConfig,
}
SHORT = {"data": "data.source", "finish": "finish.enabled"}
NAMED = {"sampler": SAMPLERS, "pruner": PRUNERS, "recipe": RECIPES}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


FENCED, FLAGS = r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE


def fenced(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(FENCED.replace(r"\w*", language), text, FLAGS)


def anchors(page: Path) -> set[str]:
    """Of its headings, as the site and code hosts make them."""
    text = re.sub(FENCED, "", page.read_text(encoding="utf-8"), flags=FLAGS)
    heads = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", head).strip().lower() for head in heads]
    return {re.sub(r"[\s]+", "-", head) for head in plain}


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_leads_somewhere(page):
    text = re.sub(FENCED, "", page.read_text(encoding="utf-8"), flags=FLAGS)
    for link in re.findall(r"\]\(([^)\s]+)[^)]*\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}"


def test_every_page_can_be_found():
    def files(entry):
        if isinstance(entry, str):
            return {entry}
        return set().union(*map(files, entry.values() if isinstance(entry, dict) else entry))

    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    assert {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} <= files(nav)
    for name in files(nav):
        assert (DOCS / name).exists() or (ROOT / name).exists(), name


def test_every_measurement_is_on_the_page_of_results():
    text = (DOCS / "results.md").read_text(encoding="utf-8")
    for file in (ROOT / "benchmarks" / "results").glob("*.md"):
        assert f"(../benchmarks/results/{file.name})" in text, f"docs/results.md leaves out {file}"
    for script in re.findall(r"python (benchmarks/\w+\.py)", text):
        assert (ROOT / script).exists(), f"docs/results.md names {script}"


def test_the_drawing_is_what_the_source_says():
    drawn = architecture.DRAWING.read_text(encoding="utf-8")
    assert drawn == architecture.svg(), "make it anew: python -m docs.architecture"


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{name_of(page)}-{number}")
        for page in OURS
        for number, block in enumerate(fenced(page, "yaml"))
        if "parameters:" in block
    ],
)
def test_the_spaces_on_the_pages_are_spaces(block, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(block, encoding="utf-8")
    assert read_parts(read_yaml(file, "docs").data, "docs").parameters


@pytest.mark.parametrize("page", OURS, ids=name_of)
def test_every_program_can_be_parsed(page):
    for block in fenced(page, "python"):
        ast.parse(block)
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert fences[1::2] == [""] * (len(fences) // 2), "each block must be closed"


def test_programs_that_open_a_study_run(searched, tmp_path, monkeypatch):
    shutil.copytree(searched, tmp_path / "runs" / "imixer-digits")
    marked = [
        block
        for page in OURS
        for block in re.findall(
            rf"{RUN}```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL
        )
    ]
    assert marked
    monkeypatch.chdir(tmp_path)
    for program in marked:
        exec(compile(program, "page", "exec"), {})


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """The verbs that a page calls, in code blocks and in the text, with their words."""
    text = re.sub(r"\s*\\\n\s*", " ", page.read_text(encoding="utf-8"))
    blocks = re.findall(FENCED, text, FLAGS)
    text = re.sub(FENCED, "", text, flags=FLAGS)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^ {4}(\S.*)$", text, re.MULTILINE)
    lines += [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]
    found = []
    for line in lines:
        line = re.split(r"\s#\s|\s\[key=value", line)[0].strip().removeprefix("$ ")
        line = line.rpartition(" -- ")[2] if line.startswith("ray ") else line
        call = re.match(r"(?:\S*python -m hopsearch\.|hopsearch )(\w+)((?: .*)?)$", line)
        if call:
            found.append((call[1], call[2].split()))
    return found


CALLS = [
    pytest.param(verb, words, id=" ".join([page.name, verb, *words]))
    for page in OURS
    for verb, words in commands(page)
]


def test_command_lines_are_found():
    assert len(CALLS) > 30


@pytest.mark.parametrize(("verb", "words"), CALLS)
def test_every_command_line_is_understood(verb, words):
    assert verb in VERBS
    words = [word for word in words if word not in ("--help", "…") and "|" not in word]
    listed = path_of(verb).read_text(encoding="utf-8")
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            assert verb in ("predict", "doctor"), f"{word} is no setting"
            continue
        key = SHORT.get(key, key).removeprefix("prior.")
        assert f"  {key}=<" in listed, f"{verb} has no setting {key}"
        if key in NAMED and "…" not in value:
            assert value in NAMED[key]
        if key == "space" and not value.endswith((".yaml", "…", ">")):
            assert value in list_spaces()
    if words and not any(sign in word for word in words for sign in "…<") and verb != "predict":
        _read(verb, words)


def _read(verb: str, words: list[str]) -> None:
    """As the verb's own ``main`` reads them."""
    schema = SCHEMAS[verb]
    if verb == "doctor":
        words = [word if "=" in word else f"file={word}" for word in words]
    model = {"model": "model="} if verb == "train" else {}
    short = ALIASES | SHORT if verb == "tune" else {"data": "data.source"}
    values = read_words(words, schema, schema.sections, short | model)
    fixed = {name: values.pop(name) for name in SETTINGS if name in values}
    if "model=" in values:
        values["model"] = values.pop("model=")
    parse(schema, values, "page", beside=fixed)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it."""
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: run `make docs`")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_needs_no_network(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe)[^>]*\ssrc=\"?(?:https?:)?//", text), page
        asked = re.findall(r"<link[^>]*>", text)
        assert not [link for link in asked if re.search(r"href=\"?(?:https?:)?//", link)], page
        assert "mermaid" not in re.sub(r"<script id=\"__config\".*?</script>", "", text), page
