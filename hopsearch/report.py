"""``python -m hopsearch.report study=<name>``: what a study has found, at any time, also while it runs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from hopsearch.command import run_verb
from hopsearch.config import Settings, parse, read_words
from hopsearch.errors import StudyError
from hopsearch.study import StudyView, leaderboard, summary, varied, write_csv


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


def make_console() -> Console:
    """Standard output; a file or a pipe has no width to fit into."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def show(view: StudyView, console: Console, top: int = 10) -> None:
    """Print the leaderboard and what the search cost."""
    counts = summary(view)
    states = ", ".join(f"{counts[state]} {state}" for state in ("complete", "pruned", "failed", "running") if counts[state])
    refused = counts["infeasible"] + counts["duplicate"]
    console.print(
        f"study {view.identity.name}: {states or 'no trials yet'}" + (f"; {refused} proposals refused" if refused else "")
    )
    if counts["full_epochs"]:
        share = counts["epochs"] / counts["full_epochs"]
        console.print(f"{counts['epochs']} epochs trained, {share:.0%} of the {counts['full_epochs']} without early stopping")
    rows = leaderboard(view)[:top]
    if rows:
        console.print(_table(view, rows))
    if view.winner:
        winner = view.winner
        console.print(
            f"winner: trial {winner['trial']}, val_acc {winner['val_acc']:.4f} at epoch {winner['epoch']} of {winner['epochs']}, "
            f"test_acc {winner['test_acc']:.4f} (test split read for {winner['test_reads']} winner(s)); "
            f"weights in {view.folder / winner['folder']}"
        )


def _table(view: StudyView, rows: Sequence) -> Table:  # type: ignore[type-arg]
    names = varied(view)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("rank", "trial", "state", view.objective, "epochs", "params", *(name.rpartition(".")[2] for name in names)):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for row in rows:
        record = row.record
        cells = [str(row.rank or "-"), str(record.number), record.state.value, "" if row.value is None else f"{row.value:.4f}"]
        cells += [str(record.epoch), f"{record.cost.get('params', 0):,}"]
        table.add_row(*cells, *(_short(record.params.get(name, "")) for name in names))
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main(words: Sequence[str]) -> None:
    """Read the command line, print, write ``leaderboard.csv``."""
    config = parse(ReportConfig, read_words(words), "command line")
    view = StudyView.open(Path(config.storage) / config.study, config.database)
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
