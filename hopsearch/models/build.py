"""Builds a model from a family's config, and folds spectral norms into a trained model."""

from copy import deepcopy
from typing import cast

import torch
from torch import nn

from hopsearch.models.blocks import MapNorm, ParallelBlock, SerialBlock
from hopsearch.models.family_configs import (
    AsymMixerConfig,
    IMixerConfig,
    MapNormConfig,
    MixerConfig,
    SymMixerConfig,
    VanillaMixerConfig,
)
from hopsearch.models.mixer import Mixer
from hopsearch.models.mlps import AsymmetricMlp, Axis, IteratedMlp, PlainMlp, SymmetricMlp


def build(config: MixerConfig, folded: bool = False) -> Mixer:
    """Build the model of ``config``, with random weights from torch's global generator.

    Works under ``with torch.device("meta")`` too.

    Args:
        config: any family's config.
        folded: build a folded model without spectral norms, to load the state dict of `fold`.
    """
    blocks = [_block(config) for _ in range(config.depth)]
    model = Mixer(config, blocks)
    return fold(model) if folded else model


def fold(model: Mixer) -> Mixer:
    """A copy of ``model`` for export: the same logits, with the effective weights of evaluation in
    plain linear layers.

    Other families than iMixer are copied unchanged. The copy can be trained, but no longer
    normalises.
    """
    copy = deepcopy(model)
    copy.eval()  # so that folding does not move the singular vectors
    with torch.no_grad():
        weights = copy.token_weights()
    for block, effective in zip(copy.blocks, weights, strict=True):
        mlp = cast(IteratedMlp, block.mlp_tokens)
        for name, weight_OI in zip(("fc_sn1", "fc_sn2"), effective, strict=False):
            setattr(mlp, name, _plain_linear(weight_OI, getattr(mlp, name).bias))
    copy.folded = True
    return copy.train(model.training)


def _plain_linear(weight_OI: torch.Tensor, bias_O: nn.Parameter) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight_OI.shape[1], weight_OI.shape[0])
    linear.weight = nn.Parameter(weight_OI.clone())
    linear.bias = bias_O
    return linear


def _block(config: MixerConfig) -> nn.Module:
    tokens = _token_mlp(config)
    channels = _mlp(config, "channels", config.dim, config.channels_dim)
    if not isinstance(config, MapNormConfig):
        norms = [nn.LayerNorm(config.dim, eps=1e-6) for _ in range(2)]
        return SerialBlock(norms[0], tokens, norms[1], channels, config.drop_path, n_iter=1)
    if isinstance(config, VanillaMixerConfig):
        maps = [MapNorm(config.tokens, config.dim) for _ in range(2)]
        return SerialBlock(maps[0], tokens, maps[1], channels, config.drop_path, config.n_iter)
    return ParallelBlock(
        MapNorm(config.tokens, config.dim), tokens, channels, config.drop_path, config.n_iter
    )


def _token_mlp(config: MixerConfig) -> nn.Module:
    if isinstance(config, IMixerConfig) and config.n_iter > 0:
        return IteratedMlp(
            config.tokens, config.tokens_dim, config.hidden_dim, config.n_iter, config.drop
        )
    return _mlp(config, "tokens", config.tokens, config.tokens_dim)


def _mlp(config: MixerConfig, axis: Axis, features: int, hidden: int) -> nn.Module:
    if isinstance(config, SymMixerConfig):
        return SymmetricMlp(axis, features, hidden, config.drop)
    if isinstance(config, AsymMixerConfig):
        return AsymmetricMlp(axis, features, hidden, config.drop)
    return PlainMlp(
        axis, features, hidden, bias=not isinstance(config, MapNormConfig), drop=config.drop
    )
