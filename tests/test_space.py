"""Search spaces: what a file may say, what is left of it when the data is known, and what a mistake
in it is told.
"""

import json
import re

import pytest

from hopsearch.core.errors import ConfigError, SpaceError, UserError
from hopsearch.data import DataConfig, load
from hopsearch.models import FAMILIES
from hopsearch.orchestration.space_preparation import open_space
from hopsearch.space import Space, load_space
from hopsearch.space.files import list_spaces
from hopsearch.tasks.images.classifier_config import resolve
from tests.conftest import SPACE

FAMILY_SPACES = {"imixer", "paramixer", "symmixer", "asymmixer", "mixer", "hopfield"}

ONE = "parameters:\n  a: {type: int, low: 1, high: 2}\n"


def facts(size: int, channels: int = 3, classes: int = 10) -> dict:
    return {
        "data.image_size": size,
        "data.channels": channels,
        "data.classes": classes,
        "data.n_train": 1000,
    }


def read(tmp_path, text: str) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return load_space(path).resolve(facts(32))


def walk_first(space: Space, turn: int) -> dict:
    def value(name, parameter):
        values = parameter.values()
        return parameter.low if values is None else values[turn % len(values)]

    return space.walk(value)


def test_the_first_alternative_that_fits_the_data_is_taken(tmp_path):
    text = """
fixed: {b: 1}
parameters:
  a:
    - {type: int, low: 1, high: 2, when: {data.image_size: {min: 33}, b: 2}}
    - {type: int, low: 3, high: 4, when: {data.image_size: {max: 32}, b: 1}}
    - {type: int, low: 5, high: 6, when: {b: 1}}
"""
    assert read(tmp_path, text).parameters["a"].low == 3


