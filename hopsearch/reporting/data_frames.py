"""The study as data frames, for notebooks and for figures."""

import pandas as pd

from hopsearch.reporting.leaderboard import Row, leaderboard, varied
from hopsearch.study.reader import StudyView


def trials_frame(view: StudyView) -> pd.DataFrame:
    """All counted trials, best first, one per row, indexed by trial number.

    Columns: ``rank`` (missing without a value), ``state``, the objective's name (the best value on
    the curve), ``best_epoch``, ``epochs``, ``seconds``, ``front`` (no other trial beats it in all
    objectives; with one objective, only the best), ``n_params``, ``flops``, ``memory``, ``latency``
    (seconds, missing if not measured), ``seed``, ``source``, ``reason``, ``started`` and ``ended``
    (UTC); then the searched parameters by their dotted names, missing if a trial has no such
    parameter; then other metrics: accuracies, ``val_loss`` and the recall of each class of the
    epoch with the best value, all others of the newest epoch, or, for the finished winner, of the
    epoch of its weights.
    """
    rows = [_row(view, entry) for entry in leaderboard(view)]
    metrics = sorted(
        {name for record in view.counted() for name in (*record.metrics, *record.peak)}
        - {view.objective}
    )
    columns = ["trial", "rank", "state", view.objective, "best_epoch", "epochs", "seconds", "front"]
    columns += [
        "n_params",
        "flops",
        "memory",
        "latency",
        "seed",
        "source",
        "reason",
        "started",
        "ended",
        *varied(view),
        *metrics,
    ]
    frame = pd.DataFrame(rows, columns=columns).set_index("trial")
    for name in ("started", "ended"):
        frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
    whole = dict.fromkeys(("rank", "best_epoch", "n_params", "flops", "memory"), "Int64")
    return frame.astype({**whole, "latency": "float64"})


def curves_frame(view: StudyView) -> pd.DataFrame:
    """All learning curves, one epoch per row: ``trial``, ``epoch``, and a column named after the
    objective.
    """
    rows = [
        (record.number, epoch, value)
        for record in view.counted()
        for epoch, value in record.curve.items()
    ]
    return pd.DataFrame(rows, columns=["trial", "epoch", view.objective])


def _row(view: StudyView, entry: Row) -> dict[str, object]:
    record = entry.record
    flat: dict[str, object] = {**entry.flat()}
    return {
        view.objective: flat.pop("value"),
        **flat,
        "rank": entry.rank or None,
        "best_epoch": entry.best_epoch or None,
        "started": record.started or None,
        "ended": record.ended or None,
        **record.params,
        **entry.metrics,
        **entry.peak,
    }
