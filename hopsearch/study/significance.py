"""What may be concluded from a study's accuracies, and what not: intervals, ties, and what always
saying one class would give.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hopsearch.core.intervals import (
    SIGNIFICANT,
    Interval,
    equivalent_count,
    mean_recall_interval,
    p_value,
    wilson,
)
from hopsearch.core.metrics import Kind, Metric
from hopsearch.study.reader import StudyView
from hopsearch.study.record.trial import TrialRecord

_SHOWN = 8  # trials at most that a sentence lists


@dataclass(frozen=True)
class Baseline:
    """What a constant answer would give.

    Attributes:
        metric: the metric it is a value of: an accuracy, or the mean of the classes' recalls.
        value: one over the number of classes for a balanced accuracy, else the largest class's
            share of the images.
        label: the largest class.
    """

    metric: str
    value: float
    label: str

    def __str__(self) -> str:
        return f"always predicting {self.label}"


def val_by_class(view: StudyView) -> list[int]:
    """Images of the validation split by class; empty in a study of an older version."""
    return list(view.identity.origin.get("val_by_class", ()))


def baseline(view: StudyView) -> Baseline | None:
    """What a constant answer gives in the objective, or in the task's accuracy where that is none;
    None where it is not known, or the task has no classes.
    """
    images = val_by_class(view)
    classes = view.identity.origin.get("classes", [])
    if not images or len(images) != len(classes):
        return None
    label = classes[max(range(len(images)), key=images.__getitem__)]
    if _kind(view, view.objective) == Kind.MEAN_RECALL:
        return Baseline(view.objective, 1 / sum(count > 0 for count in images), label)
    share = first_share(view.identity.metrics)
    return Baseline(share.name, max(images) / sum(images), label) if share else None


def first_share(metrics: Iterable[Metric]) -> Metric | None:
    """The task's accuracy: its first metric that is a share of the items; None if it has none."""
    return next((metric for metric in metrics if metric.kind == Kind.SHARE), None)


def _kind(view: StudyView, name: str) -> Kind:
    return {metric.name: metric.kind for metric in view.identity.metrics}.get(name, Kind.NUMBER)


def images_behind(view: StudyView, metric: str) -> float | None:
    """On how many validation images a metric's value was measured, for a test; None of one that is
    no accuracy.
    """
    images = val_by_class(view)
    classes = view.identity.origin.get("classes", [])
    kind = _kind(view, metric)
    if kind == Kind.SHARE:
        return sum(images) or view.identity.origin.get("images", {}).get("val")
    if kind == Kind.MEAN_RECALL:
        return equivalent_count(images) if images else None
    by_class = dict(zip((f"recall/{name}" for name in classes), images, strict=False))
    return by_class.get(metric) or None


def no_better(view: StudyView) -> list[TrialRecord]:
    """Trials whose accuracy does not exceed that of a constant answer by more than chance, best
    first.
    """
    constant = baseline(view)
    count = images_behind(view, constant.metric) if constant else None
    if constant is None or count is None:
        return []
    return [
        record
        for record in view.ranked()
        if (value := _value(view, record, constant.metric)) is not None
        and wilson(value, count).low <= constant.value
    ]


def no_better_words(view: StudyView) -> str:
    """`no_better` in a sentence; empty where all trials are better."""
    found = no_better(view)
    constant = baseline(view)
    if not found or constant is None:
        return ""
    numbers = ", ".join(str(record.number) for record in found[:_SHOWN]) + (
        ", …" if len(found) > _SHOWN else ""
    )
    many = f"{len(found)} trials ({numbers}) are" if len(found) > 1 else f"trial {numbers} is"
    return (
        f"{many} no better than {constant}, which gives {constant.metric} {constant.value:.4f} "
        f"(within chance)"
    )


def tied(view: StudyView) -> list[TrialRecord]:
    """The best trial and those that do not differ from it by more than chance, best first; with
    several objectives of the front.

    Trials are measured on the same images, so the test, which takes them for independent, calls a
    difference a tie too often rather than too seldom. An objective that is no accuracy has no such
    test: the best alone.
    """
    ranked = view.front() if len(view.objectives) > 1 else view.ranked()
    count = images_behind(view, view.objective)
    if count is None or not ranked:
        return ranked[:1]
    best = view.value(ranked[0])
    return [
        record
        for record in ranked
        if p_value(best, count, view.value(record), count) >= SIGNIFICANT
    ]


