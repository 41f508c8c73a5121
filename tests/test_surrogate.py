"""What the model of `sampler=gp` makes of configurations and rungs, against independent
references.
"""

from random import Random

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal, spearmanr

from hopsearch.space import Categorical, Float, Int, Space
from hopsearch.study.sampling.encoding import Encoding
from hopsearch.study.sampling.surrogate import Observed, Surrogate, _covariance, _Rules

SPACE = Space(
    objective="val_acc",
    direction="maximize",
    parameters={
        "kind": Categorical(["a", "b", "c"]),
        "width": Categorical([32, 64, 128]),
        "rate": Float(1e-4, 1e-1, log=True),
        "depth": Int(2, 9),
        "units": Int(64, 1024, log=True),
        "share": Float(0.0, 1.0, step=0.25),
        "own": Float(-1.0, 1.0, when={"kind": "b"}),
        "inner": Int(1, 3, when={"own": {"min": 0.0}}),
    },
)


class TestEncoding:
    @pytest.mark.parametrize("number", range(40))
    def test_a_configuration_comes_back(self, number):
        encoding, config = Encoding(SPACE), SPACE.draw(Random(number))
        back = encoding.params(encoding.cube(config))
        assert back == pytest.approx(
            {name: config[name] for name in SPACE.parameters if name in config}
        )
        assert list(back) == [name for name in SPACE.parameters if name in back]

    def test_any_point_is_a_configuration(self):
        encoding = Encoding(SPACE)
        point_QP = np.random.default_rng(0).random((200, encoding.parameters))
        drawn = [encoding.params(point_P) for point_P in [*point_QP, np.zeros(8), np.ones(8)]]
        for params in drawn:
            SPACE.check(params)
        assert {params["depth"] for params in drawn} == set(range(2, 10))
        assert {params["share"] for params in drawn} == {0.0, 0.25, 0.5, 0.75, 1.0}
        assert 0.2 < np.mean(["own" in params for params in drawn]) < 0.5

    def test_features_are_of_values_and_of_what_is_active(self):
        encoding = Encoding(SPACE)
        one = encoding.cube(
            {"kind": "a", "width": 64, "rate": 1e-3, "depth": 2, "units": 256, "share": 0.5}
        )
        moved = one.copy()
        moved[-2:] = 0.9  # not active
        near, far = (encoding.cube(encoding.params(one) | {"kind": kind}) for kind in ("b", "c"))
        features_QF = encoding.features_of(np.array([one, moved, near, far]))
        assert features_QF.shape == (4, 3 + 7)
        assert np.array_equal(features_QF[0], features_QF[1])
        assert features_QF[0, 3:] == pytest.approx([0.5, 1 / 3, 0.0, 0.5, 0.5, 0.5, 0.5])
        # any two words are as far from each other as the two ends of a number
        for other in features_QF[2:]:
            assert np.linalg.norm(features_QF[0, :3] - other[:3]) == pytest.approx(1.0)


def observed(count=40, features=5, seed=0):
    """Of twenty-five trials, of which some came further than others."""
    random = np.random.default_rng(seed)
    reached = [25, 10, 5]
    trial_N = np.concatenate([np.arange(came) for came in reached])
    rung_N = np.repeat(np.arange(3), reached)
    return Observed(
        random.random((25, features))[trial_N], trial_N, rung_N, random.standard_normal(count)
    )


class TestSurrogate:
    def test_the_gradient_is_that_of_the_loss(self):
        seen, rules = observed(), _Rules(5, 4)
        squares_NNF = (seen.features_NF[:, None] - seen.features_NF[None]) ** 2
        given_H = rules._mean_H + 0.3 * np.random.default_rng(1).standard_normal(len(rules._mean_H))
        _, gradient_H = rules._loss(given_H, seen, squares_NNF)
        expected_H = approx_fprime(
            given_H, lambda at_H: rules._loss(at_H, seen, squares_NNF)[0], 1e-6
        )
        assert gradient_H == pytest.approx(expected_H, abs=1e-3)

    def test_the_loss_is_the_likelihood(self):
        seen, rules = observed(), _Rules(5, 4)
        squares_NNF = (seen.features_NF[:, None] - seen.features_NF[None]) ** 2
        loss, _ = rules._loss(rules._mean_H, seen, squares_NNF)
        normal = multivariate_normal(np.zeros(40), _covariance(seen, rules.read(rules._mean_H)))
        assert loss == pytest.approx(-normal.logpdf(seen.value_N) - 20 * np.log(2 * np.pi))

    def test_prediction_is_the_conditional_distribution(self):
        """As from the joint covariance of what is observed and of a new trial at the highest rung,
        by Schur's complement.
        """
        seen = observed()
        surrogate = Surrogate(seen, 3)
        new_QF = np.random.default_rng(2).random((3, 5))
        joint = Observed(
            np.concatenate([seen.features_NF, new_QF]),
            np.concatenate([seen.trial_N, [100, 101, 102]]),
            np.concatenate([seen.rung_N, [2, 2, 2]]),
            np.zeros(43),
        )
        whole_MM = _covariance(joint, surrogate.hyperparameters)
        known_NN, cross_QN = whole_MM[:40, :40], whole_MM[40:, :40]
        expected_Q = cross_QN @ np.linalg.solve(known_NN, seen.value_N)
        assert surrogate.expected(new_QF, 2) == pytest.approx(expected_Q, abs=1e-6)

    def test_what_is_expected_changes_no_mean_and_narrows(self):
        seen = observed()
        surrogate, place_QF = Surrogate(seen, 3), np.full((1, 5), 0.5)
        believed = Observed(
            place_QF, np.array([99]), np.array([0]), surrogate.expected(place_QF, 0)
        )
        mean, spread = surrogate.at(place_QF, 0)
        after_mean, after_spread = surrogate.believing(believed).at(place_QF, 0)
        assert after_mean == pytest.approx(mean, abs=1e-6)
        assert after_spread < 0.75 * spread

    @pytest.mark.parametrize("informative", [False, True])
    def test_a_first_rung_that_says_nothing_is_found_to_say_nothing(self, informative):
        random = np.random.default_rng(3)
        features_NF = random.random((40, 2))
        final_N = np.sin(5 * features_NF[:, 0]) + features_NF[:, 1]
        noise_N = random.standard_normal(40)
        first_N = final_N + 0.1 * noise_N if informative else noise_N
        further = np.argsort(-first_N)[:24]
        seen = Observed(
            np.concatenate([features_NF, features_NF[further]]),
            np.concatenate([np.arange(40), further]),
            np.repeat([0, 1], [40, 24]),
            np.concatenate([first_N, final_N[further]]),
        )
        surrogate = Surrogate(seen, 2)
        likeness = surrogate.hyperparameters.likeness_RR[0, 1]
        assert likeness > 0.9 if informative else likeness < 0.6
        new_QF = random.random((200, 2))
        mean_Q, _ = surrogate.at(new_QF, 1)
        assert spearmanr(mean_Q, np.sin(5 * new_QF[:, 0]) + new_QF[:, 1])[0] > (
            0.95 if informative else 0.7
        )

    def test_many_observations_take_no_longer_to_learn_from(self):
        random = np.random.default_rng(0)
        many = Observed(
            random.random((900, 5)),
            np.arange(900),
            np.zeros(900, dtype=int),
            random.standard_normal(900),
        )
        first, again = Surrogate(many, 3), Surrogate(many, 3)
        assert np.array_equal(first.hyperparameters.length_F, again.hyperparameters.length_F)
