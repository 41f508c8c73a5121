"""Trials that came to different epochs, on one scale: what each is expected to have at the highest rung that any has come to.

From each rung to the next a line is fitted to the trials that came to both. Where the lower rung ranks trials as the next one
does, the line is steep and keeps them apart; where it says nothing it is flat, and all that were stopped there stand in the
middle, for nothing is known against them. That rules chose by the lower rung's values who goes on does not bend a line, since it
starts from these values.

Shapes: N trials, R rungs.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BELIEVED = 4  # trials that the belief counts for that a difference is as large at the next rung
_STEEPEST = 3.0


def projected(best_NR: Floats) -> Floats:
    """Values (N,) at the highest rung that a trial has come to, measured where it came there and expected elsewhere.

    Args:
        best_NR: each trial's best value up to each rung, larger is better; NaN from the first rung on that it has not come to.
            All have come to the lowest.
    """
    came_N = (~np.isnan(best_NR)).sum(axis=1)  # to so many rungs
    value_N = best_NR[:, 0].copy()
    for upper in range(1, int(came_N.max(initial=1))):
        both_N = came_N > upper
        below_N = best_NR[came_N >= upper, upper - 1]
        start, slope = _line(best_NR[both_N, upper - 1], best_NR[both_N, upper], float(below_N.var()))
        value_N = np.where(both_N, best_NR[:, upper], start + slope * value_N)
    return value_N


def _line(below_M: Floats, above_M: Floats, variance: float) -> tuple[float, float]:
    # Beside the trials that went on stands the belief in a slope of 1, as strong as a few trials as different as all below.
    apart_M = below_M - below_M.mean()
    believed = _BELIEVED * variance
    weight = float(apart_M @ apart_M) + believed
    slope = (float(apart_M @ (above_M - above_M.mean())) + believed) / weight if weight > 0 else 1.0
    slope = min(max(slope, 0.0), _STEEPEST)
    return float(above_M.mean()) - slope * float(below_M.mean()), slope
