"""Several objectives: how they are written, how trials are ranked, stopped and proposed with
them.
"""

import csv
import json
import re

import pytest
import yaml

from hopsearch.core.errors import ConfigError, SpaceError, StudyError
from hopsearch.orchestration.simulation.simulator import Faults, Simulation, Training
from hopsearch.orchestration.space_preparation import open_search
from hopsearch.report import write_report
from hopsearch.reporting import facts_of
from hopsearch.reporting.data_frames import trials_frame
from hopsearch.reporting.leaderboard import leaderboard, write_csv
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.printout import show
from hopsearch.space import Space
from hopsearch.study import MEMORY, Admission, State, Study, StudyView
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from tests.conftest import SPACE, identity

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

BOTH = SPACE | {"objective": "val_acc,n_params"}


class Tradeoff:
    """Deeper is better and larger; the learning rate should be 1e-3. ``model.depth`` alone decides
    the size.
    """

    def cost(self, config):
        return {"n_params": 1000 * config["model.depth"], "flops": 1}

    def train(self, config, seed):
        good = config["model.depth"] / 8 - 50 * abs(config["optim.lr"] - 1e-3)
        return Training([good * (1 - 0.7**epoch) for epoch in range(1, 10)], [1.0] * 9)


def open_study(folder, sampler="tpe", pruner="asha", space=BOTH, database=None):
    return Study(folder / "test", identity(space=space), sampler, pruner, database)


class TestWords:
    def test_costs_are_minimised(self):
        objectives = Space.from_dict(
            SPACE | {"objective": ["val_acc", "n_params", "latency"]}
        ).objectives
        assert [(objective.name, objective.sign) for objective in objectives] == [
            ("val_acc", 1),
            ("n_params", -1),
            ("latency", -1),
        ]

    def test_directions(self):
        space = Space.from_dict(
            SPACE | {"objective": "val_loss,flops", "direction": "minimize,maximize"}
        )
        assert [objective.sign for objective in space.objectives] == [-1, 1]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (
                {"objective": "val_acc,n_parms"},
                (
                    r"after the first must be a cost, got \"n_parms\"\. Did you mean "
                    r"n_params\?"
                ),
            ),
            ({"objective": "n_params"}, "must start with a metric reported every epoch"),
            ({"objective": "val_acc,n_params,n_params"}, "objective: must differ"),
            (
                {"objective": "val_acc", "direction": "maximize,minimize"},
                "must be one per objective, got 2 for 1",
            ),
            (
                {"objective": "val_acc,n_params", "direction": "up"},
                'must be maximize or minimize, got "up"',
            ),
        ],
    )
    def test_mistakes(self, words, message):
        with pytest.raises(SpaceError, match=message):
            Space.from_dict(SPACE | words)

    def test_a_sampler_of_one_objective(self, tmp_path):
        with pytest.raises(ConfigError, match="cmaes takes one objective, got val_acc,n_params"):
            open_study(tmp_path, sampler="cmaes")


