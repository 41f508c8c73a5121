"""Rungs that are looked at themselves: whether their ranks agree with the next one's, and what
follows from it.
"""

import io
import json
import re
from dataclasses import replace
from itertools import combinations
from random import Random

import pytest
from scipy.stats import kendalltau
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch import report
from hopsearch.core.errors import StudyError
from hopsearch.orchestration.simulation.simulator import Simulation, Training
from hopsearch.orchestration.time_left import forecast
from hopsearch.reporting.tensorboard import Board
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.live import LiveView
from hopsearch.reporting.terminal.printout import show
from hopsearch.space import Fidelity
from hopsearch.study import MEMORY, PRUNERS, Study, StudyView, Verdict, make_pruner
from hopsearch.study.record.journal_keys import JUDGEMENTS
from hopsearch.study.stopping.rank_agreement import RankAgreement, Tau
from hopsearch.study.stopping.rung_judgements import Judgement, stored
from hopsearch.study.stopping.rung_values import Arrival, Evidence
from tests.conftest import identity
from tests.processes import start

RULE = "adaptive_asha"
GO, PAUSE, WITNESS = Verdict.GO, Verdict.PAUSE, Verdict.WITNESS
SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 27, "reduction": 3},
    "parameters": {"optim.lr": {"type": "float", "low": 0.0, "high": 1.0}},
    "fixed": {"model.family": "imixer"},
}


