"""Measures of a trained mixer: convergence of its iteration, symmetry of its weights.

Keys are ``quantity/where/mean`` and ``quantity/where/max`` over the blocks, for a journal. With
``per_block`` there are also ``quantity/where/block0``, ``…/block1``, … for TensorBoard.

``fixed_point/residual`` (iMixer)
    ‖y_n − y_{n−1}‖ / ‖y_n‖ of the token MLP's iteration, over the batch.
``spectral/fc_sn1``, ``spectral/fc_sn2`` (iMixer)
    Spectral norm of the effective weight, exact: at most ``spectral_coeff`` once u and v have
    converged, above it before.
``asymmetry/tokens``, ``asymmetry/channels``
    ‖W2 − W1ᵀ‖ / (‖W1‖ + ‖W2‖), Frobenius: 0 symmetric, about 0.7 unrelated, 1 opposite.
``cosine/tokens``, ``cosine/channels``
    Cosine of W1ᵀ and W2 as vectors: 1 symmetric, 0 unrelated, −1 opposite.
``breaking/tokens``, ``breaking/channels`` (AsymMixer)
    ‖W̃‖ / ‖W1‖, Frobenius.

W1 and W2 are the matrices as they act: in AsymMixer W2 = W1ᵀ + W̃. It is not known how the paper
(arXiv 2406.12220) measured asymmetry in a trained mixer; these are natural choices.
"""

from collections import defaultdict
from typing import Any, cast

import torch
from torch import Tensor

from hopsearch.models.family_configs import AsymMixerConfig, IMixerConfig, ModelConfig
from hopsearch.models.mixer import Mixer
from hopsearch.models.mlps import AsymmetricMlp, IteratedMlp, Mlp
from hopsearch.models.spectral import spectral_norm


def measured(config: ModelConfig) -> tuple[str, ...]:
    """Names of the measures of a model of ``config``, without those of single blocks."""
    names = [
        f"{quantity}/{where}"
        for quantity in ("asymmetry", "cosine")
        for where in ("tokens", "channels")
    ]
    if isinstance(config, AsymMixerConfig):
        names += ["breaking/tokens", "breaking/channels"]
    if isinstance(config, IMixerConfig) and config.n_iter > 0:
        names += ["fixed_point/residual", "spectral/fc_sn1", "spectral/fc_sn2"]
    return tuple(f"{name}/{summary}" for name in names for summary in ("mean", "max"))


@torch.no_grad()
def measure(model: Mixer, x_BCHW: Tensor, per_block: bool = False) -> dict[str, float]:
    """Measure ``model``, with one forward pass over ``x_BCHW`` if it iterates; a small batch is
    enough.

    Args:
        model: the model, not its compiled or distributed wrapper; its mode is restored.
        x_BCHW: images, prepared as for evaluation.
        per_block: add the keys of single blocks.
    """
    training = model.training
    model.eval()
    try:
        found = _weight_measures(model)
        if isinstance(model.blocks[0].mlp_tokens, IteratedMlp):
            found["fixed_point/residual"] = _residuals(model, x_BCHW)
            for name, values in _spectral_norms(model).items():
                found[f"spectral/{name}"] = values
    finally:
        model.train(training)
    return _summarize(found, per_block)


def _weight_measures(model: Mixer) -> dict[str, list[Tensor]]:
    found = defaultdict(list)
    for block in model.blocks:
        for where, mlp in (("tokens", block.mlp_tokens), ("channels", block.mlp_channels)):
            first, second = cast(Mlp, mlp).pair()
            norms = first.norm(), second.norm()
            found[f"asymmetry/{where}"].append((second - first.T).norm() / (norms[0] + norms[1]))
            found[f"cosine/{where}"].append((first.T * second).sum() / (norms[0] * norms[1]))
            if isinstance(mlp, AsymmetricMlp):
                found[f"breaking/{where}"].append(mlp.fc2.weight.norm() / norms[0])
    return found


def _residuals(model: Mixer, x_BCHW: Tensor) -> list[Tensor]:
    residuals: list[Tensor] = []

    def record(mlp: IteratedMlp, inputs: Any) -> None:
        last, previous = mlp.solve(*inputs)
        residuals.append((last - previous).norm() / last.norm())

    handles = [
        cast(IteratedMlp, block.mlp_tokens).register_forward_pre_hook(record)
        for block in model.blocks
    ]
    try:
        model.forward_features(x_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return residuals


def _spectral_norms(model: Mixer) -> dict[str, list[Tensor]]:
    # Not the running estimate uᵀ W v: if u and v lag behind, it equals spectral_coeff although the
    # norm is larger.
    found = defaultdict(list)
    for weights in model.token_weights():
        for name, weight_OI in zip(("fc_sn1", "fc_sn2"), weights, strict=True):
            found[name].append(spectral_norm(weight_OI))
    return found


def _summarize(found: dict[str, list[Tensor]], per_block: bool) -> dict[str, float]:
    # A single device transfer for all values.
    flat = iter(
        torch.stack([value.float() for values in found.values() for value in values]).tolist()
    )
    summary: dict[str, float] = {}
    for name, values in found.items():
        numbers = [next(flat) for _ in values]
        summary[f"{name}/mean"] = sum(numbers) / len(numbers)
        summary[f"{name}/max"] = max(numbers)
        if per_block:
            summary.update({f"{name}/block{index}": number for index, number in enumerate(numbers)})
    return summary
