"""What every optimizer of the list must do, one test class over all of them: whoever adds a name is
tested with it.
"""

import json
import random
import re
from typing import ClassVar

import pytest
import torch
from pydantic import ValidationError
from timm.optim import create_optimizer_v2
from torch import nn

from hopsearch import export, report
from hopsearch.core.errors import CheckpointError, ConfigError, UserError
from hopsearch.core.terminal_tables import settings
from hopsearch.models import build
from hopsearch.orchestration.space_preparation import open_space
from hopsearch.tasks.images.classifier_config import ImageTrainConfig, ImageTrialConfig, resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.cost_estimate import estimate_cost
from hopsearch.training import CheckpointFolder, OptimConfig, Paused
from hopsearch.training.known_optimizers import ADAMW, OPTIMIZERS
from hopsearch.training.optimizer import build_optimizer
from hopsearch.training.precision import Precision
from tests.conftest import search_little

CPU = torch.device("cpu")
RATES = {"lion": 1e-3, "clion": 1e-3, "lamb": 5e-2, "radamw": 1e-2, "sgdw": 0.3}
"""Learning rates at which the small models of these tests learn; 5e-3 for the others."""
CURVE = ("epoch", "train_loss", "val_loss", "val_acc", "lr")


@pytest.fixture(params=OPTIMIZERS)
def name(request):
    return request.param


@pytest.fixture
def config(name, digits) -> ImageTrialConfig:
    """A ParaMixer, whose LayerNorm has the shape of a matrix; more than 20 steps an epoch, so that
    one can be paused.
    """
    return trial_of(name, digits, "paramixer")


def trial_of(name, digits, family, **more) -> ImageTrialConfig:
    values = {
        "model.family": family,
        "model.depth": 1,
        "model.dim": 16,
        "model.patch_size": 4,
        "model.drop_path": 0.1,
        "optim.name": name,
        "optim.lr": RATES.get(name, 5e-3),
        "optim.batch_size": 50,
        "train.epochs": 3,
    }
    return resolve(values | more, digits.facts, seed=3)


def random_gradients(model, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator)


def weights(model):
    return {key: parameter.detach().clone() for key, parameter in model.named_parameters()}


