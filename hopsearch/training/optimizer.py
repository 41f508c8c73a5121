"""A trial's optimizer, with timm's weight-decay rule."""

from typing import Any

import torch
from torch import nn

from hopsearch.training.known_optimizers import ADAMW, OPTIMIZERS
from hopsearch.training.trial_config import OptimConfig


def build_optimizer(
    model: nn.Module, config: OptimConfig, device: torch.device
) -> torch.optim.Optimizer:
    """The optimizer ``config.name``, with one parameter group with weight decay and one without."""
    groups = _decayed(model, config.weight_decay)
    if config.name == ADAMW:
        # fused: one kernel per step instead of some ten per parameter; on small models on a CPU
        # that saves a third of the step.
        return torch.optim.AdamW(
            groups, lr=config.peak_lr, fused=device.type in ("cpu", "cuda"), **config.own_settings
        )
    if OPTIMIZERS[config.name].hybrid:
        groups = [part for group in groups for part in _without_norms(model, group)]
    # Local import: it takes seconds, which trainings with AdamW do not need.
    from timm.optim import create_optimizer_v2

    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, config.name, lr=config.peak_lr, **config.own_settings
    )
    return optimizer


def _decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    # Like timm's `param_groups_weight_decay`, whose order the optimizer state in checkpoints
    # follows.
    exempt: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            free = not weight_decay or parameter.ndim <= 1 or name.endswith(".bias")
            (exempt if free else decayed).append(parameter)
    groups = [
        {"params": exempt, "weight_decay": 0.0},
        {"params": decayed, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]


def _without_norms(model: nn.Module, group: dict[str, Any]) -> list[dict[str, Any]]:
    """Split a group in two for hybrid optimizers, which decide by shape: the second is updated as
    by AdamW, although its parameters look like matrices.

    The scale and shift of a LayerNorm over (S, D) have the shape of a matrix, but act element by
    element.
    """
    norms = {
        id(own)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for own in module.parameters()
    }
    parts = [
        [each for each in group["params"] if (id(each) in norms) == is_norm]
        for is_norm in (False, True)
    ]
    marks: list[dict[str, Any]] = [{}, {"use_fallback": True}]
    return [
        {**group, "params": part, **mark} for part, mark in zip(parts, marks, strict=True) if part
    ]
