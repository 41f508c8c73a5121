"""How far chance alone may carry an accuracy: intervals of proportions, and whether two of them
differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054  # of a two-sided 95 % interval
SIGNIFICANT = 0.05
"""Two values whose difference is as likely as this by chance, or likelier, are a tie."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.4f} to {self.high:.4f}"


def wilson(share: float, count: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927): never empty, also where all or none of
    a few images are right.

    Args:
        share: the proportion measured, 0 to 1.
        count: how many images it was measured on; it need not be whole, see `equivalent_count`.
    """
    squared = _Z * _Z
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    half = (
        _Z
        / (1 + squared / count)
        * math.sqrt(share * (1 - share) / count + squared / (4 * count * count))
    )
    return Interval(min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)))


def mean_recall_interval(hits: Sequence[int], images: Sequence[int]) -> Interval:
    """Interval of a balanced accuracy: Wilson's of each class's recall, joined by the method of Zou
    and Donner (2008).
    """
    known = [
        (hit / count, wilson(hit / count, count))
        for hit, count in zip(hits, images, strict=True)
        if count
    ]
    mean = sum(share for share, _ in known) / len(known)
    below = math.sqrt(sum((share - each.low) ** 2 for share, each in known)) / len(known)
    above = math.sqrt(sum((each.high - share) ** 2 for share, each in known)) / len(known)
    return Interval(max(0.0, mean - below), min(1.0, mean + above))


def equivalent_count(images: Sequence[int]) -> float:
    """On how many images an accuracy would be as uncertain as the balanced one is on ``images`` of
    each class.

    As if every class had the same recall: the mean of K proportions has the variance p(1 - p) Σ 1/n
    over K².
    """
    present = [count for count in images if count]
    return len(present) ** 2 / sum(1 / count for count in present)


def p_value(share: float, count: float, other: float, other_count: float) -> float:
    """How likely so large a difference is by chance where two proportions are equal: the pooled
    two-proportion z-test.
    """
    pooled = (share * count + other * other_count) / (count + other_count)
    variance = pooled * (1 - pooled) * (1 / count + 1 / other_count)
    if variance <= 0:
        return 1.0
    return math.erfc(abs(share - other) / math.sqrt(2 * variance))


def plus_minus(margin: float) -> str:
    """`` ± 0.0123``; empty where nothing varied: of a single value, and of values that are all the
    same, which prove nothing.
    """
    return f" ± {margin:.4f}" if math.isfinite(margin) and round(margin, 4) > 0 else ""
