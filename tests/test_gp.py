"""The sampler that knows fidelities: what it makes of a study's trials, and that it finds what
chance does not.
"""

import math
import statistics
from collections import Counter

import pytest

from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.space import Space
from hopsearch.study import MEMORY, Admission, State, Study, StudyView, WarmStart
from hopsearch.study.sampling.samplers import proposer
from tests.conftest import SPACE, admit_all, drive, identity, open_study

SMOOTH = {
    "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
    "parameters": {f"x{number}": {"type": "float", "low": 0.0, "high": 1.0} for number in range(4)}
    | {"kind": {"type": "categorical", "choices": ["flat", "hill"]}},
}


class Hill:
    """Highest at one place, on one of two kinds; the first epoch says nothing of the last, where
    ``noise``.
    """

    def __init__(self, noise: bool) -> None:
        self._noise = noise

    def cost(self, config):
        return {}

    def train(self, config, seed):
        away = sum((config[f"x{number}"] - 0.2 * (number + 1)) ** 2 for number in range(4))
        final = math.exp(-4 * away) * (1.0 if config["kind"] == "hill" else 0.5)
        first = seed % 1000 / 20_000 if self._noise else 0.5 * final
        return Training([first, *(final * (1 - 0.5**epoch) for epoch in range(2, 10))], [1.0] * 9)


@pytest.mark.parametrize("noise", [False, True])
def test_it_finds_what_chance_does_not(tmp_path, noise):
    best = {}
    for sampler in ("gp", "random"):
        found = []
        for seed in range(7):
            place = tmp_path / f"{sampler}{seed}"
            with Study(place, identity(space=SMOOTH, seed=seed), sampler, "none", MEMORY) as study:
                Simulation(study, Hill(noise), 3, 30).run()
                found.append(max(max(record.curve.values()) for record in study.counted()))
        best[sampler] = statistics.median(found)
    assert best["gp"] > 0.85
    assert best["gp"] > best["random"] + 0.1


def test_it_tries_all_there_is_once(tmp_path):
    space = SPACE | {
        "parameters": {"model.depth": {"type": "int", "low": 1, "high": 20}},
        "first": [],
    }
    with open_study(tmp_path, "gp", "none", space=space) as study:
        drive(study, 20)
        tried = Counter(record.params["model.depth"] for record in study.counted())
        assert tried == Counter(range(1, 21))


def test_another_study_is_a_rung_of_its_own(tmp_path):
    with open_study(tmp_path / "old", "random", "asha") as old:
        drive(old, 30)
    warm = WarmStart(StudyView.open(tmp_path / "old" / "test"), identity(space=SPACE).space)
    rates = {}
    for name, start in (("warm", warm), ("cold", None)):
        with Study(
            tmp_path / name / "test", identity(), "gp", "asha", MEMORY, warm_start=start
        ) as study:
            records = [study.ask(admit_all) for _ in range(6)]
            rates[name] = [record.params["optim.lr"] for record in records]
    assert rates["warm"] != rates["cold"]
    assert len(set(rates["warm"])) == 6


class Cliff:
    """High everywhere but beyond 0.7, where every training diverges at once."""

    def cost(self, config):
        return {}

    def train(self, config, seed):
        good = 0.8 + 0.2 * config["y"]
        return Training(
            [] if config["x"] > 0.7 else [good * (1 - 0.5**epoch) for epoch in range(1, 10)],
            [1.0] * 9,
        )


def reals(*names):
    return {name: {"type": "float", "low": 0.0, "high": 1.0} for name in names}


def spaced(parameters, **more):
    return {"fidelity": SMOOTH["fidelity"], "parameters": parameters, **more}


def test_what_fails_is_worse_at_a_rung_than_all_that_came_there(tmp_path):
    """The worst full training is better than all first epochs: taken for one of those, a failure
    would attract.
    """
    failed = 0
    for seed in range(3):
        with Study(
            tmp_path / f"{seed}",
            identity(space=spaced(reals("x", "y")), seed=seed),
            "gp",
            "none",
            MEMORY,
        ) as study:
            Simulation(study, Cliff(), 3, 50).run()
            failed += sum(record.state == State.FAILED for record in study.counted()[20:])
    assert failed <= 0.2 * 90  # a third is drawn at random, of which three in ten fail