class TestShippedSpaces:
    @pytest.fixture(params=sorted(FAMILY_SPACES))
    def name(self, request):
        return request.param

    def test_the_seven(self):
        assert set(list_spaces()) == FAMILY_SPACES | {"attnbm"}

    @pytest.mark.parametrize("size", [8, 28, 32, 64, 96, 224, 240])
    def test_every_value_makes_a_sound_trial(self, name, size):
        about = load(DataConfig()).facts
        about = type(about)(**{**about.__dict__, "image_size": size, "channels": 3})
        space = load_space(name).resolve(facts(size))
        for turn in range(8):
            trial = resolve(walk_first(space, turn), about, seed=0)
            assert trial.model.image_size % trial.model.patch_size == 0

    @pytest.mark.parametrize("size", [8, 32, 224])
    def test_has_first_points_that_are_complete(self, name, size):
        space = load_space(name).resolve(facts(size))
        assert space.first
        for point in space.first:
            space.check(point, complete=False)
            missing = [
                parameter
                for parameter in space.active({**space.fixed, **point})
                if parameter not in point
            ]
            assert set(missing) <= {"model.drop_path"}, missing

    def test_works_from_any_directory(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert load_space(name).name == name

    def test_goes_through_json(self, name):
        space = load_space(name).resolve(facts(32))
        again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
        assert again.fingerprint == space.fingerprint
        assert again.difference(space) == []

    def test_hopfield_knows_every_family(self):
        space = load_space("hopfield").resolve(facts(32))
        assert set(space.parameters["model.family"].values()) == set(FAMILIES)

    def test_papers_setting_is_a_first_point_at_224_px(self):
        point = load_space("imixer").resolve(facts(224)).first[0]
        papers = {
            "model.n_iter": 2,
            "model.h_ratio": 2.0,
            "model.n_power": 8,
            "model.depth": 8,
            "model.dim": 512,
        }
        assert papers.items() <= point.items()


class TestMistakes:
    """Every mistake is one sentence: place, rule, value, remedy."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "parameters:\n  model.depth: {type: int, low: 8, high: 2}\n",
                ": model.depth: low <= high must hold, got low=8, high=2. Swap them",
            ),
            ("parameters:\n  a: [1, 2\n", "space.yaml:3:1: must be YAML"),
            ("parameters:\n  model.depth: {type: int low: 2}\n", "space.yaml:2:"),
            ("paramters:\n  a: {type: int, low: 1, high: 2}\n", ('unknown key, got "paramters". '
                                                                'Did you mean parameters?')),
            ("parameters: {}\n", "parameters: must name at least one parameter, got none"),
            ("- 1\n", "space.yaml:1:1: must be a mapping"),
            ("", "space.yaml:1:1: must be a mapping, got nothing"),
            ("parameters:\n  a: {low: 1, high: 2}\n", "space.yaml:2:3: a: type is required"),
            ("parameters:\n  a: {type: itn, low: 1, high: 2}\n", ("unknown type, got \"itn\". Did "
                                                                 "you mean int?")),
            ("parameters:\n  a: {type: int, low: 1}\n", "space.yaml:2:3: a: high is required"),
            ("parameters:\n  a: {type: int, low: 1, high: 2, hgih: 3}\n", ('unknown key, got '
                                                                          '"hgih". Did you mean '
                                                                          'high?')),
            ("parameters:\n  a: {type: int, low: 1.5, high: 2}\n", ("low must be a whole number, "
                                                                   "got 1.5")),
            ("parameters:\n  a: {type: float, low: 0, high: 1, log: true}\n", ("log needs low > 0, "
                                                                              "got low=0")),
            ("parameters:\n  a: {type: float, low: 0, high: 1, step: 0.3}\n", "Write high: 0.9"),
            ("parameters:\n  a: {type: float, low: one, high: 2}\n", ('low must be a number, got '
                                                                     '"one"')),
            ("parameters:\n  a: {type: categorical, choices: []}\n", ("choices must hold at least "
                                                                     "one value")),
            ("parameters:\n  a: {type: categorical, choices: [1, 1]}\n", ("choices must differ, "
                                                                         "got 1 twice")),
            (
                ("parameters:\n  a: {type: int, low: 1, high: 2}\n  a: {type: int, low: 1, high: "
                "3}\n"),
                "space.yaml:3:3: a must appear once, got it on line 2 too",
            ),
            (
                "parameters:\n  a: {type: int, low: 1, high: 2, when: {b: 1}}\n",
                "space.yaml:2:42: a: when names an unknown parameter, got 'b'",
            ),
            (
                ("parameters:\n  a: {type: int, low: 1, high: 2, when: {b: 1}}\n  b: {type: int, "
                "low: 1, high: 2, when: {a: 1}}\n"),
                "conditions must not be circular",
            ),
            (
                "fixed: {a: 1}\nparameters:\n  a: {type: int, low: 1, high: 2}\n",
                "space.yaml:3:3: a: must be fixed or searched, got both",
            ),
            (
                ("parameters:\n  a: {type: int, low: 1, high: 2}\n  b: {type: int, low: 1, high: "
                "2, when: {a: 7}}\n"),
                "when must allow a value that a can take, got 7",
            ),
            (
                "parameters:\n  a: {type: int, low: 1, high: 2}\nfirst:\n  - {a: 5}\n",
                "must be a whole number from 1 to 2, got 5",
            ),
            ("parameters:\n  a: {type: int, low: 1, high: 2}\nfirst:\n  - {c: 5}\n", ("c: unknown "
                                                                                     "parameter")),
            ("parameters:\n  a: {type: int, low: 1, high: 2}\ndirection: up\n", ("direction: must "
                                                                                "be maximize or "
                                                                                "minimize")),
            (
                ("parameters:\n  a: {type: int, low: 1, high: 2}\nfidelity: {min_epochs: 9, "
                "max_epochs: 3}\n"),
                "min_epochs <= max_epochs must hold, got min_epochs=9, max_epochs=3",
            ),
            (
                "parameters:\n  a: {type: int, low: 1, high: 2}\nfidelity: {reduction: 1}\n",
                "reduction must be a whole number",
            ),
            ("a: !!python/object/apply:os.getcwd []\n", "space.yaml:1:"),
            ("parameters:\n  a: 7\n", "space.yaml:2:3: a: must be a mapping with a type, got 7"),
            ("parameters:\n  a: []\n", ("space.yaml:2:3: a: a list of alternatives must not be "
                                       "empty")),
            (("parameters:\n  a:\n    - {type: int, low: 1, high: 2}\n    - {type: int, low: 3, "
             "high: 2}\n"), "4:19: a[2]: low <="),
            (
                "fixed: {b: 1}\nparameters:\n  a:\n    - {type: int, low: 1, high: 2, when: {b: "
                "1, data.image_size: 32}}\n"
                "    - {type: int, low: 3, high: 4, when: {b: 2}}\n",
                ("space.yaml:5:7: a[2]: is never used: alternatives may only differ by conditions "
                "on the data, and"),
            ),
            ("parameters:\n  a b: {type: int, low: 1, high: 2}\n", ("space.yaml:2:3: a b: names "
                                                                   "must be dotted words")),
            ("parameters:\n  model:\n    depth: {type: int}\n", ("model: type is required. Write "
                                                                "names with dots: model.depth")),
            ("parameters:\n  a: {type: int, low: 1, high: 2, log: yes}\n", ("2:35: a: log must be "
                                                                           "true or false")),
            (
                "parameters:\n  a: {type: int, low: 1, high: 2, when: {b: {mni: 1}}}\n",
                "2:35: a: when b has the unknown key",
            ),
            (f"fixed: 7\n{ONE}", "space.yaml:1:1: fixed: must map names to values"),
            (f"{ONE}first: {{a: 1}}\n", "space.yaml:3:1: first: must be a list of points"),
            (f"{ONE}first:\n  - {{a: 1}}\n  - {{a: 9}}\n", ("space.yaml:5:6: first point 2: a: "
                                                           "must be a whole number")),
            (f"{ONE}first:\n  - {{when: {{data.size: 1}}, a: 1}}\n", ("space.yaml:4:5: first point "
                                                                     "1: when may only depend")),
            (f"{ONE}fidelity: 9\n", "space.yaml:3:1: fidelity: must be a mapping"),
            (f"{ONE}fidelity: {{epochs: 9}}\n", "space.yaml:3:12: fidelity: unknown key"),
            (f"objective: [val_acc, "
            f"x]\n{ONE}", ("space.yaml:1:1: objective: after the first must be a cost")),
        ],
    )  # fmt: skip
    def test_is_a_sentence(self, tmp_path, text, message):
        with pytest.raises(SpaceError) as caught:
            read(tmp_path, text)
        assert message in str(caught.value)
        assert re.match(r".*space\.yaml:\d+:\d+: ", str(caught.value))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "model.dpth: {type: int, low: 1, high: 2}",
                "model.dpth: unknown key. Did you mean depth?",
            ),
            (
                "model.depth: {type: int, low: 0, high: 2}",
                "model.depth: input should be greater than or equal to 1",
            ),
            (
                "optim.lr: {type: categorical, choices: [fast]}",
                "optim.lr: input should be a valid number",
            ),
            (
                "modl.depth: {type: int, low: 1, high: 2}",
                "modl.depth: unknown section, got 'modl'. Did you mean model?",
            ),
            (
                "seed: {type: int, low: 1, high: 2}",
                "seed: unknown section, got 'seed'. Known: augment, model, optim, train",
            ),
            (
                "model.h_ratio: {type: categorical, choices: [2.0]}",
                "model.h_ratio: mlpmixer has no such setting; only imixer",
            ),
            (
                "model.patch_size: {type: categorical, choices: [3]}",
                "model.patch_size: patch_size must divide image_size",
            ),
            (
                "optim.min_lr: {type: categorical, choices: [0.5]}",
                "optim.min_lr: optim.min_lr <= peak learning rate",
            ),
            (
                "augment.randaugment: {type: categorical, choices: [ran]}",
                "augment.randaugment: randaugment must start",
            ),
        ],
    )
    def test_a_trial_that_cannot_be_names_the_line(self, tmp_path, digits, text, message):
        (tmp_path / "space.yaml").write_text(
            f"fixed: {{model.family: mlpmixer}}\nparameters:\n  {text}\n"
        )
        with pytest.raises(UserError) as caught:
            open_space(
                str(tmp_path / "space.yaml"),
                digits.facts,
                {} if "patch" in text else {"model.patch_size": 1},
                "default",
            )
        assert f"space.yaml:3:3: {message}" in str(caught.value)

    def test_a_default_that_does_not_fit_the_images_is_not_blamed_on_the_file(
        self, tmp_path, digits
    ):
        (tmp_path / "space.yaml").write_text(
            "parameters:\n  model.depth: {type: int, low: 1, high: 2}\n"
        )
        with pytest.raises(ConfigError) as caught:
            open_space(
                str(tmp_path / "space.yaml"), digits.facts, {"model.family": "mlpmixer"}, "default"
            )
        assert str(caught.value) == (
            "data.image_size: the default patch_size must divide the side of the images, got 16 "
            "and 8 px. "
            "Set model.patch_size=1, 2, 4 or 8, or data.image_size=16"
        )

    def test_a_rule_about_a_default_names_the_line_of_the_value_that_breaks_it(
        self, tmp_path, digits
    ):
        text = (
            "fixed: {model.patch_size: 2}\nparameters:\n  optim.lr: {type: categorical, "
            "choices: [1.0e-9]}\n"
        )
        (tmp_path / "space.yaml").write_text(text)
        with pytest.raises(
            UserError,
            match=r"space\.yaml:3:3: optim\.lr: optim\.min_lr <= peak .* Lower optim\.min_lr, or "
            r"raise",
        ):
            open_space(str(tmp_path / "space.yaml"), digits.facts, {}, "default")

    def test_unknown_space(self):
        with pytest.raises(
            SpaceError,
            match=r"space: unknown search space, got 'imixr'. Did you mean imixer\?.*Known: "
            r"asymmixer",
        ):
            load_space("imixr")

    def test_no_such_file(self, tmp_path):
        with pytest.raises(SpaceError, match="must be a readable file: No such file"):
            load_space(tmp_path / "none.yaml")

    def test_not_text(self, tmp_path):
        (tmp_path / "space.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(SpaceError, match="must be UTF-8 text"):
            load_space(tmp_path / "space.yaml")


class TestYaml:
    def test_numbers_are_numbers(self, tmp_path):
        space = read(
            tmp_path, "parameters:\n  lr: {type: float, low: 1e-4, high: 1e-2, log: true}\n"
        )
        assert (space.parameters["lr"].low, space.parameters["lr"].high) == (1e-4, 1e-2)

    def test_merge_keys(self, tmp_path):
        text = "parameters:\n  a: &a {type: int, low: 1, high: 2}\n  b: {<<: *a, high: 4}\n"
        assert read(tmp_path, text).parameters["b"].high == 4


class TestConditions:
    @pytest.fixture
    def space(self):
        return Space.from_dict(SPACE)

    def test_walk_asks_for_active_parameters_only(self, space):
        for n_iter, there in ((0, False), (2, True)):

            def choose(name, parameter, n_iter=n_iter):
                if name == "model.n_iter":
                    return n_iter
                return parameter.values()[0] if parameter.values() else parameter.low

            config = space.walk(choose)
            assert ("model.h_ratio" in config) is there

    def test_inactive_parameters_make_no_difference(self, space):
        config = {
            "model.depth": 2,
            "optim.lr": 1e-3,
            "model.n_iter": 0,
            "augment.label_smoothing": 0.0,
        }
        assert space.canonical(config) == space.canonical({**config, "model.h_ratio": 2.0})
        assert space.canonical(config) != space.canonical({**config, "model.depth": 3})

    def test_check(self, space):
        config = {
            "model.depth": 2,
            "optim.lr": 1e-3,
            "model.n_iter": 0,
            "augment.label_smoothing": 0.0,
        }
        space.check(config)
        with pytest.raises(SpaceError, match=r"must be left out when model\.n_iter is 0"):
            space.check({**config, "model.h_ratio": 1.0})
        with pytest.raises(SpaceError, match=r"optim\.lr: is required"):
            space.check({name: value for name, value in config.items() if name != "optim.lr"})

    def test_override_fixes_and_drops_children(self, space):
        fixed = space.override({"model.n_iter": 0})
        assert {"model.n_iter", "model.h_ratio"}.isdisjoint(fixed.parameters)
        assert fixed.fixed["model.n_iter"] == 0
        assert fixed.difference(space)

    def test_override_of_a_child_keeps_its_condition(self, space):
        config = space.override({"model.h_ratio": 3.0})
        assert config.parameters["model.h_ratio"].values() == (3.0,)
        assert config.parameters["model.h_ratio"].when == {"model.n_iter": {"min": 1}}

    def test_override_of_the_family_keeps_fitting_first_points(self):
        space = load_space("hopfield").resolve(facts(8)).override({"model.family": "asymmixer"})
        assert len(space.first) == 1
        assert "model.h_ratio" not in space.parameters

    def test_size_and_grid_agree(self, space):
        assert space.size is None
        finite = space.override({"optim.lr": 1e-3})
        grid = [finite.canonical(config) for config in finite.grid()]
        assert len(grid) == len(set(grid)) == finite.size == 8 * (1 + 2 * 4) * 2

    def test_a_real_number_has_no_grid(self, space):
        with pytest.raises(SpaceError, match=r"optim\.lr: must have a step for a grid"):
            next(iter(space.grid()))


def test_steps_do_not_drift():
    spec = {"type": "float", "low": 0.1, "high": 0.9, "step": 0.1}
    parameter = Space.from_dict({**SPACE, "parameters": {"a": spec}, "first": []}).parameters["a"]
    assert list(parameter.values()) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert parameter.contains(0.1 + 0.2)
    assert parameter.normalise(0.1 + 0.2) == 0.3
