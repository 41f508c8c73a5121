"""The models: mixers, from config to module. Importing this package registers the papers' sizes
with timm.
"""

import os

from hopsearch.models.build import build, fold
from hopsearch.models.family_configs import (
    FAMILIES,
    AsymMixerConfig,
    IMixerConfig,
    MixerConfig,
    MlpMixerConfig,
    ModelConfig,
    ParaMixerConfig,
    SymMixerConfig,
    VanillaMixerConfig,
    parse_model,
)
from hopsearch.models.measures import measure, measured
from hopsearch.models.mixer import Mixer
from hopsearch.models.presets import about_patches, preset, require_size, to_timm

# hopsearch itself trains without timm: its import takes seconds in every worker
if os.environ.get("HOPSEARCH_TIMM") != "0":
    from hopsearch.models import timm_registry

__all__ = [
    "FAMILIES",
    "AsymMixerConfig",
    "IMixerConfig",
    "Mixer",
    "MixerConfig",
    "MlpMixerConfig",
    "ModelConfig",
    "ParaMixerConfig",
    "SymMixerConfig",
    "VanillaMixerConfig",
    "about_patches",
    "build",
    "fold",
    "measure",
    "measured",
    "parse_model",
    "preset",
    "require_size",
    "timm_registry",
    "to_timm",
]
