"""The trial: deterministic, resumable bit for bit, honest about failures."""

import math
import os
import resource
from collections import OrderedDict

import pytest
import torch

from hopsearch.errors import CheckpointError, ConfigError, Diverged, ResourceError
from hopsearch.models import build, measured
from hopsearch.training import METRICS, CheckpointFolder, Constraint, OptimConfig, TrialRun, estimate_cost, resolve
from hopsearch.training.optimizer import build_optimizer, learning_rate

CURVE = ("train_loss", "val_loss", "val_acc", "lr")


def curve_of(run, epochs):
    return [tuple(row[name] for name in CURVE) for row in (run.step() for _ in range(epochs))]


def test_same_seed_same_curve_and_another_seed_another(tiny, digits):
    first, second = (curve_of(TrialRun(tiny, digits), 2) for _ in range(2))
    other = curve_of(TrialRun(tiny.model_copy(update={"seed": 4}), digits), 2)
    assert first == second
    assert first != other


@pytest.mark.parametrize("ema", [None, 0.9])
def test_save_load_continue_is_bit_for_bit(tiny, digits, tmp_path, ema):
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"ema_decay": ema})})
    straight = curve_of(TrialRun(config, digits), 4)
    folder = CheckpointFolder(tmp_path)
    run = TrialRun(config, digits)
    parts = curve_of(run, 2)
    run.save(folder)
    torch.manual_seed(123)  # whatever happened in the process meanwhile
    again = TrialRun(config, digits)
    assert again.load_newest(folder)
    parts += curve_of(again, 2)
    assert parts == straight
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4]


def test_what_an_epoch_reports_is_known_before(trial):
    assert set(trial.step()) == {"epoch", *METRICS, *measured(trial.config.model)}


def test_learns_digits(digits):
    values = {
        "model.family": "imixer",
        "model.depth": 2,
        "model.dim": 32,
        "model.patch_size": 2,
        "optim.lr": 5e-3,
        "train.epochs": 3,
    }
    run = TrialRun(resolve(values, digits.facts, 0), digits)
    assert [run.step()["val_acc"] for _ in range(3)][-1] > 0.5
    assert run.done


def test_diverged_is_told(tiny, digits):
    hot = tiny.model_copy(update={"optim": OptimConfig(lr=1e30, warmup_epochs=0)})
    run = TrialRun(hot, digits)
    with pytest.raises(Diverged, match="must be finite"):
        curve_of(run, 4)


def test_checkpoints_keep_two_and_the_best(trial, tmp_path):
    folder = CheckpointFolder(tmp_path)
    for _ in range(4):
        trial.step()
        trial.save(folder)
    best = max(trial.history, key=lambda row: (row["val_acc"], -row["epoch"]))["epoch"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best.pt", "epoch_0003.pt", "epoch_0004.pt"]
    assert folder.load_best()["epoch"] == best


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage"])
def test_damaged_checkpoint_falls_back_to_the_one_before(trial, tiny, digits, tmp_path, damage):
    folder = CheckpointFolder(tmp_path)
    for _ in range(2):
        trial.step()
        trial.save(folder)
    newest = tmp_path / "epoch_0002.pt"
    content = newest.read_bytes()
    newest.write_bytes({"truncate": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 1000}[damage])
    again = TrialRun(tiny, digits)
    assert again.load_newest(folder)
    assert again.epoch == 1


def test_full_disk_loses_nothing(trial, tmp_path):
    folder = CheckpointFolder(tmp_path)
    trial.step()
    trial.save(folder)
    trial.step()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))  # a quota: writing past it fails as on a full disk
    try:
        with pytest.raises(CheckpointError, match="must fit the disk"):
            trial.save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert folder.load_newest()["epoch"] == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    trial.save(folder)
    assert folder.load_newest()["epoch"] == 2


def test_foreign_checkpoint_is_refused(trial, tiny, digits, tmp_path):
    trial.step()
    trial.save(CheckpointFolder(tmp_path))
    other = TrialRun(tiny.model_copy(update={"seed": 9}), digits)
    with pytest.raises(CheckpointError, match="same configuration"):
        other.load_newest(CheckpointFolder(tmp_path))


def test_gpu_asked_and_none_there(tiny, digits):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"device": "cuda"})})
    with pytest.raises(ResourceError, match="a GPU must be there, got none"):
        TrialRun(config, digits)