class TestContract:
    def test_learns_digits(self, name, digits):
        run = ImageTrialRun(trial_of(name, digits, "imixer"), digits)
        rows = [run.step() for _ in range(3)]
        assert rows[-1]["train_loss"] < 0.95 * rows[0]["train_loss"]
        assert rows[-1]["val_acc"] > 0.3

    def test_resumes_bit_for_bit_in_the_middle_of_an_epoch(self, config, digits, tmp_path):
        straight = ImageTrialRun(config, digits)
        expected = [straight.step() for _ in range(3)]
        run, folder = ImageTrialRun(config, digits), CheckpointFolder(tmp_path)
        run.step()
        with pytest.raises(Paused):
            run.step(stop=lambda: True)
        run.save(folder, "val_acc")
        torch.manual_seed(123)  # whatever happened in the process meanwhile
        again = ImageTrialRun(config, digits)
        assert again.load_newest(folder)
        assert again.position > 0
        rows = [run.history[0], again.step(), again.step()]
        assert [[row[key] for key in CURVE] for row in rows] == [
            [row[key] for key in CURVE] for row in expected
        ]
        for ours, theirs in zip(
            again.model.state_dict().values(), straight.model.state_dict().values(), strict=True
        ):
            assert torch.equal(ours, theirs)

    def test_another_optimizers_checkpoint_is_refused(self, config, digits):
        other = trial_of(
            "nadamw" if config.optim.name != "nadamw" else "adamw", digits, "paramixer"
        )
        with pytest.raises(CheckpointError, match="same configuration"):
            ImageTrialRun(config, digits).load_state_dict(ImageTrialRun(other, digits).state_dict())

    def test_the_schedule_reaches_every_parameter(self, config):
        model = build(config.model)
        optimizer = build_optimizer(model, config.optim, CPU)
        for step, rate in enumerate((1e-3, 1e-3, 0.0, 1e-3)):
            before = weights(model)
            for group in optimizer.param_groups:
                group["lr"] = rate
            random_gradients(model)
            optimizer.step()
            moved = {
                key
                for key, tensor in weights(model).items()
                if not torch.equal(tensor, before[key])
            }
            assert moved == (set(before) if rate and step else moved if rate else set()), (
                f"step {step}, rate {rate}"
            )

    def test_decay_is_exempt_as_in_timm(self, config):
        model = build(config.model)
        groups = build_optimizer(model, config.optim, CPU).param_groups
        exempt = {
            id(own) for group in groups if not group["weight_decay"] for own in group["params"]
        }
        decayed = {
            id(own)
            for group in groups
            if group["weight_decay"] == config.optim.weight_decay
            for own in group["params"]
        }
        free = {
            id(own)
            for key, own in model.named_parameters()
            if own.ndim <= 1 or key.endswith(".bias")
        }
        assert (exempt, decayed) == (free, {id(own) for own in model.parameters()} - free)
        assert sum(len(group["params"]) for group in groups) == len(free) + len(decayed)

    def test_defaults_are_those_of_timm(self, config):
        model = build(config.model)
        ours = build_optimizer(model, config.optim, CPU).defaults
        theirs = create_optimizer_v2(
            model.parameters(), config.optim.name, lr=config.optim.peak_lr
        ).defaults
        same = set(theirs) - {"fused", "weight_decay"}  # decay is given by group
        assert {key: ours[key] for key in same} == {key: theirs[key] for key in same}

    def test_its_own_settings_arrive(self, name, digits):
        given = {key: value / 2 for key, value in OPTIMIZERS[name].defaults.items()}
        config = trial_of(
            name, digits, "imixer", **{f"optim.{key}": value for key, value in given.items()}
        )
        for group in build_optimizer(build(config.model), config.optim, CPU).param_groups:
            found = {key: group[key] for key in ("momentum", "eps") if key in given}
            if "beta1" in given:
                found |= {"beta1": group["betas"][0], "beta2": group["betas"][1]}
            assert found == given

    def test_a_scaled_loss_changes_nothing_and_an_overflow_is_left_out(self, config):
        """As float16 needs it on a GPU: here with the same scaler on a CPU."""
        models = []
        for scaled in (False, True):
            torch.manual_seed(0)
            model = build(config.model)
            optimizer = build_optimizer(model, config.optim, CPU)
            precision = Precision(ImageTrainConfig(), CPU)
            precision._scaler = torch.amp.GradScaler("cpu", enabled=scaled, init_scale=1024.0)
            for clip in (None, 1.0, None):
                random_gradients(model, 1024.0 if scaled else 1.0)
                # the scale is made where the first loss is scaled
                precision._scaler.scale(torch.zeros(()))
                precision.step(optimizer, model, clip)
            models.append(model)
        assert all(
            torch.equal(ours, theirs)
            for ours, theirs in zip(*(each.parameters() for each in models), strict=True)
        )
        before = weights(model)
        random_gradients(model, torch.inf)
        precision.step(optimizer, model, None)
        assert all(torch.equal(tensor, before[key]) for key, tensor in weights(model).items())

    def test_its_state_is_counted_in_the_memory(self, name, digits):
        config, plain = (trial_of(each, digits, "imixer") for each in (name, ADAMW))
        model = build(config.model)
        optimizer = build_optimizer(model, config.optim, CPU)
        random_gradients(model)
        optimizer.step()
        held = sum(
            value.numel()
            for state in optimizer.state.values()
            for value in state.values()
            if torch.is_tensor(value)
        )
        cost, usual = estimate_cost(config), estimate_cost(plain)
        copies = 2 + (cost.memory - usual.memory) / (4 * cost.n_params)
        assert copies == OPTIMIZERS[name].state_copies
        assert copies <= held / cost.n_params < copies + 0.5

    def test_is_told_in_the_setting_s_help(self, name):
        assert name in re.findall(r"\w+", OptimConfig.model_fields["name"].description)

    def test_a_config_survives_being_written(self, config):
        assert ImageTrialConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("value", [0.0, 0.5, 0.999])
def test_whatever_a_config_allows_can_be_trained_with(name, value):
    for key in OPTIMIZERS[name].defaults:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 3))
        try:
            config = OptimConfig(name=name, **{key: value})
        except ValidationError:
            assert (key, value) == ("eps", 0.0) or (name, key, value) == ("sgdw", "momentum", 0.0)
            continue
        optimizer = build_optimizer(model, config, CPU)
        for _ in range(4):
            random_gradients(model)
            optimizer.step()
        assert all(parameter.isfinite().all() for parameter in model.parameters()), key


