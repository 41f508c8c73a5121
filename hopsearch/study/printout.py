"""The study in words and a table, for a terminal or a file."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from hopsearch.study.leaderboard import Row, leaderboard, summary, varied
from hopsearch.study.view import StudyView


def make_console() -> Console:
    """Standard output; a file or a pipe has no width to fit into."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def show(view: StudyView, console: Console, top: int = 10) -> None:
    """Print the leaderboard and what the search cost."""
    counts = summary(view)
    states = ", ".join(
        f"{counts[state]} {state}" for state in ("complete", "pruned", "failed", "running", "paused") if counts[state]
    )
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
    if len(view.objectives) > 1 and rows:
        words = ", ".join(f"{objective.name} {'up' if objective.sign > 0 else 'down'}" for objective in view.objectives)
        console.print(f"* Pareto front ({words}): {len(view.front())} trials; nobody beats one of them in all objectives")
    if view.dropped:
        kept = ", ".join(map(str, view.kept or ())) or "none"
        again = f"python -m hopsearch.train from={view.identity.name}#<trial>"
        console.print(f"weights are kept of ended trials {kept}; {again} trains another again", markup=False)
    if view.winner:
        winner = view.winner
        console.print(
            f"winner: trial {winner['trial']}, val_acc {winner['val_acc']:.4f} at epoch {winner['epoch']} of {winner['epochs']}, "
            f"test_acc {winner['test_acc']:.4f} (test split read for {winner['test_reads']} winner(s)); "
            f"weights in {view.folder / winner['folder']}"
        )


def _table(view: StudyView, rows: Sequence[Row]) -> Table:
    names = varied(view)
    table = Table(box=None, pad_edge=False, header_style="bold")
    costs = [objective.name for objective in view.objectives[1:] if objective.name != "params"]
    columns = ["rank", "trial", "state", view.objective, "epochs", "params", *costs]
    for name in (*columns, *(name.rpartition(".")[2] for name in names)):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for row in rows:
        record = row.record
        rank = f"{row.rank or '-'}{' *' if row.front and len(view.objectives) > 1 else ''}"
        cells = [rank, str(record.number), record.state.value, "" if row.value is None else f"{row.value:.4f}"]
        cells += [str(record.epoch), f"{record.cost.get('params', 0):,}", *(_short(record.cost.get(name, "")) for name in costs)]
        table.add_row(*cells, *(_short(record.params.get(name, "")) for name in names))
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
