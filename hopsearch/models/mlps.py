"""The MLPs of the mixers, each able to mix along tokens or along channels.

Shapes: S = tokens, B = batch, D = channels, N = B·D columns, O = a layer's outputs, I = its inputs,
T = the token MLP's width, H = the hierarchy's hidden width.

Activations are x_SBD, tokens first: so mixing tokens is one matrix product from the left on a view,
W_OS @ x_SN, and mixing channels is one from the right. Neither needs the two transposing copies of
x_BSD.
"""

import abc
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hopsearch.models.spectral import SpectralLinear

Axis = Literal["tokens", "channels"]


class Mlp(nn.Module, abc.ABC):
    """W2 σ(W1 x) with σ = GELU; subclasses define W1 and W2.

    Args:
        axis: the mixed axis.
        drop: dropout after the activation and after the last matrix.
    """

    def __init__(self, axis: Axis, drop: float) -> None:
        super().__init__()
        self.axis = axis
        self.drop1 = nn.Dropout(drop)
        self.drop2 = nn.Dropout(drop)

    @abc.abstractmethod
    def pair(self) -> tuple[Tensor, Tensor]:
        """The effective W1 and W2."""

    def biases(self) -> tuple[Tensor | None, Tensor | None]:
        """The biases after W1 and after W2; none by default."""
        return None, None

    def forward(self, x_SBD: Tensor) -> Tensor:
        """Mix along the axis; the shape is unchanged."""
        first, second = self.pair()
        bias1, bias2 = self.biases()
        x = x_SBD.flatten(1) if self.axis == "tokens" else x_SBD
        hidden: Tensor = self.drop1(F.gelu(self._mix(x, first, bias1)))
        out: Tensor = self.drop2(self._mix(hidden, second, bias2))
        return out.reshape(x_SBD.shape)

    def _mix(self, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        return (
            F.linear(x, weight_OI, bias_O)
            if self.axis == "channels"
            else mix_tokens(x, weight_OI, bias_O)
        )


def mix_tokens(x_IN: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """A linear map of the columns of ``x_IN``."""
    return weight_OI @ x_IN if bias_O is None else torch.addmm(bias_O[:, None], weight_OI, x_IN)


class PlainMlp(Mlp):
    """Two layers, with or without bias (MLP-Mixer, arXiv 2105.01601, eq. 1).

    Args:
        axis: the mixed axis.
        features: size of that axis.
        hidden: width.
        bias: whether both layers have a bias.
        drop: dropout after the activation and after the last matrix.
    """

    def __init__(self, axis: Axis, features: int, hidden: int, bias: bool, drop: float) -> None:
        super().__init__(axis, drop)
        self.fc1 = nn.Linear(features, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, features, bias=bias)

    def pair(self) -> tuple[Tensor, Tensor]:
        """W1 and W2."""
        return self.fc1.weight, self.fc2.weight

    def biases(self) -> tuple[Tensor | None, Tensor | None]:
        """b1 and b2, if the layers have them."""
        return self.fc1.bias, self.fc2.bias


class SymmetricMlp(Mlp):
    """Wᵀ σ(W x), one matrix, no bias (SymMixer, arXiv 2406.12220).

    The matrix is named ``fc2``, as in the authors' checkpoints.
    """

    def __init__(self, axis: Axis, features: int, hidden: int, drop: float) -> None:
        super().__init__(axis, drop)
        self.fc2 = nn.Linear(features, hidden, bias=False)

    def pair(self) -> tuple[Tensor, Tensor]:
        """W and Wᵀ."""
        return self.fc2.weight, self.fc2.weight.T


class AsymmetricMlp(Mlp):
    """(W1ᵀ + W̃) σ(W1 x), no bias; ``fc2`` is the symmetry-breaking part W̃ (AsymMixer, arXiv
    2406.12220).

    The authors add two products; adding the two matrices first is the same function at half the
    work.
    """

    def __init__(self, axis: Axis, features: int, hidden: int, drop: float) -> None:
        super().__init__(axis, drop)
        self.fc1 = nn.Linear(features, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, features, bias=False)

    def pair(self) -> tuple[Tensor, Tensor]:
        """W1 and W1ᵀ + W̃."""
        return self.fc1.weight, self.fc1.weight.T + self.fc2.weight


class IteratedMlp(PlainMlp):
    """The token-mixing iMLP: W2 σ(y) + b2, y the fixed point of y = z + F(y), z = W1 x + b1
    (iMixer, arXiv 2304.13061).

    F(y) = A2 σ(A1 σ(y) + a1) + a2, and n_iter steps start at y = z. A1 and A2 are the spectrally
    normalised weights of ``fc_sn1`` and ``fc_sn2``; they are normalised for all blocks at once, so
    they come as arguments.

    Args:
        tokens: tokens, S.
        hidden: width, T.
        inner: width of the hierarchy, H.
        n_iter: steps.
        drop: dropout after the last activation and after the last matrix.
    """

    def __init__(self, tokens: int, hidden: int, inner: int, n_iter: int, drop: float) -> None:
        super().__init__("tokens", tokens, hidden, bias=True, drop=drop)
        self.fc_sn1: SpectralLinear | nn.Linear = SpectralLinear(hidden, inner)
        self.fc_sn2: SpectralLinear | nn.Linear = SpectralLinear(inner, hidden)
        self.n_iter = n_iter

    def solve(self, x_SBD: Tensor, weight1_HT: Tensor, weight2_TH: Tensor) -> tuple[Tensor, Tensor]:
        """The last two iterates (y_n, y_{n−1}), of shape (T, N)."""
        z_TN = y_TN = previous_TN = mix_tokens(x_SBD.flatten(1), self.fc1.weight, self.fc1.bias)
        # z + a2 once, so that a step's sum is part of its matrix product
        shifted_TN = z_TN + self.fc_sn2.bias[:, None]
        for _ in range(self.n_iter):
            hidden_HN = F.gelu(mix_tokens(F.gelu(y_TN), weight1_HT, self.fc_sn1.bias))
            previous_TN = y_TN
            y_TN = torch.addmm(shifted_TN, weight2_TH, hidden_HN)
        return y_TN, previous_TN

    def forward(self, x_SBD: Tensor, weight1_HT: Tensor, weight2_TH: Tensor) -> Tensor:  # type: ignore[override]
        """Mix the tokens with the given effective weights; the shape is unchanged."""
        y_TN, _ = self.solve(x_SBD, weight1_HT, weight2_TH)
        out_SN: Tensor = self.drop2(
            mix_tokens(self.drop1(F.gelu(y_TN)), self.fc2.weight, self.fc2.bias)
        )
        return out_SN.reshape(x_SBD.shape)
