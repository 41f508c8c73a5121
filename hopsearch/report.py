"""``python -m hopsearch.report study=<name> [key=value …]``: the results of a study, at any time,
even while it runs.

    python -m hopsearch.report study=imixer-digits
    python -m hopsearch.report study=imixer-digits compare=mixer-digits format=md

Prints the leaderboard and writes it as CSV, together with a self-contained HTML page (format=html),
all numbers as JSON (format=json), or a summary in Markdown (format=md).
"""

from hopsearch.command_line import manual, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("report")  # before the imports: they take seconds

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hopsearch.command_line.command import run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core.config import Settings, parse
from hopsearch.core.errors import StudyError
from hopsearch.core.study_names import Name
from hopsearch.reporting.leaderboard import write_csv
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.printout import show
from hopsearch.storage.mirror import Place
from hopsearch.study import StudyView


class ReportConfig(Settings):
    """Settings of a report."""

    study: Name
    """Name of the study: its folder below `storage`."""
    compare: Name | None = None
    """Another study of the same storage to compare with."""
    format: Literal["html", "csv", "json", "md"] = "html"
    """What to write in addition to the table: html, csv, json or md."""
    to: str | None = None
    """File to write; by default report.<format>, or leaderboard.csv, in the study's folder."""
    storage: str = "runs"
    """Folder of the studies, or a storage, e.g. s3://bucket/path."""
    database: str | None = None
    """Optuna storage URL, if the study uses one."""
    top: int = 10
    """Rows of the leaderboard to print; the files have all."""
    audit: bool = False
    """Recompute every stopping decision from the records, and report differences."""


def open_view(storage: str, study: str, database: str | None) -> StudyView:
    """Open the study, after fetching its journal from the storage if the copy there is newer.

    Raises:
        StudyError: there is none.
    """
    place = Place.of(storage, study)
    place.bring_journal()
    return StudyView.open(place.folder, database)


def write_report(
    view: StudyView,
    format: str = "html",
    target: Path | None = None,
    others: Sequence[StudyView] = (),
) -> Path:
    """Write a study's report, and return its path.

    Args:
        view: the study.
        format: html, csv, json or md.
        target: the file; by default in the study's folder.
        others: studies to compare it with.

    Raises:
        StudyError: the file cannot be written.
    """
    if format == "csv":
        return write_csv(view, target)
    # plotly takes a second to import
    from hopsearch.reporting import facts_of, write_json, write_markdown, write_page

    file = target or view.folder / f"report.{format}"
    facts = facts_of(view)
    compared = [facts_of(other) for other in others]
    if format == "json":
        return write_json(facts, compared, file)
    if format == "md":
        return write_markdown(facts, compared, file)
    return write_page(view, facts, compared, file)


def main(words: Sequence[str]) -> None:
    """Read the command line, print, write."""
    config = parse(ReportConfig, read_words(words, ReportConfig), "command line")
    view = open_view(config.storage, config.study, config.database)
    others = [open_view(config.storage, config.compare, config.database)] if config.compare else []
    console = make_console(name=__name__)
    for one in (view, *others):
        show(one, console, config.top)
    if config.audit:
        lines = view.audit()
        decisions = sum(len(record.decisions) for record in view.records.values())
        console.print(
            f"audit: {decisions} decisions recomputed, {len(lines)} differ; {view.integrity}"
        )
        if lines:
            raise StudyError(
                str(view.folder),
                "decisions must follow from the records, got:\n" + "\n".join(lines),
                "Please report this",
            )
    target = Path(config.to) if config.to else None
    if config.format != "csv":
        console.print(f"all trials: {write_csv(view)}")
        console.print(f"report: {write_report(view, config.format, target, others)}")
    else:
        console.print(f"all trials: {write_csv(view, target)}")


if __name__ == "__main__":
    run_as_program(main, ReportConfig, __doc__ or "")
