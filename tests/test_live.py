"""What is seen of a search that runs: the estimate of its end, its counts, its lines in a log."""

import io
import math
import re
import statistics

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch.core.seeds import derive
from hopsearch.data import DataConfig
from hopsearch.orchestration.dispatcher import Budget, Dispatcher
from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.reporting.tensorboard import Board
from hopsearch.reporting.terminal import live
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.live import LiveView
from hopsearch.reporting.terminal.printout import show
from hopsearch.study import MEMORY, PRUNERS, Study, StudyView
from hopsearch.study.stopping.rung_judgements import Judgement
from hopsearch.training import Constraint
from tests.conftest import SPACE, identity, work
from tests.test_adaptive_asha import SPACE as RUNGS
from tests.test_adaptive_asha import Noisy

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

OURS = SPACE | {"first": []}


class Crossing:
    """Curves that differ in level and pace, with some noise, so that the first epochs do not tell
    all.
    """

    def cost(self, config):
        return {"n_params": 1, "flops": 1}

    def train(self, config, seed):
        level, pace = derive("level", seed) / 2**31, 0.5 + 0.4 * derive("pace", seed) / 2**31
        noise = [0.02 * derive("noise", seed, epoch) / 2**31 for epoch in range(1, 10)]
        return Training(
            [level * (1 - pace**epoch) + noise[epoch - 1] for epoch in range(1, 10)], [1.0] * 9
        )


class Watched:
    """A simulated search beside a live view, on the simulation's clock.

    ``left`` is what the view said when the clock first came to each of ``marks``.
    """

    def __init__(self, folder, pruner, trials, seed=0, marks=()):
        self.clock, self.out, self.left = 0.0, io.StringIO(), []
        with Study(
            folder / "test", identity(space=OURS, seed=seed), "random", pruner, MEMORY
        ) as study:
            view = LiveView(study, trials, 4, pruner, self.out, lambda: self.clock)
            with view:
                for event in Simulation(study, Crossing(), 4, trials).events():
                    self.clock = event.clock
                    record = study.records[event.number]
                    view.rows(record, [{"epoch": event.epoch}])
                    if record.state.ended:
                        view.end(record)
                    if len(self.left) < len(marks) and self.clock >= marks[len(self.left)]:
                        self.left.append((self.clock, view.left()))
        self.lines = self.out.getvalue().splitlines()


@pytest.mark.parametrize("pruner", PRUNERS)
def test_the_time_left_is_right_from_a_third_of_the_search_on(tmp_path, pruner, monkeypatch):
    monkeypatch.setattr(live, "_EVERY", math.inf)
    ratios = []
    for seed in range(3):
        with Study(
            tmp_path / f"{seed}" / "test", identity(space=OURS, seed=seed), "random", pruner, MEMORY
        ) as study:
            end = Simulation(study, Crossing(), 4, 40).run()[-1].clock
        search = Watched(
            tmp_path / f"{seed}",
            pruner,
            40,
            seed,
            [share * end for share in (0.34, 0.5, 0.67, 0.8)],
        )
        ratios.append([left / (end - clock) for clock, left in search.left])
    for at_mark in zip(*ratios, strict=True):
        assert 1 / 1.5 < statistics.geometric_mean(at_mark) < 1.5, ratios


def test_lines_come_while_nothing_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "_EVERY", 3.0)
    search = Watched(tmp_path, "asha_promotion", 24)
    assert any(line.startswith("trial 1 waits at 1 epoch, val_acc 0.") for line in search.lines)
    assert sum(" waits at " in line for line in search.lines) >= 20
    stands = [line for line in search.lines if " of 24 trials started" in line]
    assert len(stands) >= search.clock / 4
    assert any("waiting" in line and "ended" not in line and "left" in line for line in stands)
    assert max(map(len, (line for line in search.lines if line.startswith("trial ")))) < 100


def test_counts_and_budgets_are_in_the_headline(tmp_path):
    out, clock = io.StringIO(), [0.0]
    with Study(
        tmp_path / "test", identity(space=OURS), "random", "asha_promotion", MEMORY
    ) as study:
        view = LiveView(study, 6, 2, "asha_promotion", out, lambda: clock[0])
        view.budgets = lambda: ["7 epochs"]
        simulation = Simulation(study, Crossing(), 2, 6)
        for event in simulation.events():
            clock[0] = event.clock
            view.rows(study.records[event.number], [{"epoch": event.epoch}])
            if len(study.counted()) == 5:
                break
        with view:
            pass
    assert "5 of 6 trials started (" in out.getvalue()
    assert " waiting)" in out.getvalue()
    assert ", budget left: 7 epochs" in out.getvalue()


