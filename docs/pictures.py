"""Draws the pictures of README.md anew from a real search: what it prints, and the top of its
report.

    .venv/bin/python -m docs.pictures

Takes as long as `make search`; needs Chromium (`make browser`).
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.browser import Browser

DOCS = Path(__file__).parent
COMMAND = ["python", "-m", "hopsearch.tune", "space=imixer"]
COLUMNS = 170
FIRST, LAST = 14, 17  # lines shown of a run that says more
WIDTH, HEIGHT = 900, 2500  # pixels


def searched(folder: Path) -> list[str]:
    """What the search prints, a line each."""
    environment = os.environ | {"PYTHONPATH": str(DOCS.parent), "COLUMNS": str(COLUMNS)}
    command = [sys.executable, *COMMAND[1:]]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def draw_search(lines: list[str]) -> None:
    """``docs/search.svg``."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    console.print(f"$ {' '.join(COMMAND)}", style="bold")
    for line in (*lines[:FIRST], "…", *lines[-LAST:]):
        console.print(line, markup=False, no_wrap=True, overflow="ellipsis")
    console.save_svg(str(DOCS / "search.svg"), title="hopsearch: 24 trials on two cores")


def draw_report(folder: Path) -> None:
    """``docs/report.png``."""
    subprocess.run(
        [sys.executable, "-m", "hopsearch.report", "study=imixer-digits"], cwd=folder, check=True
    )
    (page,) = folder.rglob("report.html")
    browser = Browser(folder / "profile", WIDTH, HEIGHT)
    try:
        browser.driver.implicitly_wait(20)
        browser.driver.get(page.as_uri())
        browser.driver.find_element("css selector", ".js-plotly-plot .main-svg")
        browser.driver.save_screenshot(str(DOCS / "report.png"))
    finally:
        browser.driver.quit()


def main() -> None:
    """Search in a folder of its own, then draw."""
    with tempfile.TemporaryDirectory() as scratch:
        draw_search(searched(Path(scratch)))
        draw_report(Path(scratch))


if __name__ == "__main__":
    main()
