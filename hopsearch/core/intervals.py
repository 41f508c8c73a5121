"""Uncertainty of accuracies: confidence intervals of proportions, and tests of their difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959963984540054  # of a two-sided 95 % interval
SIGNIFICANT = 0.05
"""Significance level: two values tie if the p-value of their difference is at least this."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.4f} to {self.high:.4f}"


def wilson(share: float, count: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927): never degenerate, even when all or
    none of a few images are correct.

    Args:
        share: the proportion measured, 0 to 1.
        count: how many images it was measured on; need not be an integer, see `equivalent_count`.
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
    """Interval of a balanced accuracy: Wilson's interval per class recall, combined by the method
    of Zou and Donner (2008).
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
    """The number of images on which a plain accuracy is as uncertain as the balanced accuracy on
    ``images`` per class.

    Assumes the same recall for every class: the mean of K proportions has the variance p(1 - p) Σ
    1/n over K².
    """
    present = [count for count in images if count]
    return len(present) ** 2 / sum(1 / count for count in present)


def p_value(share: float, count: float, other: float, other_count: float) -> float:
    """The p-value of the pooled two-proportion z-test for the difference of two proportions."""
    pooled = (share * count + other * other_count) / (count + other_count)
    variance = pooled * (1 - pooled) * (1 / count + 1 / other_count)
    if variance <= 0:
        return 1.0
    return math.erfc(abs(share - other) / math.sqrt(2 * variance))


def plus_minus(margin: float) -> str:
    """`` ± 0.0123``; empty for a single value and for values that are all equal, which have no
    spread.
    """
    return f" ± {margin:.4f}" if math.isfinite(margin) and round(margin, 4) > 0 else ""
