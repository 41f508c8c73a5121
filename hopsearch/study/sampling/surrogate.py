"""The surrogate model: a Gaussian process over configurations and rungs, fitted to all trials.

A trial's value at a rung is the rung's mean, plus a function of the configuration that differs from
rung to rung, plus an effect of this training common to all its rungs, plus noise. The correlation
of the function between rungs is learned: from each rung to the next it keeps a share of itself. So
a first rung that is uninformative about later ones is recognised as such, and one that ranks well
informs all (as the rungs of Hyper-Tune, Li et al. 2022, arXiv 2201.06834, and the tasks of Swersky
et al. 2013, Multi-Task Bayesian Optimization). Stopped trials are missing at higher rungs because
of their values at lower ones, which the model includes, so the selection does not bias it.

Shapes: N observations, Q configurations, F features, R rungs, H hyperparameters.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_ROOT5 = 5**0.5
_STEPS = 20  # steps of the hyperparameter optimiser
_LEARNED_FROM = 120  # most observations that hyperparameters are fitted to
# variances of the common mean of all rungs, and of each rung's own mean
_MEAN = 4.0
_RUNG_MEAN = 1.0
_JITTER = 1e-6
_WIDEST = 5.0  # most standard deviations of a hyperparameter from its prior mean


@dataclass(frozen=True)
class Observed:
    """Values of trials at rungs.

    Attributes:
        features_NF: of the configurations, see `Encoding`.
        trial_N: the trial of each.
        rung_N: the rung of each, counted from 0.
        value_N: standardised to about mean 0 and variance 1, larger is better.
    """

    features_NF: Floats
    trial_N: Whole
    rung_N: Whole
    value_N: Floats

    def take(self, index_M: Whole) -> "Observed":
        """A subset."""
        return Observed(
            self.features_NF[index_M],
            self.trial_N[index_M],
            self.rung_N[index_M],
            self.value_N[index_M],
        )

    def followed_by(self, other: "Observed") -> "Observed":
        """These, followed by others."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Observed(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class Hyperparameters:
    """Hyperparameters of the process.

    Attributes:
        length_F: length scales: the distance per feature beyond which two configurations are nearly
            unrelated.
        signal: variance of the function of the configuration.
        own: variance of the effect of a single training.
        noise: remaining variance from rung to rung.
        likeness_RR: correlation of the function at two rungs.
    """

    length_F: Floats
    signal: float
    own: float
    noise: float
    likeness_RR: Floats


class Surrogate:
    """The fitted process.

    Args:
        observed: the observations; at least one.
        rungs: R.
    """

    def __init__(self, observed: Observed, rungs: int) -> None:
        self.rungs = rungs
        self._rules = _Rules(observed.features_NF.shape[1], rungs)
        self.hyperparameters = self._rules.fitted(_spread(observed))
        self._condition(observed)

    def believing(self, observed: Observed) -> "Surrogate":
        """The process with more observations and the same hyperparameters."""
        other = object.__new__(Surrogate)
        other.rungs = self.rungs
        other._rules = self._rules
        other.hyperparameters = self.hyperparameters
        other._condition(self._observed.followed_by(observed))
        return other

    def at(
        self, features_QF: Floats, rung: int, trial_Q: Whole | None = None
    ) -> tuple[Floats, Floats]:
        """Mean and standard deviation (Q,) of configurations at a rung, relative to the rung's
        mean.

        Args:
            features_QF: the configurations.
            rung: counted from 0.
            trial_Q: their trials, if known: then the effect of each training is included.
        """
        given = self.hyperparameters
        seen = self._observed
        cross_QN = given.signal * _matern(_squares(features_QF, seen.features_NF, given.length_F))
        if trial_Q is not None:
            cross_QN = cross_QN + given.own * (trial_Q[:, None] == seen.trial_N[None])
        cross_QN = cross_QN * given.likeness_RR[rung, seen.rung_N]
        explained_NQ = solve_triangular(self._lower_NN, cross_QN.T, lower=True, check_finite=False)
        variance_Q = given.signal + given.own - (explained_NQ**2).sum(axis=0)
        return cross_QN @ self._weight_N, np.sqrt(np.maximum(variance_Q, 1e-9))

    def expected(self, features_QF: Floats, rung: int) -> Floats:
        """Expected values (Q,) of new configurations at a rung, including its mean."""
        means_N = _MEAN + _RUNG_MEAN * (self._observed.rung_N == rung)
        return self.at(features_QF, rung)[0] + float(means_N @ self._weight_N)

    def _condition(self, observed: Observed) -> None:
        self._observed = observed
        self._lower_NN = cholesky(
            _covariance(observed, self.hyperparameters), lower=True, check_finite=False
        )
        self._weight_N = cho_solve((self._lower_NN, True), observed.value_N, check_finite=False)