class TestNaturalDirection:
    """Which way is better, where neither the space nor the command line says so."""

    @pytest.mark.parametrize(
        ("objective", "direction"),
        [
            ("val_acc", "maximize"),
            ("val_worst_recall", "maximize"),
            ("recall/3", "maximize"),
            ("val_loss", "minimize"),
            ("train_loss", "minimize"),
            ("val_loss,n_params", "minimize"),
        ],
    )
    def test_of_a_metric(self, digits, tmp_path, objective, direction):
        file = tmp_path / "space.yaml"
        fixed = SPACE["fixed"] | {"model.patch_size": 4}
        file.write_text(yaml.safe_dump(SPACE | {"fixed": fixed, "objective": objective}))
        in_file = open_search(str(file), digits.facts, {}, "default", None, None).space
        on_line = open_search("imixer", digits.facts, {}, "default", objective, None).space
        for space in (in_file, on_line):
            assert (space.objective, space.direction) == (objective, direction)
        other = "minimize" if direction == "maximize" else "maximize"
        asked = open_search(str(file), digits.facts, {}, "default", None, other).space
        assert asked.direction == other

    @pytest.mark.parametrize("objective", ["seconds", "images_per_s", "lr", "peak_lr"])
    @pytest.mark.parametrize("direction", [None, "maximize", "minimize"])
    def test_what_needs_no_learning_is_no_objective(self, digits, objective, direction):
        with pytest.raises(SpaceError, match="must measure what a trial has learnt"):
            open_search("imixer", digits.facts, {}, "default", objective, direction)

    def test_a_measure_of_the_model_needs_a_direction(self, digits):
        words = ("imixer", digits.facts, {}, "default", "cosine/tokens/mean")
        with pytest.raises(SpaceError, match="direction: must be given for 'cosine/tokens/mean'"):
            open_search(*words, None)
        assert open_search(*words, "minimize").space.objectives[0].sign == -1

    def test_a_study_that_went_the_other_way_says_how_to_continue_it(self):
        begun = identity(space=SPACE | {"objective": "val_loss"})
        asked = identity(space=SPACE | {"objective": "val_loss", "direction": "minimize"})
        assert begun.space.direction == "maximize", "as once, where the space named none"
        with pytest.raises(StudyError, match=r"direction=maximize continues it"):
            asked.require_same(begun, "here")

    def test_a_study_of_an_older_version_is_opened_as_it_was(self, tmp_path):
        with open_study(tmp_path, "random", "asha", SPACE | {"objective": "seconds"}) as study:
            for _ in range(3):
                record = study.ask(lambda config: Admission())
                study.report(record.number, 1, float(record.number), 1.0)
        view = StudyView.open(tmp_path / "test")
        assert (view.objective, view.sign) == ("seconds", 1)
        assert [record.number for record in view.ranked()] == [2, 1, 0]
        assert view.audit() == []


@pytest.mark.parametrize(
    "pruner", ["asha", "asha_promotion", "pasha", "median", "one_epoch", "none"]
)
@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "nsgaiii", "gp", "random"])
class TestEverySamplerThatTakesSeveral:
    def test_contract(self, tmp_path, sampler, pruner):
        faults = Faults(failure=0.02, preemption=0.1, away=2.0)
        with open_study(tmp_path / "straight", sampler, pruner, database=MEMORY) as study:
            Simulation(study, Tradeoff(), 3, 14, faults).run()
            straight = {
                number: (record.curve, record.decisions) for number, record in study.records.items()
            }
            assert study.audit() == []
            assert len(study.counted()) == 14
            assert all(record.state.ended for record in study.counted())
        simulation = Simulation(
            open_study(tmp_path / "again", sampler, pruner), Tradeoff(), 3, 14, faults
        )
        for turn, _ in enumerate(simulation.events()):
            if turn % 15 == 7:
                simulation.study.close()
                simulation.study = open_study(tmp_path / "again", sampler, pruner)
        assert {
            number: (record.curve, record.decisions)
            for number, record in simulation.study.records.items()
        } == straight
        simulation.study.close()


@pytest.mark.parametrize("direction", ["maximize,minimize", "minimize,maximize"])
def test_the_front_is_the_same_everywhere(tmp_path, direction, capsys):
    space = SPACE | {"objective": "val_acc,latency", "direction": direction}
    with open_study(tmp_path, "random", "none", space=space) as study:
        for turn in range(7):
            record = study.ask(
                lambda config: Admission({"n_params": 1000, "flops": 1, "memory": 8})
            )
            study.measure(record.number, {"latency": 0.001 * (turn % 4 + 1)})
            study.report(record.number, 1, 0.1 * ((turn * 3) % 7 + 1), 1.0)
        front = {record.number for record in study.front()}
        assert 1 < len(front) < 7
        facts = facts_of(study)
        assert (
            {row["trial"] for row in facts.leaderboard if row["front"]}
            == front
            == set(facts.fronts["latency"])
        )
        assert [one["direction"] for one in facts.study["objectives"]] == direction.split(",")
        frame = trials_frame(study)
        assert set(frame.index[frame["front"]]) == front
        assert frame["latency"].to_dict() == {
            number: record.cost["latency"] for number, record in study.records.items()
        }
        with write_csv(study).open() as file:
            rows = list(csv.DictReader(file))
        assert {int(row["trial"]) for row in rows if row["front"]} == front
        assert all(
            (float(row["latency"]), row["memory"]) == (facts.leaderboard[i]["latency"], "8")
            for i, row in enumerate(rows)
        )
        text = write_report(study, "md").read_text()
        head, _, *lines = re.search(r"(?s)## Leaderboard\n\n(.*?)\n\n", text)[1].splitlines()
        assert head.startswith("| rank | trial | state | val_acc | epochs | n_params | latency |")
        cells = [[cell.strip() for cell in line.split("|")] for line in lines]
        assert {int(row[2]) for row in cells if row[1].endswith(" *")} == front
        assert {row[7] for row in cells} == {"0.001", "0.002", "0.003", "0.004"}
        assert (
            f"Pareto front (val_acc "
            f"{'up, latency down' if direction[1] == 'a' else 'down, latency up'}): {len(front)} "
            f"trials" in text
        )
        page = write_report(study, "html").read_text()
        assert {
            int(n)
            for n in re.findall(r'<td data-value="\d+">\d+ \*</td>\n?<td data-value="(\d+)">', page)
        } == front
        assert (
            f"{direction.split(',')[0][:3]}imum of val_acc and the "
            f"{direction.split(',')[1][:3]}imum of latency" in page
        )
        assert (
            json.loads(write_report(study, "json").read_text())["fronts"]["latency"]
            == facts.fronts["latency"]
        )
        show(study, make_console())
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {int(words[2]) for words in printed if words[1:2] == ["*"]} == front


