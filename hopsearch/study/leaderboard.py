"""The leaderboard: what a study has found, as rows for a terminal, a CSV file, or another program."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hopsearch.study.records import State, TrialRecord
from hopsearch.study.view import StudyView


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard.

    Attributes:
        rank: 1 is the best; 0 for a trial without a value.
        record: the trial.
        value: the best objective value on its curve, None where there is none.
        best_epoch: the epoch of that value.
        epochs: trained, in the search or, for the winner, after it.
        state: where it stands, in a word; the finished winner is complete.
        front: 1 on the Pareto front of several objectives (nobody beats it in all of them); of one objective 1 is the best alone.
    """

    rank: int
    record: TrialRecord
    value: float | None
    best_epoch: int
    epochs: int
    state: str
    front: int = 0


def leaderboard(view: StudyView) -> list[Row]:
    """All counted trials: those with a value first, best first, then the failed and the untrained, by number."""
    ranked = view.ranked()
    front = {record.number for record in view.front()}
    rest = [record for record in view.counted() if record not in ranked]
    rows = []
    for rank, record in enumerate(ranked, start=1):
        best = record.best(view.sign)
        assert best is not None  # `ranked` holds trials with a curve only
        place = int(record.number in front)
        if (finished := _finished(view, record)) is not None:
            rows.append(Row(rank, record, *finished, State.COMPLETE.value, place))
        else:
            rows.append(Row(rank, record, best[1], best[0], record.epoch, record.state.value, place))
    return rows + [Row(0, record, None, 0, record.epoch, record.state.value) for record in rest]


def _finished(view: StudyView, record: TrialRecord) -> tuple[float, int, int] | None:
    """Value, its epoch and all epochs of the winner, where it was trained further than the search had."""
    winner = view.winner
    if winner is None or winner["trial"] != record.number or winner["epochs"] <= record.epoch or view.objective not in winner:
        return None
    return winner[view.objective], winner["epoch"], winner["epochs"]


def accuracies(view: StudyView) -> list[str]:
    """What is known of trials at their best epoch beside the objective: accuracies, loss, then the recall of each class."""
    names = dict.fromkeys(name for record in view.counted() for name in record.peak)
    classes = [f"recall/{name}" for name in view.identity.origin.get("classes", [])]
    order = {name: at for at, name in enumerate(["val_acc", "val_balanced_acc", "val_worst_recall", "val_loss", *classes])}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def varied(view: StudyView) -> list[str]:
    """Names of the searched parameters, in the space's order."""
    return list(view.identity.space.parameters)


def write_csv(view: StudyView, path: Path | None = None) -> Path:
    """Write ``leaderboard.csv`` into the study's folder (or to ``path``), whole or not at all; returns where."""
    target = path or view.folder / "leaderboard.csv"
    names, known = varied(view), accuracies(view)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    with scratch.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(
            [
                "rank",
                "trial",
                "state",
                view.objective,
                "best_epoch",
                "epochs",
                "seconds",
                "params",
                "flops",
                "seed",
                "reason",
                "front",
                "latency",
                "memory",
                *known,
                *names,
            ]
        )
        for row in leaderboard(view):
            out.writerow(_cells(row, names, known))
    os.replace(scratch, target)
    return target


def _cells(row: Row, names: list[str], known: list[str]) -> list[Any]:
    record = row.record
    value = "" if row.value is None else f"{row.value:.6g}"
    cost = [record.cost.get("params", ""), record.cost.get("flops", "")]
    facts = [
        row.rank or "",
        record.number,
        row.state,
        value,
        row.best_epoch or "",
        row.epochs,
        f"{record.seconds:.2f}",
    ]
    more = [row.front or "", record.cost.get("latency", ""), record.cost.get("memory", "")]
    more += [record.peak.get(name, "") for name in known]
    return [*facts, *cost, record.seed, record.reason, *more, *(record.params.get(name, "") for name in names)]


def summary(view: StudyView) -> dict[str, int]:
    """How many trials stand where, and the epochs spent; keys are the states' words, ``epochs`` and ``full_epochs``.

    ``full_epochs`` is what the same trials would have cost without early stopping (failed and running ones counted as they are).
    """
    counts = {state.value: 0 for state in State}
    full = 0
    for record in view.records.values():
        counts[State.COMPLETE.value if _finished(view, record) else record.state.value] += 1
        if record.state.counted:
            ended = record.state in (State.COMPLETE, State.PRUNED)
            full += record.lost_epochs + view.identity.space.fidelity.max_epochs if ended else record.epochs_trained
    return counts | {"epochs": view.epochs, "full_epochs": full}
