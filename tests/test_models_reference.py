"""Every family against an independent writing of its formula: timm's own code, or
tests/reference_models.py.
"""

import pytest
import torch
import torch.nn.functional as F
from timm.models.mlp_mixer import MlpMixer as TimmMixer

from hopsearch.models import FAMILIES, build, parse_model
from tests.reference_models import ReferenceMixer

TINY = {"image_size": 12, "patch_size": 4, "channels": 2, "classes": 5, "depth": 2, "dim": 16}
VARIANTS = [
    {"family": "mlpmixer"},
    {"family": "imixer"},
    {"family": "imixer", "n_iter": 1, "n_power": 1, "h_ratio": 1.0},
    {"family": "imixer", "n_iter": 4, "n_power": 3, "h_ratio": 0.5, "spectral_coeff": 0.7},
    {"family": "vanillamixer"},
    {"family": "vanillamixer", "n_iter": 3},
    {"family": "paramixer"},
    {"family": "paramixer", "n_iter": 2},
    {"family": "symmixer", "n_iter": 2},
    {"family": "asymmixer", "n_iter": 2, "symmetry_breaking": 0.1},
]


def tiny(**values):
    return parse_model({**TINY, **values}, "test")


def randomized(reference):
    for name, tensor in reference.named_parameters():
        # Not the initial values: zero heads, unit norms and tiny biases would hide a lost term.
        torch.nn.init.normal_(
            tensor, mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.3
        )
    return reference


def images(config, batch=3):
    return torch.randn(batch, config.channels, config.image_size, config.image_size)


@pytest.mark.parametrize("values", VARIANTS, ids=str)
class TestReference:
    def test_state_dict_loads_strictly_and_gives_equal_logits(self, values):
        torch.manual_seed(0)
        reference = randomized(ReferenceMixer(tiny(**values))).train()
        x = images(tiny(**values))
        reference(x)  # some power iterations, so that eval mode has singular vectors to use
        model = build(tiny(**values))
        model.load_state_dict(reference.state_dict())
        assert set(model.state_dict()) == set(reference.state_dict())
        torch.testing.assert_close(model.eval()(x), reference.eval()(x), rtol=1e-5, atol=1e-5)

    def test_gradients_are_equal(self, values):
        torch.manual_seed(1)
        config = tiny(**values)
        reference = randomized(ReferenceMixer(config)).train()
        x, labels = images(config), torch.tensor([0, 1, 4])
        model = build(config).train()
        model.load_state_dict(reference.state_dict())
        for _ in range(40):
            reference(x), model(x)  # converged: then one power iteration more or less is the same σ
        F.cross_entropy(reference(x), labels).backward()
        F.cross_entropy(model(x), labels).backward()
        expected = {name: tensor.grad for name, tensor in reference.named_parameters()}
        for name, tensor in model.named_parameters():
            scale = expected[name].abs().max().item()
            torch.testing.assert_close(
                tensor.grad,
                expected[name],
                rtol=1e-3,
                atol=max(1e-4 * scale, 1e-6),
                msg=lambda text, name=name: f"{name}: {text}",
            )


@pytest.mark.parametrize("patch", [16, 32])
def test_mlpmixer_is_timms(patch):
    torch.manual_seed(2)
    theirs = randomized(
        TimmMixer(img_size=64, patch_size=patch, num_classes=7, num_blocks=2, embed_dim=32)
    )
    ours = build(
        parse_model(
            {
                "family": "mlpmixer",
                "image_size": 64,
                "patch_size": patch,
                "classes": 7,
                "depth": 2,
                "dim": 32,
            },
            "test",
        )
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        ours.forward_features(x), theirs.forward_features(x), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        ours.forward_head(ours.forward_features(x), pre_logits=True),
        theirs.forward_features(x).mean(1),
    )


def test_initial_weights_are_drawn_as_timm_draws_them():
    torch.manual_seed(3)
    theirs = TimmMixer(img_size=64, num_blocks=1, embed_dim=256).state_dict()
    ours = build(
        parse_model({"family": "mlpmixer", "image_size": 64, "depth": 1, "dim": 256}, "test")
    ).state_dict()
    for name, tensor in theirs.items():
        if tensor.numel() > 1000:
            torch.testing.assert_close(ours[name].std(), tensor.std(), rtol=0.15, atol=0, msg=name)
        torch.testing.assert_close(ours[name].mean(), tensor.mean(), rtol=0, atol=0.01, msg=name)


def test_imixer_without_iterations_is_mlpmixer():
    torch.manual_seed(4)
    imixer, plain = build(tiny(family="imixer", n_iter=0)), build(tiny(family="mlpmixer"))
    plain.load_state_dict(randomized(imixer).state_dict())
    x = images(plain.config)
    assert torch.equal(imixer(x), plain(x))


def test_drop_path_skips_whole_images_and_keeps_the_mean():
    torch.manual_seed(5)
    config = tiny(family="paramixer", depth=1, drop_path=0.5)
    model = build(config)
    block = model.blocks[0].train()
    x_SBD = torch.randn(9, 1, 16).expand(9, 4000, 16).contiguous()
    kept = block(x_SBD) - x_SBD
    mlps = [
        mlp(block.norm(x_SBD[:, :1]))[0, 0, 0].item()
        for mlp in (block.mlp_tokens, block.mlp_channels)
    ]
    # Two independent draws: each image gets neither, the one, the other, or both, doubled.
    outcomes = torch.tensor([0.0, 2 * mlps[0], 2 * mlps[1], 2 * sum(mlps)])
    nearest = (kept[0, :, 0, None] - outcomes).abs().min(dim=1)
    assert nearest.values.max() < 1e-5
    assert (nearest.indices.bincount(minlength=4) / 4000 - 0.25).abs().max() < 0.04
    assert torch.equal(block.eval()(x_SBD), block.eval()(x_SBD))


# Computed from the authors' code: families × sizes, /16, 10 classes, in millions.
PARAMETERS = {
    "mlpmixer": (18.02, 59.12, 207.18),
    "imixer": (20.12, 66.21, 232.38),
    "vanillamixer": (21.19, 66.25, 226.21),
    "paramixer": (19.59, 62.64, 216.58),
    "symmixer": (10.80, 33.43, 113.51),
    "asymmixer": (19.59, 62.64, 216.58),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parameter_counts(family):
    sizes = [(8, 512), (12, 768), (24, 1024)]
    for (depth, dim), millions in zip(sizes, PARAMETERS[family], strict=True):
        with torch.device("meta"):
            model = build(
                parse_model({"family": family, "depth": depth, "dim": dim, "classes": 10}, "test")
            )
        assert round(sum(tensor.numel() for tensor in model.parameters()) / 1e6, 2) == millions
