"""The trial: deterministic, resumable bit for bit, honest about failures."""

import math
import os
import resource
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch

from hopsearch.core.errors import CheckpointError, ConfigError, Diverged, ResourceError
from hopsearch.data import ImageSet, Splits
from hopsearch.data.augmentation.mixing import soft_targets
from hopsearch.models import build
from hopsearch.tasks.images import Images
from hopsearch.tasks.images.class_imbalance import (
    MOST_CLASSES,
    class_weights,
    confusions,
    recall_row,
)
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.cost_estimate import estimate_cost
from hopsearch.tasks.images.evaluation import Evaluation, evaluate, soft_cross_entropy
from hopsearch.training import CheckpointFolder, Constraint, OptimConfig, Ranks
from hopsearch.training.optimizer import build_optimizer
from hopsearch.training.schedule import learning_rate

CURVE = ("train_loss", "val_loss", "val_acc", "lr")


def curve_of(run, epochs):
    return [tuple(row[name] for name in CURVE) for row in (run.step() for _ in range(epochs))]


def test_same_seed_same_curve_and_another_seed_another(tiny, digits):
    first, second = (curve_of(ImageTrialRun(tiny, digits), 2) for _ in range(2))
    other = curve_of(ImageTrialRun(tiny.model_copy(update={"seed": 4}), digits), 2)
    assert first == second
    assert first != other


@pytest.mark.parametrize("ema", [None, 0.9])
def test_save_load_continue_is_bit_for_bit(tiny, digits, tmp_path, ema):
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"ema_decay": ema})})
    straight = curve_of(ImageTrialRun(config, digits), 4)
    folder = CheckpointFolder(tmp_path)
    run = ImageTrialRun(config, digits)
    parts = curve_of(run, 2)
    run.save(folder, "val_acc")
    torch.manual_seed(123)  # whatever happened in the process meanwhile
    again = ImageTrialRun(config, digits)
    assert again.load_newest(folder)
    parts += curve_of(again, 2)
    assert parts == straight
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4]


def test_what_an_epoch_reports_is_known_before(trial):
    assert set(trial.step()) == {
        "epoch",
        *Images().reported(trial.facts, trial.config),
    }


def test_learns_digits(digits):
    values = {
        "model.family": "imixer",
        "model.depth": 2,
        "model.dim": 32,
        "model.patch_size": 2,
        "optim.lr": 5e-3,
        "train.epochs": 3,
    }
    run = ImageTrialRun(resolve(values, digits.facts, 0), digits)
    assert [run.step()["val_acc"] for _ in range(3)][-1] > 0.5
    assert run.done


def test_diverged_is_told(tiny, digits):
    hot = tiny.model_copy(update={"optim": OptimConfig(lr=1e30, warmup_epochs=0)})
    run = ImageTrialRun(hot, digits)
    with pytest.raises(Diverged, match="must be finite"):
        curve_of(run, 4)


def test_checkpoints_keep_two_and_the_best(trial, tmp_path):
    folder = CheckpointFolder(tmp_path)
    for _ in range(4):
        trial.step()
        trial.save(folder, "val_acc")
    best = max(trial.history, key=lambda row: (row["val_acc"], -row["epoch"]))["epoch"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "best.pt",
        "epoch_0003.pt",
        "epoch_0004.pt",
    ]
    assert folder.load_best()["epoch"] == best


