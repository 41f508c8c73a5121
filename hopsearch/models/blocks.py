"""Mixer blocks: serial or parallel, applied once or several times with the same weights.

Shapes: S = tokens, B = batch, D = channels.
"""

import torch
from torch import Tensor, nn


class MapNorm(nn.LayerNorm):
    """LayerNorm over the whole (S, D) map of each image, affine of that shape: the Lagrangian's
    norm of arXiv 2406.12220.
    """

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__((tokens, dim), eps=1e-6)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``x_SBD``, image by image."""
        return super().forward(input.transpose(0, 1)).transpose(0, 1).contiguous()


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a branch for whole images and scale up the others (arXiv
    1603.09382).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x_SBD: Tensor) -> Tensor:
        """Drop images of the batch; every call draws again."""
        if not self.training or self.rate == 0:
            return x_SBD
        keep = 1 - self.rate
        return x_SBD * torch.empty_like(x_SBD[:1, :, :1]).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        """The rate, for ``print(model)``."""
        return f"rate={self.rate}"


class SerialBlock(nn.Module):
    """x ← x + tokens(norm1 x), then x ← x + channels(norm2 x), n_iter times (MLP-Mixer, arXiv
    2105.01601).
    """

    def __init__(
        self,
        norm1: nn.Module,
        mlp_tokens: nn.Module,
        norm2: nn.Module,
        mlp_channels: nn.Module,
        drop_path: float,
        n_iter: int,
    ) -> None:
        super().__init__()
        self.norm1 = norm1
        self.mlp_tokens = mlp_tokens
        self.norm2 = norm2
        self.mlp_channels = mlp_channels
        self.drop_path = DropPath(drop_path)
        self.n_iter = n_iter

    def forward(self, x_SBD: Tensor, *token_weights: Tensor) -> Tensor:
        """Apply the block; ``token_weights`` are passed on to the token MLP."""
        for _ in range(self.n_iter):
            x_SBD = x_SBD + self.drop_path(self.mlp_tokens(self.norm1(x_SBD), *token_weights))
            x_SBD = x_SBD + self.drop_path(self.mlp_channels(self.norm2(x_SBD)))
        return x_SBD


class ParallelBlock(nn.Module):
    """x ← x + tokens(norm x) + channels(norm x), n_iter times (ParaMixer, arXiv 2406.12220).

    The two branches drop their paths independently.
    """

    def __init__(
        self,
        norm: nn.Module,
        mlp_tokens: nn.Module,
        mlp_channels: nn.Module,
        drop_path: float,
        n_iter: int,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mlp_tokens = mlp_tokens
        self.mlp_channels = mlp_channels
        self.drop_path = DropPath(drop_path)
        self.n_iter = n_iter

    def forward(self, x_SBD: Tensor) -> Tensor:
        """Apply the block."""
        for _ in range(self.n_iter):
            normed_SBD = self.norm(x_SBD)
            x_SBD = (
                x_SBD
                + self.drop_path(self.mlp_tokens(normed_SBD))
                + self.drop_path(self.mlp_channels(normed_SBD))
            )
        return x_SBD