class _Rules:
    """The prior of the hyperparameters: independent normal distributions of their logarithms.

    Length scales grow with the square root of the number of features, so that high-dimensional
    spaces are not assumed to be more complex (Hvarfner et al. 2024, arXiv 2402.02229).
    """

    def __init__(self, features: int, rungs: int) -> None:
        self._features = features
        lengths = np.full(features, np.log(0.5) + 0.25 * np.log(max(1, features)))
        self._mean_H = np.concatenate(
            [lengths, [0.0, np.log(0.1), np.log(0.02)], np.full(rungs - 1, np.log(0.25))]
        )
        self._spread_H = np.concatenate([np.ones(features), [0.7, 1.0, 1.0], np.ones(rungs - 1)])

    def fitted(self, observed: Observed) -> Hyperparameters:
        """The maximum a posteriori hyperparameters, by gradient ascent from the prior;
        deterministic.
        """
        squares_NNF = (observed.features_NF[:, None] - observed.features_NF[None]) ** 2
        away_H = _WIDEST * self._spread_H
        bounds = list(zip(self._mean_H - away_H, self._mean_H + away_H, strict=True))
        options = {"maxiter": _STEPS, "maxcor": 20}
        found = minimize(
            self._loss,
            self._mean_H,
            (observed, squares_NNF),
            "L-BFGS-B",
            jac=True,
            bounds=bounds,
            options=options,
        )
        return self.read(found.x if np.isfinite(found.fun) else self._mean_H)

    def read(self, given_H: Floats) -> Hyperparameters:
        """From logarithms."""
        signal, own, noise = (
            float(value) for value in np.exp(given_H[self._features : self._features + 3])
        )
        place_R = np.concatenate([[0.0], np.cumsum(np.exp(given_H[self._features + 3 :]))])
        likeness_RR = np.exp(-np.abs(place_R[:, None] - place_R[None]))
        return Hyperparameters(np.exp(given_H[: self._features]), signal, own, noise, likeness_RR)

    def _loss(
        self, given_H: Floats, observed: Observed, squares_NNF: Floats
    ) -> tuple[float, Floats]:
        """Negative log posterior (up to a constant), and its gradient."""
        given = self.read(given_H)
        rung_N = observed.rung_N
        distance_NN = np.sqrt(squares_NNF @ given.length_F**-2)
        decay_NN = np.exp(-_ROOT5 * distance_NN)
        likeness_NN = given.likeness_RR[rung_N[:, None], rung_N[None]]
        config_NN = (
            given.signal
            * likeness_NN
            * (1 + _ROOT5 * distance_NN + 5 / 3 * distance_NN**2)
            * decay_NN
        )
        own_NN = given.own * likeness_NN * (observed.trial_N[:, None] == observed.trial_N[None])
        total_NN = config_NN + own_NN + _means(rung_N)
        total_NN[np.diag_indices(len(rung_N))] += given.noise + _JITTER
        away_H = (given_H - self._mean_H) / self._spread_H
        try:
            lower_NN = cholesky(total_NN, lower=True, check_finite=False)
        except LinAlgError:
            return 1e10, np.zeros_like(given_H)
        inverse_NN = cho_solve((lower_NN, True), np.eye(len(rung_N)), check_finite=False)
        weight_N = inverse_NN @ observed.value_N
        loss = (
            0.5 * observed.value_N @ weight_N
            + np.log(np.diag(lower_NN)).sum()
            + 0.5 * away_H @ away_H
        )

        pull_NN = inverse_NN - np.outer(weight_N, weight_N)
        by_length_NN = (
            pull_NN * (5 / 3 * given.signal) * likeness_NN * (1 + _ROOT5 * distance_NN) * decay_NN
        )
        by_length_F = np.tensordot(by_length_NN, squares_NNF, axes=2) * given.length_F**-2
        by_signal = (pull_NN * config_NN).sum()
        by_own = (pull_NN * own_NN).sum()
        by_noise = given.noise * np.trace(pull_NN)
        alike_NN = pull_NN * (config_NN + own_NN)
        low_NN = np.minimum(rung_N[:, None], rung_N[None])
        high_NN = np.maximum(rung_N[:, None], rung_N[None])
        steps = np.exp(given_H[self._features + 3 :])
        by_step = [
            -step * alike_NN[(low_NN <= rung) & (high_NN > rung)].sum()
            for rung, step in enumerate(steps)
        ]
        gradient_H = 0.5 * np.concatenate([by_length_F, [by_signal, by_own, by_noise], by_step])
        return float(loss), gradient_H + away_H / self._spread_H


def _covariance(observed: Observed, given: Hyperparameters) -> Floats:
    config_NN = given.signal * _matern(
        _squares(observed.features_NF, observed.features_NF, given.length_F)
    )
    own_NN = given.own * (observed.trial_N[:, None] == observed.trial_N[None])
    likeness_NN = given.likeness_RR[observed.rung_N[:, None], observed.rung_N[None]]
    total_NN = likeness_NN * (config_NN + own_NN) + _means(observed.rung_N)
    total_NN[np.diag_indices(len(total_NN))] += given.noise + _JITTER
    return np.asarray(total_NN)


def _means(rung_N: Whole) -> Floats:
    return np.asarray(_MEAN + _RUNG_MEAN * (rung_N[:, None] == rung_N[None]))


def _squares(left_QF: Floats, right_NF: Floats, length_F: Floats) -> Floats:
    left_QF = left_QF / length_F
    right_NF = right_NF / length_F
    squares_QN = (
        (left_QF**2).sum(axis=1)[:, None]
        + (right_NF**2).sum(axis=1)[None]
        - 2 * left_QF @ right_NF.T
    )
    return np.asarray(np.maximum(squares_QN, 0.0))


def _matern(squares_QN: Floats) -> Floats:
    """Matérn's kernel with ν = 5/2."""
    distance_QN = np.sqrt(squares_QN)
    return np.asarray(
        (1 + _ROOT5 * distance_QN + 5 / 3 * squares_QN) * np.exp(-_ROOT5 * distance_QN)
    )


def _spread(observed: Observed) -> Observed:
    """A subset small enough for fitting hyperparameters quickly: the best third, and an even sample
    of the others.
    """
    count = len(observed.value_N)
    if count <= _LEARNED_FROM:
        return observed
    order_N = np.argsort(-observed.value_N, kind="stable")
    best = _LEARNED_FROM // 3
    evenly = np.linspace(best, count - 1, _LEARNED_FROM - best).astype(np.int64)
    return observed.take(np.sort(np.concatenate([order_N[:best], order_N[evenly]])))