class TestTau:
    def test_against_another_implementation(self):
        random = Random(0)
        pairs = [(random.gauss(0, 1), random.gauss(0, 1)) for _ in range(30)]
        ranks = RankAgreement()
        for number, pair in enumerate([(x, x + y) for x, y in pairs]):
            ranks.add(number, *pair)
        expected = kendalltau([x for x, _ in pairs], [x + y for x, y in pairs]).statistic
        assert ranks.tau.value == pytest.approx(expected)
        assert ranks.tau.trials == 30

    def test_equals_agree_with_nobody(self):
        ranks = RankAgreement()
        for number in range(8):
            ranks.add(number, 0.1, number)
        assert ranks.tau == Tau(0.0, 8)

    def test_a_trial_that_failed_says_nothing(self):
        random = Random(1)
        values = {number: (random.random(), random.random()) for number in range(12)}
        ranks = RankAgreement()
        for number, pair in values.items():
            ranks.add(number, *pair)
        for number in (11, 0, 5, 77):
            ranks.drop(number)
            values.pop(number, None)
        agree = [(a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in combinations(values.values(), 2)]
        assert ranks.tau.value == pytest.approx((2 * sum(agree) - len(agree)) / len(agree))

    def test_its_error_is_how_much_it_varies(self):
        for rho, count in ((0.0, 8), (0.6, 16), (0.9, 12)):
            random, taus = Random(2), []
            for _ in range(300):
                ranks = RankAgreement()
                for number in range(count):
                    x = random.gauss(0, 1)
                    ranks.add(number, x, rho * x + (1 - rho**2) ** 0.5 * random.gauss(0, 1))
                taus.append(ranks.tau)
            mean = sum(tau.value for tau in taus) / 300
            spread = (sum((tau.value - mean) ** 2 for tau in taus) / 299) ** 0.5
            error = sum(tau.error for tau in taus) / 300
            assert spread * 0.9 < error < spread * 1.3

    def test_few_say_nothing(self):
        assert RankAgreement().tau == Tau(0.0, 0)
        assert Tau(0.0, 0).error == 1.0


class Desk:
    """A rule with what it has seen; each trial that goes on from a rung comes to the next one at
    once.
    """

    def __init__(self, above) -> None:
        self.rule, self._above = make_pruner("adaptive_asha", Fidelity(1, 27, 3)), above
        self.evidence = Evidence(self.rule.bracket)

    def come(self, number, epoch, value):
        arrival = Arrival(number, epoch, (value,), 0)
        verdict = self.rule.verdict(arrival, self.evidence)
        self.evidence.add(arrival, verdict == PAUSE, witness=verdict == WITNESS)
        rungs = self.rule.fidelity.rungs
        after = rungs[rungs.index(epoch) + 1]
        if verdict != PAUSE and after < rungs[-1] and epoch == rungs[0]:
            self.come(number, after, self._above(number, value))
        return verdict


def shuffled(number, value):
    return Random(number).random()


class TestFirstRung:
    def test_the_first_go_on_whatever_their_values(self):
        desk = Desk(lambda number, value: value)
        assert [desk.come(number, 1, -number) for number in range(8)] == [WITNESS] * 8

    def test_one_that_ranks_is_compared_at(self):
        desk = Desk(lambda number, value: value)
        verdicts = [desk.come(number, 1, Random(number).random()) for number in range(60)]
        assert desk.rule.tau(1, desk.evidence).value == 1
        assert not any(desk.rule.skipped(desk.evidence).values())
        later = verdicts[16:]
        assert {GO, PAUSE} < set(later)
        assert later.count(WITNESS) == 3  # one in sixteen, in case it was luck

    def test_one_that_does_not_is_skipped(self):
        desk = Desk(shuffled)
        verdicts = [desk.come(number, 1, number % 7) for number in range(60)]
        assert set(verdicts) == {WITNESS}
        assert desk.rule.skipped(desk.evidence) == {1: True, 3: False}

    def test_what_waits_at_one_that_is_skipped_goes_on(self):
        desk = Desk(shuffled)
        desk.evidence.add(Arrival(99, 1, (-9.0,), 0), paused=True)
        for number in range(30):
            desk.come(number, 1, number % 7)
        while (chosen := desk.rule.promotion(desk.evidence, over=False)) and chosen[1] > 1:
            desk.evidence.leave(*chosen)
        assert chosen == (99, 1)

    def test_one_that_ranks_after_all_is_compared_at_again(self):
        desk = Desk(lambda number, value: value if number > 15 else shuffled(number, value))
        for number in range(16):
            desk.come(number, 1, number)
        assert desk.rule.skipped(desk.evidence)[1]
        for number in range(16, 90):
            desk.come(number, 1, Random(number).random() * 20)
        assert not desk.rule.skipped(desk.evidence)[1]

    def test_workers_that_come_at_once_do_not_all_go_on(self):
        """None has come to the next rung yet."""
        rule, evidence = (
            make_pruner("adaptive_asha", Fidelity(1, 27, 3)),
            Evidence(lambda number: 0),
        )
        verdicts = []
        for number in range(64):
            arrival = Arrival(number, 1, (Random(number).random(),), 0)
            verdicts.append(rule.verdict(arrival, evidence))
            evidence.add(arrival, verdicts[-1] == PAUSE, witness=verdicts[-1] == WITNESS)
        assert verdicts.count(WITNESS) == 16
        assert verdicts[:16] == [WITNESS] * 16

    @pytest.mark.parametrize("fidelity", [Fidelity(1, 3, 3), Fidelity(9, 27, 3), Fidelity(1, 1, 3)])
    def test_nobody_trains_to_the_end_for_it(self, fidelity):
        rule, evidence = make_pruner("adaptive_asha", fidelity), Evidence(lambda number: 0)
        for number in range(6):
            if rule.decides_at(fidelity.min_epochs, number):
                assert (
                    rule.verdict(Arrival(number, fidelity.min_epochs, (-number,), 0), evidence)
                    != WITNESS
                )
        assert rule.skipped(evidence) == {}

    def test_failures_say_nothing(self):
        desk = Desk(lambda number, value: value)
        for number in range(16):
            desk.come(number, 1, number)
        known = desk.rule.tau(1, desk.evidence).trials
        for number in range(3):
            desk.evidence.drop(number, [1, 3])
        assert desk.rule.tau(1, desk.evidence).trials == known - 3

    def test_another_goes_on_for_each_witness_that_fails(self):
        """Else a rung of which few pass is never judged."""
        desk = Desk(shuffled)
        for number in range(60):
            desk.come(number, 1, number % 7)
            if number < 20 and number % 2:
                desk.evidence.drop(number, [1, 3])
        assert desk.rule.skipped(desk.evidence)[1]

    def test_the_first_after_trials_of_another_rule_go_on(self):
        desk = Desk(shuffled)
        for number in range(20):
            desk.evidence.add(Arrival(100 + number, 1, (number,), 0), paused=number % 3 > 0)
        assert {desk.come(number, 1, number % 7) for number in range(30)} == {WITNESS}
        assert desk.rule.skipped(desk.evidence)[1]


class TestLaterRungs:
    def fill(self, above, count=16, cost=()):
        """Trials that were chosen at epoch 3."""
        desk = Desk(lambda number, value: value)
        for number in range(count):
            desk.evidence.add(Arrival(number, 3, (number, *cost), 0), paused=False)
            desk.evidence.add(Arrival(number, 9, (above(number), *cost), 0), paused=True)
        return desk

    def test_one_that_does_not_rank_is_skipped(self):
        desk = self.fill(lambda number: -number)
        assert desk.rule.skipped(desk.evidence) == {1: False, 3: True}
        assert desk.come(50, 3, -100) == WITNESS

    def test_one_that_ranks_even_its_best_lets_no_more_than_a_third_go_on(self):
        desk = self.fill(lambda number: number)
        assert desk.rule.ranks_best(3, desk.evidence)
        assert desk.come(50, 3, 100) == PAUSE

    def test_with_several_objectives_the_best_are_a_front_of_which_all_go_on(self):
        desk = self.fill(lambda number: number, cost=(-1.0,))
        assert not desk.rule.ranks_best(3, desk.evidence)
        arrival = Arrival(50, 3, (100, -1.0), 0)
        assert desk.rule.verdict(arrival, desk.evidence) == GO

    def test_one_that_does_not_lets_all_go_on_that_are_among_the_best(self):
        desk = self.fill(lambda number: number + 60 * Random(number + 3).random())
        assert not desk.rule.ranks_best(3, desk.evidence)
        assert desk.come(50, 3, 100) == GO

    @pytest.mark.parametrize(
        ("above", "best"),
        [(lambda number, value: value, True), (lambda number, value: -value, False)],
    )
    def test_of_a_rung_to_which_few_were_chosen_the_one_below_speaks(self, above, best):
        desk = Desk(above)
        for number in range(16):
            desk.come(number, 1, number)
        assert desk.evidence.tau(3, 9, witnesses=False).trials == 0
        assert [desk.rule.ranks_best(epoch, desk.evidence) for epoch in (1, 3, 9)] == [best] * 3

    def test_witnesses_make_no_places_where_rungs_rank_even_their_best(self):
        """Eighteen come to epoch 3, the best first; six of them would have been chosen: these have
        two places, and not six.
        """
        promoted = []
        for above in (lambda number, value: value, shuffled):
            desk = Desk(above)
            for number in range(18):
                desk.come(number, 1, -number)
            promoted.append(desk.evidence.rung(3).gone)
            while (chosen := desk.rule.promotion(desk.evidence, over=False)) and chosen[1] == 3:
                desk.evidence.leave(*chosen)
                promoted[-1] += 1
        assert promoted[0] == 2
        assert promoted[1] >= 5


class Noisy:
    """A landscape whose first epoch is noise, or is not."""

    def __init__(self, noisy):
        self._noisy = noisy

    def cost(self, config):
        return {}

    def train(self, config, seed):
        good = 1 - abs(config["optim.lr"] - 0.3)
        first = Random(seed).random() / 10 if self._noisy else good / 10
        return Training([first, *(good * (1 - 0.8**epoch) for epoch in range(2, 28))], [1.0] * 27)


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
@pytest.mark.parametrize("workers", [1, 4, 16])
@pytest.mark.parametrize("noisy", [True, False])
def test_a_study_says_it_and_can_be_audited(tmp_path, noisy, workers):
    with Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha") as study:
        Simulation(study, Noisy(noisy), workers, 60).run()
        told = study.judgements
    view = StudyView.open(tmp_path / "test")
    assert view.judgements == told
    assert view.audit() == []
    assert bool(told) == noisy
    if noisy:
        assert told[0].epoch == 1
        assert "all continue to epoch 3" in told[0].words((1, 3, 9, 27))


def test_an_audit_finds_what_does_not_follow(tmp_path):
    with Study(
        tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha", MEMORY
    ) as study:
        Simulation(study, Noisy(False), 4, 30).run()
        assert study.audit() == []
        study.note(JUDGEMENTS, stored([Judgement(1, True, 0.0, 12, 20, RULE)]))
        lines = StudyView(study.folder, study.optuna, study.identity).audit()
    assert lines[0].startswith("epoch 1: recorded Judgement(epoch=1, skipped=True")
    assert "not recorded" in lines[1]


class Swapped(Noisy):
    """A landscape whose third epoch stands the wrong way round."""

    def train(self, config, seed):
        rate = config["optim.lr"]
        return Training(
            [rate + epoch if epoch < 9 else 10 - rate + epoch for epoch in range(1, 28)], [1.0] * 27
        )


def test_what_a_rule_says_before_it_has_decided_anything_can_be_audited(tmp_path):
    with Study(
        tmp_path / "test", identity(space=SPACE), "random", "asha_promotion", MEMORY
    ) as study:
        Simulation(study, Swapped(False), 4, 120).run()
        # as when it is opened with another one
        study._pruner = make_pruner("adaptive_asha", study.identity.space.fidelity)
        study._judge()
        assert [(one.epoch, one.skipped, one.rule) for one in study.judgements] == [
            (3, True, "adaptive_asha")
        ]
        assert study.audit() == []
        study.note(JUDGEMENTS, [study.optuna.user_attrs[JUDGEMENTS][0] | {"tau": -0.4}])
        assert (
            "recorded Judgement(epoch=3, skipped=True, tau=-0.4"
            in StudyView(study.folder, study.optuna, study.identity).audit()[0]
        )


def test_a_rule_that_came_later_is_not_to_note_what_failures_change(tmp_path):
    """It does not measure, and a failure does not say under which rule it came."""
    study = Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha", MEMORY)
    simulation = Simulation(study, Noisy(True), 1, 60)
    for _ in simulation.events():
        if study.judgements:
            break
    study._pruner = make_pruner("asha_promotion", study.identity.space.fidelity)
    study.note(JUDGEMENTS, [])  # as if it had been killed before
    study._judgements = []
    for _ in range(3):
        study.fail(study.ask(simulation.admit).number, "lost", learn=False)
    assert StudyView(study.folder, study.optuna, study.identity).audit() == []
    study.close()


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_study_that_cannot_note_it_on_opening_gives_up_its_lock(tmp_path):
    with Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha") as study:
        Simulation(study, Noisy(True), 4, 30).run()
        told = study.judgements
        study.note(JUDGEMENTS, [])  # as if it had been killed before

    def guard():
        raise StudyError("test", "this process may write no more")

    with pytest.raises(StudyError, match="may write no more"):
        Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha", guard=guard)
    with Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha") as again:
        assert {one.epoch for one in again.judgements} == {one.epoch for one in told if one.skipped}


def test_the_time_left_is_of_a_rung_that_stays_skipped(tmp_path):
    """Made-up continuations rank well at every rung; they are not to be taken for what the trials
    said.
    """
    with Study(
        tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha", MEMORY
    ) as study:
        for _ in Simulation(study, Noisy(True), 4, 100).events():
            if len(study.counted()) == 40:
                break
        assert study.judgements
        before, (left, _) = study.epochs, forecast(study, "adaptive_asha", 100, 4)
        Simulation(study, Noisy(True), 4, 100).run()
        assert left == pytest.approx(study.epochs - before, rel=0.15)


LOST = re.compile(
    r"he finding about epoch 1 \(τ \S+ ± \S+, \d+ trials\) no longer applies: pruner=(\w+) does "
    r"not measure whether"
)


def opened(folder, pruner, database=None, said=None):
    return Study(
        folder / "test",
        identity(space=SPACE),
        "random",
        pruner,
        database,
        say=[].append if said is None else said.append,
    )


def told_of(folder, study):
    """What each format says of the rungs: terminal, Markdown, JSON, page, TensorBoard."""
    out = io.StringIO()
    show(study, make_console(out))
    texts = [out.getvalue()]
    for form in ("md", "json", "html"):
        target = folder / f"report.{form}"
        report.main(["study=test", f"storage={folder}", f"format={form}", f"to={target}"])
        text = target.read_text(encoding="utf-8")
        texts.append(
            text
            if form != "json"
            else " ".join(one["words"] for one in json.loads(text)["judgements"])
        )
    Board(study).close()
    board = EventAccumulator(str(folder / "test" / "tensorboard" / "study")).Reload()
    return [
        *texts,
        board.Tensors("judgements/text_summary")[-1].tensor_proto.string_val[0].decode(),
    ]


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
@pytest.mark.parametrize("other", [name for name in PRUNERS if name != RULE])
def test_what_one_rule_found_does_not_hold_for_the_next(tmp_path, other):
    """Also before it has decided anything, and for a rule that never does."""
    with opened(tmp_path, RULE) as study:
        Simulation(study, Noisy(True), 4, 30).run()
        found = study.judgements[-1]
        assert found.skipped
    said = []
    for trials in (30, 34):
        with opened(tmp_path, other, said=said) as study:
            assert study.audit() == []
            Simulation(study, Noisy(True), 4, trials).run()
            newest = study.judgements[-1]
            assert newest == replace(
                found, skipped=False, withdrawn=True, rule=other, order=newest.order
            )
            for text in told_of(tmp_path, study) if other in ("none", "asha") else ():
                assert LOST.search(text)[1] == other
                assert "ll continue to epoch" not in text
    assert len(said) == 1, "once"
    assert LOST.search(said[0])[1] == other
    assert StudyView.open(tmp_path / "test").audit() == []


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_rule_that_measures_says_again_what_another_did_not_know(tmp_path):
    with opened(tmp_path, RULE) as study:
        Simulation(study, Noisy(True), 4, 30).run()
    for rule in ("asha_promotion", "none"):
        with opened(tmp_path, rule):
            pass
    said = []
    with opened(tmp_path, RULE, said=said) as study:
        assert study.judgements[-1].skipped
        assert study.audit() == []
        Simulation(study, Noisy(True), 4, 40).run()
        assert study.audit() == []
    assert [words for words in said if "all continue to epoch 3" in words] == said != []


def test_judgements_without_a_decision_are_audited(tmp_path):
    with Study(tmp_path / "test", identity(space=SPACE), "random", RULE, MEMORY) as study:
        study.note(JUDGEMENTS, stored([Judgement(1, True, 0.0, 12, 0, RULE)]))
        lines = StudyView(study.folder, study.optuna, study.identity).audit()
        assert "epoch 1: recorded Judgement" in lines[0]


def test_an_audit_knows_what_may_be_withdrawn(tmp_path):
    with opened(tmp_path, RULE, MEMORY) as study:
        Simulation(study, Noisy(True), 4, 30).run()
        known = study.judgements
        lost = replace(known[-1], skipped=False, withdrawn=True, rule="asha", order=study._made)
        for noted, complaint in (
            (lost, ""),
            (replace(lost, rule=RULE), "recorded"),
            (replace(lost, tau=0.9), "recorded"),
        ):
            study.note(JUDGEMENTS, stored([*known, noted]))
            lines = StudyView(study.folder, study.optuna, study.identity).audit()
            assert bool(lines) == bool(complaint)
            assert not lines or lines[0].startswith(f"epoch 1: {complaint} {noted}, recomputed")


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
@pytest.mark.parametrize("before", ["asha_promotion", RULE])
def test_what_opening_a_study_finds_out_is_said_once(tmp_path, before):
    """Its trials were another rule's, or its process was killed before it had noted it."""
    with opened(tmp_path, before) as study:
        Simulation(
            study,
            Noisy(True) if before == RULE else Swapped(False),
            4,
            120 if before != RULE else 30,
        ).run()
        study.note(JUDGEMENTS, [])
    said = []
    for _ in range(2):
        with (
            opened(tmp_path, RULE, said=said) as study,
            LiveView(study, 120, 1, RULE, io.StringIO()),
        ):
            expected = [judgement.words((1, 3, 9, 27)) for judgement in study.judgements]
    assert said == expected != []


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_tensorboard_has_it_after_a_kill_that_cut_off_runs(tmp_path):
    with Study(tmp_path / "test", identity(space=SPACE), "random", "adaptive_asha") as study:
        Simulation(study, Noisy(True), 4, 30).run()
        Board(study).close()
        words = study.judgements[0].words((1, 3, 9, 27))
    for mark in (tmp_path / "test" / "tensorboard").rglob(".final"):
        mark.unlink()
    Board(StudyView.open(tmp_path / "test")).close()
    texts = EventAccumulator(str(tmp_path / "test" / "tensorboard" / "study")).Reload()
    assert texts.Tensors("judgements/text_summary")[0].tensor_proto.string_val[0].decode() == words
    assert len([*(tmp_path / "test" / "tensorboard").rglob(".final")]) == 30


def test_words():
    rungs = (1, 3, 9, 27)
    judgement = Judgement(1, True, 0.02, 31, 40, RULE)
    assert (
        judgement.words(rungs)
        == "epoch 1 ranks no better than chance (τ 0.02 ± 0.13, 31 trials): all continue to epoch 3"
    )
    assert (
        Judgement(3, True, -0.5, 31, 40, RULE).words(rungs).endswith(": all continue to epoch 9")
    )  # the first is compared at still
    assert (
        Judgement(1, True, 0.3, 31, 40, RULE)
        .words(rungs)
        .startswith("epoch 1 ranks too little to choose by (τ 0.30 ± 0.12")
    )
    assert (
        Judgement(1, False, 0.6, 31, 40, RULE).words(rungs)
        == "epoch 1 predicts the ranking after all (τ 0.60 ± 0.10, 31 trials): comparing there "
        "again"
    )


# configurations that hardly differ, so that the first epoch's order says nothing of the third's
SAME = {
    "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
    "fixed": {
        "model.family": "imixer",
        "model.dim": 32,
        "model.depth": 2,
        "model.patch_size": 2,
        "optim.lr": 4e-3,
    },
    "parameters": {"optim.weight_decay": {"type": "float", "low": 1e-3, "high": 2e-3}},
}
RATES = {
    "fidelity": SAME["fidelity"],
    "fixed": {name: value for name, value in SAME["fixed"].items() if name != "optim.lr"},
    "parameters": {"optim.lr": {"type": "float", "low": 1e-5, "high": 3e-3, "log": True}},
}


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.in_turns
@pytest.mark.timeout(300)
@pytest.mark.parametrize("noisy", [True, False])
def test_a_real_search_says_that_its_first_rung_is_noise(tmp_path, noisy):
    (tmp_path / "one.yaml").write_text(json.dumps(SAME if noisy else RATES))
    words = [
        f"space={tmp_path / 'one.yaml'}",
        "study=one",
        "seed=1",
        "trials=18",
        "sampler=random",
        "pruner=adaptive_asha",
        "finish=false",
    ]
    process = start(tmp_path, *words)
    assert process.wait(timeout=240) == 0, (tmp_path / "log.txt").read_text()[-3000:]
    folder = tmp_path / "runs" / "one"
    view = StudyView.open(folder)
    assert view.audit() == []
    report.main(
        ["study=one", f"storage={folder.parent}", "format=md", f"to={tmp_path / 'report.md'}"]
    )
    study = EventAccumulator(str(folder / "tensorboard" / "study")).Reload()
    told = [
        study.Tensors(tag)[-1].tensor_proto.string_val[0].decode()
        for tag in study.Tags()["tensors"]
        if "judgements" in tag
    ]
    places = [
        (tmp_path / "log.txt").read_text(),
        (tmp_path / "report.md").read_text(),
        " ".join(told),
    ]
    assert [
        bool(re.search(r"poch 1 ranks .* all continue to epoch 3", place)) for place in places
    ] == [noisy] * 3
    early = next((line for line in places[0].splitlines() if "all continue to" in line), "")
    assert not noisy or places[0].index(early) < places[0].index("trials started"), "while it runs"
