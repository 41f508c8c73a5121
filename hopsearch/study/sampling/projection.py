"""Trials that came to different epochs, on one scale: what each is expected to have at the highest
rung that any has come to.

From each rung to the next a line is drawn through the trials that came to both, over their ranks at
the lower one. Where that ranks trials as the next one does, the line is steep and keeps them apart;
where it says nothing it is flat, and all that were stopped there stand in the middle, for nothing
is known against them. That rules chose by the lower rung's values who goes on does not bend a line,
since it starts from these values. Ranks, medians and quantiles make it indifferent to a few wild
values, and to how far apart the values of a rung are. Nobody is expected to be better than the best
that was measured.

Shapes: N trials, M of them at a rung, R rungs.
"""

import numpy as np
import numpy.typing as npt

from hopsearch.study.sampling.rank_values import ranks

Floats = npt.NDArray[np.float64]

_BELIEVED = 4  # trials that the belief counts for that the next rung has the same order
# quantiles between which two thirds of the values are: two standard deviations, if they are normal
_MIDDLE = (1 / 6, 5 / 6)


def projected(best_NR: Floats) -> Floats:
    """Values (N,) at the highest rung that a trial has come to, measured where it came there and
    expected elsewhere.

    Args:
        best_NR: each trial's best value up to each rung, larger is better; NaN from the first rung
            on that it has not come to. All have come to the lowest.
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
    """What trials are expected to have at a rung, from what they have, or are expected to have, at
    the one below.
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
    """Ranks as a logistic distribution has them, about 0; equals share the mean of theirs."""
    share_M = (ranks(value_M) - 0.5) / len(value_M)
    return np.asarray(np.log(share_M / (1 - share_M)))


def _correlation(one_M: Floats, other_M: Floats) -> float:
    one_M, other_M = one_M - one_M.mean(), other_M - other_M.mean()
    return _ratio(float(one_M @ other_M), float(np.sqrt((one_M @ one_M) * (other_M @ other_M))))


def _width(value_M: Floats) -> float:
    low, high = np.quantile(value_M, _MIDDLE)
    return float(high - low)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
