"""What a mixer costs, known before it runs: computed on the meta device, where tensors have shapes
but no storage.
"""

import functools

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from hopsearch.models import ModelConfig, build
from hopsearch.tasks.images.classifier_config import ImageTrialConfig
from hopsearch.tasks.images.evaluation import soft_cross_entropy
from hopsearch.training.cost import Cost
from hopsearch.training.known_optimizers import OPTIMIZERS
from hopsearch.training.lazy_compiler import uncompiled

_FLOAT = 4  # bytes of a float32
_COPIES = 2  # weight and gradient


def estimate_cost(config: ImageTrialConfig) -> Cost:
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
    sizes = config.model.model_copy(update=_costless(config.model))
    again = config.train.grad_checkpointing
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
    block = wholes.memory - whole.memory - (wholes.n_params - whole.n_params) * _FLOAT * copies
    return Cost(cost.n_params, cost.flops, cost.memory + block)


def _costless(model: ModelConfig) -> dict[str, float]:
    # What changes no size is set to one value, so that a search measures each architecture once. Of
    # a chance to drop only matters whether there is one: its mask is kept for the backward pass.
    same: dict[str, float] = {"n_power": 1, "spectral_coeff": 1.0, "symmetry_breaking": 0.0}
    same |= {name: 0.5 for name in ("drop", "head_drop", "drop_path") if getattr(model, name) > 0}
    return {name: value for name, value in same.items() if name in type(model).model_fields}


def _fields(cost: Cost) -> tuple[int, int, int]:
    return cost.n_params, cost.flops, cost.memory


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