def test_learning_rate_warms_up_and_decays():
    config = OptimConfig(lr=1.0, warmup_epochs=2, warmup_lr=0.0, min_lr=0.1)
    rates = [learning_rate(step, 10, 10, config) for step in range(100)]
    assert rates[19] == pytest.approx(1.0)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)))


def test_linear_scaling_and_paper_recipe(digits):
    values = {"model.family": "paramixer", "model.patch_size": 2}
    paper = resolve(values, digits.facts, 0, "paper")
    assert paper.optim.peak_lr == pytest.approx(3.75e-4)  # 5e-4 per 512 at 4 × 96
    assert (paper.train.epochs, paper.augment.mixup, paper.model.drop_path) == (300, 0.8, 0.1)
    imixer = resolve(values | {"model.family": "imixer", "optim.weight_decay": 0.1}, digits.facts, 0, "paper")
    assert (imixer.optim.peak_lr, imixer.optim.weight_decay, imixer.optim.batch_size) == (5e-4, 0.1, 2048)


def test_weight_decay_follows_timms_rule(digits):
    config = resolve({"model.family": "paramixer", "model.patch_size": 2}, digits.facts, 0)
    model = build(config.model)
    exempt, decayed = build_optimizer(model, config.optim, torch.device("cpu")).param_groups
    assert exempt["weight_decay"] == 0
    biases = {id(parameter) for name, parameter in model.named_parameters() if name.endswith(".bias")}
    assert all(parameter.ndim <= 1 or id(parameter) in biases for parameter in exempt["params"])
    assert any(parameter.shape == (16, 512) for parameter in decayed["params"])  # the LayerNorm over (S, D)


@pytest.mark.parametrize("family", ["imixer", "asymmixer", "mlpmixer"])
def test_cost_is_that_of_the_model(digits, family):
    config = resolve({"model.family": family, "model.depth": 5, "model.dim": 32, "model.patch_size": 2}, digits.facts, 0)
    cost = estimate_cost(config)
    assert cost.params == sum(parameter.numel() for parameter in build(config.model).parameters())
    double = config.model_copy(update={"optim": config.optim.model_copy(update={"batch_size": 128})})
    assert estimate_cost(double).flops == cost.flops
    assert estimate_cost(double).memory > 1.5 * cost.memory - 16 * cost.params
    broken = Constraint(max_params=cost.params / 2).violation(cost)
    assert broken is not None
    assert broken[0].startswith("params <=")
    assert Constraint(max_params=cost.params, max_flops=cost.flops, max_memory=cost.memory).violation(cost) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim.lrr": 1}, "config: optim: lrr: unknown key. Did you mean lr?"),
        ({"optm.lr": 1}, "config: optm: unknown key. Did you mean optim?"),
        ({"optim.lr": -1}, "config: optim: lr: input should be greater than 0, got -1"),
        ({"model.family": "imixr"}, "config: model: family: must be a known family, got 'imixr'. Did you mean imixer?"),
        (
            {"model.patch_size": 3},
            "config: model: patch_size must divide image_size, got 3 and 8. Choose a patch_size that leaves no rest",
        ),
        ({"augment.randaugment": "rand9"}, "The papers' is rand-m9-mstd0.5-inc1"),
    ],
)
def test_a_bad_setting_is_named(digits, values, message):
    with pytest.raises(ConfigError) as caught:
        resolve({"model.family": "imixer", "model.patch_size": 2} | values, digits.facts, 0)
    assert message in str(caught.value).replace(": :", ":")


def test_load_state_keeps_key_order_free(trial, tiny, digits):
    trial.step()
    state = trial.state_dict()
    state["model"] = OrderedDict(reversed(list(state["model"].items())))
    TrialRun(tiny, digits).load_state_dict(state)


def test_computing_activations_again_changes_memory_alone(tiny, digits):
    again = tiny.model_copy(update={"train": tiny.train.model_copy(update={"grad_checkpointing": True})})
    kept, thrifty = TrialRun(tiny, digits), TrialRun(again, digits)
    rows = kept.step(), thrifty.step()
    assert rows[0]["train_loss"] == rows[1]["train_loss"]
    assert all(
        torch.equal(a, b) for a, b in zip(kept.model.state_dict().values(), thrifty.model.state_dict().values(), strict=True)
    )
    deep = [
        estimate_cost(config.model_copy(update={"model": config.model.model_copy(update={"depth": 8})}))
        for config in (tiny, again)
    ]
    assert (deep[0].params, deep[0].flops) == (deep[1].params, deep[1].flops)
    assert deep[1].memory < deep[0].memory / 2