def test_the_front_is_nobodys_inferior(tmp_path):
    with open_study(tmp_path, database=MEMORY) as study:
        Simulation(study, Tradeoff(), 2, 30).run()
        front = [(study.value(record), record.cost["n_params"]) for record in study.front()]
        assert len(front) > 1
        for record in study.ranked():
            value, params = study.value(record), record.cost["n_params"]
            assert not any(value > v and params < p for v, p in front)
        # the winner is the most accurate
        assert study.ranked()[0].number == max(study.ranked(), key=study.value).number
        rows = leaderboard(study)
        assert {row.record.number for row in rows if row.front} == {
            record.number for record in study.front()
        }
        assert sum(
            line.split(",")[11] == "1" for line in write_csv(study).read_text().splitlines()
        ) == len(front)


def test_a_small_model_is_not_stopped_for_being_worse(tmp_path):
    """The smallest of all is on the front, however bad: nobody is smaller."""
    with open_study(tmp_path, "random", "asha", database=MEMORY) as study:
        Simulation(study, Tradeoff(), 1, 40).run()
        smallest = min(
            study.counted(), key=lambda record: (record.cost["n_params"], -study.value(record))
        )
        assert smallest.state == State.COMPLETE


def test_an_objective_that_is_not_measured(tmp_path):
    with open_study(
        tmp_path, "random", "asha", SPACE | {"objective": "val_acc,latency"}, MEMORY
    ) as study:
        with pytest.raises(
            StudyError, match=r"objective 'latency' must be measured\. Known: n_params, flops"
        ):
            Simulation(study, Tradeoff(), 1, 2).run()
        record = next(iter(study.records.values()))
        study.measure(record.number, {"latency": 1e-3})
        study.report(record.number, record.epoch + 1, 0.5, 1.0)
        assert study.front() == [record]


def test_latency_is_measured_on_the_trials_device(tiny, digits):
    run = ImageTrialRun(tiny, digits)
    run.step()
    latency = run.measure_latency()
    assert 0 < latency < 1
    assert run.model.training


@pytest.mark.parametrize("sampler", ["tpe", "gp", "tpe_gp", "nsgaii"])
def test_a_study_that_says_params_is_the_same(tmp_path, sampler):
    """The parameter count was called so in commands; a journal still calls it so."""
    proposals = {}
    for word in ("params", "n_params"):
        space = SPACE | {"objective": f"val_acc,{word}"}
        folder = tmp_path / word
        with open_study(folder, sampler, "asha", space=space) as study:
            Simulation(study, Tradeoff(), 2, 16).run()
        with open_study(folder, sampler, "asha", space=BOTH) as study:
            Simulation(study, Tradeoff(), 2, 26).run()
            proposals[word] = [record.params for record in study.counted()]
            assert all("n_params" in record.cost for record in study.counted())
        stored = json.loads(next(iter_identity(folder)))
        assert stored["space"]["objective"] == "val_acc,params"
    assert proposals["params"] == proposals["n_params"]


def iter_identity(folder):
    for file in folder.rglob("journal.log"):
        for line in file.read_text().splitlines():
            entry = json.loads(line)
            if "hopsearch" in entry.get("user_attr", {}):
                yield json.dumps(entry["user_attr"]["hopsearch"])
