"""Puts trials of different lengths on one scale: each trial's expected value at the highest rung
that any has reached.

From each rung to the next, a line is fitted to the trials that reached both, over their ranks at
the lower one. If the two rungs rank trials alike, the line is steep and separates them; if the
lower rung is uninformative, the line is flat, and trials stopped there get a middle value, as
nothing is known against them. That stopping rules select by the lower rung's values does not bias a
line, since it is conditioned on these values. Ranks, medians and quantiles make the fit robust
against outliers and independent of the spread of a rung's values. No trial is expected to be better
than the best measured value.

Shapes: N trials, M of them at a rung, R rungs.
"""

import numpy as np
import numpy.typing as npt

from hopsearch.study.sampling.rank_values import ranks

Floats = npt.NDArray[np.float64]

_BELIEVED = 4  # weight, in trials, of the prior that the next rung has the same order
# quantiles that enclose two thirds of the values: two standard deviations of a normal distribution
_MIDDLE = (1 / 6, 5 / 6)


def projected(best_NR: Floats) -> Floats:
    """Values (N,) at the highest rung reached by any trial: measured for trials that reached it,
    expected for others.

    Args:
        best_NR: each trial's best value up to each rung, larger is better; NaN from the first rung
            that it has not reached. All have reached the lowest.
    """
    came_N = (~np.isnan(best_NR)).sum(axis=1)  # to so many rungs
    value_N = best_NR[:, 0].copy()
    for upper in range(1, int(came_N.max(initial=1))):
        both_N = came_N > upper
        value_N = np.where(
            both_N, best_NR[:, upper], _expected(value_N, both_N, best_NR[both_N, upper])
        )
    return value_N


def _expected(below_N: Floats, both_N: npt.NDArray[np.bool_], above_M: Floats) -> Floats:
    """Expected values of trials at a rung, from their measured or expected values at the one
    below.
    """
    score_N = _scores(below_N)
    score_M = score_N[both_N]
    agreement = _correlation(score_M, _scores(above_M))
    kept = max(0.0, (len(above_M) * agreement + _BELIEVED) / (len(above_M) + _BELIEVED))
    few = len(above_M) < _BELIEVED
    slope = (
        _ratio(_width(below_N), _width(score_N))
        if few
        else _ratio(_width(above_M), _width(score_M))
    )
    expected_N = np.median(above_M) + kept * slope * (score_N - np.median(score_M))
    return np.asarray(np.minimum(expected_N, above_M.max()))


def _scores(value_M: Floats) -> Floats:
    """Ranks mapped to a logistic distribution around 0; equal values share their mean."""
    share_M = (ranks(value_M) - 0.5) / len(value_M)
    return np.asarray(np.log(share_M / (1 - share_M)))


def _correlation(one_M: Floats, other_M: Floats) -> float:
    one_M = one_M - one_M.mean()
    other_M = other_M - other_M.mean()
    return _ratio(float(one_M @ other_M), float(np.sqrt((one_M @ one_M) * (other_M @ other_M))))


def _width(value_M: Floats) -> float:
    low, high = np.quantile(value_M, _MIDDLE)
    return float(high - low)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
