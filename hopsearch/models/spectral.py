"""Soft spectral normalisation, W / max(1, σ/coeff), of many layers at once.

Shapes: L = layers, O = outputs, I = inputs, X = the larger of the two, R = the smaller.

The authors of iMixer (arXiv 2304.13061) run the power iteration in every application of a layer,
n_iter times a step, although the weight has not changed in between. Here it runs once per training
forward pass, for the layers of all blocks in one batched product. It converges to the same singular
vectors: u and v are kept between steps, in which weights change little.

u and v belong to the weights they were computed for. Other weights (a moving average) need their
own: `settle`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpectralLinear(nn.Module):
    """The parameters of a linear layer whose weight is normalised before use; it has no forward
    method.

    State-dict keys are those of the authors' checkpoints: ``weight_orig``, ``bias`` and the buffers
    ``weight_u``, ``weight_v`` (running estimates of the first singular vectors) and
    ``weight_sigma`` (the norm in the last training forward pass, for logs).
    """

    weight_u: Tensor
    weight_v: Tensor
    weight_sigma: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.register_buffer("weight_u", torch.empty(outputs))
        self.register_buffer("weight_v", torch.empty(inputs))
        self.register_buffer("weight_sigma", torch.ones(1))
        self.init_weights()

    def init_weights(self) -> None:
        """Xavier weights, almost no bias, random unit singular vectors; nothing if there is no
        storage (meta device).
        """
        if self.weight_orig.is_meta:
            return
        nn.init.xavier_uniform_(self.weight_orig)
        nn.init.normal_(self.bias, std=1e-6)
        with torch.no_grad():
            for vector in (self.weight_u, self.weight_v):
                vector.copy_(F.normalize(torch.randn_like(vector), dim=0))
            self.weight_sigma.fill_(1)


def normalized_weights(
    tall: Sequence[SpectralLinear],
    wide: Sequence[SpectralLinear],
    coeff: float,
    n_power: int,
    update: bool,
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The effective weights of ``tall`` and of ``wide``, each in order.

    The wide ones are handled transposed, in the same stack as the tall ones: σ(W) = σ(Wᵀ). The
    gradient flows through the weight and through σ = uᵀ W v with u and v held constant, as in the
    authors' code.

    Args:
        tall: layers of one shape, with at least as many outputs as inputs.
        wide: layers of the transposed shape.
        coeff: the largest spectral norm that is not reduced.
        n_power: power iterations, if ``update``.
        update: first update u and v in place, as in training but not in evaluation.
    """
    dtype = tall[0].weight_orig.dtype
    with _full_precision(tall[0].weight_orig.device.type):
        a_LXR = torch.stack(
            [layer.weight_orig for layer in tall] + [layer.weight_orig.T for layer in wide]
        )
        a_LXR = a_LXR.to(torch.promote_types(dtype, torch.float32))
        with torch.no_grad():
            large_LX = torch.stack(
                [layer.weight_u for layer in tall] + [layer.weight_v for layer in wide]
            ).to(a_LXR.dtype)
            small_LR = torch.stack(
                [layer.weight_v for layer in tall] + [layer.weight_u for layer in wide]
            ).to(a_LXR.dtype)
            if update:
                large_LX, small_LR = power_iterate(a_LXR, large_LX, small_LR, len(tall), n_power)
        sigma_L = (large_LX * torch.bmm(a_LXR, small_LR[:, :, None]).squeeze(2)).sum(1)
        effective_LXR = (a_LXR / (sigma_L / coeff).clamp(min=1)[:, None, None]).to(dtype)
    if update:
        _store(tall, large_LX, small_LR, sigma_L)
        _store(wide, small_LR[len(tall) :], large_LX[len(tall) :], sigma_L[len(tall) :])
    effective = effective_LXR.unbind()
    return effective[: len(tall)], tuple(weight_XR.T for weight_XR in effective[len(tall) :])


@torch.no_grad()
def settle(layers: Sequence[SpectralLinear]) -> None:
    """Set each layer's first singular vectors and norm to the exact ones of its current weight;
    nothing else changes.
    """
    for layer in layers:
        weight_OI = layer.weight_orig.double()
        wide = weight_OI.shape[1] > weight_OI.shape[0]
        a_XR = weight_OI.T if wide else weight_OI
        small_R = torch.linalg.eigh(a_XR.T @ a_XR).eigenvectors[:, -1]
        large_X = F.normalize(a_XR @ small_R, dim=0)
        u_O, v_I = (small_R, large_X) if wide else (large_X, small_R)
        layer.weight_u.copy_(u_O)
        layer.weight_v.copy_(v_I)
        layer.weight_sigma.copy_(u_O @ weight_OI @ v_I)


