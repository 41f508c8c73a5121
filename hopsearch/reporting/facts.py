"""All numbers of a report, computed once from the study's records and shared by the page, Markdown
and JSON.
"""

import datetime
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from hopsearch.core.intervals import wilson
from hopsearch.core.metrics import StoredMetric
from hopsearch.reporting.leaderboard import FlatTrial, Row, leaderboard, summary
from hopsearch.reporting.pareto import pareto_front
from hopsearch.space import Value
from hopsearch.study import State, StudyView, chronicle
from hopsearch.study.record.journal_keys import ELECTION
from hopsearch.study.significance import (
    baseline,
    interval_of,
    no_better,
    no_better_words,
    winner_values,
    winner_verdicts,
)
from hopsearch.study.stopping.rung_judgements import latest
from hopsearch.study.winner_choice import election_words, finishing_cost

COSTS = {
    "n_params": "parameters",
    "flops": "FLOPs of a forward pass",
    "memory": "bytes of memory in training",
    "latency": "latency in seconds",
}
"""Costs plotted against quality in the Pareto fronts, if known (memory: only if it is an
objective).
"""


class StudyFacts(TypedDict):
    """What is known of a study without its trials."""

    name: str
    objective: str
    direction: str
    objectives: list[dict[str, str]]
    task: str
    metrics: list[StoredMetric]
    full_epochs: int
    rungs: list[int]
    parameters: list[str]
    data: dict[str, object]
    images: dict[str, int]
    recipe: str
    constraint: dict[str, object]
    seed: int
    origin: dict[str, object]


class TrialFacts(FlatTrial):
    """A row of the leaderboard, see `hopsearch.reporting.leaderboard.Row`."""

    parameters: dict[str, Value]
    metrics: dict[str, float]
    peak: dict[str, float]


class ReportFacts(TypedDict):
    """One report of a trial, with where the whole search was."""

    trial: int
    epoch: int
    epochs: int
    seconds: float
    value: float | None
    peak: bool
    best: float | None


class FailureFacts(TypedDict):
    """A reason, and the trials that failed for it."""

    reason: str
    trials: list[int]


