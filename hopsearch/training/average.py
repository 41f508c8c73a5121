"""The moving average of the weights, which is evaluated and exported if ``train.ema_decay`` is
set.
"""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

ModelT = TypeVar("ModelT", bound=nn.Module)


class MovingAverage(nn.Module, Generic[ModelT]):
    """Exponential moving average of a model's weights.

    The decay warms up: after t steps it is min(decay, (1 + t) / (10 + t)), so that the first rungs
    are not dominated by the initial weights. State-dict keys are those of torch's
    ``AveragedModel``.

    Args:
        model: the model to average.
        decay: of the average, once it has warmed up.

    Attributes:
        module: the averaged model, with the batch statistics of ``model``. Quantities derived from
            weights (iMixer's singular vectors) are recomputed by `settle`.
    """

    n_averaged: torch.Tensor

    def __init__(self, model: ModelT, decay: float) -> None:
        super().__init__()
        self.module: ModelT = deepcopy(model)
        self._decay = decay
        # Statistics of batches are no weights: they are taken as they are.
        self._normed = [
            name for name, part in self.module.named_modules() if isinstance(part, _BatchNorm)
        ]
        # on the CPU, so that reading it needs no synchronisation
        self.register_buffer("n_averaged", torch.tensor(0, dtype=torch.long))

    @torch.no_grad()
    def update(self, model: ModelT) -> None:
        """Include the weights after one more step."""
        steps = int(self.n_averaged)
        # The first step's weights are taken unchanged.
        decay = min(self._decay, (1 + steps) / (10 + steps)) if steps else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), 1 - decay)
        for name in self._normed:
            mine = self.module.get_submodule(name)
            for statistic, value in model.get_submodule(name).named_buffers(recurse=False):
                mine.get_buffer(statistic).copy_(value)
        self.n_averaged += 1

    def settle(self) -> ModelT:
        """The averaged model, ready to be evaluated."""
        # what some models derive from their weights, and keep
        settle_norms = getattr(self.module, "settle_norms", None)
        if settle_norms is not None:
            settle_norms()
        return self.module
