"""A hook of MkDocs: files outside docs/ become part of the site where a page of ours links to them.

The cluster files' README, the benchmarks' results and the changelog are kept beside what they are
about. A link such as ``../cluster/README.md`` leads there on the disk and in the repository; in the
site that page is ``cluster/README.md``, and the link is rewritten.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK = re.compile(r"(\]\()([^)\s#]+\.\w+)((?:#[^)\s]*)?(?:\s+\"[^\"]*\")?\))")


def place(file: Path) -> str:
    """Where a file is in the site: pages of docs/ at the top, all others by their path in the
    project.
    """
    return file.relative_to(DOCS if file.is_relative_to(DOCS) else ROOT).as_posix()


def linked(page: Path) -> set[Path]:
    """The project's files that a page links to."""
    targets = (
        (page.parent / match[2]).resolve()
        for match in LINK.finditer(page.read_text(encoding="utf-8"))
        if "://" not in match[2]
    )
    return {file for file in targets if file.is_file() and file.is_relative_to(ROOT)}


def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs/ and is linked to, and what that links to in turn."""
    seen = {DOCS / file.src_uri for file in files.documentation_pages()}
    waiting = sorted(seen)
    while waiting:
        for file in sorted(linked(waiting.pop()) - seen):
            seen.add(file)
            if not file.is_relative_to(DOCS):
                # of pages mkdocs.yml decides; other files are there because they are linked to
                level = InclusionLevel[("INCLUDED", "UNDEFINED")[file.suffix == ".md"]]
                added = File.generated(config, place(file), abs_src_path=str(file), inclusion=level)
                files.append(added)
            if file.suffix == ".md":
                waiting.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Write the page's links for the places that files have in the site."""
    here = Path(page.file.abs_src_path)
    start = Path(page.file.src_uri).parent

    def written(match: re.Match[str]) -> str:
        target = (here.parent / match[2]).resolve()
        if "://" in match[2] or not target.is_file() or not target.is_relative_to(ROOT):
            return match[0]
        return f"{match[1]}{Path(os.path.relpath(place(target), start)).as_posix()}{match[3]}"

    return LINK.sub(written, markdown)
