"""Density: the attentional Boltzmann machine as an exact mixture of Gaussians, its data, and its
trainings beside EM.

Shapes: N = items, B = a few of them, V = values of one, H = components.
"""

import importlib.util
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from hopsearch import predict
from hopsearch.artifact.folder import require_free
from hopsearch.command_line.command import run_verb
from hopsearch.core.errors import ConfigError, DataError
from hopsearch.models.attnbm import AttnBM
from hopsearch.reporting.terminal.data_reading import read_data
from hopsearch.space import load_space
from hopsearch.study import StudyView
from hopsearch.tasks import find_task
from hopsearch.tasks.density import Density, DensityData, load
from tests.conftest import environment
from tests.processes import command, output

V, H = 6, 5
ADAM = {
    "optim.name": "adamw",
    "optim.lr": 0.01,
    "optim.weight_decay": 0.0,
    "optim.batch_size": 50,
    "optim.warmup_epochs": 0,
}


def machine(seed: int, biases: bool = True) -> AttnBM:
    torch.manual_seed(seed)
    model = AttnBM(V, H, biases)
    with torch.no_grad():
        model.weight_HV.normal_()
        if biases:
            model.bias_V.normal_()
            model.bias_H.normal_()
    return model


def mixture(model: AttnBM):
    """Log weights and means, computed anew in float64 from the energy alone."""
    w_HV = model.weight_HV.detach().double().numpy()
    b_V = model.bias_V.detach().double().numpy()
    c_H = model.bias_H.detach().double().numpy()
    mass_H = 0.5 * (w_HV**2).sum(1) + w_HV @ b_V + c_H
    return mass_H - logsumexp(mass_H), b_V + w_HV


def log_density(v_NV, log_weights_H, means_HV, values=slice(None)):
    """Of these values alone, the others summed out."""
    means_HV = means_HV[:, values]
    each_HN = [
        np.atleast_1d(multivariate_normal(mean, np.eye(len(mean))).logpdf(v_NV[:, values]))
        for mean in means_HV
    ]
    return np.stack(each_HN, axis=1) + log_weights_H


def em(train_NV: torch.Tensor, count: int, rounds: int, seed: int = 0):
    """EM of a mixture of unit-covariance Gaussians, started at training rows."""
    x_NV = train_NV.double()
    draw = torch.Generator().manual_seed(seed)
    means_HV = x_NV[torch.randperm(len(x_NV), generator=draw)[:count]].clone()
    log_weights_H = torch.full((count,), -np.log(count), dtype=torch.float64)
    for _ in range(rounds):
        shares_NH = (log_weights_H - 0.5 * torch.cdist(x_NV, means_HV).square()).softmax(1)
        counts_H = shares_NH.sum(0) + 1e-9
        means_HV = shares_NH.T @ x_NV / counts_H[:, None]
        log_weights_H = (counts_H / counts_H.sum()).log()
    return log_weights_H, means_HV


def nats_of(v_NV: torch.Tensor, log_weights_H: torch.Tensor, means_HV: torch.Tensor) -> float:
    """Mean negative log-likelihood of a vector, without (V/2) log 2π."""
    log_NH = log_weights_H - 0.5 * torch.cdist(v_NV.double(), means_HV).square()
    return float(-log_NH.logsumexp(1).mean())


