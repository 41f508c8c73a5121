"""What a study begins with: beliefs that fade, and another study's trials."""

import pytest

from hopsearch.core.errors import SpaceError, StudyError
from hopsearch.orchestration.simulation.simulator import Simulation
from hopsearch.study import MEMORY, Prior, State, Study, StudyView, WarmStart
from tests.conftest import SPACE, admit_all, drive, identity, open_study
from tests.test_simulator import Hills

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")

WIDER = {
    **SPACE,
    "first": [],
    "parameters": {
        "model.depth": {"type": "int", "low": 3, "high": 8},
        "optim.lr": SPACE["parameters"]["optim.lr"],
        "model.dim": {"type": "categorical", "choices": [32, 64]},
    },
}


class TestPriors:
    PRIOR = Prior({"model.depth": 6, "optim.lr": 4e-3})

    def search(self, folder, prior, trials=40, sampler="random"):
        with Study(folder / "test", identity(), sampler, "asha", MEMORY, prior=prior) as study:
            Simulation(study, Hills(), 1, trials).run()
            return study.counted()

    def test_proposals_are_drawn_around_it_and_fewer_later(self, tmp_path):
        records = self.search(tmp_path, self.PRIOR, 60)
        drawn = [record for record in records if record.source == "prior"]
        assert len([record for record in drawn if record.number < 20]) > len(
            [record for record in drawn if record.number >= 40]
        )
        assert 4 <= len(drawn) < 20
        depths = [record.config["model.depth"] for record in drawn]
        assert sum(abs(depth - 6) <= 2 for depth in depths) > len(depths) / 2

    def test_the_chance_halves_every_ten_trials(self):
        assert [self.PRIOR.chance(trials) for trials in (0, 10, 20)] == [0.5, 0.25, 0.125]
        assert Prior().chance(0) == 0.0

    def test_a_bad_prior_is_survived(self, tmp_path):
        """Depth 1 is the worst there is; the search must come as far as it would have in a few more
        trials.
        """
        bad = self.search(tmp_path / "bad", Prior({"model.depth": 1, "optim.lr": 1e-4}), 60)
        best = max(max(record.curve.values()) for record in bad if record.curve)
        plain = self.search(tmp_path / "plain", Prior(), 30)
        assert best >= 0.95 * max(max(record.curve.values()) for record in plain if record.curve)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"model.depth": 9}, r"prior: model\.depth: must be a whole number from 1 to 8, got 9"),
            ({"model.depht": 4}, "Did you mean model.depth"),
            ({"model.family": "mlpmixer"}, "is fixed to"),
        ],
    )
    def test_outside_its_range(self, tmp_path, values, message):
        with pytest.raises(SpaceError, match=message):
            Study(tmp_path / "test", identity(), "random", "asha", prior=Prior(values))
        assert not (tmp_path / "test").exists()

    def test_opened_again_after_every_trial(self, tmp_path):
        straight = [
            record.params for record in self.search(tmp_path / "straight", self.PRIOR, 12, "tpe")
        ]
        for trials in range(1, 13):
            with Study(
                tmp_path / "again" / "test", identity(), "tpe", "asha", prior=self.PRIOR
            ) as study:
                Simulation(study, Hills(), 1, trials).run()
                again = [record.params for record in study.counted()]
        assert again == straight


