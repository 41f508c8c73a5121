"""The mixers straight from the papers' formulas, batch first, nothing shared with hopsearch: what
the tests compare with.

Shapes: B = batch, S = tokens, D = channels.

The iMixer here does as the published code does: each spectrally normalised layer runs its own power
iteration, one matrix-vector product after the other, in every application. The benchmark uses it as
a rival.
"""

import torch
import torch.nn.functional as F
from torch import nn


class SpectralLinear(nn.Module):
    def __init__(self, inputs, outputs, coeff, n_power):
        super().__init__()
        self.coeff, self.n_power = coeff, n_power
        self.weight_orig = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs)))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("weight_u", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(inputs), dim=0))
        self.register_buffer("weight_sigma", torch.ones(1))

    def forward(self, x):
        weight = self.weight_orig
        if self.training:
            with torch.no_grad():
                for _ in range(self.n_power):
                    F.normalize(torch.mv(weight.t(), self.weight_u), dim=0, out=self.weight_v)
                    F.normalize(torch.mv(weight, self.weight_v), dim=0, out=self.weight_u)
        u, v = self.weight_u.clone(), self.weight_v.clone()
        sigma = torch.dot(u, torch.mv(weight, v))
        self.weight_sigma.copy_(sigma.detach())
        return F.linear(x, weight / torch.clamp(sigma / self.coeff, min=1), self.bias)


class Mlp(nn.Module):
    def __init__(self, features, hidden, bias):
        super().__init__()
        self.fc1 = nn.Linear(features, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, features, bias=bias)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class IMlp(Mlp):
    def __init__(self, features, hidden, inner, n_iter, n_power, coeff):
        super().__init__(features, hidden, bias=True)
        self.fc_sn1 = SpectralLinear(hidden, inner, coeff, n_power)
        self.fc_sn2 = SpectralLinear(inner, hidden, coeff, n_power)
        self.n_iter = n_iter

    def forward(self, x):
        y = z = self.fc1(x)
        for _ in range(self.n_iter):
            y = z + self.fc_sn2(F.gelu(self.fc_sn1(F.gelu(y))))
        return self.fc2(F.gelu(y))


class SymMlp(nn.Module):
    def __init__(self, features, hidden):
        super().__init__()
        self.fc2 = nn.Linear(features, hidden, bias=False)

    def forward(self, x):
        return F.gelu(x @ self.fc2.weight.t()) @ self.fc2.weight


class AsymMlp(Mlp):
    def __init__(self, features, hidden):
        super().__init__(features, hidden, bias=False)

    def forward(self, x):
        hidden = F.gelu(self.fc1(x))
        return hidden @ self.fc1.weight + self.fc2(hidden)


class SerialBlock(nn.Module):
    def __init__(self, shape, mlp_tokens, mlp_channels, n_iter):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(shape, eps=1e-6), nn.LayerNorm(shape, eps=1e-6)
        self.mlp_tokens, self.mlp_channels, self.n_iter = mlp_tokens, mlp_channels, n_iter

    def forward(self, x_BSD):
        for _ in range(self.n_iter):
            x_BSD = x_BSD + self.mlp_tokens(self.norm1(x_BSD).transpose(1, 2)).transpose(1, 2)
            x_BSD = x_BSD + self.mlp_channels(self.norm2(x_BSD))
        return x_BSD


class ParallelBlock(nn.Module):
    def __init__(self, shape, mlp_tokens, mlp_channels, n_iter):
        super().__init__()
        self.norm = nn.LayerNorm(shape, eps=1e-6)
        self.mlp_tokens, self.mlp_channels, self.n_iter = mlp_tokens, mlp_channels, n_iter

    def forward(self, x_BSD):
        for _ in range(self.n_iter):
            normed = self.norm(x_BSD)
            x_BSD = (
                x_BSD
                + self.mlp_tokens(normed.transpose(1, 2)).transpose(1, 2)
                + self.mlp_channels(normed)
            )
        return x_BSD


class Stem(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.proj = nn.Conv2d(config.channels, config.dim, config.patch_size, config.patch_size)

    def forward(self, x_BCHW):
        return self.proj(x_BCHW).flatten(2).transpose(1, 2)


class ReferenceMixer(nn.Module):
    """Any family, from its config's fields."""

    def __init__(self, config):
        super().__init__()
        self.stem = Stem(config)
        self.blocks = nn.ModuleList([make_block(config) for _ in range(config.depth)])
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, x_BCHW):
        x_BSD = self.stem(x_BCHW)
        for block in self.blocks:
            x_BSD = block(x_BSD)
        return self.head(self.norm(x_BSD).mean(dim=1))


def make_block(config):
    S, D = (config.image_size // config.patch_size) ** 2, config.dim
    T, wide = int(config.token_ratio * D), int(config.channel_ratio * D)
    match config.family:
        case "mlpmixer":
            return SerialBlock(D, Mlp(S, T, bias=True), Mlp(D, wide, bias=True), 1)
        case "imixer":
            iterated = IMlp(
                S, T, int(config.h_ratio * T), config.n_iter, config.n_power, config.spectral_coeff
            )
            return SerialBlock(D, iterated, Mlp(D, wide, bias=True), 1)
        case "vanillamixer":
            return SerialBlock(
                (S, D), Mlp(S, T, bias=False), Mlp(D, wide, bias=False), config.n_iter
            )
        case "paramixer":
            return ParallelBlock(
                (S, D), Mlp(S, T, bias=False), Mlp(D, wide, bias=False), config.n_iter
            )
        case "symmixer":
            return ParallelBlock((S, D), SymMlp(S, T), SymMlp(D, wide), config.n_iter)
        case "asymmixer":
            return ParallelBlock((S, D), AsymMlp(S, T), AsymMlp(D, wide), config.n_iter)
