"""What every family must do, one test class over all of them."""

from copy import deepcopy

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.optim import param_groups_weight_decay
from timm.utils import ModelEmaV3
from torch.utils.flop_counter import FlopCounterMode

from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError
from hopsearch.models import FAMILIES, build, fold, parse_model
from hopsearch.models.family_configs import MapNormConfig

TINY = {"image_size": 8, "patch_size": 2, "channels": 1, "classes": 10, "depth": 2, "dim": 16}


@pytest.fixture(params=FAMILIES)
def config(request):
    return parse_model({**TINY, "family": request.param}, "test")


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = build(config)
    # the head starts at zero, and would hide everything before it
    torch.nn.init.normal_(model.head.weight)
    return model


@pytest.fixture
def x():
    return torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def train_step(model, x, optimizer):
    loss = F.cross_entropy(model(x), torch.arange(len(x))) + model.regularization()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


class TestContract:
    def test_forward_shapes(self, model, config, x):
        features = model.forward_features(x)
        assert features.shape == (4, 16, 16)
        assert model.forward_head(features, pre_logits=True).shape == (4, 16)
        assert model(x).shape == (4, 10)
        assert (model.num_classes, model.num_features) == (10, 16)

    def test_backward_reaches_every_parameter(self, model, x):
        (F.cross_entropy(model(x), torch.arange(4)) + model.regularization()).backward()
        assert [
            name
            for name, tensor in model.named_parameters()
            if tensor.grad is None or not tensor.grad.any()
        ] == []

    def test_a_fresh_head_predicts_nothing(self, config, x):
        assert not build(config)(x).any()

    def test_overfits_a_batch(self, model, x):
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        losses = [train_step(model, x, optimizer) for _ in range(40)]
        assert losses[-1] < 0.1 * losses[0]

    def test_evaluation_repeats_itself(self, config, x):
        model = build(
            config.model_copy(update={"drop": 0.3, "head_drop": 0.3, "drop_path": 0.3})
        ).eval()
        torch.nn.init.normal_(model.head.weight)
        assert torch.equal(model(x), model(x))
        model.train()
        assert not torch.equal(model(x), model(x))

    def test_images_do_not_see_each_other(self, model, x):
        model.eval()
        torch.testing.assert_close(model(x)[1:2], model(x[1:2]))

    def test_wrong_image_size_names_the_setting(self, model):
        with pytest.raises(ConfigError, match=r"must be 8 × 8, got 8 × 10. Set model.image_size"):
            model(torch.zeros(1, 1, 8, 10))

    def test_meta_device_counts_flops(self, config):
        with torch.device("meta"):
            model, x = build(config), torch.empty(2, 1, 8, 8)
        counter = FlopCounterMode(display=False)
        with counter:
            model(x).sum().backward()
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        assert (
            counter.get_total_flops()
            > 3 * 2 * 2 * 16 * config.dim * config.channels_dim * config.depth
        )

    def test_from_meta_to_real_weights(self, config, x):
        with torch.device("meta"):
            model = build(config)
        torch.manual_seed(7)
        model = model.to_empty(device="cpu")
        model.init_weights()
        torch.nn.init.normal_(model.head.weight)
        assert model(x).isfinite().all()

    def test_state_dict_round_trip(self, model, config, x, tmp_path):
        model(x)
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
            tmp_path / "model.safetensors",
        )
        again = build(config)
        again.load_state_dict(load_file(tmp_path / "model.safetensors"))
        assert torch.equal(again.eval()(x), model.eval()(x))

    def test_copies_are_independent(self, model, x):
        copy = deepcopy(model).eval()
        before = copy(x)
        train_step(model.train(), x, torch.optim.AdamW(model.parameters(), lr=0.1))
        assert torch.equal(copy(x), before)
        assert not torch.equal(model.eval()(x), before)

    def test_moving_averages(self, model, x):
        average = ModelEmaV3(model, decay=0.0)
        train_step(model, x, torch.optim.AdamW(model.parameters(), lr=0.1))
        average.update(model)
        assert torch.equal(average.module.eval()(x), model.eval()(x))

    def test_half_precision_autocast_keeps_close(self, model, x):
        model(x)
        expected = model.eval()(x)
        with torch.autocast("cpu", torch.bfloat16):
            got = model(x)
            (model.train()(x).float().sum()).backward()
        assert (got.float() - expected).abs().max() < 0.05 * expected.abs().max()
        assert all(tensor.grad.isfinite().all() for tensor in model.parameters())

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_other_precisions(self, model, x, dtype):
        model.to(dtype)
        logits = model(x.to(dtype))
        logits.sum().backward()
        assert logits.dtype == dtype

    def test_folded_copy_has_equal_logits_and_exports(self, model, x):
        model(x)
        plain = fold(model.eval())
        torch.testing.assert_close(plain(x), model(x))
        exported = torch.export.export(plain, (x,)).module()
        torch.testing.assert_close(exported(x), model(x))

    def test_config_round_trip(self, model, config):
        assert model.config == config
        assert parse_model(config.model_dump(), "test") == config
        assert parse(type(config), config.model_dump(mode="json"), "test") == config

    def test_head_can_be_changed(self, model, x):
        model.reset_classifier(3)
        assert model(x).shape == (4, 3)
        assert model.config.classes == model.num_classes == 3
        assert model.get_classifier() is model.head
        model.reset_classifier(0)
        assert model(x).shape == (4, 16)
        model.reset_classifier(0, global_pool="")
        assert model(x).shape == (4, 16, 16)
        with pytest.raises(ConfigError, match="must be avg or empty, got 'max'"):
            model.reset_classifier(2, global_pool="max")

    def test_weight_decay_follows_timms_rule(self, model):
        exempt, decayed = param_groups_weight_decay(model, 0.05)
        names = {id(tensor): name for name, tensor in model.named_parameters()}
        assert {names[id(tensor)] for tensor in exempt["params"]} == {
            name
            for name, tensor in model.named_parameters()
            if tensor.ndim <= 1 or name.endswith(".bias")
        }
        # A norm over the whole map has a weight of two dimensions, which timm's rule decays.
        maps = {name for name in names.values() if "norm" in name and name.endswith("weight")} - {
            "norm.weight"
        }
        decayed_maps = maps & {names[id(tensor)] for tensor in decayed["params"]}
        assert decayed_maps == (maps if isinstance(model.config, MapNormConfig) else set())

    def test_timm_creates_it(self, config):
        if config.family == "mlpmixer":
            pytest.skip("timm has its own")
        model = timm.create_model(
            f"{config.family}_s16_224",
            img_size=32,
            num_classes=3,
            num_blocks=1,
            embed_dim=16,
            in_chans=1,
        )
        assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
        assert model.config.family == config.family


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler's own
def test_compiles_whole_and_updates_its_buffers():
    torch.manual_seed(2)
    model = build(parse_model({**TINY, "family": "imixer"}, "test")).train()
    torch.nn.init.normal_(model.head.weight)
    plain, x = deepcopy(model), torch.randn(4, 1, 8, 8)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), plain(x))
    for (name, ours), theirs in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, msg=name)
