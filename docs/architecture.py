"""Draws the picture of the imports and lists every file in docs/architecture.md, from the source.

    .venv/bin/python -m docs.architecture

Tests hold both to the source.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.layered_drawing import drawing, rows_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hopsearch"
PAGE = ROOT / "docs" / "architecture.md"
DRAWING = ROOT / "docs" / "architecture.svg"
VERBS = "verbs"


def layer_of(name: str) -> str:
    """The package of a module, e.g. ``study`` for ``hopsearch.study.writer``; the files at the root
    are the verbs.
    """
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else VERBS


def imports() -> dict[str, set[str]]:
    """The packages that each package imports from."""
    found: dict[str, set[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        here = layer_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
        found.setdefault(here, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hopsearch."):
                found[here].add(layer_of(str(node.module)))
            elif isinstance(node, ast.ImportFrom) and node.module == "hopsearch":
                found[here] |= {layer_of(f"hopsearch.{alias.name}") for alias in node.names}
    return {here: there - {here} for here, there in found.items()}


def direct(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same without arrows that a longer way implies: who imports the dispatcher may import the
    study as well.
    """

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        for name in edges[start]:
            found |= {name} | reached(name)
        return found

    return {
        here: {one for one in there if not any(one in reached(other) for other in there)}
        for here, there in edges.items()
    }


def picture() -> str:
    """The drawing, and the same as a list, which can be read and searched."""
    edges = direct(imports())
    rows = rows_of(edges)
    lines = [f"![Which package imports from which: every arrow points down]({DRAWING.name})", ""]
    lines += ["| package | imports from |", "|---|---|"]
    for here in sorted(edges, key=lambda name: (rows[name], name)):
        lines.append(f"| {here} | {', '.join(sorted(edges[here])) or 'nothing of ours'} |")
    return "\n".join(lines)


def svg() -> str:
    """The drawing."""
    return drawing(direct(imports()), "The packages of hopsearch and their imports")


def summary(file: Path) -> str:
    """The first sentence of a file's docstring."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return first.rstrip(".") + "."


def files() -> Iterator[str]:
    """Every file with what it is, folder by folder."""
    for folder in sorted({file.parent for file in PACKAGE.rglob("*.py")}):
        name = folder.relative_to(ROOT).as_posix()
        yield f"\n### `{name}/`\n\n{summary(folder / '__init__.py')}\n\n| file | |\n|---|---|"
        for file in sorted(folder.glob("*.py")):
            if file.name != "__init__.py":
                yield f"| `{file.name}` | {summary(file).replace('|', chr(92) + '|')} |"


def page(text: str) -> str:
    """The page with its made parts made anew."""
    parts = {"picture": picture(), "files": "\n".join(files()).strip()}
    for name, made in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
        text = re.sub(
            pattern, lambda match, made=made: f"{match[1]}{made}\n{match[2]}", text, flags=re.DOTALL
        )
    return text


if __name__ == "__main__":
    DRAWING.write_text(svg(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
