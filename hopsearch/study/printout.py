"""The study in words and a table, for a terminal or a file."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from hopsearch.study.elections import ELECTION, election_words
from hopsearch.study.leaderboard import Row, leaderboard, summary, varied
from hopsearch.study.verdicts import BALANCED, no_better_words, winner_values, winner_verdicts
from hopsearch.study.view import StudyView

_BESIDE = {"val_acc": "val_acc", BALANCED: "balanced"}  # short: the table is wide


def make_console() -> Console:
    """Standard output; a file or a pipe has no width to fit into."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=240)


def plain(console: Console) -> Callable[[str], None]:
    """Prints sentences in which square brackets mean themselves."""
    return functools.partial(console.print, markup=False)


def show(view: StudyView, console: Console, top: int = 10) -> None:
    """Print the leaderboard and what the search cost."""
    counts = summary(view)
    states = ", ".join(
        f"{counts[state]} {state}" for state in ("complete", "pruned", "failed", "open", "running", "paused") if counts[state]
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
    if words := no_better_words(view):
        console.print(words, markup=False)
    if view.dropped:
        kept = ", ".join(map(str, view.kept or ())) or "none"
        again = f"python -m hopsearch.train from={view.identity.name}#<trial>"
        console.print(f"weights are kept of ended trials {kept}; {again} trains another again", markup=False)
    if view.winner:
        _winner(view, view.winner, console)


def _winner(view: StudyView, winner: Mapping[str, Any], console: Console) -> None:
    images, classes = view.identity.origin.get("images", {}), view.identity.origin.get("classes", [])
    part = view.identity.origin.get("data", {}).get("test part")
    reads = f"(test split read for {winner['test_reads']} winner(s)" + (f"; it is {part})" if part else ")")
    weights = f"weights in {view.folder / winner['folder']}"
    console.print(f"winner: trial {winner['trial']}, {winner_values(winner, images)} {reads}; {weights}", markup=False)
    if how := election_words(view.optuna.user_attrs.get(ELECTION)):
        console.print(f"winner: {how}", markup=False)
    for sentence in winner_verdicts(winner, images, classes):
        console.print(f"winner: {sentence}", markup=False)


def _table(view: StudyView, rows: Sequence[Row]) -> Table:
    names = varied(view)
    table = Table(box=None, pad_edge=False, header_style="bold")
    costs = [objective.name for objective in view.objectives[1:] if objective.name != "params"]
    other = "val_acc" if view.objective == BALANCED else BALANCED
    beside = [other] if any(other in row.record.peak for row in rows) else []
    columns = ["rank", "trial", "state", view.objective, *(beside and [_BESIDE[other]]), "epochs", "params", *costs]
    for name in (*columns, *(name.rpartition(".")[2] for name in names)):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for row in rows:
        record = row.record
        rank = f"{row.rank or '-'}{' *' if row.front and len(view.objectives) > 1 else ''}"
        cells = [rank, str(record.number), row.state, "" if row.value is None else f"{row.value:.4f}"]
        cells += [f"{record.peak[name]:.4f}" if name in record.peak else "" for name in beside]
        cells += [str(row.epochs), f"{record.cost.get('params', 0):,}", *(_short(record.cost.get(name, "")) for name in costs)]
        table.add_row(*cells, *(_short(record.params.get(name, "")) for name in names))
    return table


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
