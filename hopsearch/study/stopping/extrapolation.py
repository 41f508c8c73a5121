"""Extrapolates a trial's value from one epoch to a later one, with uncertainty: a chain of
regressions from rung to rung.

Each step is fitted on the trials that reached both of its epochs. These were selected, but by their
values at the lower one, on which the step is conditioned; so a chain of steps is not biased by the
selection. A single regression from the first rung to the end would be: it only sees trials that did
well in between. Values are not transformed: an outlier, such as a loss that spikes and recovers,
distorts a line until there are more trials.

Shapes: N trials, K objectives, M known values.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEWEST = 6
"""Minimum number of trials per step."""


@dataclass(frozen=True)
class Step:
    """A step from one epoch to the next: a line with normal errors.

    Attributes:
        count: number of trials it was fitted on.
        start, end: means of the values at the lower and the upper epoch.
        slope: 0 if the lower epoch is uninformative; never negative.
        spread: standard deviation of the values at the lower epoch; 1 if they do not differ.
        noise: standard deviation around the line.
    """

    count: int
    start: float
    end: float
    slope: float
    spread: float
    noise: float

    @classmethod
    def fitted(cls, below_N: Floats, above_N: Floats) -> "Step":
        """Fit by least squares; needs at least three trials."""
        start = float(below_N.mean())
        end = float(above_N.mean())
        count = len(below_N)
        away_N = below_N - start
        rise_N = above_N - end
        square = float(away_N @ away_N)
        slope = max(0.0, float(away_N @ rise_N) / square) if square > 0 else 0.0
        left_N = rise_N - slope * away_N
        spread = (square / count) ** 0.5 if square > 0 else 1.0
        return cls(count, start, end, slope, spread, float(left_N @ left_N / (count - 2)) ** 0.5)

    def after(self, mean_N: Floats, variance_N: Floats) -> tuple[Floats, Floats]:
        """Means and variances after the step, given those before it; includes the uncertainty of
        the line.
        """
        away_N = mean_N - self.start
        lever_N = (1 + (away_N / self.spread) ** 2) / self.count
        return self.end + self.slope * away_N, self.slope**2 * variance_N + self.noise**2 * (
            1 + lever_N
        )


def steps(values: Sequence[Mapping[int, float]]) -> list[Step]:
    """The steps from the first epoch on that have enough trials.

    Args:
        values: by trial, at each epoch from the lowest on.
    """
    found: list[Step] = []
    for below, above in itertools.pairwise(values):
        shared = [number for number in above if number in below]
        if len(shared) < FEWEST:
            break
        found.append(
            Step.fitted(
                np.array([below[number] for number in shared]),
                np.array([above[number] for number in shared]),
            )
        )
    return found


def targets(values_NK: Floats, known_MK: Floats) -> Floats:
    """The value each trial must beat in the first objective: the best among those at least as good
    in all others, if any.

    Args:
        values_NK: of the trials; larger is better.
        known_MK: the known values.
    """
    if values_NK.shape[1] == 1:
        return np.full(len(values_NK), known_MK[:, 0].max())
    as_good_NM = (known_MK[None, :, 1:] >= values_NK[:, None, 1:]).all(axis=2)
    return np.asarray(np.where(as_good_NM, known_MK[None, :, 0], -np.inf).max(axis=1))


def chances(value_N: Floats, target_N: Floats, chain: Sequence[Step]) -> Floats:
    """The probability that each trial ends above its target, by Student's t-distribution.

    Args:
        value_N: at the epoch where the chain starts.
        target_N: −∞ if there is nothing to beat.
        chain: at least one step.
    """
    # local import: takes a third of a second, which other rules do not need
    from scipy.special import stdtr

    mean_N = value_N
    variance_N = np.zeros_like(value_N)
    for step in chain:
        mean_N, variance_N = step.after(mean_N, variance_N)
    error_N = np.sqrt(np.maximum(variance_N, np.finfo(np.float64).tiny))
    return np.asarray(stdtr(min(step.count for step in chain) - 2, (mean_N - target_N) / error_N))
