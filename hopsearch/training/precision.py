"""Mixed precision: autocast, and loss scaling for float16."""

import torch
from torch import nn

from hopsearch.training.trial_config import TrainConfig


class Precision:
    """The precision of a training: float32 on a CPU; on a GPU according to ``train.amp`` and
    ``train.amp_dtype``.

    Attributes:
        dtype: autocast's type; None: everything is float32.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self._device = device.type
        self.dtype = _dtype(config) if config.amp and device.type == "cuda" else None
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)

    def autocast(self) -> torch.autocast:
        """For a forward pass in training."""
        return torch.autocast(
            self._device, self.dtype or torch.bfloat16, enabled=self.dtype is not None
        )

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of ``loss``, scaled in float16 so that small ones are not lost."""
        self._scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer, model: nn.Module, clip: float | None) -> None:
        """Clip gradients and step; in float16 a step with overflowed gradients is skipped and the
        scale halved.
        """
        if clip:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state_dict(self) -> dict[str, float]:
        """The scale of the loss; empty if it is not scaled."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue with a saved scale; a checkpoint of another precision has none."""
        if state and self._scaler.is_enabled():
            self._scaler.load_state_dict(state)


def _dtype(config: TrainConfig) -> torch.dtype | None:
    if config.amp_dtype == "float16":
        return torch.float16
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else None