def test_constraints_are_learned(tmp_path):
    def admit(config):
        return Admission(
            {"n_params": 1},
            "" if config["x"] <= 0.5 else "x <= 0.5 must hold",
            max(0.0, config["x"] - 0.5),
        )

    with open_study(tmp_path, "gp", "none", space=spaced(reals("x", "y"))) as study:
        for _ in range(50):
            record = study.ask(admit)
            for epoch in range(1, 10):
                study.report(
                    record.number, epoch, record.params["x"] + 0.1 * record.params["y"], 1.0
                )
        refused = [record for record in study.records.values() if record.state == State.INFEASIBLE]
        assert len(refused) < 60
        assert sum(record.source == "gp" for record in study.counted()) > 45


class Anything:
    """A made-up value for each seed."""

    def cost(self, config):
        return {}

    def train(self, config, seed):
        return Training([seed % 97 * (1 - 0.5**epoch) for epoch in range(1, 10)], [1.0] * 9)


POINTS = [{"kind": kind} for kind in "abcd"]
PARENTS = {"a": {"max": 0.5}, "b": {"min": 0.5}}
KINDS = {
    "kind": {"type": "categorical", "choices": list("abcd")},
    "h": reals("h")["h"] | {"when": {"kind": "a"}},
} | reals("x")


@pytest.mark.parametrize(
    ("parameters", "first"),
    [
        pytest.param(KINDS, POINTS, id="first points without the children of what they fix"),
        pytest.param(
            {"x": {"type": "float", "low": 1 / 3, "high": 2 / 3}},
            [],
            id="ends of more digits than a value has",
        ),
        pytest.param(
            {"x": {"type": "int", "low": 0, "high": 2**31 - 1}},
            [],
            id="more values than memory has room for",
        ),
        pytest.param(
            {"x": {"type": "int", "low": 1, "high": 10**6, "log": True}},
            [],
            id="the same, logarithmic",
        ),
        pytest.param(
            {"x": {"type": "float", "low": 0.1, "high": 0.9, "step": 0.1}} | reals("y"),
            [],
            id="steps",
        ),
        pytest.param(
            {"x": {"type": "categorical", "choices": [True, False]}} | reals("y"), [], id="booleans"
        ),
        pytest.param({"x": {"type": "int", "low": 3, "high": 3}} | reals("y"), [], id="one value"),
        pytest.param(
            reals("a", "b") | {"c": reals("c")["c"] | {"when": PARENTS}}, [], id="real parents"
        ),
    ],
)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_any_space(tmp_path, parameters, first, direction):
    space = spaced(parameters, first=first, direction=direction)
    with open_study(tmp_path, "tpe", "asha", space=space) as study:
        Simulation(study, Anything(), 3, 18).run()
    with open_study(tmp_path, "gp", "asha", space=space) as study:
        Simulation(study, Anything(), 3, 40).run()
        assert len(study.counted()) == 40
        for record in study.counted():
            Space.from_dict(space).check(record.params)


@pytest.mark.parametrize("values", [[0.5], [0.0, 1.0], [float("-inf"), 0.3]])
def test_any_values(tmp_path, values):
    with open_study(tmp_path, "gp", "none", space=spaced(reals("x", "y"))) as study:
        for turn in range(30):
            record = study.ask(lambda config: Admission({}))
            for epoch in range(1, 9):
                study.report(record.number, epoch, values[turn % len(values)], 1.0)
        assert len({record.params["x"] for record in study.counted()}) == 30


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_kill_changes_nothing_after_a_warm_start(tmp_path, sampler):
    with open_study(tmp_path / "old", "random", "asha") as old:
        drive(old, 60)
    warm = WarmStart(StudyView.open(tmp_path / "old" / "test"), identity(space=SPACE).space)

    def asked(name, kills):
        told = []
        study = Study(tmp_path / name / "test", identity(), sampler, "asha", warm_start=warm)
        for turn in range(12):
            if kills:
                study.close()
                study = Study(tmp_path / name / "test", identity(), sampler, "asha")
            record = study.ask(admit_all)
            study.report(record.number, 1, 0.1 * (turn % 5), 1.0)
            told.append(record.params)
        study.close()
        return told

    assert asked("straight", kills=False) == asked("killed", kills=True)


def test_two_samplers_share_the_proposals(tmp_path):
    """By chance, and each trial says whose it is."""
    with open_study(tmp_path, "tpe_gp", "none") as study:
        drive(study, 40)
        proposed = [record for record in study.counted() if record.source != "first point"]
        sources = Counter(record.source for record in proposed)
        assert set(sources) == {"tpe", "gp"}
        assert min(sources.values()) > 10
        assert all(
            record.source == proposer("tpe_gp", study.identity.seed, record.number)
            for record in proposed
        )