@pytest.mark.parametrize(
    ("lasts", "told"), [(35.0, "about 35s left, "), (0.2, "nearly done, "), (None, ""), (1e6, "")]
)
def test_the_time_left_is_that_of_a_budget_which_is_spent_earlier(tmp_path, lasts, told):
    out, clock = io.StringIO(), [0.0]
    with Study(tmp_path / "test", identity(space=OURS), "random", "none", MEMORY) as study:
        view = LiveView(study, 500, 2, "none", out, lambda: clock[0])
        view.budgets, view.lasts = lambda: ["a little"], lambda: lasts
        for event in Simulation(study, Crossing(), 2, 6).events():
            clock[0] = event.clock
            view.rows(study.records[event.number], [{"epoch": event.epoch}])
        with view:
            pass
    last = out.getvalue().splitlines()[-1]
    assert (
        last.endswith(f"so far, {told}budget left: a little")
        if told
        else re.search(r"about \d+m\d\ds left, budget", last)
    )


def test_the_waiting_ones_end_in_one_line(tmp_path, digits):
    space = {
        "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
        "fixed": {"model.family": "imixer", "model.dim": 16, "model.patch_size": 4},
        "parameters": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    }
    out = io.StringIO()
    with Study(tmp_path / "test", identity(space=space), "random", "asha_promotion") as study:
        view = LiveView(study, 9, 1, "asha_promotion", out)
        desk = Dispatcher(
            study, DataConfig(), digits.facts, Constraint(), Budget(9), (view,), say=view.say
        )
        work(
            desk,
            lambda record: {
                "epoch": record.epoch + 1,
                "val_acc": 0.1 * record.number,
                "seconds": 1.0,
            },
        )
        retired = sum(record.state == "pruned" for record in study.counted())
    lines = out.getvalue().splitlines()
    assert retired > 1
    assert f"paused trials that were not promoted: {retired}" in lines
    assert not any("pruned" in line for line in lines)


def test_a_worker_that_repeats_its_epochs_is_told_of_once(tmp_path):
    out = io.StringIO()
    with Study(tmp_path / "test", identity(space=OURS), "random", "none", MEMORY) as study:
        view = LiveView(study, 1, 1, "none", out)
        record = study.ask(lambda config: Simulation(study, Crossing(), 0, 1).admit(config))
        for epoch in (1, 2, 3):
            study.report(record.number, epoch, 0.5, 1.0)
            for _ in range(2):
                view.rows(record, [{"epoch": epoch}])
    assert out.getvalue().splitlines() == [
        f"trial 0 continues after {epochs}, val_acc 0.5000" for epochs in ("1 epoch", "3 epochs")
    ]


@pytest.mark.parametrize(
    ("pruner", "skipped", "expected"),
    [
        ("asha", False, ["1", "3", "3", "9"]),
        ("adaptive_asha", False, ["1", "3", "3", "9"]),
        ("adaptive_asha", True, ["3", "3", "3", "9"]),  # all go on from the first
        ("curve", False, ["1", "3", "3", "9"]),
        ("none", False, ["9", "9", "9", "9"]),
        ("median", False, ["1", "2", "3", "4"]),
        ("one_epoch", False, ["1", "9", "9", "9"]),
    ],
)
def test_the_next_rung_is_one_at_which_the_rule_chooses(tmp_path, pruner, skipped, expected):
    with Study(tmp_path / "test", identity(space=OURS), "random", pruner, MEMORY) as study:
        study._judgements = [Judgement(1, True, 0.0, 12, 0, pruner)] if skipped else []
        record = study.ask(lambda config: Simulation(study, Crossing(), 0, 1).admit(config))
        shown = [LiveView(study, 1, 1, pruner, io.StringIO())._next_rung(record)]
        for epoch in (1, 2, 3):
            record.curve[epoch] = 0.5
            shown.append(LiveView(study, 1, 1, pruner, io.StringIO())._next_rung(record))
    assert shown == expected


def test_the_next_rung_of_a_later_bracket_is_not_the_first(tmp_path):
    with Study(tmp_path / "test", identity(space=OURS), "random", "hyperband", MEMORY) as study:
        view = LiveView(study, 60, 1, "hyperband", io.StringIO())
        records = [
            study.ask(lambda config: Simulation(study, Crossing(), 0, 1).admit(config))
            for _ in range(60)
        ]
        assert {view._next_rung(record) for record in records} == {"1", "3", "9"}


