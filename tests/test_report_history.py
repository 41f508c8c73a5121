"""What a study learned when: the order of reports, the epochs and the time until each."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.reporting import facts_of
from hopsearch.study import Decision, Promotion, State, Study, StudyView, TrialRecord, chronicle
from tests.conftest import SPACE, curve, identity


class Level:
    def cost(self, config):
        return {"n_params": 1, "flops": 1}

    def train(self, config, seed):
        return Training([curve(seed, epoch) for epoch in range(1, 10)], [1.0] * 9)


@pytest.mark.parametrize("pruner", ["asha_promotion", "asha", "none"])
@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_reports_stand_in_the_order_of_their_coming(tmp_path, pruner):
    came = []
    for trials in (8, 14):  # left and gone on with
        with Study(tmp_path / "test", identity(), "random", pruner) as study:
            came += [
                (event.number, event.epoch, event.value)
                for event in Simulation(study, Level(), 3, trials).events()
            ]
    view = StudyView.open(tmp_path / "test")
    told = chronicle(view)
    assert [(report.number, report.epoch, report.value) for report in told] == came
    assert [report.epochs for report in told] == list(
        range(1, view.epochs - view.wasted_epochs + 1)
    )
    seconds = [report.seconds for report in told]
    assert seconds == sorted(seconds)
    best, rises = -1.0, []
    for turn, (_, _, value) in enumerate(came, start=1):
        if value > best:
            best = value
            rises.append((turn, value))
    history = facts_of(view).history
    steps = [
        point
        for before, point in zip([{"best": None}, *history], history, strict=False)
        if point["best"] != before["best"]
    ]
    assert [(point["epochs"], point["best"]) for point in steps] == rises


def _journal(folder, *lines):
    folder.mkdir()
    (folder / "journal.log").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_time_runs_with_training_between_what_is_known_and_not_between_two_runs(tmp_path):
    def at(second):
        return datetime.fromtimestamp(1_000_000 + second, UTC).isoformat()

    def report(trial, epoch, seconds, process):
        return [
            {
                "worker_id": f"{process}-1",
                "trial_id": trial,
                "user_attr": {"progress": {"seconds": seconds}},
            },
            {
                "worker_id": f"{process}-2",
                "trial_id": trial,
                "step": epoch,
                "intermediate_value": 0.5,
            },
        ]

    _journal(
        tmp_path / "test",
        {"worker_id": "a-1", "datetime_start": at(0)},
        *report(0, 1, 1.0, "a"),
        *report(0, 2, 4.0, "a"),
        {"worker_id": "a-1", "datetime_start": at(8)},
        *report(1, 1, 1.0, "a"),
        {"worker_id": "b-1", "datetime_start": at(5000)},
        *report(1, 2, 2.0, "b"),
        {"worker_id": "b-1", "trial_id": 1, "datetime_complete": at(5003)},
    )
    records = {n: TrialRecord(n, State.COMPLETE, curve={1: 0.5, 2: 0.5}) for n in (0, 1)}
    told = chronicle(SimpleNamespace(folder=tmp_path / "test", records=records))
    # 8 s for 4 s of training, then 2 s more at that pace; the second run begins where the first was
    # left
    assert [report.seconds for report in told] == [2.0, 8.0, 10.0, 13.0]


def test_without_a_journal_the_decisions_tell_the_order(tmp_path):
    first = TrialRecord(
        0, State.COMPLETE, curve={1: 0.1, 2: 0.2, 3: 0.3}, seconds=30.0, started=100.0, ended=160.0
    )
    second = TrialRecord(1, State.PRUNED, curve={1: 0.2}, seconds=10.0, started=115.0, ended=170.0)
    first.decisions[1] = Decision(1, 0.1, 0, 1, 1, False, "asha_promotion", pause=True)
    second.decisions[1] = Decision(1, 0.2, 1, 1, 2, False, "asha_promotion", pause=True)
    first.promotions[1] = Promotion(1, 2, "asha_promotion", over=True)
    told = chronicle(SimpleNamespace(folder=tmp_path, records={0: first, 1: second}))
    assert [(report.number, report.epoch, report.seconds) for report in told] == [
        (0, 1, 10.0),
        (1, 1, 25.0),
        (0, 2, 35.0),
        (0, 3, 45.0),
    ]


def test_a_study_of_nothing(tmp_path):
    with Study(tmp_path / "test", identity(space=SPACE), "random", "asha") as study:
        assert chronicle(study) == []
