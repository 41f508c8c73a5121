"""What a task measures of a trained model: names, directions, units, and what kind of number each
is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, TypedDict

VALIDATION = "val_"
TEST = "test_"


class Kind(StrEnum):
    """What a metric's value is, which decides how two values are compared."""

    NUMBER = "number"
    """Any number; two values are compared as they are."""
    SHARE = "share"
    """A share of the split's items, such as an accuracy: a binomial proportion."""
    MEAN_RECALL = "mean_recall"
    """The mean over the classes of such a share within each."""


class StoredMetric(TypedDict):
    """A `Metric` as plain JSON."""

    name: str
    maximize: bool
    unit: str
    kind: str
    shown: bool


@dataclass(frozen=True)
class Metric:
    """A metric that every epoch reports of the validation split.

    Attributes:
        name: begins with ``val_``; the same of the test split begins with ``test_``.
        maximize: whether larger is better.
        unit: e.g. ``nats``; empty for a share.
        kind: see `Kind`.
        shown: whether the leaderboard shows it beside the objective.
    """

    name: str
    maximize: bool = True
    unit: str = ""
    kind: Kind = Kind.NUMBER
    shown: bool = True

    @property
    def of_test(self) -> str:
        """Its name for the test split."""
        return TEST + self.short

    @property
    def short(self) -> str:
        """Its name without the split's."""
        return self.name.removeprefix(VALIDATION)

    @property
    def direction(self) -> str:
        """``maximize`` or ``minimize``."""
        return "maximize" if self.maximize else "minimize"

    def to_dict(self) -> StoredMetric:
        """Plain JSON."""
        return {
            "name": self.name,
            "maximize": self.maximize,
            "unit": self.unit,
            "kind": self.kind,
            "shown": self.shown,
        }


def metrics_from(rows: Sequence[Mapping[str, Any]]) -> tuple[Metric, ...]:
    """The inverse of `Metric.to_dict`, of several; what a newer version has added is ignored."""
    names = {field.name for field in fields(Metric)}
    found = []
    for row in rows:
        known = {name: value for name, value in row.items() if name in names}
        kind = Kind(row["kind"]) if row.get("kind") in set(Kind) else Kind.NUMBER
        found.append(Metric(**{**known, "kind": kind}))
    return tuple(found)
