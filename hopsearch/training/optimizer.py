"""AdamW with timm's weight-decay rule, and the learning rate as a plain function of the step."""

import math

import torch
from timm.optim import param_groups_weight_decay
from torch import nn

from hopsearch.training.recipe import OptimConfig


def build_optimizer(model: nn.Module, config: OptimConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW over two groups: decayed, and exempt (ndim <= 1 and biases, timm's rule)."""
    groups = param_groups_weight_decay(model, config.weight_decay)
    # fused: one kernel a step instead of some ten a parameter; on small models on a CPU that is a third of the step.
    return torch.optim.AdamW(groups, lr=config.peak_lr, betas=(config.beta1, config.beta2), fused=device.type in ("cpu", "cuda"))


def learning_rate(step: int, steps_per_epoch: int, epochs: int, config: OptimConfig) -> float:
    """Learning rate of optimizer step ``step`` (from 0): linear warm-up, then a half cosine to ``min_lr``.

    A function of the step alone, so a restored training needs no schedule state.
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    total = epochs * steps_per_epoch
    if step < warmup:
        return config.warmup_lr + (config.peak_lr - config.warmup_lr) * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return config.min_lr + (config.peak_lr - config.min_lr) * 0.5 * (1.0 + math.cos(math.pi * progress))
