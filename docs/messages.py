"""Lists every message of the product, with its file and line: errors, findings, and what is said.

    .venv/bin/python -m docs.messages

Whoever changes messages reads the list once more.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAID = {"say", "print", "_say", "Finding", "ValueError", "Interrupted", "warn", "warning"}


def shown(node: ast.expr) -> str:
    """A string as it is written, with braces where values come in; empty for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        parts = (
            shown(part) if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
        return "".join(parts)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return shown(node.left) + shown(node.right)
    if isinstance(node, ast.IfExp):
        return " | ".join(text for text in (shown(node.body), shown(node.orelse)) if text)
    return ""


def messages(file: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each message: arguments of errors and of what says something, and strings
    of several words that are put into a name first.
    """
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in SAID or name.endswith("Error"):
                text = " · ".join(filter(None, map(shown, node.args)))
                if " " in text:
                    yield node.lineno, text
        elif isinstance(node, ast.Assign | ast.Return) and node.value is not None:
            text = shown(node.value)
            if text.count(" ") > 2 and not isinstance(node.value, ast.Constant):
                yield node.lineno, text


def main() -> None:
    """Print them."""
    for file in sorted((ROOT / "hopsearch").rglob("*.py")):
        for line, text in sorted(set(messages(file))):
            print(f"{file.relative_to(ROOT)}:{line}: {' '.join(text.split())}")


if __name__ == "__main__":
    main()
