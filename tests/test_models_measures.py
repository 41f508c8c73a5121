"""Symmetry breaking and what is measured on a model."""

import itertools
import math

import pytest
import torch

from hopsearch.models import FAMILIES, build, fold, measure, measured, parse_model

X = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def tiny(family, **values):
    torch.manual_seed(0)
    base = {"image_size": 8, "patch_size": 2, "channels": 1, "classes": 10, "depth": 2, "dim": 16}
    return build(parse_model({**base, "family": family, **values}, "test"))


class TestRegularization:
    def test_value_and_gradient(self):
        model = tiny("asymmixer", symmetry_breaking=0.25)
        parts = [
            mlp.fc2.weight
            for block in model.blocks
            for mlp in (block.mlp_tokens, block.mlp_channels)
        ]
        penalty = model.regularization()
        expected = 0.25 * sum(float((part.detach().double() ** 2).sum()) for part in parts)
        assert penalty.item() == pytest.approx(expected, rel=1e-5)
        penalty.backward()
        for part in parts:
            torch.testing.assert_close(part.grad, 2 * 0.25 * part.detach())
        assert all(block.mlp_tokens.fc1.weight.grad is None for block in model.blocks)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_zero_elsewhere(self, family):
        penalty = tiny(family).regularization()
        assert penalty.item() == 0
        assert penalty.shape == ()
        assert not penalty.requires_grad

    def test_large_strength_tends_to_symmixer(self):
        model = tiny("asymmixer", symmetry_breaking=1e3)
        optimizer = torch.optim.SGD(model.parameters(), lr=2e-4)
        for _ in range(60):
            optimizer.zero_grad()
            model.regularization().backward()
            optimizer.step()
        torch.nn.init.normal_(model.head.weight)
        symmetric = tiny("symmixer")
        symmetric.load_state_dict(
            {
                name.replace("fc1", "fc2"): tensor
                for name, tensor in model.state_dict().items()
                if not ("mlp" in name and "fc2" in name)
            }
        )
        torch.testing.assert_close(model(X), symmetric(X), rtol=1e-4, atol=1e-4)
        assert measure(model, X)["breaking/channels/max"] < 1e-6


class TestMeasure:
    def test_symmetric_weights_are_symmetric(self):
        found = measure(tiny("symmixer"), X)
        assert found["asymmetry/tokens/max"] == found["asymmetry/channels/max"] == 0
        assert found["cosine/tokens/mean"] == pytest.approx(1)

    @pytest.mark.parametrize("family", ["mlpmixer", "paramixer", "vanillamixer"])
    def test_fresh_weights_are_unrelated(self, family):
        found = measure(tiny(family, dim=64), X)
        for where in ("tokens", "channels"):
            assert found[f"asymmetry/{where}/mean"] == pytest.approx(math.sqrt(0.5), abs=0.05)
            assert found[f"cosine/{where}/mean"] == pytest.approx(0, abs=0.1)

    def test_weights_by_formula(self):
        model = tiny("asymmixer")
        found = measure(model, X, per_block=True)
        first, breaking = (
            layer.weight.detach()
            for layer in (model.blocks[1].mlp_tokens.fc1, model.blocks[1].mlp_tokens.fc2)
        )
        second = first.T + breaking
        norms = torch.linalg.norm(first), torch.linalg.norm(second)
        assert found["breaking/tokens/block1"] == pytest.approx(
            (torch.linalg.norm(breaking) / norms[0]).item()
        )
        assert found["asymmetry/tokens/block1"] == pytest.approx(
            (torch.linalg.norm(second - first.T) / sum(norms)).item()
        )
        cosine = torch.nn.functional.cosine_similarity(first.T.flatten(), second.flatten(), dim=0)
        assert found["cosine/tokens/block1"] == pytest.approx(cosine.item())

    def test_aggregates_and_blocks_are_apart(self):
        model = tiny("imixer")
        assert all(name.rsplit("/", 1)[1] in ("mean", "max") for name in measure(model, X))
        blocks = measure(model, X, per_block=True)
        values = [blocks["fixed_point/residual/block0"], blocks["fixed_point/residual/block1"]]
        assert blocks["fixed_point/residual/mean"] == pytest.approx(sum(values) / 2)
        assert blocks["fixed_point/residual/max"] == max(values)

    @pytest.mark.parametrize(
        ("family", "values"), [*((family, {}) for family in FAMILIES), ("imixer", {"n_iter": 0})]
    )
    def test_names_are_known_before(self, family, values):
        model = tiny(family, **values)
        assert set(measured(model.config)) == set(measure(model, X))

    def test_residual_falls_with_iterations(self):
        model = tiny("imixer", n_iter=1, spectral_coeff=0.8)
        model.train()
        for _ in range(10):
            model(X)
        residuals = []
        for n_iter in (1, 2, 4, 8):
            for block in model.blocks:
                block.mlp_tokens.n_iter = n_iter
            residuals.append(measure(model, X)["fixed_point/residual/max"])
        # A contraction with factor at most 0.8² · Lip(GELU)² = 0.816 a step.
        assert all(later <= 0.816 * earlier for earlier, later in itertools.pairwise(residuals))

    def test_residual_by_formula(self):
        model = tiny("imixer", depth=1).eval()
        mlp, (weights,) = model.blocks[0].mlp_tokens, model.token_weights()
        x = model.blocks[0].norm1(model.stem(X))
        iterates = []
        for n_iter in (1, 2):
            mlp.n_iter = n_iter
            iterates.append(mlp.solve(x, *weights)[0])
        expected = (iterates[1] - iterates[0]).norm() / iterates[1].norm()
        assert measure(model, X)["fixed_point/residual/mean"] == pytest.approx(
            expected.item(), rel=1e-5
        )

    def test_spectral_norms_are_those_of_an_svd(self):
        """Also where the running estimate is behind, as in a model that has not been trained yet:
        it says 0.9 at most there.
        """
        model = tiny("imixer", h_ratio=2.0)
        for passes in (0, 1, 20):
            for _ in range(passes):
                model.train()(X)
            found, weights = measure(model, X, per_block=True), model.eval().token_weights()
            for block, pair in enumerate(weights):
                for layer, weight_OI in zip(("fc_sn1", "fc_sn2"), pair, strict=True):
                    exact = torch.linalg.matrix_norm(weight_OI.double(), 2).item()
                    assert found[f"spectral/{layer}/block{block}"] == pytest.approx(exact, rel=1e-6)
        assert found["spectral/fc_sn1/max"] == pytest.approx(0.9, rel=1e-3)
        assert measure(fold(model), X)["spectral/fc_sn1/max"] == pytest.approx(
            found["spectral/fc_sn1/max"], rel=1e-4
        )

    @pytest.mark.parametrize("family", FAMILIES)
    def test_measuring_leaves_no_trace(self, family):
        model = tiny(family, drop=0.2)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        found = measure(model, X)
        assert found
        assert all(math.isfinite(value) for value in found.values())
        assert model.training
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
        assert not any(module._forward_pre_hooks for module in model.modules())
        assert measure(model, X) == found
