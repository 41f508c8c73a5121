"""Configs and timm names: what is accepted, what is refused and in which words."""

import importlib
import warnings

import pytest
import timm
import torch

from hopsearch.core.errors import ConfigError
from hopsearch.models import FAMILIES, IMixerConfig, parse_model, preset, timm_registry


def refused(values):
    with pytest.raises(ConfigError) as caught:
        parse_model(values, "space.yaml")
    return str(caught.value)


class TestParseModel:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_defaults_are_s16(self, family):
        config = parse_model({"family": family}, "test")
        assert (config.family, config.depth, config.dim, config.patch_size, config.tokens) == (
            family,
            8,
            512,
            16,
            196,
        )
        assert (config.tokens_dim, config.channels_dim) == (256, 2048)

    def test_imixer_defaults_are_the_papers_run(self):
        config = IMixerConfig()
        assert (config.h_ratio, config.n_iter, config.n_power, config.spectral_coeff) == (
            2.0,
            2,
            8,
            0.9,
        )
        assert config.hidden_dim == 512

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "space.yaml: family: is required. Known: asymmixer, imixer,"),
            (
                {"family": "imixr"},
                "space.yaml: family: must be a known family, got 'imixr'. Did you mean imixer?",
            ),
            ({"family": ["imixer"]}, "space.yaml: family: must be a known family, got ['imixer']"),
            (
                {"family": "imixer", "n_itre": 2},
                "space.yaml: n_itre: unknown key. Did you mean n_iter?",
            ),
            (
                {"family": "mlpmixer", "h_ratio": 2},
                "space.yaml: h_ratio: mlpmixer has no such setting; only imixer has it",
            ),
            (
                {"family": "paramixer", "symmetry_breaking": 0.1},
                (
                    "space.yaml: symmetry_breaking: paramixer has no such setting; only asymmixer "
                    "has "
                    "it"
                ),
            ),
            (
                {"family": "symmixer", "image_size": 28, "patch_size": 8},
                (
                    "got 8 and 28. Set model.patch_size=1, 2, 4, 7, 14 or 28, or "
                    "data.image_size=24 "
                    "or 32"
                ),
            ),
            (
                {"family": "symmixer", "dim": 1},
                "int(token_ratio * dim) must be at least 1, got 0. Raise token_ratio or dim",
            ),
            (
                {"family": "imixer", "dim": 4, "h_ratio": 0.1},
                "must be at least 1, got 0. Raise h_ratio",
            ),
            (
                {"family": "paramixer", "n_iter": 5},
                "space.yaml: n_iter: input should be less than or equal to 4, got 5",
            ),
            (
                {"family": "asymmixer", "symmetry_breaking": -1},
                "greater than or equal to 0, got -1",
            ),
            ({"family": "imixer", "drop_path": 1.0}, "less than 1, got 1.0"),
        ],
    )
    def test_refusals_name_place_rule_and_remedy(self, values, message):
        assert message in refused(values)


class TestTimm:
    def test_all_presets_are_listed(self):
        for family in FAMILIES:
            names = [f"{family}_{size}{patch}_224" for size in "bls" for patch in (16, 32)]
            assert set(names) <= set(timm.list_models(f"{family}*"))

    def test_reimport_does_not_warn(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            importlib.reload(timm_registry)

    def test_a_name_taken_by_someone_else_is_told(self, monkeypatch):
        def imixer_s16_224():
            """Stands in for another package's entry point."""

        theirs = importlib.import_module("timm.models._registry")
        monkeypatch.setitem(theirs._model_entrypoints, "imixer_s16_224", imixer_s16_224)
        with pytest.warns(UserWarning, match="Overwriting imixer_s16_224"):
            importlib.reload(timm_registry)
        assert (
            timm.create_model(
                "imixer_s16_224", img_size=16, num_blocks=1, embed_dim=8
            ).config.family
            == "imixer"
        )

    def test_keywords_of_both_kinds(self):
        model = timm.create_model(
            "imixer_s16_224", num_classes=10, img_size=64, h_ratio=2.0, n_iter=2, n_power=8, depth=1
        )
        assert (model.num_classes, model.config.image_size, model.config.dim) == (10, 64, 512)
        assert model.pretrained_cfg["mean"] == (0.5, 0.5, 0.5)
        assert model.default_cfg["first_conv"] == "stem.proj"
        model = timm.create_model(
            "asymmixer_b32_224",
            mlp_ratio=(0.25, 2),
            drop_rate=0.1,
            proj_drop_rate=0.2,
            drop_path_rate=0.3,
            in_chans=1,
            img_size=32,
            num_blocks=1,
            embed_dim=8,
            symmetry_breaking=1e-3,
        )
        config = model.config
        assert (config.token_ratio, config.channel_ratio, config.channels, config.patch_size) == (
            0.25,
            2,
            1,
            32,
        )
        assert (config.head_drop, config.drop, config.drop_path, config.symmetry_breaking) == (
            0.1,
            0.2,
            0.3,
            1e-3,
        )

    def test_presets_differ_in_their_fields_only(self):
        assert preset("symmixer_l32_224") == {
            "family": "symmixer",
            "patch_size": 32,
            "depth": 24,
            "dim": 1024,
        }
        with pytest.raises(ConfigError, match="Did you mean imixer_s16_224"):
            preset("imixer_s16")

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"n_itr": 2}, "n_itr: unknown keyword. Did you mean n_iter?"),
            ({"num_clases": 2}, "Did you mean num_classes?"),
            ({"symmetry_breaking": 0.1}, "symmetry_breaking: unknown keyword"),
            (
                {"pretrained": True},
                "pretrained must be False. No weights are published; load a state dict of your own",
            ),
            ({"features_only": True}, "features_only must be False"),
            ({"global_pool": "max"}, "global_pool: must be avg, got 'max'"),
            ({"img_size": (64, 32)}, "image_size"),
            ({"img_size": 60}, "patch_size must divide image_size"),
        ],
    )
    def test_refusals(self, keywords, message):
        with torch.device("meta"), pytest.raises(ConfigError) as caught:
            timm.create_model("imixer_s16_224", **keywords)
        assert message in str(caught.value)
