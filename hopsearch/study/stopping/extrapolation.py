"""What a trial's value at one epoch says of its value at a later one, with uncertainty: a chain of
regressions from rung to rung.

Each step is fitted on the trials that came to both of its epochs. These were chosen, but by what
they had at the lower one, which is what the step starts from; so a chain of steps is not biased by
the choice. One regression from the first rung to the end would be: it sees only those that did well
in between. Values are taken as they are: a wild one, as a loss that leaps and comes back, bends a
line until more have come.

Shapes: N trials, K objectives, M values that are known.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FEWEST = 6
"""Trials that a step is fitted on at least."""


@dataclass(frozen=True)
class Step:
    """From one epoch to the next: a line, and normal errors around it.

    Attributes:
        count: trials that it was fitted on.
        start, end: means of the values that it starts from and ends at.
        slope: 0 where the lower epoch says nothing of the upper one; it never says the opposite.
        spread: standard deviation of the values that it starts from; 1 where they do not differ.
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
        """By least squares; at least three trials."""
        start, end, count = float(below_N.mean()), float(above_N.mean()), len(below_N)
        away_N, rise_N = below_N - start, above_N - end
        square = float(away_N @ away_N)
        slope = max(0.0, float(away_N @ rise_N) / square) if square > 0 else 0.0
        left_N = rise_N - slope * away_N
        spread = (square / count) ** 0.5 if square > 0 else 1.0
        return cls(count, start, end, slope, spread, float(left_N @ left_N / (count - 2)) ** 0.5)

    def after(self, mean_N: Floats, variance_N: Floats) -> tuple[Floats, Floats]:
        """Means and variances after it, from those before it; what is not known of the line itself
        included.
        """
        away_N = mean_N - self.start
        lever_N = (1 + (away_N / self.spread) ** 2) / self.count
        return self.end + self.slope * away_N, self.slope**2 * variance_N + self.noise**2 * (
            1 + lever_N
        )


def steps(values: Sequence[Mapping[int, float]]) -> list[Step]:
    """Those from the first epoch on for which there are trials enough.

    Args:
        values: by trial, at each epoch from the lowest.
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
    """What each trial is to beat in the first objective: the best that is at least as good as it in
    all others, if there is one.

    Args:
        values_NK: of the trials; larger is better.
        known_MK: what there is.
    """
    if values_NK.shape[1] == 1:
        return np.full(len(values_NK), known_MK[:, 0].max())
    as_good_NM = (known_MK[None, :, 1:] >= values_NK[:, None, 1:]).all(axis=2)
    return np.asarray(np.where(as_good_NM, known_MK[None, :, 0], -np.inf).max(axis=1))


def chances(value_N: Floats, target_N: Floats, chain: Sequence[Step]) -> Floats:
    """How probable it is that each trial ends above its target, by Student's distribution.

    Args:
        value_N: at the epoch where the chain begins.
        target_N: −∞ where there is nothing to beat.
        chain: at least one step.
    """
    # here: its import takes a third of a second that other searches save
    from scipy.special import stdtr

    mean_N, variance_N = value_N, np.zeros_like(value_N)
    for step in chain:
        mean_N, variance_N = step.after(mean_N, variance_N)
    error_N = np.sqrt(np.maximum(variance_N, np.finfo(np.float64).tiny))
    return np.asarray(stdtr(min(step.count for step in chain) - 2, (mean_N - target_N) / error_N))
