"""The moving average: its own spectral norms, a decay that warms up, checkpoints of before, what is
exported.
"""

import pytest
import torch
from safetensors.torch import load_file

from hopsearch import export
from hopsearch.artifact import load_model
from hopsearch.data import Augment
from hopsearch.models import build, fold, measure
from hopsearch.models.spectral import SpectralLinear
from hopsearch.tasks.images import Images
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.training import CheckpointFolder
from hopsearch.training.average import MovingAverage
from tests.conftest import search_little

VALUES = {
    "model.family": "imixer",
    "model.depth": 2,
    "model.dim": 32,
    "model.patch_size": 2,
    "optim.lr": 1e-2,
    "train.epochs": 2,
}


def norms(model, images):
    return [measure(model, images)[f"spectral/fc_sn{layer}/max"] for layer in (1, 2)]


@pytest.fixture
def averaged(digits):
    run = ImageTrialRun(resolve(VALUES | {"train.ema_decay": 0.99}, digits.facts, 0), digits)
    run.step()
    return run


def test_the_averages_norms_are_its_own(averaged, digits, tmp_path):
    """Logged, true, folded and exported norms are one number, at most spectral_coeff (before:
    logged 0.900, true up to 1.27).
    """
    images = averaged.augment.normalize(digits.val.images_NCHW[:8])
    row = averaged.history[-1]
    weights = averaged.evaluated.eval().token_weights()
    true = [
        max(torch.linalg.matrix_norm(pair[layer], 2).item() for pair in weights) for layer in (0, 1)
    ]
    assert [row["spectral/fc_sn1/max"], row["spectral/fc_sn2/max"]] == pytest.approx(true, rel=1e-5)
    assert max(true) <= 0.9 * (1 + 1e-5)
    assert norms(fold(averaged.evaluated), images) == pytest.approx(true, rel=1e-5)
    Images().publish(averaged, tmp_path)
    assert norms(load_model(tmp_path), images) == pytest.approx(true, rel=1e-5)
    assert load_file(tmp_path / "model.safetensors")["blocks.0.mlp_tokens.fc_sn1.weight_sigma"] > 0


def test_a_checkpoint_with_anothers_vectors_is_settled_when_loaded(averaged, digits):
    """As versions before wrote them: the average beside the live model's singular vectors."""
    state = averaged.state_dict()
    state["ema"] = {name: tensor.clone() for name, tensor in state["ema"].items()}
    for name, tensor in averaged.model.state_dict().items():
        if name.endswith(("weight_u", "weight_v", "weight_sigma")):
            state["ema"][f"module.{name}"] = tensor
    again = ImageTrialRun(averaged.config, digits)
    again.load_state_dict(state)
    images = again.augment.normalize(digits.val.images_NCHW[:8])
    assert max(norms(again.evaluated, images)) <= 0.9 * (1 + 1e-5)
    assert again.evaluate_validation().loss == averaged.evaluate_validation().loss


def test_an_export_of_a_trial_of_before_is_settled(digits, tmp_path):
    """A trial's kept checkpoint as versions before wrote it: what is exported keeps the norms below
    spectral_coeff.
    """
    space = {
        "fidelity": {"min_epochs": 2, "max_epochs": 2, "reduction": 3},
        "fixed": {name: value for name, value in VALUES.items() if name != "optim.lr"}
        | {"train.ema_decay": 0.99},
        "parameters": {"optim.lr": {"type": "float", "low": 0.009, "high": 0.011}},
    }
    folder = search_little(tmp_path / "averaged", digits, space, 1)
    images = Augment.normalize(digits.val.images_NCHW[:8])
    best = folder / "trials" / "0000" / "best.pt"
    state = CheckpointFolder(best.parent).load_best()
    assert state is not None
    # versions before kept the vectors of weights that are not the average
    other = build(resolve(VALUES, digits.facts, 0).model)
    vectors = {
        name: value
        for name, value in other.state_dict().items()
        if name.endswith(("weight_u", "weight_v", "weight_sigma"))
    }
    assert vectors, "an iMixer has singular vectors"
    state["ema"] |= {f"module.{name}": value for name, value in vectors.items()}
    torch.save(state, best)
    other.load_state_dict(
        {
            name.removeprefix("module."): value
            for name, value in state["ema"].items()
            if name != "n_averaged"
        }
    )
    assert max(norms(fold(other), images)) > 0.91, "unsettled, the norms are above"
    export.main([f"study={folder.name}", f"storage={tmp_path}", f"to={tmp_path / 'm'}", "trial=0"])
    found = norms(load_model(tmp_path / "m"), images)
    assert max(found) <= 0.9 * (1 + 1e-5)


def test_the_live_model_is_not_touched(digits):
    """An average looks on: with and without it the training is the same."""
    runs = [
        ImageTrialRun(resolve(VALUES | extra, digits.facts, 0), digits)
        for extra in ({}, {"train.ema_decay": 0.99})
    ]
    for run in runs:
        run.step()
    states = [run.model.state_dict() for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    vectors = [
        module.weight_u
        for run in runs
        for module in (run.model.modules())
        if isinstance(module, SpectralLinear)
    ]
    assert torch.equal(vectors[0], vectors[len(vectors) // 2])


def test_the_decay_warms_up(digits):
    model = ImageTrialRun(resolve(VALUES, digits.facts, 0), digits).model
    average = MovingAverage(model, 0.9999)
    parameter, seen = model.head.bias, average.module.head.bias
    expected = None
    for step in range(40):
        parameter.data.fill_(float(step + 1))
        average.update(model)
        decay = min(0.9999, (1 + step) / (10 + step)) if step else 0.0
        expected = (
            float(step + 1) if expected is None else decay * expected + (1 - decay) * (step + 1)
        )
        assert seen[0].item() == pytest.approx(expected, rel=1e-5)
    assert expected > 30  # without a warm-up: 1.08


def test_a_slow_average_is_not_the_initial_model_at_the_first_rung(digits):
    run = ImageTrialRun(resolve(VALUES | {"train.ema_decay": 0.9999}, digits.facts, 0), digits)
    assert run.step()["val_acc"] > 0.3  # without a warm-up: 0.1


def test_batch_statistics_are_those_of_the_training():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    average = MovingAverage(model, 0.9)
    for _ in range(3):
        model(torch.randn(8, 3) + 5)
        average.update(model)
    trained = model[1]
    averaged = average.module[1]
    assert averaged.num_batches_tracked == 3
    assert torch.equal(averaged.running_mean, trained.running_mean)
    assert torch.equal(averaged.running_var, trained.running_var)
    assert averaged.running_mean.abs().max() > 0.1