def test_what_is_found_out_is_said_though_nobody_is_told_of_a_trial_after_it(tmp_path):
    out = io.StringIO()
    with Study(tmp_path / "test", identity(space=RUNGS), "random", "adaptive_asha") as study:
        board = Board(study)
        with LiveView(study, 30, 1, "adaptive_asha", out):
            for _ in Simulation(study, Noisy(True), 4, 30).events():
                pass
        board.close()
        words = [judgement.words((1, 3, 9, 27)) for judgement in study.judgements]
    assert [line for line in out.getvalue().splitlines() if "all continue" in line] == words != []
    texts = EventAccumulator(str(tmp_path / "test" / "tensorboard" / "study")).Reload()
    assert len(texts.Tensors("judgements/text_summary")) == len(words)


WIDE = SPACE | {
    "first": [],
    "parameters": SPACE["parameters"]
    | {"model.drop_path": {"type": "float", "low": 0.0, "high": 0.2}},
}


def screen(folder, monkeypatch, columns, **environment) -> list[str]:
    """The last picture that a terminal of so many columns shows of a search."""
    for name, value in {
        "TTY_COMPATIBLE": "1",
        "TERM": "xterm",
        "COLUMNS": str(columns),
        "LINES": "24",
        **environment,
    }.items():
        monkeypatch.setenv(name, value)
    out, clock = io.StringIO(), [0.0]
    with Study(folder / "test", identity(space=WIDE), "random", "asha_promotion", MEMORY) as study:
        view = LiveView(study, 24, 2, "asha_promotion", out, lambda: clock[0])
        view.budgets = lambda: ["3600 s", "12.50 GPU-hours", "7 trials to a plateau"]
        with view:
            for event in Simulation(study, Crossing(), 2, 24).events():
                clock[0] = event.clock
                view.rows(study.records[event.number], [{"epoch": event.epoch}])
                if len(study.counted()) == 12:
                    break
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\r", "\n").splitlines()
    last = max(number for number, line in enumerate(plain) if " of 24 trials started" in line)
    return [line.rstrip() for line in plain[last:] if line.strip()]


@pytest.mark.parametrize(
    ("columns", "environment"), [(60, {}), (80, {}), (80, {"NO_COLOR": "1"}), (120, {}), (200, {})]
)
def test_the_picture_fits_the_terminal(tmp_path, monkeypatch, columns, environment):
    lines = screen(tmp_path, monkeypatch, columns, **environment)
    assert max(map(len, lines)) <= columns
    assert len(lines) <= 24
    head, table = (
        lines[: next(n for n, line in enumerate(lines) if line.startswith("trial "))],
        lines,
    )
    words = " ".join(head)
    for word in (
        "trials started (",
        "best 0.",
        "so far",
        "budget left: 3600 s",
        "12.50 GPU-hours",
        "7 trials to a plateau",
        " left",
    ):
        assert word in words  # whole, whatever the width
    assert "…" not in "".join(lines)
    titles = next(line for line in table if line.startswith("trial ")).split()
    assert {"trial", "state", "epoch", "val_acc"} <= set(titles)
    assert {60: "depth", 80: "n_iter", 120: "drop_path", 200: "n_params"}[columns] in titles


def test_a_terminal_that_cannot_draw_gets_lines(tmp_path, monkeypatch):
    lines = screen(tmp_path, monkeypatch, 80, TERM="dumb")
    assert len(lines) == 1


def test_the_final_table_fits_too(searched, monkeypatch):
    view = StudyView.open(searched)
    for columns in (60, 80, 122, 200):
        out = io.StringIO()
        show(
            view,
            Console(
                file=out,
                force_terminal=True,
                width=columns,
                no_color=True,
                highlight=False,
                color_system=None,
            ),
        )
        lines = out.getvalue().splitlines()
        title = next(
            number for number, line in enumerate(lines) if line.lstrip().startswith("rank")
        )
        assert max(len(line.rstrip()) for line in lines[title : title + 11]) <= columns
        assert ("columns not shown" in out.getvalue()) == (columns < 122)
    out = io.StringIO()
    show(view, make_console(out))
    assert "symmetry_breaking" in out.getvalue()  # a file has no width
    assert "not shown" not in out.getvalue()
