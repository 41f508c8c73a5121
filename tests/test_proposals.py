"""From a sampler to a trial: what a proposal looks at."""

import pytest
from optuna.distributions import IntDistribution

from hopsearch.orchestration.simulation.simulator import Faults, Simulation
from hopsearch.study import MEMORY, Study
from tests.conftest import SPACE, identity
from tests.test_simulator import Choosy, Hills, facts

FLAT = SPACE | {
    "parameters": {name: spec for name, spec in SPACE["parameters"].items() if "when" not in spec},
    "first": [{"model.depth": 5}],
}


@pytest.mark.parametrize("pruner", ["none", "asha_promotion", "hyperband"])
def test_tpe_proposes_the_same_though_it_looks_at_each_trial_once(tmp_path, pruner):
    """Failures, refusals and trials that wait included; the sampler by itself looks at all of them
    for every proposal.
    """
    found = []
    for name in ("once", "anew"):
        with Study(tmp_path / name / "test", identity(space=FLAT), "tpe", pruner, MEMORY) as study:
            assert study._proposals._common is not None
            if name == "anew":
                study._proposals._common = None
            Choosy(
                study, Hills(), 3, 40, Faults(failure=0.1, preemption=0.2, away=2.0, seed=3)
            ).run()
            found.append(facts(study))
    assert found[0] == found[1]


def test_what_a_proposal_of_tpe_compares_does_not_grow_with_the_study(tmp_path, monkeypatch):
    compared, equal = [], IntDistribution.__eq__
    monkeypatch.setattr(
        IntDistribution, "__eq__", lambda one, other: compared.append(one) or equal(one, other)
    )
    counts = []
    with Study(tmp_path / "test", identity(space=FLAT), "tpe", "none", MEMORY) as study:
        for trials in (30, 31, 90, 91):
            compared.clear()
            Simulation(study, Hills(), 1, trials).run()
            counts.append(len(compared))
    assert 0 < counts[3] <= counts[1] + 5
