"""What a sampler gets to see of a study: curves as far as they have come, in the values of this
study.
"""

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from hopsearch.study import State, Study, StudyView, WarmStart
from hopsearch.study.sampling.sampler_view import sampler_view
from tests.conftest import SPACE, admit_all, drive, identity, open_study


def seen(study: Study) -> dict[int, optuna.trial.FrozenTrial]:
    trials = sampler_view(
        study.optuna, study.objectives, study.identity.space.fidelity.rungs
    ).get_trials(deepcopy=False)
    return {trial.number: trial for trial in trials if trial.state != TrialState.WAITING}


@pytest.mark.parametrize(("direction", "best"), [("maximize", 0.6), ("minimize", 0.2)])
def test_a_curve_is_worth_its_best_value(tmp_path, direction, best):
    with open_study(tmp_path, pruner="none", space=SPACE | {"direction": direction}) as study:
        runs, asked, failed = (study.ask(admit_all).number for _ in range(3))
        for epoch, value in enumerate((0.4, 0.6, 0.2), start=1):
            study.report(runs, epoch, value, seconds=1.0)
        study.report(failed, 1, 0.9, seconds=1.0)
        study.fail(failed, "diverged")
        shown = seen(study)
        assert (shown[runs].state, shown[runs].values) == (TrialState.COMPLETE, [best])
        assert (shown[asked].state, shown[asked].values) == (TrialState.RUNNING, None)
        # A failure is seen with the worst value that a trial has, here that of the only other one.
        assert (shown[failed].state, shown[failed].values) == (TrialState.COMPLETE, [best])
        assert study.optuna.trials[failed].state == TrialState.FAIL
        assert study.optuna.trials[runs].state == TrialState.RUNNING, (
            "the study itself is as it was"
        )


def test_a_stopped_trial_is_seen_with_what_it_would_have_had(tmp_path):
    """The best that was stopped after one epoch is worth more than the others there, and all are
    worth what later epochs have.
    """
    with open_study(tmp_path) as study:
        drive(study, 30)
        stopped = {
            trial.number for trial in study.optuna.trials if trial.state == TrialState.PRUNED
        }
        first = {record.number: record.curve[1] for record in study.counted() if record.epoch == 1}
        shown = seen(study)
        assert len(first) > 5
        assert all(shown[number].state == TrialState.COMPLETE for number in stopped)
        assert sorted(first, key=first.get) == sorted(first, key=lambda number: shown[number].value)
        assert all(shown[number].value > first[number] for number in first), "curves rise here"
        last = {
            record.number: record.best(1)[1]
            for record in study.counted()
            if record.state == State.COMPLETE
        }
        assert last
        assert {number: shown[number].value for number in last} == last


def test_what_has_not_changed_is_not_computed_again(tmp_path):
    with open_study(tmp_path) as study:
        drive(study, 12)
        view = sampler_view(study.optuna, study.objectives, study.identity.space.fidelity.rungs)
        before = view.get_trials(deepcopy=False)
        assert all(a is b for a, b in zip(before, view.get_trials(deepcopy=False), strict=True))
        new = study.ask(admit_all)
        study.report(new.number, 1, 5.0, seconds=1.0)
        after = view.get_trials(deepcopy=False)
        assert len(after) == len(before) + 1
        assert after[-1].value > np.median([trial.value for trial in before])


def test_another_study_speaks_in_the_values_of_this_one(tmp_path):
    """There all is better than 0.9, here all is worse than 0.5: untranslated, the other study would
    be all that counts.
    """
    with open_study(tmp_path / "old") as old:
        for value in (0.95, 0.91, 0.99):
            old.report(old.ask(admit_all).number, 1, value, seconds=1.0)
    warm = WarmStart(StudyView.open(tmp_path / "old" / "test"), identity().space)
    with Study(
        tmp_path / "new" / "test", identity(), "tpe", "asha_promotion", warm_start=warm
    ) as study:
        assert [trial.value for trial in seen(study).values()] == [0.95, 0.91, 0.99], (
            "nothing to compare with yet"
        )
        own = [0.1, 0.5, 0.2, 0.4, 0.3]
        for value in own:
            study.report(study.ask(admit_all).number, 1, value, seconds=1.0)
        values = {number: trial.value for number, trial in seen(study).items()}
        translated = dict(enumerate(np.quantile(own, [0.5, 1 / 6, 5 / 6])))
        left = [number for number in values if number < 3]
        assert len(left) == 2, "it fades"
        assert [values.pop(number) for number in left] == pytest.approx(
            [translated[number] for number in left]
        )
        assert list(values.values()) == own
        for _ in range(25):
            study.report(study.ask(admit_all).number, 1, 0.3, seconds=1.0)
        assert min(seen(study)) >= 3, "all gone"


def test_the_trials_of_another_study_are_on_one_scale(tmp_path):
    """One that was stopped there early is no worse for it than one that was trained to the end."""
    curves = ([0.1, 0.2, 0.5], [0.05, 0.15, 0.45], [0.3])
    with open_study(tmp_path / "old", pruner="none", space=SPACE | {"first": []}) as old:
        for curve in curves:
            number = old.ask(admit_all).number
            for epoch, value in zip((1, 3, 9), curve, strict=False):
                old.report(number, epoch, value, seconds=1.0)
    warm = WarmStart(StudyView.open(tmp_path / "old" / "test"), identity().space)
    with Study(
        tmp_path / "new" / "test", identity(), "tpe", "asha_promotion", warm_start=warm
    ) as study:
        first, second, stopped = (trial.value for trial in seen(study).values())
        assert (first, second) == (0.5, 0.45)
        assert stopped == 0.5, "as good as the best, and not better"
