"""``python -m hopsearch.report study=<name>``: what a study has found, at any time, also while it runs."""

import sys
from collections.abc import Sequence

from hopsearch.command import run_verb
from hopsearch.config import Settings, parse, read_words
from hopsearch.distributed.mirror import Place
from hopsearch.errors import StudyError
from hopsearch.study import StudyView, make_console, show, write_csv


class ReportConfig(Settings):
    """Which study to look at, and how closely."""

    study: str
    """Name of the study: its folder below `storage`."""
    storage: str = "runs"
    """Folder of the studies."""
    database: str | None = None
    """Optuna storage URL, where the study was searched with one."""
    top: int = 10
    """Lines of the leaderboard that are printed; the CSV file has all."""
    audit: bool = False
    """Make every stopping decision again from the records, and say where they differ."""


def main(words: Sequence[str]) -> None:
    """Read the command line, print, write ``leaderboard.csv``."""
    config = parse(ReportConfig, read_words(words), "command line")
    place = Place.of(config.storage, config.study)
    place.bring_journal()
    view = StudyView.open(place.folder, config.database)
    console = make_console()
    show(view, console, config.top)
    if config.audit:
        lines = view.audit()
        decisions = sum(len(record.decisions) for record in view.records.values())
        console.print(f"audit: {decisions} decisions made again, {len(lines)} differ")
        if lines:
            raise StudyError(str(view.folder), "decisions must follow from the records, got:\n" + "\n".join(lines), "Report this")
    console.print(f"all trials: {write_csv(view)}")


if __name__ == "__main__":
    sys.exit(run_verb(main, ReportConfig, __doc__ or ""))
