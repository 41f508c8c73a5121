"""The study in words and a table, for a terminal or a file."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console

from hopsearch.core.metrics import Kind
from hopsearch.core.terminal_tables import Column, fitted, settings, short
from hopsearch.reporting.leaderboard import Row, leaderboard, summary, varied
from hopsearch.space import DEFAULT_TASK
from hopsearch.study.reader import StudyView
from hopsearch.study.record.journal_keys import ELECTION
from hopsearch.study.significance import no_better_words, winner_values, winner_verdicts
from hopsearch.study.stopping.rung_judgements import latest
from hopsearch.study.winner_choice import election_words


def plain(console: Console) -> Callable[[str], None]:
    """Prints sentences in which square brackets mean themselves."""
    return functools.partial(console.print, markup=False)


def show(view: StudyView, console: Console, top: int = 10) -> None:
    """Print the leaderboard and what the search cost."""
    counts = summary(view)
    states = ", ".join(
        f"{counts[state]} {state}"
        for state in ("complete", "pruned", "failed", "open", "running", "paused")
        if counts[state]
    )
    refused = counts["infeasible"] + counts["duplicate"]
    console.print(
        f"study {view.identity.name}: {states or 'no trials yet'}"
        + (f"; {refused} proposals rejected" if refused else "")
    )
    if counts["full_epochs"]:
        share = counts["epochs"] / counts["full_epochs"]
        console.print(
            f"{counts['epochs']} epochs trained, {share:.0%} of the {counts['full_epochs']} "
            f"without early stopping"
        )
    rows = leaderboard(view)[:top]
    if rows:
        table, missing = fitted(_columns(view, rows), console.width, "bold")
        console.print(table)
        if missing:
            console.print(
                f"columns not shown for lack of width: {', '.join(missing)}; leaderboard.csv and "
                f"the report have all",
                markup=False,
            )
    if len(view.objectives) > 1 and rows:
        words = ", ".join(
            f"{objective.name} {'up' if objective.sign > 0 else 'down'}"
            for objective in view.objectives
        )
        console.print(
            f"* Pareto front ({words}): {len(view.front())} trials; no other trial is better in "
            f"all objectives"
        )
    for judgement in latest(view.judgements):
        console.print(judgement.words(view.identity.space.fidelity.rungs), markup=False)
    if words := no_better_words(view):
        console.print(words, markup=False)
    if view.dropped:
        kept = ", ".join(map(str, view.kept or ())) or "none"
        again = ""
        if view.identity.space.task == DEFAULT_TASK:  # the verb trains no other
            command = f"python -m hopsearch.train from={view.identity.name}#<trial>"
            again = f"; {command} retrains another one"
        console.print(f"weights are kept for trials {kept}{again}", markup=False)
    if view.winner:
        _winner(view, view.winner, console)


def _winner(view: StudyView, winner: Mapping[str, Any], console: Console) -> None:
    images = view.identity.origin.get("images", {})
    classes = view.identity.origin.get("classes", [])
    part = view.identity.origin.get("data", {}).get("test part")
    reads = f"(test split read for {winner['test_reads']} winner(s)" + (
        f"; it is {part})" if part else ")"
    )
    metrics = view.identity.metrics
    values = winner_values(winner, images, metrics)
    weights = f"weights in {view.folder / winner['folder']}"
    console.print(
        f"winner: trial {winner['trial']}, {values} {reads}; {weights}",
        markup=False,
    )
    if how := election_words(view.optuna.user_attrs.get(ELECTION), view.identity.items):
        console.print(f"winner: {how}", markup=False)
    for sentence in winner_verdicts(winner, images, classes, metrics):
        console.print(f"winner: {sentence}", markup=False)


def _columns(view: StudyView, rows: Sequence[Row]) -> list[Column]:
    records = [row.record for row in rows]
    stars = [" *" if row.front and len(view.objectives) > 1 else "" for row in rows]
    # One more accuracy, the mean recall if there is one: the table is wide.
    others = [
        metric
        for metric in view.identity.metrics
        if metric.kind != Kind.NUMBER and metric.name != view.objective
    ]
    others.sort(key=lambda metric: metric.kind != Kind.MEAN_RECALL)
    beside = others[0] if others else None
    columns = [
        Column("rank", [f"{row.rank or '-'}{star}" for row, star in zip(rows, stars, strict=True)]),
        Column("trial", [str(record.number) for record in records]),
        Column("state", [row.state for row in rows], left=True),
        Column(view.objective, ["" if row.value is None else f"{row.value:.4f}" for row in rows]),
    ]
    if beside and any(beside.name in row.peak for row in rows):
        known = [row.peak.get(beside.name) for row in rows]
        cells = ["" if value is None else f"{value:.4f}" for value in known]
        title = beside.short.removesuffix("_acc")
        columns.append(Column(title if beside.kind == Kind.MEAN_RECALL else beside.name, cells))
    columns.append(Column("epochs", [str(row.epochs) for row in rows]))
    columns.append(
        Column("n_params", [f"{record.cost.get('n_params', 0):,}" for record in records], order=1)
    )
    costs = [objective.name for objective in view.objectives[1:] if objective.name != "n_params"]
    columns += [
        Column(name, [short(record.cost.get(name, "")) for record in records]) for name in costs
    ]
    return columns + settings([record.params for record in records], varied(view), order=2)
