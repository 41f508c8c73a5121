"""The sampler that knows fidelities: what it makes of a study's trials, and that it finds what chance does not."""

import math
import statistics
from collections import Counter

import pytest

from hopsearch.space import Space
from hopsearch.study import MEMORY, Simulation, Study, StudyView, Training, WarmStart
from tests.conftest import SPACE, admit_all, drive, identity, open_study

SMOOTH = {
    "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
    "parameters": {f"x{number}": {"type": "float", "low": 0.0, "high": 1.0} for number in range(4)}
    | {"kind": {"type": "categorical", "choices": ["flat", "hill"]}},
}


class Hill:
    """Highest at one place, on one of two kinds; the first epoch says nothing of the last, where ``noise``."""

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
        for seed in range(3):
            place = tmp_path / f"{sampler}{seed}"
            with Study(place, identity(space=SMOOTH, seed=seed), sampler, "none", MEMORY) as study:
                Simulation(study, Hill(noise), 3, 30).run()
                found.append(max(max(record.curve.values()) for record in study.counted()))
        best[sampler] = statistics.median(found)
    assert best["gp"] > 0.85
    assert best["gp"] > best["random"] + 0.1


def test_it_tries_all_there_is_once(tmp_path):
    space = SPACE | {"parameters": {"model.depth": {"type": "int", "low": 1, "high": 20}}, "first": []}
    with open_study(tmp_path, "gp", "none", space=space) as study:
        drive(study, 20)
        tried = Counter(record.params["model.depth"] for record in study.counted())
        assert tried == Counter(range(1, 21))


def test_another_study_is_a_rung_of_its_own(tmp_path):
    with open_study(tmp_path / "old", "random", "asha") as old:
        drive(old, 30)
    warm = WarmStart(StudyView.open(tmp_path / "old" / "test"), Space.from_dict(SPACE))
    rates = {}
    for name, start in (("warm", warm), ("cold", None)):
        with Study(tmp_path / name / "test", identity(), "gp", "asha", MEMORY, warm_start=start) as study:
            records = [study.ask(admit_all) for _ in range(6)]
            rates[name] = [record.params["optim.lr"] for record in records]
    assert rates["warm"] != rates["cold"]
    assert len(set(rates["warm"])) == 6
