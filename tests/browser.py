"""A headless Chromium for tests: Debian's packages chromium and chromium-driver; where they are not
installed, tests are skipped.

Whatever a page asks of the network is refused and written down, so a test can hold that it asked
for nothing.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

FLAGS = [
    "--headless",
    "--no-sandbox",  # as root, which tests in a container are
    "--disable-gpu",
    # WebGL, which parallel coordinates are drawn with, without a GPU
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


class Browser:
    """One Chromium; see `launched`."""

    def __init__(self, profile: Path, width: int, height: int) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(shutil.which("chromium"))
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(
            options, webdriver.ChromeService(str(shutil.which("chromedriver")))
        )
        self.driver.set_page_load_timeout(60)

    def console(self) -> list[str]:
        """What the page has written to its console since the last call: warnings and errors."""
        return [
            f"{entry['level']}: {entry['message']}"
            for entry in self.driver.get_log("browser")
            if entry["level"] != "INFO"
        ]

    def requests(self) -> list[str]:
        """What was asked for since the last call, by its address."""
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


def launched(profile: Path) -> Iterator[Browser]:
    """A browser for as long as the generator is held; skips the test where there is none."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: run `make browser`")
    opened = Browser(profile, 1280, 900)
    yield opened
    opened.driver.quit()