class TestWarmStart:
    @pytest.fixture
    def view(self, tmp_path):
        with open_study(tmp_path / "old") as study:
            drive(study, 12)
        return StudyView.open(tmp_path / "old" / "test")

    def test_trials_are_taken_over_with_their_curves_and_do_not_count(self, tmp_path, view):
        warm = WarmStart(view, identity(space=WIDER).space)
        assert (warm.shared, warm.missing) == (["model.depth", "optim.lr"], ["model.dim"])
        with Study(
            tmp_path / "new" / "test", identity(space=WIDER), "tpe", "asha", warm_start=warm
        ) as study:
            taken = [record for record in study.records.values() if record.state == State.INHERITED]
            assert study.counted() == []
            assert study.epochs == 0
            for record in taken:
                old = view.records[int(record.reason.split()[1])]
                assert record.curve == old.curve
                assert record.params["optim.lr"] == pytest.approx(old.params["optim.lr"])
                # outside the new range: left out
                assert ("model.depth" in record.params) == (old.params["model.depth"] >= 3)
            assert len(taken) == 12
            record = study.ask(admit_all)
            assert record.number == 12
            drive(study, 5)
            assert len(study.counted()) == 5
            assert study.audit() == []
        # kept in the study
        with Study(tmp_path / "new" / "test", identity(space=WIDER), "tpe", "asha") as study:
            assert sum(record.state == State.INHERITED for record in study.records.values()) == 12

    def test_says_what_is_taken_over_and_what_is_not(self, view):
        """Each parameter that is not the same in both."""
        space = identity(
            space=WIDER | {"fixed": {"model.family": "imixer", "model.n_iter": 2}}
        ).space
        shallow = sum(record.params["model.depth"] < 3 for record in view.counted())
        assert shallow > 1
        assert str(WarmStart(view, space)) == (
            "warm start: 12 trials of study test (on digits); shared: model.depth, optim.lr; "
            f"ignored outside the range here: model.depth ({shallow} trials); "
            "new here, unknown there: model.dim (default there); not searched here, treated as "
            "equal: "
            "model.n_iter (2 here), model.h_ratio (default here), augment.label_smoothing "
            "(default here)"
        )

    def test_those_that_failed_are_left_out_and_counted(self, tmp_path):
        with open_study(tmp_path) as study:
            for number in range(5):
                record = study.ask(admit_all)
                study.report(record.number, 1, 0.1, 1.0)
                if number < 2:
                    study.fail(record.number, "diverged")
            warm = WarmStart(
                StudyView(study.folder, study.optuna, study.identity), study.identity.space
            )
        assert str(warm).startswith(
            "warm start: 3 trials of study test (on digits), without 2 that failed; shared: "
        )

    def test_the_same_space_has_nothing_to_add(self, view):
        names = "model.depth, optim.lr, model.n_iter, augment.label_smoothing, model.h_ratio"
        said = str(WarmStart(view, view.identity.space))
        assert said.startswith("warm start: 12 trials of study test (on digits); shared: ")
        assert set(said.partition("shared: ")[2].split(", ")) == set(names.split(", "))

    @pytest.mark.parametrize(
        ("there", "here", "said"),
        [
            (
                None,
                "adamw",
                "fixed differently there: optim.name (default there, adamw here)",
            ),
            (
                "muon",
                "adamw",
                "fixed differently there: optim.name (muon there, adamw here)",
            ),
            ("muon", ["adamw", "muon"], "new here, unknown there: optim.name (muon there)"),
            (None, ["adamw", "muon"], "new here, unknown there: optim.name (default there)"),
            (
                ["adamw", "muon"],
                "adamw",
                "treated as equal: optim.name (adamw here)",
            ),
            (
                ["adamw", "muon"],
                None,
                "treated as equal: optim.name (default here)",
            ),
            (["adamw", "muon"], ["adamw", "lion"], "outside the range here: optim.name (2 trials)"),
            (["adamw", "muon"], ["muon", "adamw"], ""),
            ("adamw", "adamw", ""),
        ],
    )
    def test_an_optimizer_in_one_of_the_two(self, tmp_path, there, here, said):
        def space(name):
            rate = {"optim.lr": SPACE["parameters"]["optim.lr"]}
            choice = (
                {"optim.name": {"type": "categorical", "choices": name}}
                if isinstance(name, list)
                else {}
            )
            fixed = (
                SPACE["fixed"]
                | {"model.depth": 2}
                | ({"optim.name": name} if isinstance(name, str) else {})
            )
            return {
                **SPACE,
                "first": [],
                "fixed": fixed,
                "parameters": rate | choice,
            }

        start = space(there)
        if isinstance(there, list):  # two of each, first
            start["first"] = [
                {"optim.name": name, "optim.lr": rate} for rate in (1e-3, 2e-3) for name in there
            ]
        with Study(tmp_path / "old" / "test", identity(space=start), "random", "none") as study:
            for _ in range(4):
                study.report(study.ask(admit_all).number, 9, 0.5, 1.0)
        words = str(
            WarmStart(StudyView.open(tmp_path / "old" / "test"), identity(space=space(here)).space)
        )
        assert words.endswith(said)
        shared = (
            words.removeprefix("warm start: 4 trials of study test (on digits); shared: ")
            .partition("; ")[0]
            .split(", ")
        )
        assert set(shared) == {
            "optim.lr",
            *(["optim.name"] if isinstance(there, list) and isinstance(here, list) else []),
        }
        assert said or len(words.split("; ")) == 2

    def test_the_sampler_learns_from_it(self, tmp_path):
        """With a study that knows the hill, TPE's first own proposals are nearer to its top than
        chance.
        """
        with open_study(tmp_path / "old", "random", "asha") as study:
            Simulation(study, Hills(), 4, 40).run()
        view = StudyView.open(tmp_path / "old" / "test")
        found = {}
        for name, warm in (("cold", None), ("warm", WarmStart(view, identity(space=WIDER).space))):
            with Study(
                tmp_path / name / "test", identity(space=WIDER), "tpe", "none", warm_start=warm
            ) as study:
                configs = [study.ask(admit_all).config for _ in range(9)]
            found[name] = sum(abs(config["model.depth"] - 6) for config in configs)
        assert found["warm"] < found["cold"]

    def test_nothing_shared(self, view):
        other = {"parameters": {"model.dim": {"type": "int", "low": 1, "high": 8}}}
        with pytest.raises(
            StudyError,
            match=r"warm_start=test: must share a parameter with model\.dim, got model\.depth",
        ):
            WarmStart(view, identity(space=other).space)

    def test_another_objective(self, view):
        with pytest.raises(
            StudyError,
            match=r"must have the objective val_loss \(minimize\), got val_acc \(maximize\)",
        ):
            WarmStart(
                view,
                identity(space=WIDER | {"objective": "val_loss", "direction": "minimize"}).space,
            )

    def test_killed_while_it_was_taken_over(self, tmp_path, view):
        warm = WarmStart(view, identity(space=WIDER).space)
        with Study(
            tmp_path / "new" / "test", identity(space=WIDER), "tpe", "asha", warm_start=warm
        ) as study:
            whole = list(study.records)
        journal = tmp_path / "new" / "test" / "journal.log"
        lines = journal.read_bytes().splitlines(keepends=True)
        for cut in range(1, len(lines)):
            folder = tmp_path / f"cut{cut}" / "test"
            folder.mkdir(parents=True)
            (folder / "journal.log").write_bytes(b"".join(lines[:cut]))
            with Study(folder, identity(space=WIDER), "tpe", "asha", warm_start=warm) as study:
                assert list(study.records) == whole
