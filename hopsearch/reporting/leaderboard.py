"""The leaderboard: what a study has found, as rows for a terminal, a CSV file, or another
program.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from hopsearch.core import paths
from hopsearch.core.atomic_writes import written_whole
from hopsearch.study.reader import StudyView
from hopsearch.study.record.trial import State, TrialRecord
from hopsearch.tasks.images.classification_metrics import WORST_RECALL


class FlatTrial(TypedDict):
    """A trial's single values, see `Row`."""

    rank: int
    front: bool
    trial: int
    state: str
    value: float | None
    best_epoch: int
    epochs: int
    seconds: float
    n_params: float | None
    flops: float | None
    memory: float | None
    latency: float | None
    seed: int
    source: str
    reason: str


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
        front: 1 on the Pareto front of several objectives (nobody beats it in all of them); of one
            objective 1 is the best alone.
        peak: accuracies, loss and recalls at the best epoch.
        metrics: all others: of the newest epoch, or for the winner of the epoch whose weights are
            its.
        seconds: of training, in the search or, for the winner, after it.
        reason: why it failed or is open.
    """

    rank: int
    record: TrialRecord
    value: float | None
    best_epoch: int
    epochs: int
    state: str
    front: int
    peak: Mapping[str, float]
    metrics: Mapping[str, float]
    seconds: float
    reason: str

    def flat(self) -> FlatTrial:
        """The row's single values by name, of which every table of a study shows some: not the
        parameters and metrics, which differ from study to study. A cost that is not known is None.
        """
        record = self.record
        return {
            "rank": self.rank,
            "front": bool(self.front),
            "trial": record.number,
            "state": self.state,
            "value": self.value,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "n_params": record.cost.get("n_params"),
            "flops": record.cost.get("flops"),
            "memory": record.cost.get("memory"),
            "latency": record.cost.get("latency"),
            "seed": record.seed,
            "source": record.source,
            "reason": self.reason,
        }


_COLUMNS = (
    "rank",
    "trial",
    "state",
    "value",
    "best_epoch",
    "epochs",
    "seconds",
    "n_params",
    "flops",
    "seed",
    "reason",
    "front",
    "latency",
    "memory",
)  # of leaderboard.csv, where the value is named after the objective


def leaderboard(view: StudyView) -> list[Row]:
    """All counted trials: those with a value first, best first, then the failed and the untrained,
    by number.
    """
    ranked = view.ranked()
    front = {record.number for record in view.front()}
    rest = [record for record in view.counted() if record not in ranked]
    rows = []
    for rank, record in enumerate(ranked, start=1):
        best = record.best(view.sign)
        assert best is not None  # `ranked` holds trials with a curve only
        rows.append(_row(view, rank, record, (best[1], best[0]), int(record.number in front)))
    return rows + [_row(view, 0, record, (None, 0), 0) for record in rest]


def _row(
    view: StudyView, rank: int, record: TrialRecord, best: tuple[float | None, int], front: int
) -> Row:
    winner = _finished(view, record)
    if winner is None:
        state = record.state.value
        return Row(
            rank,
            record,
            *best,
            record.epoch,
            state,
            front,
            record.peak,
            record.metrics,
            record.seconds,
            record.reason,
        )
    top = _winner_peak(view, winner, record)
    others = _winner_metrics(winner)
    seconds = record.seconds + winner.get("finish_seconds", 0.0)
    state = State.COMPLETE.value
    value = winner[view.objective]
    return Row(
        rank,
        record,
        value,
        winner["epoch"],
        winner["epochs"],
        state,
        front,
        top,
        others,
        seconds,
        "",
    )


def _finished(view: StudyView, record: TrialRecord) -> dict[str, Any] | None:
    """The winner's facts, where it was trained further than the search had."""
    winner = view.winner
    if (
        winner is None
        or winner["trial"] != record.number
        or winner["epochs"] <= record.epoch
        or view.objective not in winner
    ):
        return None
    return winner


def _winner_peak(
    view: StudyView, winner: Mapping[str, Any], record: TrialRecord
) -> dict[str, float]:
    """What the search noted at this trial's best epoch, as it is since the winner was finished, as
    far as that is known.
    """
    known = {name: value for name, value in winner.items() if name.startswith("val_")}
    if "by_class" in winner:
        by_class = winner["by_class"]["val"]
        classes = view.identity.origin.get("classes", [])
        recalls = {
            f"recall/{name}": hits / images
            for name, hits, images in zip(
                classes, by_class["hits"], by_class["images"], strict=False
            )
            if images
        }
        known |= recalls | ({WORST_RECALL.name: min(recalls.values())} if recalls else {})
    return {name: _short(known[name]) for name in record.peak if name in known}


def _winner_metrics(winner: Mapping[str, Any]) -> dict[str, float]:
    """None of a winner of an older version: what the search noted is not of its weights."""
    return {
        name: _short(value)
        for name, value in winner.get("metrics", {}).items()
        if math.isfinite(value)
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")  # as the journal has it


def accuracies(view: StudyView) -> list[str]:
    """What is known of trials at their best epoch beside the objective: accuracies, loss, then the
    recall of each class.
    """
    names = dict.fromkeys(name for record in view.counted() for name in record.peak)
    classes = [f"recall/{name}" for name in view.identity.origin.get("classes", [])]
    order = {
        name: at
        for at, name in enumerate([*(metric.name for metric in view.identity.metrics), *classes])
    }
    return sorted(names, key=lambda name: order.get(name, len(order)))


def varied(view: StudyView) -> list[str]:
    """Names of the searched parameters, in the space's order."""
    return list(view.identity.space.parameters)


def write_csv(view: StudyView, path: Path | None = None) -> Path:
    """Write ``leaderboard.csv`` into the study's folder (or to ``path``), whole or not at all;
    returns where.
    """
    target = path or view.folder / paths.LEADERBOARD
    names = varied(view)
    known = accuracies(view)
    with written_whole(target) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        heads = [view.objective if name == "value" else name for name in _COLUMNS]
        out.writerow([*heads, *known, *names])
        for row in leaderboard(view):
            out.writerow(_cells(row, names, known))
    return target


def _cells(row: Row, names: list[str], known: list[str]) -> list[Any]:
    # The file has an empty cell for None.
    shown = row.flat() | {
        "rank": row.rank or None,
        "value": None if row.value is None else f"{row.value:.6g}",
        "best_epoch": row.best_epoch or None,
        "seconds": f"{row.seconds:.2f}",
        "front": row.front or None,
    }
    return [
        *(shown[name] for name in _COLUMNS),
        *(row.peak.get(name) for name in known),
        *(row.record.params.get(name) for name in names),
    ]


def summary(view: StudyView) -> dict[str, int]:
    """How many trials stand where, and the epochs spent; keys are the states' words, ``epochs`` and
    ``full_epochs``.

    ``full_epochs`` is what the same trials would have cost without early stopping (failed and
    running ones counted as they are).
    """
    counts = {state.value: 0 for state in State}
    full = 0
    for record in view.records.values():
        counts[State.COMPLETE.value if _finished(view, record) else record.state.value] += 1
        if record.state.counted:
            ended = record.state in (State.COMPLETE, State.PRUNED)
            full += (
                record.lost_epochs + view.identity.space.fidelity.max_epochs
                if ended
                else record.epochs_trained
            )
    return counts | {"epochs": view.epochs, "full_epochs": full}
