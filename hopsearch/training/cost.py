"""What a configuration costs, known before it runs: computed on the meta device, where tensors have
shapes but no storage.
"""

import functools
from dataclasses import dataclass

import torch
from pydantic import Field
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from hopsearch.core.config import Settings
from hopsearch.models import ModelConfig, build
from hopsearch.training.loop import soft_cross_entropy
from hopsearch.training.recipe.known_optimizers import OPTIMIZERS
from hopsearch.training.recipe.settings import TrialConfig
from hopsearch.training.uncompiled import uncompiled

_FLOAT = 4  # bytes of a float32
_COPIES = 2  # weight and gradient


@dataclass(frozen=True)
class Cost:
    """Cost of a configuration.

    Attributes:
        params: trainable parameters.
        flops: floating-point operations of one image's forward pass, spectral norms folded (a
            multiply-add counts two).
        memory: bytes of a training step at its peak: weights, gradients, the optimizer's state, the
            moving average, and what autograd keeps for the backward pass of one batch. An estimate
            from below: allocator slack and the temporary buffers of single operations are not in
            it, and autocast's smaller activations are not taken off.
    """

    params: int
    flops: int
    memory: int


class Constraint(Settings):
    """Limits on a configuration's cost. One that breaks a limit is re-sampled, never trained;
    ``max_latency`` alone is soft.
    """

    max_params: float | None = Field(default=None, gt=0)
    """Most trainable parameters, e.g. 5e6."""
    max_flops: float | None = Field(default=None, gt=0)
    """Most floating-point operations of one image's forward pass, e.g. 1e9."""
    max_memory: float | None = Field(default=None, gt=0)
    """Most bytes of a training step at its peak, e.g. 8e9."""
    max_latency: float | None = Field(default=None, gt=0)
    """Most seconds of one image's forward pass on a trial's own device, e.g. 2e-3: measured after
    its first epoch, where a trial that breaks it ends, and the sampler learns from it."""

    def violation(self, cost: Cost) -> tuple[str, float] | None:
        """The first broken limit as a sentence, with its relative excess (0.1 is ten per cent
        over); None if all hold.
        """
        for name, limit in (
            ("params", self.max_params),
            ("flops", self.max_flops),
            ("memory", self.max_memory),
        ):
            value = getattr(cost, name)
            if limit is not None and value > limit:
                return _broken(name, value, limit)
        return None

    def too_slow(self, latency: float) -> tuple[str, float] | None:
        """As `violation`, of what is measured while it trains."""
        limit = self.max_latency
        return _broken("latency", latency, limit) if limit is not None and latency > limit else None


def _broken(name: str, value: float, limit: float) -> tuple[str, float]:
    return f"{name} <= {limit:.4g} must hold, got {value:.4g}", value / limit - 1.0


def estimate_cost(config: TrialConfig) -> Cost:
    """Cost of ``config``; a fraction of a second on any size, nothing is allocated."""
    # Depth is the one knob that costs time here, and cost is affine in it: two shallow models give
    # any depth exactly.
    depth = config.model.depth
    batch_size = min(config.optim.batch_size, config.train.micro_batch or config.optim.batch_size)
    copies = (
        _COPIES
        + OPTIMIZERS[config.optim.name].state_copies
        + int(config.train.ema_decay is not None)
    )
    sizes, again = (
        config.model.model_copy(update=_costless(config.model)),
        config.train.grad_checkpointing,
    )
    one, two = (
        _measure(sizes.model_copy(update={"depth": shallow}), batch_size, copies, again)
        for shallow in (1, 2)
    )
    cost = Cost(
        *(a + (depth - 1) * (b - a) for a, b in zip(_fields(one), _fields(two), strict=True))
    )
    if not again:
        return cost
    # At the peak one block, computed again, has its own activations too.
    whole, wholes = (
        _measure(sizes.model_copy(update={"depth": shallow}), batch_size, copies, False)
        for shallow in (1, 2)
    )
    block = wholes.memory - whole.memory - (wholes.params - whole.params) * _FLOAT * copies
    return Cost(cost.params, cost.flops, cost.memory + block)


def _costless(model: ModelConfig) -> dict[str, float]:
    # What changes no size is set to one value, so that a search measures each architecture once. Of
    # a chance to drop only matters whether there is one: its mask is kept for the backward pass.
    same: dict[str, float] = {"n_power": 1, "spectral_coeff": 1.0, "symmetry_breaking": 0.0}
    same |= {name: 0.5 for name in ("drop", "head_drop", "drop_path") if getattr(model, name) > 0}
    return {name: value for name, value in same.items() if name in type(model).model_fields}


def _fields(cost: Cost) -> tuple[int, int, int]:
    return cost.params, cost.flops, cost.memory


@functools.lru_cache(maxsize=4096)
def _measure(sizes: ModelConfig, batch_size: int, copies: int, grad_checkpointing: bool) -> Cost:
    with torch.device("meta"):
        model = build(sizes)
        model.set_grad_checkpointing(grad_checkpointing)
        x_BCHW = torch.empty(batch_size, sizes.channels, sizes.image_size, sizes.image_size)
        targets_BK = torch.empty(batch_size, sizes.classes)
    params = sum(parameter.numel() for parameter in model.parameters())
    own = {id(tensor) for tensor in (*model.parameters(), x_BCHW, targets_BK)}
    saved: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        # views share their base's memory
        base = tensor._base if tensor._base is not None else tensor
        if id(base) not in own:
            saved[id(base)] = base
        return tensor

    with (
        uncompiled(),
        FlopCounterMode(display=False) as counter,
        saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        soft_cross_entropy(model(x_BCHW), targets_BK)
    # Images go through plain products; batched ones are the spectral norms', once a step and none
    # in a folded model.
    by_operator = counter.get_flop_counts()["Global"]
    flops = sum(
        count for operator, count in by_operator.items() if operator is not torch.ops.aten.bmm
    )
    activations = sum(tensor.numel() * tensor.element_size() for tensor in saved.values())
    inputs = sum(tensor.numel() for tensor in (x_BCHW, targets_BK)) * _FLOAT
    return Cost(params, int(flops) // batch_size, params * _FLOAT * copies + activations + inputs)