def candidates(view: StudyView, otherwise: int) -> list[TrialRecord]:
    """Trials among which the winner is chosen: `tied`; of an objective that is no accuracy, so many
    of the best.
    """
    if images_behind(view, view.objective) is not None:
        return tied(view)
    return (view.front() if len(view.objectives) > 1 else view.ranked())[:otherwise]


def interval_of(
    winner: Mapping[str, Any], part: str, metric: Metric, images: Mapping[str, int]
) -> Interval | None:
    """The interval of one of a winner's accuracies on ``val`` or ``test``; None of another metric,
    and where the images are not known.

    Args:
        winner: what is known of it.
        part: val or test.
        metric: which accuracy.
        images: how many images each part has, for a winner that does not have them by class.
    """
    value = winner.get(f"{part}_{metric.short}")
    known = winner.get("by_class", {}).get(part)
    if value is None or metric.kind == Kind.NUMBER:
        return None
    if metric.kind == Kind.MEAN_RECALL:
        return mean_recall_interval(known["hits"], known["images"]) if known else None
    count = sum(known["images"]) if known else images.get(part)
    return wilson(value, count) if count else None


def winner_values(
    winner: Mapping[str, Any], images: Mapping[str, int], metrics: Sequence[Metric]
) -> str:
    """A winner's values in words, those of the test split with their intervals."""
    first = metrics[0].name
    words = [f"{first} {winner[first]:.4f} at epoch {winner['epoch']} of {winner['epochs']}"]
    for metric in metrics:
        value = winner.get(metric.of_test)
        if value is not None and metric.shown:
            interval = interval_of(winner, "test", metric, images)
            words.append(
                f"{metric.of_test} {value:.4f}" + (f" (95 %: {interval})" if interval else "")
            )
    return ", ".join(words)


def winner_verdicts(
    winner: Mapping[str, Any],
    images: Mapping[str, int],
    classes: Sequence[str],
    metrics: Iterable[Metric],
) -> list[str]:
    """What must be said of a winner's accuracy, a sentence each: no better than a constant answer;
    a gap larger than chance. Nothing of a task that has none.
    """
    share = first_share(metrics)
    if share is None:
        return []
    val = share.name
    test = share.of_test
    known = winner.get("by_class", {})
    counts = {
        part: sum(known[part]["images"]) if part in known else images.get(part)
        for part in ("val", "test")
    }
    said = []
    if "test" in known and classes:
        by_class = known["test"]["images"]
        largest = max(by_class) / sum(by_class)
        if wilson(winner[test], sum(by_class)).low <= largest:
            label = classes[by_class.index(max(by_class))]
            said.append(
                f"Its {test} is no better than always predicting {label}, which gives "
                f"{largest:.4f}."
            )
    if counts["val"] and counts["test"]:
        gap = winner[test] - winner[val]
        chance = p_value(winner[val], counts["val"], winner[test], counts["test"])
        if chance < SIGNIFICANT:
            said.append(_gap_words(share, gap, chance))
    return said


def _gap_words(share: Metric, gap: float, chance: float) -> str:
    val = share.name
    test = share.of_test
    size = f"(p = {chance:.2g}, two-proportion test)"
    if gap > 0:
        why = "the test data are easier, or some were in the training data"
        return f"{test} is {gap:.4f} above {val}, more than chance explains {size}: {why}."
    return (
        f"{test} is {-gap:.4f} below {val}, more than chance explains {size}: the search "
        f"overfitted the validation data, or the test data are of a different kind. Expect "
        f"{test} on new data, not {val}."
    )


def _value(view: StudyView, record: TrialRecord, metric: str) -> float | None:
    winner = view.winner
    # trained further, after the search
    if winner and winner["trial"] == record.number and winner["epochs"] > record.epoch:
        found: float | None = winner.get(metric)
        return found
    return view.value(record) if metric == view.objective else record.peak.get(metric)
