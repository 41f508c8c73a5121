"""The papers' S, B and L sizes by name; `timm_registry` registers them in timm.

The names are those of the authors' repositories, without values of other settings, which are
keywords.
"""

from typing import Any

from hopsearch.core.config import did_you_mean
from hopsearch.core.errors import ConfigError
from hopsearch.models.family_configs import FAMILIES, MixerConfig, ModelConfig

SIZES: dict[str, dict[str, int]] = {
    "s": {"depth": 8, "dim": 512},
    "b": {"depth": 12, "dim": 768},
    "l": {"depth": 24, "dim": 1024},
}
"""Depth and width of S, B and L (MLP-Mixer, arXiv 2105.01601, table 1); the ratios are (0.5, 4) in
all.
"""

_PATCH_SIZES = (16, 32)
_FEWEST_TOKENS = 16  # smallest number of patches for which a preset is used without a message
PRESETS: dict[str, dict[str, Any]] = {
    f"{family}_{size}{patch}_224": {"family": family, "patch_size": patch, **fields}
    # MLP-Mixer too: timm's own mixer_* accept neither depth nor patch size
    for family in FAMILIES
    for size, fields in SIZES.items()
    for patch in _PATCH_SIZES
}
"""The fields of each preset, by name."""


def preset(name: str) -> dict[str, Any]:
    """The fields that ``name``, e.g. ``imixer_s16_224``, stands for; all others have the family's
    default.

    Raises:
        ConfigError: no such preset.
    """
    if name not in PRESETS:
        raise ConfigError(
            "model", f"must be a known preset, got {name!r}", did_you_mean(name, PRESETS)
        )
    return dict(PRESETS[name])


def require_size(name: str, image_size: int) -> None:
    """Refuse to use a preset for images so small that they have only a few of its large patches.

    Raises:
        ConfigError: the images are smaller than the preset's, and have fewer than 16 patches.
    """
    fields = preset(name)
    family = fields["family"]
    patch = fields["patch_size"]
    tokens = (image_size // patch) ** 2
    if _is_large(family, patch, image_size):
        made_for = _made_for(family)
        rule = (
            f"{name} is made for images of {made_for} px, got {image_size} px, which are "
            f"{tokens} patches of {patch} px"
        )
        raise ConfigError("model", rule, f"Enlarge them with {_remedy(made_for, image_size)}")


def about_patches(config: ModelConfig) -> str:
    """A warning if a model uses few large patches, as in a preset, on small images; else empty."""
    family = config.family
    patch = config.patch_size
    size = config.image_size
    if patch < min(_PATCH_SIZES) or not _is_large(family, patch, size):
        return ""
    made_for = _made_for(family)
    return (
        f"model.patch_size={patch} leaves {config.tokens} patch{'es' * (config.tokens > 1)} of an "
        f"image of {size} px, "
        f"and is made for {made_for} px: enlarge the images with {_remedy(made_for, size)}"
    )


def _made_for(family: str) -> int:
    return int(FAMILIES[family].model_fields["image_size"].default)


def _is_large(family: str, patch: int, image_size: int) -> bool:
    return image_size < _made_for(family) and (image_size // patch) ** 2 < _FEWEST_TOKENS


def _remedy(made_for: int, image_size: int) -> str:
    smaller = next(
        (size for size in (8, 4, 2, 1) if image_size % size == 0 and image_size // size >= 4), 1
    )
    return f"data.image_size={made_for}, or set model.patch_size={smaller}"


def to_timm(config: MixerConfig) -> tuple[str, dict[str, Any]]:
    """The architecture name and keywords with which `timm.create_model` builds ``config``."""
    fields = config.model_dump(exclude={"classes"})
    return f"{fields.pop('family')}_s16_224", fields