@pytest.mark.parametrize("name", [name for name, known in OPTIMIZERS.items() if known.hybrid])
@pytest.mark.parametrize("family", ["imixer", "symmixer"])
def test_hybrids_orthogonalize_matrices_and_never_norms(name, digits, family):
    config = trial_of(name, digits, family)
    model = build(config.model)
    optimizer = build_optimizer(model, config.optim, CPU)
    random_gradients(model)
    optimizer.step()
    named = {own: key for key, own in model.named_parameters()}
    matrices = {named[own] for own, state in optimizer.state.items() if state["use_muon"]}
    mlps = {key for key in named.values() if ".mlp_" in key and not key.endswith("bias")}
    assert matrices == mlps | {"head.weight"}
    norms = {key for key, module in model.named_modules() if isinstance(module, nn.LayerNorm)}
    assert not {key.rpartition(".")[0] for key in matrices} & norms


class TestAdamW:
    """What is trained where no optimizer is named is what it was before there were others."""

    BEFORE: ClassVar = {  # as configs were saved then
        "lr": 0.001,
        "lr_base_batch": None,
        "weight_decay": 0.05,
        "beta1": 0.9,
        "beta2": 0.999,
        "batch_size": 64,
        "clip_grad": None,
        "warmup_epochs": 1.0,
        "warmup_lr": 1e-06,
        "min_lr": 1e-06,
        "cooldown_epochs": 0,
        "schedule": "step",
        "drop_last": False,
    }

    def test_an_older_config_is_the_same_one(self):
        assert OptimConfig.model_validate_json(json.dumps(self.BEFORE)) == OptimConfig()
        assert OptimConfig() == OptimConfig(name="adamw")
        assert set(OptimConfig.model_fields) - set(self.BEFORE) == {"name", "momentum", "eps"}

    def test_it_is_torchs_fused_over_the_same_groups(self, digits):
        config = trial_of(ADAMW, digits, "paramixer")
        model = build(config.model)
        optimizer = build_optimizer(model, config.optim, CPU)
        plain = torch.optim.AdamW(
            model.parameters(), lr=config.optim.lr, betas=(0.9, 0.999), fused=True
        )
        assert type(optimizer) is torch.optim.AdamW
        assert optimizer.defaults == plain.defaults
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.05]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"optim.name": "moun"},
            (
                "config: optim: name: must be a known optimizer, got 'moun'. Did you mean muon? "
                "Known: adamuon"
            ),
        ),
        ({"optim.name": "AdamW"}, "must be a known optimizer, got 'AdamW'. Did you mean adamw?"),
        ({"optim.name": None}, "config: optim: name: input should be a valid string"),
        (
            {"optim.name": "sgdw", "optim.beta1": 0.8},
            "config: optim: beta1 must be left out with name=sgdw, which has no such setting, got "
            "0.8. "
            "Remove optim.beta1, or set optim.beta1=null",
        ),
        (
            {"optim.momentum": 0.8},
            "momentum must be left out with name=adamw, which has no such setting, got 0.8",
        ),
        (
            {"optim.name": "lion", "optim.beta2": None},
            (
                "beta2 must be a number with name=lion, got none. Leave optim.beta2 out, or set "
                "its default, optim.beta2=0.99"
            ),
        ),
        (
            {"optim.name": "sgdw", "optim.momentum": 0},
            (
                "momentum must be above 0 with name=sgdw, which uses Nesterov momentum, got 0.0. "
                "Raise optim.momentum"
            ),
        ),
        (
            {"optim.name": "muon", "optim.momentum": 1.0},
            "config: optim: momentum: input should be less than 1, got 1.0",
        ),
    ],
)
def test_a_wrong_optimizer_is_named(digits, values, message):
    with pytest.raises(ConfigError) as caught:
        resolve({"model.family": "imixer", "model.patch_size": 2} | values, digits.facts, 0)
    assert message in str(caught.value)


