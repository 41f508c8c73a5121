"""Spectral normalisation: batched power iteration against single steps and SVD, what each mode may
change, folding.
"""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F

from hopsearch.models import build, fold, parse_model
from hopsearch.models.spectral import (
    SpectralLinear,
    normalized_weights,
    power_iterate,
    settle,
    spectral_norm,
)

SHAPES = [(12, 8), (8, 8), (40, 3), (1, 1)]


def tiny(**values):
    base = {
        "family": "imixer",
        "image_size": 8,
        "patch_size": 2,
        "channels": 1,
        "classes": 10,
        "depth": 3,
        "dim": 16,
    }
    return build(parse_model({**base, **values}, "test"))


def layers_of(model):
    return [layer for layer in model.modules() if isinstance(layer, SpectralLinear)]


def step_by_step(weight, u, n_power):
    for _ in range(n_power):
        v = F.normalize(weight.T @ u, dim=0)
        u = F.normalize(weight @ v, dim=0)
    return u, v


def groups(outputs, inputs, scale=1.0):
    tall = [SpectralLinear(inputs, outputs) for _ in range(3)]
    wide = [SpectralLinear(outputs, inputs) for _ in range(3)]
    for layer in (*tall, *wide):
        layer.weight_orig.data.mul_(scale)
    return tall, wide


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n_power", [1, 2, 3, 8, 13])
def test_merged_steps_equal_single_steps(shape, n_power):
    torch.manual_seed(0)
    tall, wide = groups(*shape)
    expected = [
        step_by_step(layer.weight_orig.detach(), layer.weight_u, n_power)
        for layer in (*tall, *wide)
    ]
    normalized_weights(tall, wide, 0.9, n_power, update=True)
    for layer, (u, v) in zip((*tall, *wide), expected, strict=True):
        torch.testing.assert_close(layer.weight_u, u, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(layer.weight_v, v, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(
            layer.weight_sigma[0], u @ layer.weight_orig.detach() @ v, rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_few_steps_find_the_norm_of_an_svd(scale):
    torch.manual_seed(1)
    tall, wide = groups(24, 16, scale)
    for _ in range(20):
        normalized_weights(tall, wide, 0.9, 8, update=True)
    for layer in (*tall, *wide):
        exact = torch.linalg.matrix_norm(layer.weight_orig, 2)
        torch.testing.assert_close(layer.weight_sigma[0], exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(24, 16), (16, 24), (5, 5), (1, 3)], ids=str)
def test_settled_vectors_are_those_of_the_weight_as_it_is(shape):
    torch.manual_seed(7)
    layer = SpectralLinear(shape[1], shape[0])
    weight = layer.weight_orig.detach().clone()
    settle([layer])
    exact = torch.linalg.matrix_norm(weight, 2)
    assert torch.equal(layer.weight_orig, weight)
    torch.testing.assert_close(layer.weight_u @ weight @ layer.weight_v, exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(layer.weight_sigma[0], exact, rtol=1e-5, atol=0)
    torch.testing.assert_close(spectral_norm(weight), exact, rtol=1e-6, atol=0)


def test_settled_zero_weights_stay_finite():
    layer = SpectralLinear(4, 6)
    layer.weight_orig.data.zero_()
    settle([layer])
    assert all(buffer.isfinite().all() for buffer in layer.buffers())


def test_many_power_iterations_stay_finite_on_wide_spectra():
    a_LXR = torch.diag_embed(torch.logspace(0, -18, 64)).expand(2, 64, 64).contiguous()
    vectors = F.normalize(torch.ones(2, 64), dim=1)
    large, small = power_iterate(a_LXR, vectors, vectors, 1, 1000)
    assert torch.allclose(large[:, 0], torch.ones(2))
    assert torch.allclose(small[:, 0], torch.ones(2))


def test_zero_weights_stay_zero():
    tall, wide = groups(6, 4, scale=0.0)
    weights = sum(normalized_weights(tall, wide, 0.9, 8, update=True), ())
    assert all(not weight.any() for weight in weights)
    assert all(layer.weight_u.isfinite().all() for layer in (*tall, *wide))


def test_normalisation_only_ever_shrinks():
    torch.manual_seed(2)
    tall, wide = groups(12, 8)
    for index, layer in enumerate((*tall, *wide)):
        layer.weight_orig.data.mul_([0.1, 1.0, 10.0][index % 3])
    for _ in range(20):
        weights = sum(normalized_weights(tall, wide, 0.9, 8, update=True), ())
    for layer, weight in zip((*tall, *wide), weights, strict=True):
        before, after = (
            torch.linalg.matrix_norm(matrix, 2).item() for matrix in (layer.weight_orig, weight)
        )
        assert after == pytest.approx(min(before, 0.9), rel=1e-3)
        assert after <= before


def test_gradient_holds_the_singular_vectors_constant():
    torch.manual_seed(3)
    tall, wide = groups(5, 3, scale=3.0)
    for _ in range(2):
        weights = sum(normalized_weights(tall, wide, 0.9, 4, update=True), ())
    factors = [torch.randn_like(weight) for weight in weights]
    sum((weight * factor).sum() for weight, factor in zip(weights, factors, strict=True)).backward()
    for layer, factor in zip((*tall, *wide), factors, strict=True):
        weight = layer.weight_orig.detach().clone().requires_grad_()
        sigma = layer.weight_u @ weight @ layer.weight_v
        (weight / torch.clamp(sigma / 0.9, min=1) * factor).sum().backward()
        torch.testing.assert_close(layer.weight_orig.grad, weight.grad)


def test_fresh_norms_are_as_measured_on_the_authors_code():
    torch.manual_seed(4)
    tall, wide = [SpectralLinear(256, 512)], [SpectralLinear(512, 256)]
    before = normalized_weights(tall, wide, 0.9, 8, update=False)[0][0]
    after = normalized_weights(tall, wide, 0.9, 8, update=True)[0][0]
    assert torch.linalg.matrix_norm(before, 2).item() == pytest.approx(1.95, abs=0.1)
    assert torch.linalg.matrix_norm(after, 2).item() == pytest.approx(0.927, abs=0.03)


class TestModes:
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def test_only_training_moves_the_vectors(self):
        model = tiny()
        before = deepcopy(model.state_dict())
        model.eval()(self.x)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        model.train()(self.x)
        assert all(
            not torch.equal(layer.weight_u, before[f"blocks.{0}.mlp_tokens.fc_sn1.weight_u"])
            for layer in layers_of(model)[:1]
        )

    def test_one_forward_is_one_round_of_power_iterations(self):
        model = tiny(n_iter=4, n_power=3)
        layer = model.blocks[1].mlp_tokens.fc_sn2
        u, v = step_by_step(layer.weight_orig.detach(), layer.weight_u, 3)
        model.train()(self.x)
        torch.testing.assert_close(layer.weight_u, u)
        torch.testing.assert_close(layer.weight_v, v)

    def test_evaluation_sees_every_change_of_a_weight(self):
        model = tiny().eval()
        torch.nn.init.normal_(model.head.weight)
        first = model(self.x)
        with torch.no_grad():
            for layer in layers_of(model):
                layer.weight_orig.mul_(0.5)
        second = model(self.x)
        assert not torch.equal(first, second)
        with torch.no_grad():
            for layer in layers_of(model):
                layer.weight_orig.data = layer.weight_orig.data * 2
        torch.testing.assert_close(model(self.x), first)

    @pytest.mark.parametrize("h_ratio", [0.5, 2.0])
    def test_folding_keeps_the_logits_and_drops_the_norms(self, h_ratio):
        model = tiny(h_ratio=h_ratio).train()
        torch.nn.init.normal_(model.head.weight)
        model(self.x)
        before = deepcopy(model.state_dict())
        plain = fold(model)
        assert plain.training
        torch.testing.assert_close(plain.eval()(self.x), model.eval()(self.x))
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        names = set(plain.state_dict())
        assert "blocks.0.mlp_tokens.fc_sn1.weight" in names
        assert not any("_orig" in name or "_u" in name or "_v" in name for name in names)
        shell = build(model.config, folded=True)
        shell.load_state_dict(plain.state_dict())
        assert torch.equal(shell.eval()(self.x), plain(self.x))
        torch.testing.assert_close(fold(plain)(self.x), plain(self.x))