class TestMachine:
    @pytest.mark.parametrize("biases", [True, False])
    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_a_mixture_of_gaussians(self, seed, biases):
        model = machine(seed, biases)
        v_BV = 2 * torch.randn(40, V)
        log_weights_H, means_HV = mixture(model)
        wanted_B = -logsumexp(log_density(v_BV.double().numpy(), log_weights_H, means_HV), axis=1)
        found_B = model(v_BV).detach().double().numpy() + V / 2 * np.log(2 * np.pi)
        assert np.abs(found_B - wanted_B).max() < 1e-5
        assert model.log_weights().detach().numpy() == pytest.approx(log_weights_H, abs=1e-5)
        assert model.means().detach().numpy() == pytest.approx(means_HV, abs=1e-6)
        effective = 1 / (np.exp(log_weights_H) ** 2).sum()
        assert float(model.effective_components().detach()) == pytest.approx(effective, rel=1e-5)

    def test_its_density_sums_to_one(self):
        torch.manual_seed(0)
        model = AttnBM(1, 3)
        with torch.no_grad():
            model.weight_HV.normal_()
            model.bias_V.normal_()
            model.bias_H.normal_()
            line_N1 = torch.linspace(-15, 15, 20001)[:, None]
            density_N = (-model(line_N1) - 0.5 * np.log(2 * np.pi)).exp()
        assert float(torch.trapezoid(density_N, line_N1[:, 0])) == pytest.approx(1, abs=1e-4)

    @pytest.mark.parametrize("biases", [True, False])
    def test_gradients_are_those_of_finite_differences(self, biases):
        model = machine(0, biases).double()
        v_BV = torch.randn(7, V, dtype=torch.float64)
        model(v_BV).mean().backward()
        assert all(torch.isfinite(part.grad).all() for part in model.parameters())
        assert len(list(model.parameters())) == (3 if biases else 1)
        step = 1e-6
        for part in model.parameters():
            flat, grad = part.data.view(-1), part.grad.view(-1)
            for at in range(0, len(flat), 4):
                values = []
                for sign in (1, -1):
                    flat[at] += sign * step
                    values.append(float(model(v_BV).mean().detach()))
                    flat[at] -= sign * step
                slope = (values[0] - values[1]) / (2 * step)
                assert float(grad[at]) == pytest.approx(slope, abs=1e-7)

    def test_large_vectors_have_a_finite_likelihood(self):
        model = machine(0)
        nats_B = model(1e4 * torch.randn(3, V))
        nats_B.mean().backward()
        assert torch.isfinite(nats_B).all()
        assert torch.isfinite(model.weight_HV.grad).all()

    @pytest.mark.parametrize("biases", [True, False])
    def test_completion_is_the_conditional_mean(self, biases):
        """By brute force: the posterior of the components from the marginal of what is observed."""
        model = machine(1, biases)
        v_BV = 1.5 * torch.randn(30, V)
        missing_BV = torch.rand(30, V) < 0.5
        missing_BV[0], missing_BV[1] = True, False
        found_BV = model.complete(v_BV, missing_BV).detach()
        log_weights_H, means_HV = mixture(model)
        for v_V, missing_V, found_V in zip(v_BV, missing_BV, found_BV, strict=True):
            seen_V = (~missing_V).numpy()
            log_H = log_weights_H
            if seen_V.any():
                log_H = log_density(v_V.double().numpy()[None], log_weights_H, means_HV, seen_V)[0]
            mean_V = np.exp(log_H - logsumexp(log_H)) @ means_HV
            wanted_V = np.where(seen_V, v_V.numpy(), mean_V)
            assert found_V.numpy() == pytest.approx(wanted_V, abs=1e-5)

    def test_what_stands_where_values_are_missing_does_not_matter(self):
        model, v_BV = machine(2), torch.randn(9, V)
        missing_BV = torch.rand(9, V) < 0.6
        other_BV = torch.where(missing_BV, torch.full_like(v_BV, float("nan")), v_BV)
        found_BV = model.complete(other_BV, missing_BV)
        assert torch.equal(found_BV, model.complete(v_BV, missing_BV))
        assert torch.equal(found_BV[~missing_BV], v_BV[~missing_BV])

    def test_an_update_without_biases_is_attention(self):
        model, v_BV = machine(3, biases=False), torch.randn(4, V)
        wanted_BV = (v_BV @ model.weight_HV.T).softmax(1) @ model.weight_HV
        assert torch.allclose(model.update(v_BV), wanted_BV, atol=1e-6)

    def test_samples_have_the_mixtures_mean(self):
        model = machine(4)
        sample_NV = model.sample(20_000, torch.Generator().manual_seed(0)).detach()
        log_weights_H, means_HV = mixture(model)
        assert sample_NV.mean(0).numpy() == pytest.approx(
            np.exp(log_weights_H) @ means_HV, abs=0.06
        )