class TestSpaces:
    SPACE = """
fixed: {model.family: imixer, model.patch_size: 2}
parameters:
  optim.name: {type: categorical, choices: [adamw, NAME, sgdw]}
  optim.momentum: {type: float, low: 0.8, high: 0.95, when: {optim.name: [NAME, sgdw]}}
  optim.lr: {type: float, low: 1.0e-4, high: 1.0e-2, log: true}
"""

    def written(self, folder, name):
        file = folder / "space.yaml"
        file.write_text(self.SPACE.replace("NAME", name), encoding="utf-8")
        return str(file)

    def test_the_optimizer_is_searched_with_its_own_settings(self, digits, tmp_path):
        space = open_space(self.written(tmp_path, "nadamuon"), digits.facts, {}, "default").space
        configs = [space.draw(random.Random(seed)) for seed in range(20)]
        trials = [resolve(config, digits.facts, 0).optim for config in configs]
        assert {trial.name for trial in trials} == {"adamw", "nadamuon", "sgdw"}
        for config, trial in zip(configs, trials, strict=True):
            assert trial.momentum == config.get("optim.momentum")

    def test_a_wrong_name_in_a_file_has_its_line(self, digits, tmp_path):
        with pytest.raises(
            UserError,
            match=r"space\.yaml:4:3: optim\.name: must be a known optimizer, got 'nadamoun'\. Did "
            r"you",
        ):
            open_space(self.written(tmp_path, "nadamoun"), digits.facts, {}, "default")

    def test_a_setting_that_one_lacks_is_found_before_the_search_whatever_it_hangs_on(
        self, digits, tmp_path
    ):
        file = tmp_path / "space.yaml"
        file.write_text(
            """
fixed: {model.family: imixer, model.patch_size: 2}
parameters:
  model.depth: {type: int, low: 1, high: 3}
  optim.name: {type: categorical, choices: [lion, sgdw]}
  optim.momentum: {type: float, low: 0.8, high: 0.9, when: {model.depth: 2}}
""",
            encoding="utf-8",
        )
        with pytest.raises(
            UserError,
            match=r"space\.yaml:6:3: optim\.momentum: momentum must be left out with name=lion",
        ):
            open_space(str(file), digits.facts, {}, "default")

    def test_a_setting_of_another_optimizer_can_be_taken_back(self, digits, tmp_path):
        """Where it cannot be removed: it is in the trial of ``from=``, or in a space that was not
        written for this optimizer.
        """
        given = {
            "model.family": "imixer",
            "model.patch_size": 2,
            "optim.momentum": 0.8,
            "optim.name": "lion",
        }
        with pytest.raises(ConfigError, match=r"or set optim\.momentum=null"):
            resolve(given, digits.facts, 0)
        assert resolve(given | {"optim.momentum": None}, digits.facts, 0).optim == OptimConfig(
            name="lion"
        )
        file = self.written(tmp_path, "muon")
        space = open_space(
            file, digits.facts, {"optim.name": "lion", "optim.momentum": None}, "default"
        ).space
        assert resolve(space.draw(random.Random(0)), digits.facts, 0).optim.momentum is None

    def test_given_on_the_command_line_it_is_not_searched(self, digits, tmp_path):
        file = self.written(tmp_path, "muon")
        space = open_space(file, digits.facts, {"optim.name": "lion"}, "default").space
        assert "optim.name" not in space.parameters
        with pytest.raises(
            UserError, match=r"command line: optim\.name: must be a known optimizer, got 'loin'"
        ):
            open_space(file, digits.facts, {"optim.name": "loin"}, "default")


def test_a_searched_optimizer_has_the_same_name_wherever_a_study_is_shown(digits, tmp_path):
    space = {
        "fidelity": {"min_epochs": 1, "max_epochs": 2, "reduction": 2},
        "fixed": {
            "model.family": "imixer",
            "model.patch_size": 4,
            "model.dim": 16,
            "model.depth": 1,
            "optim.lr": 5e-3,
        },
        "parameters": {"optim.name": {"type": "categorical", "choices": ["nadamuon", "adoptw"]}},
        "first": [{"optim.name": "nadamuon"}, {"optim.name": "adoptw"}],
    }
    folder = search_little(tmp_path / "names", digits, space, 2)
    for layout in ("html", "md", "csv", "json"):
        written = tmp_path / f"report.{layout}"
        report.main(
            [
                f"study={folder.name}",
                f"storage={folder.parent}",
                f"format={layout}",
                f"to={written}",
            ]
        )
        text = written.read_text(encoding="utf-8")
        assert "optim.name" in text, layout
        assert {"nadamuon", "adoptw"} <= set(re.findall(r"\w+", text)), layout
    export.main([f"study={folder.name}", f"storage={folder.parent}", f"to={tmp_path / 'model'}"])
    trial = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))[
        "hopsearch"
    ]["trial"]
    assert f"| optim.name | {trial['optim']['name']} |" in (
        tmp_path / "model" / "README.md"
    ).read_text(encoding="utf-8")
    events = b"".join(file.read_bytes() for file in (folder / "tensorboard").rglob("*tfevents*"))
    assert b"optim.name" in events


def test_columns_call_it_by_its_whole_name():
    rows = [{"optim.name": "lion", "optim.lr": 1e-3}, {"optim.name": "muon", "optim.lr": 1e-3}]
    assert [column.title for column in settings(rows, ["optim.name", "optim.lr"], 2)] == [
        "optim.name",
        "lr",
    ]