@pytest.mark.parametrize("damage", ["truncate", "empty", "garbage"])
def test_damaged_checkpoint_falls_back_to_the_one_before(trial, tiny, digits, tmp_path, damage):
    folder = CheckpointFolder(tmp_path)
    for _ in range(2):
        trial.step()
        trial.save(folder, "val_acc")
    newest = tmp_path / "epoch_0002.pt"
    content = newest.read_bytes()
    newest.write_bytes(
        {"truncate": content[: len(content) // 2], "empty": b"", "garbage": b"x" * 1000}[damage]
    )
    again = ImageTrialRun(tiny, digits)
    assert again.load_newest(folder)
    assert again.epoch == 1


def test_full_disk_loses_nothing(trial, tmp_path):
    folder = CheckpointFolder(tmp_path)
    trial.step()
    trial.save(folder, "val_acc")
    trial.step()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    # a quota: writing past it fails as on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
            trial.save(folder, "val_acc")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert folder.load_newest()["epoch"] == 1
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    trial.save(folder, "val_acc")
    assert folder.load_newest()["epoch"] == 2


def test_foreign_checkpoint_is_refused(trial, tiny, digits, tmp_path):
    trial.step()
    trial.save(CheckpointFolder(tmp_path), "val_acc")
    other = ImageTrialRun(tiny.model_copy(update={"seed": 9}), digits)
    with pytest.raises(CheckpointError, match="same configuration"):
        other.load_newest(CheckpointFolder(tmp_path))


def test_gpu_asked_and_none_there(tiny, digits):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    config = tiny.model_copy(update={"train": tiny.train.model_copy(update={"device": "cuda"})})
    with pytest.raises(ResourceError, match="a GPU is required, got none"):
        ImageTrialRun(config, digits)


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
    imixer = resolve(
        values | {"model.family": "imixer", "optim.weight_decay": 0.1}, digits.facts, 0, "paper"
    )
    assert (imixer.optim.peak_lr, imixer.optim.weight_decay, imixer.optim.batch_size) == (
        5e-4,
        0.1,
        2048,
    )


def test_weight_decay_follows_timms_rule(digits):
    config = resolve({"model.family": "paramixer", "model.patch_size": 2}, digits.facts, 0)
    model = build(config.model)
    exempt, decayed = build_optimizer(model, config.optim, torch.device("cpu")).param_groups
    assert exempt["weight_decay"] == 0
    biases = {
        id(parameter) for name, parameter in model.named_parameters() if name.endswith(".bias")
    }
    assert all(parameter.ndim <= 1 or id(parameter) in biases for parameter in exempt["params"])
    # the LayerNorm over (S, D)
    assert any(parameter.shape == (16, 512) for parameter in decayed["params"])


@pytest.mark.parametrize("family", ["imixer", "asymmixer", "mlpmixer"])
def test_cost_is_that_of_the_model(digits, family):
    config = resolve(
        {"model.family": family, "model.depth": 5, "model.dim": 32, "model.patch_size": 2},
        digits.facts,
        0,
    )
    cost = estimate_cost(config)
    assert cost.n_params == sum(parameter.numel() for parameter in build(config.model).parameters())
    double = config.model_copy(
        update={"optim": config.optim.model_copy(update={"batch_size": 128})}
    )
    assert estimate_cost(double).flops == cost.flops
    assert estimate_cost(double).memory > 1.5 * cost.memory - 16 * cost.n_params
    broken = Constraint(max_params=cost.n_params / 2).violation(cost)
    assert broken is not None
    assert broken[0].startswith("n_params <=")
    assert (
        Constraint(
            max_params=cost.n_params, max_flops=cost.flops, max_memory=cost.memory
        ).violation(cost)
        is None
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim.lrr": 1}, "config: optim: lrr: unknown key. Did you mean lr?"),
        ({"optm.lr": 1}, "config: optm: unknown section, got 'optm'. Did you mean optim?"),
        ({"optim.lr": -1}, "config: optim: lr: input should be greater than 0, got -1"),
        (
            {"model.family": "imixr"},
            "config: model: family: must be a known family, got 'imixr'. Did you mean imixer?",
        ),
        (
            {"model.patch_size": 3},
            (
                "config: model: patch_size must divide image_size, got 3 and 8. Set "
                "model.patch_size=1, 2, 4 or 8, or"
            ),
        ),
        ({"augment.randaugment": "rand9"}, "The papers use rand-m9-mstd0.5-inc1"),
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
    ImageTrialRun(tiny, digits).load_state_dict(state)


def test_computing_activations_again_changes_memory_alone(tiny, digits):
    again = tiny.model_copy(
        update={"train": tiny.train.model_copy(update={"grad_checkpointing": True})}
    )
    kept, thrifty = ImageTrialRun(tiny, digits), ImageTrialRun(again, digits)
    rows = kept.step(), thrifty.step()
    assert rows[0]["train_loss"] == rows[1]["train_loss"]
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            kept.model.state_dict().values(), thrifty.model.state_dict().values(), strict=True
        )
    )
    deep = [
        estimate_cost(
            config.model_copy(update={"model": config.model.model_copy(update={"depth": 8})})
        )
        for config in (tiny, again)
    ]
    assert (deep[0].n_params, deep[0].flops) == (deep[1].n_params, deep[1].flops)
    assert deep[1].memory < deep[0].memory / 2


class TestClasses:
    """Recall by class, and weights in the loss."""

    def test_recalls_are_those_counted_by_hand(self, trial):
        row = trial.step()
        labels, found = trial.val_set.labels_N, trial.evaluate_validation()
        recalls = [
            float((found.said_N[labels == label] == label).double().mean()) for label in range(10)
        ]
        assert found.recalls == pytest.approx(recalls, abs=1e-12)
        assert row["val_balanced_acc"] == pytest.approx(sum(recalls) / 10, abs=1e-12)
        assert row["val_worst_recall"] == min(found.recalls)
        assert [row[f"recall/{name}"] for name in trial.facts.classes] == found.recalls
        assert row["val_acc"] == float((found.said_N == labels).double().mean())

    def test_always_the_majority_is_one_over_the_number_of_classes(self, digits):
        labels = torch.tensor([0] * 12 + [1] * 3 + [2] * 5)

        def always(x):
            zeros = torch.zeros(len(x), dtype=torch.long)
            return torch.nn.functional.one_hot(zeros, 4).float()

        net = torch.nn.Module()
        net.forward = always
        data = ImageSet(torch.zeros(20, 1, 2, 2, dtype=torch.uint8), labels)
        found = evaluate(net, data, torch.Tensor.float, 7, 4, Ranks())
        assert (found.accuracy, found.balanced_accuracy) == (12 / 20, pytest.approx(1 / 3))
        assert found.recalls == [1.0, 0.0, 0.0, None], (
            "a class that the split lacks has no recall and counts for nothing"
        )
        assert confusions(labels, found.said_N) == [[2, 0, 5], [1, 0, 3]]

    def test_of_many_classes_only_mean_and_worst_are_reported(self):
        names = [str(number) for number in range(MOST_CLASSES + 1)]
        found = Evaluation(0.0, tuple([1] * len(names)), tuple([2] * len(names)), torch.zeros(0))
        assert recall_row(found, names) == {"val_balanced_acc": 0.5, "val_worst_recall": 0.5}

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_balanced_weights_are_the_loss_of_a_set_with_small_classes_repeated(self, smoothing):
        labels = torch.tensor([0] * 12 + [1] * 3 + [2] * 4)
        again = torch.cat(
            [torch.arange(12), torch.arange(12, 15).repeat(4), torch.arange(15, 19).repeat(3)]
        )
        weights = class_weights(labels, 3, "balanced")
        # golden: N / (K n), as scikit-learn's "balanced"
        assert weights.tolist() == pytest.approx([19 / 36, 19 / 9, 19 / 12])
        assert float(weights[labels].mean()) == pytest.approx(1.0)
        torch.manual_seed(0)
        logits = torch.randn(19, 3, requires_grad=True)
        targets = soft_targets(labels, 3, 0.0)
        losses = [
            soft_cross_entropy(logits, targets, weights),
            soft_cross_entropy(logits[again], targets[again]),
        ]
        gradients = [torch.autograd.grad(loss, logits)[0] for loss in losses]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
        assert torch.allclose(*gradients, rtol=1e-5, atol=1e-7)
        # Mixed and smoothed targets: golden by hand, the weighted share of each class, the mean
        # over images.
        mixed = torch.lerp(
            soft_targets(labels, 3, smoothing), soft_targets(labels.flip(0), 3, smoothing), 0.3
        )
        by_hand = -(mixed * weights * logits.log_softmax(1)).sum(1).mean()
        assert soft_cross_entropy(logits, mixed, weights).item() == pytest.approx(
            by_hand.item(), rel=1e-6
        )

    def test_none_weighs_nothing_and_balanced_does(self, tiny, digits):
        assert class_weights(digits.train.labels_N, 10, "none") is None
        weighted = tiny.model_copy(
            update={"train": tiny.train.model_copy(update={"class_weights": "balanced"})}
        )
        assert curve_of(ImageTrialRun(weighted, digits), 1) != curve_of(
            ImageTrialRun(tiny, digits), 1
        )

    def test_weights_help_a_small_class(self, digits):
        # A set of its own: 300 zeros against 15 eights.
        kept = {
            part: ImageSet(data.images_NCHW[chosen], (data.labels_N[chosen] == 8).long())
            for part, data, most in (("train", digits.train, 12), ("val", digits.val, 20))
            for chosen in [
                torch.cat(
                    [
                        (data.labels_N != 8).nonzero()[:300, 0],
                        (data.labels_N == 8).nonzero()[:most, 0],
                    ]
                )
            ]
        }
        facts = replace(digits.facts, classes=("other", "eight"))
        splits = Splits(facts, kept["train"], kept["val"], lambda: kept["val"])
        values = {
            "model.family": "mlpmixer",
            "model.depth": 1,
            "model.dim": 16,
            "model.patch_size": 4,
            "optim.lr": 3e-3,
        }
        found = {}
        for rule in ("none", "balanced"):
            run = ImageTrialRun(
                resolve(values | {"train.epochs": 4, "train.class_weights": rule}, facts, 0), splits
            )
            found[rule] = [run.step() for _ in range(4)][-1]
        assert found["balanced"]["recall/eight"] > found["none"]["recall/eight"] + 0.2
        assert found["balanced"]["val_balanced_acc"] > found["none"]["val_balanced_acc"] + 0.1
