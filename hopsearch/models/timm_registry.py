"""Our models in timm's registry: ``timm.create_model("imixer_s16_224", num_classes=10)``.

Importing `hopsearch.models` registers them. timm's keywords are translated to our fields, which are
also accepted by name.
"""

from collections.abc import Callable
from typing import Any

import timm
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model

from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import ConfigError
from hopsearch.models.build import build
from hopsearch.models.family_configs import FAMILIES, parse_model
from hopsearch.models.mixer import Mixer
from hopsearch.models.presets import PRESETS

_TIMM_NAMES = {
    "num_classes": "classes",
    "img_size": "image_size",
    "in_chans": "channels",
    "num_blocks": "depth",
    "embed_dim": "dim",
    "drop_rate": "head_drop",
    "proj_drop_rate": "drop",
    "drop_path_rate": "drop_path",
}


def _translate(family: str, keywords: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in keywords.items():
        if key == "mlp_ratio":
            values["token_ratio"], values["channel_ratio"] = (
                value if isinstance(value, (tuple, list)) else (value, value)
            )
        elif key == "global_pool":
            if value != "avg":
                raise ConfigError(
                    "global_pool",
                    f"must be avg, got {value!r}",
                    "Call reset_classifier to change it afterwards",
                )
        else:
            values[_TIMM_NAMES.get(key, key)] = value
    size = values.get("image_size")
    if isinstance(size, (tuple, list)) and len(set(size)) == 1:
        values["image_size"] = size[0]  # timm's own default is a (height, width)
    known = {*FAMILIES[family].model_fields, *_TIMM_NAMES, "mlp_ratio"}
    for key in values:
        if key not in known:
            raise ConfigError(
                f"timm.create_model({family}): {key}", "unknown keyword", did_you_mean(key, known)
            )
    return values


def _cfg(fields: dict[str, Any]) -> dict[str, Any]:
    size = FAMILIES[fields["family"]].model_fields["image_size"].default
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, size, size),
        "pool_size": None,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "fixed_input_size": True,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": "stem.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


def _entry_point(name: str, fields: dict[str, Any]) -> Callable[..., Mixer]:
    # the norms of an exported iMixer are folded into its weights
    def make(folded: bool = False, **keywords: object) -> Mixer:
        config = parse_model(
            {**fields, **_translate(fields["family"], keywords)}, f"timm.create_model({name})"
        )
        return build(config, folded)

    def entry_point(pretrained: bool = False, **keywords: Any) -> Mixer:
        # An exported folder (timm's local-dir:) provides its weights in pretrained_cfg; a name
        # alone has none.
        cfg = keywords.get("pretrained_cfg")
        file = cfg.get("file") if isinstance(cfg, dict) else getattr(cfg, "file", None)
        missing = pretrained and not file
        if missing or keywords.pop("features_only", False):
            what = "pretrained" if missing else "features_only"
            raise ConfigError(
                f"timm.create_model({name})",
                f"{what} must be False",
                "No weights are published; load a state dict of your own",
            )
        model: Mixer = build_model_with_cfg(make, name, pretrained, **keywords)
        return model

    entry_point.__name__ = entry_point.__qualname__ = name
    entry_point.__doc__ = f"{name}: {fields}; source in hopsearch.models.family_configs."
    return entry_point


default_cfgs = generate_default_cfgs({name: _cfg(fields) for name, fields in PRESETS.items()})
"""timm's metadata of every preset; `timm.models.register_model` looks it up under this name."""


def _register() -> None:
    for name, fields in PRESETS.items():
        # timm warns if a name is taken. That is fine if this module is reloaded; otherwise the
        # warning is justified.
        if not timm.is_model(name) or timm.model_entrypoint(name).__module__ != __name__:
            register_model(_entry_point(name, fields))


_register()