def spectral_norm(weight_OI: Tensor) -> Tensor:
    """The largest singular value, exact to float32: of the small Gram matrix in double precision,
    faster than an SVD.
    """
    a_OI = weight_OI.double()
    gram_RR = a_OI.T @ a_OI if a_OI.shape[0] > a_OI.shape[1] else a_OI @ a_OI.T
    norm: Tensor = torch.linalg.eigvalsh(gram_RR)[-1].clamp(min=0).sqrt()
    return norm.to(weight_OI.dtype)


def power_iterate(
    a_LXR: Tensor, large_LX: Tensor, small_LR: Tensor, n_tall: int, n_power: int
) -> tuple[Tensor, Tensor]:
    """Run v ← Wᵀu/‖·‖, u ← Wv/‖·‖ ``n_power`` times for all layers at once.

    Intermediate vectors are not needed, so the steps are merged: with the small Gram matrix G =
    AᵀA, n of them are one product with G^(n−1), computed by repeated squaring. That is a handful of
    batched products for any n, which matters as small matrices and GPUs are limited by the number
    of calls; single steps, as batched matrix-vector products, are 2 to 4 times slower on a CPU at R
    ≤ 128. The result equals that of single steps, up to rounding.

    Args:
        a_LXR: the first ``n_tall`` are W, so that large is u and small is v; the others are Wᵀ,
            with the roles reversed.
        large_LX: singular vectors of the long side so far.
        small_LR: those of the short side.
        n_tall: where the transposed ones start.
        n_power: steps, at least 1.

    Returns:
        The improved (large, small).
    """
    at_LRX = a_LXR.mT
    # A step starts with Wᵀu: the half step Aᵀu for the tall ones. The wide ones' u is the small
    # vector itself.
    start_LR1 = torch.cat(
        [torch.bmm(at_LRX[:n_tall], large_LX[:n_tall, :, None]), small_LR[n_tall:, :, None]]
    )
    small_LR1 = F.normalize(_apply_power(torch.bmm(at_LRX, a_LXR), start_LR1, n_power - 1), dim=1)
    large_LX1 = F.normalize(torch.bmm(a_LXR, small_LR1), dim=1)
    # It ends with Wv, which for the wide ones is another half step.
    small_LR1 = torch.cat([small_LR1[:n_tall], torch.bmm(at_LRX[n_tall:], large_LX1[n_tall:])])
    return large_LX1.squeeze(2), F.normalize(small_LR1, dim=1).squeeze(2)


def _apply_power(gram_LRR: Tensor, x_LR1: Tensor, exponent: int) -> Tensor:
    # G is rescaled after every product, its largest eigenvalue then in [1/√R, 1]: nothing
    # underflows, and a zero stays one.
    tiny = torch.finfo(gram_LRR.dtype).tiny
    while exponent:
        gram_LRR = gram_LRR / (torch.linalg.matrix_norm(gram_LRR, keepdim=True) + tiny)
        if exponent & 1:
            x_LR1 = torch.bmm(gram_LRR, x_LR1)
        exponent >>= 1
        if exponent:
            gram_LRR = torch.bmm(gram_LRR, gram_LRR)
    return x_LR1


def _full_precision(device: str) -> AbstractContextManager[object]:
    # Half precision would lose σ. Devices without autocast, such as the meta device, do not even
    # accept disabling it.
    return (
        torch.autocast(device, enabled=False)
        if torch.amp.is_autocast_available(device)
        else nullcontext()
    )


@torch.no_grad()
def _store(layers: Sequence[SpectralLinear], u_LO: Tensor, v_LI: Tensor, sigma_L: Tensor) -> None:
    for layer, u_O, v_I, sigma in zip(layers, u_LO, v_LI, sigma_L):  # noqa: B905  # the stacks continue with the other layers
        layer.weight_u.copy_(u_O)
        layer.weight_v.copy_(v_I)
        layer.weight_sigma.copy_(sigma)