class TestData:
    def test_scalings(self):
        for scaling in ("global", "standard", "whiten"):
            splits = load(DensityData(scaling=scaling))
            x_NV = splits.train_NV
            assert x_NV.shape == (splits.facts.n_train, 64)
            assert x_NV.mean(0).abs().max() < 1e-4
            if scaling == "global":
                assert 0.2 < float(x_NV.var()) < 1
            if scaling == "standard":
                spread_V = x_NV.std(0, correction=0)
                assert all(spread == 0 or abs(spread - 1) < 1e-4 for spread in spread_V.tolist())
            if scaling == "whiten":
                values_V = torch.linalg.eigvalsh(x_NV.T @ x_NV / len(x_NV))
                assert float(values_V.max()) < 1.001
                assert float(values_V.median()) > 0.9
        raw_NV = load(DensityData(scaling="none")).train_NV
        assert float(raw_NV.min()) == 0
        assert float(raw_NV.max()) == 1

    def test_the_scaling_is_that_of_the_training_part(self):
        splits = load(DensityData(scaling="standard"))
        raw = load(DensityData(scaling="none"))
        assert torch.allclose(splits.scaling.mean_V, raw.train_NV.double().mean(0).float())
        spread = load(DensityData(scaling="global")).scaling.scale[0].reciprocal()
        assert float(spread) == pytest.approx(float(raw.train_NV.std(correction=0)), rel=1e-4)
        assert torch.allclose(splits.scaling(raw.read_test()), splits.read_test())
        assert torch.allclose(splits.scaling(raw.val_NV), splits.val_NV)

    @pytest.mark.parametrize("scaling", ["global", "standard", "whiten", "none"])
    def test_a_model_takes_vectors_as_they_come(self, scaling):
        task = Density()
        splits = load(DensityData(scaling=scaling))
        model = task.start(task.resolve({}, splits.facts, 0), splits).model
        raw = load(DensityData(scaling="none"))
        assert torch.allclose(model.scale(raw.val_NV), splits.val_NV, atol=1e-4)
        assert torch.allclose(model.unscale(splits.val_NV), raw.val_NV, atol=1e-4)

    def test_a_file_of_vectors(self, tmp_path):
        x_NV = np.random.default_rng(0).normal(size=(100, 2, 3)).astype(np.float32)
        np.save(tmp_path / "points.npy", x_NV)
        splits = load(DensityData(source=str(tmp_path / "points.npy"), scaling="none"))
        facts = splits.facts
        assert (facts.name, facts.n_visible, facts.shape) == ("points", 6, ())
        assert (facts.n_train, facts.n_val, facts.n_test) == (72, 13, 15)
        parts = torch.cat([splits.train_NV, splits.val_NV, splits.read_test()])
        assert sorted(map(tuple, parts.tolist())) == sorted(
            map(tuple, x_NV.reshape(100, 6).tolist())
        )
        other = load(DensityData(source=str(tmp_path / "points.npy"), split_seed=1))
        assert other.facts.fingerprint != facts.fingerprint
        task = Density()
        run = task.start(task.resolve({"train.epochs": 1}, facts, 0), splits)
        assert run.step()["val_nll"] > 0
        assert task.draw(run) == {}

    @pytest.mark.parametrize("scaling", ["global", "standard", "whiten"])
    def test_a_value_that_never_changes_stays_small(self, tmp_path, scaling):
        x_NV = np.random.default_rng(0).normal(size=(999, 3)).astype(np.float32)
        x_NV[:, 1] = 0.1
        np.save(tmp_path / "constant.npy", x_NV)
        splits = load(DensityData(source=str(tmp_path / "constant.npy"), scaling=scaling))
        assert splits.val_NV.abs().max() < 6
        assert splits.val_NV[:, 1].abs().max() < 1e-5

    @pytest.mark.parametrize(
        ("content", "rule"),
        [
            (np.zeros(4), "must be an array of numbers with two axes or more, got float64"),
            (
                np.array([["a"], ["b"]]),
                "must be an array of numbers with two axes .*, got <U1",
            ),
            (np.zeros((2, 4)), "must have 3 vectors at least, one for each split, got 2"),
            (np.full((4, 1), np.nan), "must have finite values alone, got 4 others"),
            (np.zeros((4, 0)), "must have values in its vectors, got none"),
            (None, "must be a readable array of numbers, got: .*No such file"),
        ],
    )
    def test_files_that_cannot_be_used(self, tmp_path, content, rule):
        file = tmp_path / "x.npy"
        if content is not None:
            np.save(file, content)
        with pytest.raises(DataError, match=rule):
            load(DensityData(source=str(file)))

    def test_fractions_that_leave_nothing_to_train_on(self, tmp_path):
        np.save(tmp_path / "four.npy", np.arange(8.0).reshape(4, 2))
        config = DensityData(source=str(tmp_path / "four.npy"), val_fraction=0.9)
        with pytest.raises(DataError, match="must leave vectors to train on, got 3 to validate"):
            load(config)

    def test_a_file_that_changed_is_read_again_by_the_next_search(self, tmp_path):
        file = tmp_path / "points.npy"
        config = DensityData(source=str(file))
        console = Console(file=io.StringIO())
        found = []
        for seed in (0, 1):
            np.save(file, np.random.default_rng(seed).normal(size=(40, 3)))
            found.append(read_data(Density(), config, console).facts.fingerprint)
        assert found[0] != found[1]

    def test_settings_that_cannot_be(self):
        with pytest.raises(ValueError, match="keep_original must be left out"):
            DensityData(keep_original=True)
        with pytest.raises(ValueError, match=r"image_size must be left out with a \.npy file"):
            DensityData(source="x.npy", image_size=8)
        with pytest.raises(ConfigError, match="is determined by the data, which have 64, got 3"):
            Density().resolve({"model.n_visible": 3}, load(DensityData()).facts, 0)

    def test_colour_images_are_flattened(self, tmp_path):
        draw = np.random.default_rng(0)
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            for number in range(6):
                pixels = draw.integers(0, 256, (4, 4, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
        splits = load(DensityData(source=str(tmp_path), cache=str(tmp_path / "cache")))
        assert splits.facts.shape == (3, 4, 4)
        assert splits.train_NV.shape[1] == 48
        task = Density()
        run = task.start(task.resolve({"model.n_hidden": 30}, splits.facts, 0), splits)
        # more components than rows: those that start at the same row differ
        assert len(torch.unique(run.model.weight_HV, dim=0)) == 30
        assert task.draw(run).keys() == {"components/means", "validation/completed"}


class TestTraining:
    def test_of_all_initial_weights(self):
        """Balanced: equal weights; rows and balanced: means at training rows."""
        task, splits = Density(), load(DensityData())
        rows = {tuple(row) for row in splits.train_NV.mul(100).round().tolist()}
        for init in ("random", "rows", "balanced"):
            for biases in (True, False):
                values = {"model.init": init, "model.biases": biases}
                model = task.start(task.resolve(values, splits.facts, 0), splits).model
                at_rows = {tuple(row) for row in model.means().mul(100).round().tolist()} <= rows
                assert at_rows == (init != "random")
                if init == "balanced":
                    effective = float(model.effective_components().detach())
                    assert effective == pytest.approx(50, abs=0.01)

    def test_adam_from_rows_comes_near_to_em(self):
        task, splits = Density(), load(DensityData())
        values = {**ADAM, "model.n_hidden": 50, "train.epochs": 20}
        run = task.start(task.resolve(values, splits.facts, 0), splits)
        while not run.done:
            row = run.step()
        known = nats_of(splits.val_NV, *em(splits.train_NV, 50, 40)) / 64
        assert row["val_nll"] == pytest.approx(known, rel=0.05)
        assert row["effective_components"] > 15
        assert row["val_missing_mse"] < 0.7 * float(splits.val_NV.square().mean())
        assert run.test(splits)["test_nll"] == pytest.approx(row["val_nll"], rel=0.1)

    def test_the_authors_start_collapses_on_data_that_are_not_centred(self):
        """Trap 3 of the authors' initialisation: one component takes all the weight."""
        task, splits = Density(), load(DensityData(centred=False))
        values = {**ADAM, "optim.name": "sgdw", "model.init": "random", "train.epochs": 5}
        run = task.start(task.resolve(values, splits.facts, 0), splits)
        while not run.done:
            row = run.step()
        assert row["effective_components"] == pytest.approx(1, abs=0.01)
        one = nats_of(splits.val_NV, torch.zeros(1), splits.train_NV.mean(0, True).double())
        assert row["val_nll"] > 0.99 * one / 64

    def test_the_loss_does_not_depend_on_the_batch(self):
        task, splits = Density(), load(DensityData())
        losses = []
        for size in (20, 650):
            values = {**ADAM, "optim.batch_size": size, "optim.lr": 1e-12, "optim.min_lr": 0.0}
            losses.append(task.start(task.resolve(values, splits.facts, 0), splits).step())
        assert losses[0]["train_loss"] == pytest.approx(losses[1]["train_loss"], rel=1e-4)
        assert losses[0]["val_nll"] == pytest.approx(losses[0]["train_loss"] / 64, rel=0.2)

    def test_all_rows_memorised_by_components_at_them(self):
        task, splits = Density(), load(DensityData())
        values = {"model.n_hidden": splits.facts.n_train, "model.init": "rows"}
        run = task.start(task.resolve(values, splits.facts, 0), splits)
        assert run.measure()["memorised_share"] == 1


class TestPublished:
    @pytest.fixture
    def published(self, tmp_path):
        task, splits = Density(), load(DensityData(scaling="whiten"))
        run = task.start(task.resolve({"model.biases": False}, splits.facts, 0), splits)
        assert task.draw(run).keys() == {"components/means", "validation/completed"}
        task.publish(run, tmp_path / "model")
        return run, tmp_path / "model"

    def test_it_loads_in_plain_torch(self, published):
        run, folder = published
        spec = importlib.util.spec_from_file_location("published_modeling", folder / "modeling.py")
        modeling = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(modeling)
        assert "hopsearch" not in {
            value.__name__.split(".")[0]
            for value in vars(modeling).values()
            if isinstance(value, type(sys))
        }
        model = modeling.load(folder)
        raw_NV = load(DensityData(scaling="none")).val_NV
        assert torch.allclose(model(model.scale(raw_NV)), run.model(run.val_NV), rtol=1e-4)
        about = json.loads((folder / "config.json").read_text())
        assert about["shape"] == [1, 8, 8]

    def test_predict_says_what_it_cannot(self, published, capsys):
        _, folder = published
        image = folder.parent / "digit.png"
        Image.new("L", (8, 8)).save(image)
        words = [f"model={folder}", str(image)]
        assert run_verb(predict.main, predict.PredictConfig, "about", words) == 2
        said = capsys.readouterr().err
        assert "must describe a classifier of images, got a model of task density" in said
        assert "Load it with modeling.py beside it" in said

    def test_an_export_replaces_an_earlier_one(self, published):
        require_free(published[1])


def test_the_space_is_of_this_task():
    space = load_space("attnbm")
    assert find_task(space.parts.task).name == "density"
    assert (space.parts.objective, space.parts.direction) == ("val_nll", "minimize")


def beside_em(study: Path) -> float:
    """By how much the winner's test_nll differs from EM's, chosen by the validation split."""
    splits = load(DensityData())
    found = []
    for count in (50, 100, 150):
        mixture = em(splits.train_NV, count, 60)
        found.append((nats_of(splits.val_NV, *mixture), nats_of(splits.read_test(), *mixture)))
    return StudyView.open(study).winner["test_nll"] / (min(found)[1] / 64) - 1


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_search_comes_within_two_percent_of_em(tmp_path):
    """The whole service against a strong reference."""
    words = command(tmp_path, "space=attnbm", "trials=72")
    assert "winner: trial" in output(words, tmp_path, environment(tmp_path))
    assert beside_em(tmp_path / "runs" / "attnbm-digits") < 0.02