@dataclass(frozen=True)
class Facts:
    """A study in numbers, as plain JSON.

    Attributes:
        study: name, objective, direction, objectives (``name``, ``direction`` of each), task,
            metrics (see `hopsearch.core.metrics.Metric`), full
            epochs, rungs, data, recipe, constraint, seed, images, origin.
        written: when, UTC.
        counts: trials by state.
        cost: ``epochs`` trained, ``full_epochs`` without early stopping, ``saved_share``,
            ``saved_seconds`` (at each stopped trial's own speed), ``training_seconds`` over all
            trials, ``wall_seconds`` of the search, ``failed_epochs``; ``finishing_epochs`` and
            ``finishing_seconds`` of training after the search, for the winner.
        leaderboard: one row per trial, best first; ``front`` is true if no other beats it in all
            objectives.
        history: each report that was the best so far, or (``peak``) its trial's best, and the last:
            ``trial``, its ``epoch``, its ``value``; ``epochs`` of all trials and ``seconds`` of
            search until then, and the ``best`` so far.
        stops: the number of trials stopped early, by epoch.
        judgements: the newest judgement per rung: ``epoch``, whether it is ``skipped`` because it
            does not rank trials, ``tau``, ``trials``, ``order``, ``rule``, whether it is
            ``withdrawn`` because the study switched to that rule, which does not measure rungs, and
            a sentence in ``words``.
        fronts: the Pareto front of the objective against each known one of `COSTS`: trial numbers,
            cheapest first.
        failures: ``reason``, ``trials``.
        refused: proposals that were never trained, by reason.
        baseline: the score of always predicting the largest class: ``metric``, ``value``,
            ``label``, the ``trials`` that are no better, and a sentence in ``words``; None if
            unknown.
        winner: the finished winner, with how it was ``chosen`` and ``verdicts`` on its accuracies
            in sentences, the intervals ``test_acc_95`` and ``test_balanced_acc_95``, and its
            ``recalls`` by class; None before there is one.
        kept: ended trials whose weights are kept, best first; None if never recorded.
        dropped: ended trials whose weights were deleted.
    """

    study: StudyFacts
    written: str
    counts: dict[str, int]
    cost: dict[str, float]
    leaderboard: list[TrialFacts]
    history: list[ReportFacts]
    stops: dict[int, int]
    judgements: list[dict[str, Any]]
    fronts: dict[str, list[int]]
    failures: list[FailureFacts]
    refused: dict[str, int]
    baseline: dict[str, Any] | None
    winner: dict[str, Any] | None
    kept: list[int] | None
    dropped: list[int]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON."""
        return asdict(self)


def facts_of(view: StudyView) -> Facts:
    """The facts of a study in any state: empty, running, with failures only."""
    counts = summary(view)
    cost = {name: counts.pop(name) for name in ("epochs", "full_epochs")}
    return Facts(
        study=_about(view),
        written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        counts=counts,
        cost=_cost(view, cost["epochs"], cost["full_epochs"]),
        leaderboard=[_row(row) for row in leaderboard(view)],
        history=list(_history(view)),
        stops=dict(
            sorted(
                Counter(
                    record.epoch for record in view.counted() if record.state == State.PRUNED
                ).items()
            )
        ),
        judgements=_judgements(view),
        fronts={name: _front(view, name) for name in _costs(view)},
        failures=_failures(view),
        refused=dict(
            Counter(_kind(r.reason) for r in view.records.values() if not r.state.counted)
        ),
        baseline=_baseline(view),
        winner=_winner(view),
        kept=view.kept,
        dropped=view.dropped,
    )


def _judgements(view: StudyView) -> list[dict[str, Any]]:
    rungs = view.identity.space.fidelity.rungs
    return [asdict(one) | {"words": one.words(rungs)} for one in latest(view.judgements)]


def _baseline(view: StudyView) -> dict[str, Any] | None:
    constant = baseline(view)
    if constant is None:
        return None
    return asdict(constant) | {
        "trials": [record.number for record in no_better(view)],
        "words": no_better_words(view),
    }


def _winner(view: StudyView) -> dict[str, Any] | None:
    winner = view.winner
    classes = view.identity.origin.get("classes", [])
    if winner is None:
        return None
    images = view.identity.origin.get("images", {})
    found = {
        f"{metric.of_test}_95": interval_of(winner, "test", metric, images)
        for metric in view.identity.metrics
    }
    intervals = {name: [known.low, known.high] for name, known in found.items() if known}
    how = election_words(view.optuna.user_attrs.get(ELECTION), view.identity.items)
    more: dict[str, Any] = {"election": view.optuna.user_attrs.get(ELECTION), "chosen": how}
    more |= {
        "verdicts": winner_verdicts(winner, images, classes, view.identity.metrics),
        "values": winner_values(winner, images, view.identity.metrics),
    }
    return (
        winner
        | intervals
        | more
        | ({"recalls": recalls_of(winner, classes)} if "by_class" in winner else {})
    )


def recalls_of(winner: dict[str, Any], classes: list[str]) -> list[dict[str, Any]]:
    """A winner's recall by class on the test split, worst first: ``class``, ``images``, ``recall``,
    ``low``, ``high``.
    """
    test = winner["by_class"]["test"]
    rows = [
        {
            "class": name,
            "images": count,
            "recall": hits / count,
            **asdict(wilson(hits / count, count)),
        }
        for name, hits, count in zip(classes, test["hits"], test["images"], strict=False)
        if count
    ]
    return sorted(rows, key=lambda row: row["recall"])


def _about(view: StudyView) -> StudyFacts:
    identity = view.identity
    fidelity = view.identity.space.fidelity
    origin = {
        name: value
        for name, value in identity.origin.items()
        if name not in ("classes", "val_by_class", "images", "data", "metrics")
    }
    return {
        "name": identity.name,
        "objective": view.objective,
        "direction": identity.space.direction,
        "objectives": [
            {"name": one.name, "direction": "maximize" if one.sign > 0 else "minimize"}
            for one in view.objectives
        ],
        "task": identity.space.task,
        "metrics": [metric.to_dict() for metric in identity.metrics],
        "full_epochs": fidelity.max_epochs,
        "rungs": list(fidelity.rungs),
        "parameters": list(identity.space.parameters),
        "data": {**identity.origin.get("data", {}), **identity.data},
        "images": identity.origin.get("images", {}),
        "recipe": identity.recipe,
        "constraint": identity.constraint,
        "seed": identity.seed,
        "origin": origin,
    }


def _cost(view: StudyView, epochs: int, full: int) -> dict[str, float]:
    last = view.identity.space.fidelity.max_epochs
    stopped = [r for r in view.counted() if r.state == State.PRUNED and r.epoch]
    return {
        "epochs": epochs,
        "full_epochs": full,
        "saved_share": 1 - epochs / full if full else 0.0,
        "saved_seconds": sum(r.seconds / r.epoch * (last - r.epoch) for r in stopped),
        "training_seconds": view.trained_seconds,
        "wall_seconds": view.seconds,
        **finishing_cost(view),
        "failed_epochs": sum(r.epochs_trained for r in view.counted() if r.state == State.FAILED),
        "wasted_epochs": view.wasted_epochs,
    }


def _row(row: Row) -> TrialFacts:
    return {
        **row.flat(),
        "parameters": row.record.params,
        "metrics": dict(row.metrics),
        "peak": dict(row.peak),
    }


def _history(view: StudyView) -> Iterable[ReportFacts]:
    # Results of a failed trial do not count, but its epochs were trained.
    peaks = {record.number: top[0] for record in view.ranked() if (top := record.best(view.sign))}
    reports = chronicle(view)
    best: float | None = None
    for report in reports:
        value = report.value if report.number in peaks else None
        rises = value is not None and (best is None or view.sign * value > view.sign * best)
        best = value if rises else best
        peak = peaks.get(report.number) == report.epoch
        if rises or peak or report is reports[-1]:
            yield {
                "trial": report.number,
                "epoch": report.epoch,
                "epochs": report.epochs,
                "seconds": report.seconds,
                "value": value,
                "peak": peak,
                "best": best,
            }


def _costs(view: StudyView) -> list[str]:
    known = {name for record in view.ranked() for name in record.cost}
    searched = {objective.name for objective in view.objectives}
    return [name for name in COSTS if name in known and (name != "memory" or name in searched)]


def _front(view: StudyView, cost: str) -> list[int]:
    sign = next((objective.sign for objective in view.objectives if objective.name == cost), -1)
    ranked = [r for r in view.ranked() if cost in r.cost]
    front = pareto_front(
        [(r.number, (view.value(r), r.cost[cost])) for r in ranked], (view.sign, sign)
    )
    return sorted(front, key=lambda number: (view.records[number].cost[cost], number))


def _failures(view: StudyView) -> list[FailureFacts]:
    by_reason = defaultdict[str, list[int]](list)
    for record in view.counted():
        if record.state == State.FAILED:
            by_reason[record.reason or "unknown"].append(record.number)
    return [
        {"reason": reason, "trials": trials}
        for reason, trials in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    ]


def _kind(reason: str) -> str:
    if reason.startswith("params <= "):  # as studies said it at first
        reason = f"n_{reason}"
    return (
        "duplicate"
        if reason.startswith("same configuration")
        else reason.partition(" must hold")[0]
    )
