"""The attentional Boltzmann machine (AttnBM, arXiv 2212.04692), in plain PyTorch: this one file,
torch, and nothing else.

    import modeling  # as this file is called beside an exported model; its folder on sys.path
    model = modeling.load("<this folder>")  # needs torch and safetensors
    v_BV = model.scale(x_BV)  # as the data were scaled for the training
    nats_B = model(v_BV)
    x_BV = model.unscale(model.complete(v_BV, missing_BV))

Real visible units v and one hidden unit of H that is on, with weights W and biases b and c:

    E(v, μ) = ½‖v − b‖² − w_μ·v − c_μ

Summed over μ that is a mixture of H Gaussians of unit covariance, with means b + w_μ and weights
π_μ ∝ exp(½‖w_μ‖² + w_μ·b + c_μ); so likelihood, sampling and the conditional mean of missing
values are exact. With b = c = 0 one update is attention: v ↦ Wᵀ softmax(W v).

Shapes: B = batch, V = visible units, H = hidden units (components of the mixture).
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class AttnBM(nn.Module):
    """An attentional Boltzmann machine, its weights zero until they are set or loaded.

    Args:
        n_visible: values of a vector, V.
        n_hidden: components, H.
        biases: whether b and c are trained; otherwise they stay as they are set.
        whitened: whether `scale` multiplies by a matrix (V, V), not by one number each.
    """

    def __init__(
        self, n_visible: int, n_hidden: int, biases: bool = True, whitened: bool = False
    ) -> None:
        super().__init__()
        self.weight_HV = nn.Parameter(torch.zeros(n_hidden, n_visible))
        for name, size in (("bias_V", n_visible), ("bias_H", n_hidden)):
            if biases:
                self.register_parameter(name, nn.Parameter(torch.zeros(size)))
            else:
                self.register_buffer(name, torch.zeros(size))
        self.bias_V: Tensor
        self.bias_H: Tensor
        self.register_buffer("data_mean_V", torch.zeros(n_visible))
        self.data_mean_V: Tensor
        one = torch.eye(n_visible) if whitened else torch.ones(n_visible)
        self.register_buffer("data_scale", one)
        self.data_scale: Tensor

    def forward(self, v_BV: Tensor) -> Tensor:
        """The exact negative log-likelihood of each vector in nats, without the constant
        (V/2) log 2π: ½‖v − b‖² − LSE(W v + c) + LSE(½‖w_μ‖² + w_μ·b + c_μ).
        """
        energy_B = 0.5 * (v_BV - self.bias_V).square().sum(1)
        field_BH = torch.addmm(self.bias_H, v_BV, self.weight_HV.T)
        return energy_B - field_BH.logsumexp(1) + self._log_masses().logsumexp(0)

    def _log_masses(self) -> Tensor:
        # log of each component's integral, without (V/2) log 2π, (H,)
        w_HV = self.weight_HV
        return 0.5 * w_HV.square().sum(1) + w_HV @ self.bias_V + self.bias_H

    def log_weights(self) -> Tensor:
        """log π of the components, (H,)."""
        return self._log_masses().log_softmax(0)

    def means(self) -> Tensor:
        """The components' means b + w_μ, (H, V)."""
        return self.bias_V + self.weight_HV

    def effective_components(self) -> Tensor:
        """1 / Σ π²: between 1, all weight in one component, and H, all weights equal."""
        return (-(2 * self.log_weights()).logsumexp(0)).exp()

    def update(self, v_BV: Tensor) -> Tensor:
        """One update, b + Wᵀ softmax(W v + c): the mean of v given the mean of the hidden units."""
        field_BH = torch.addmm(self.bias_H, v_BV, self.weight_HV.T)
        return torch.addmm(self.bias_V, field_BH.softmax(1), self.weight_HV)

    def complete(self, v_BV: Tensor, missing_BV: Tensor) -> Tensor:
        """Missing values replaced by their exact conditional mean given the observed ones, which
        stay.

        The components' posterior is that of the observed values alone: up to a constant its
        logarithm is c_μ + w_o·v_o + ½‖w_m‖² + w_m·b_m, with o observed and m missing. The authors'
        code leaves the biases out.

        Args:
            v_BV: scaled vectors; what stands where values are missing does not matter. Whitened
                ones are mixes of all pixels, so that a pixel cannot be missing from them.
            missing_BV: True where they are.
        """
        w_HV = self.weight_HV
        observed_BV = v_BV.masked_fill(missing_BV, 0.0)
        gap_HV = 0.5 * w_HV.square() + w_HV * self.bias_V
        field_BH = torch.addmm(self.bias_H, observed_BV, w_HV.T)
        field_BH = field_BH + missing_BV.to(v_BV.dtype) @ gap_HV.T
        mean_BV = torch.addmm(self.bias_V, field_BH.softmax(1), w_HV)
        return torch.where(missing_BV, mean_BV, v_BV)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent exact samples, scaled as the model's inputs, (count, V)."""
        weights_H = self.log_weights().exp()
        chosen_B = torch.multinomial(weights_H, count, replacement=True, generator=generator)
        means_BV = self.means()[chosen_B]
        noise_BV = torch.randn(
            means_BV.shape, generator=generator, device=means_BV.device, dtype=means_BV.dtype
        )
        return means_BV + noise_BV

    def scale(self, x_BV: Tensor) -> Tensor:
        """Vectors as they come, as the model was trained on them."""
        centred_BV = x_BV - self.data_mean_V
        if self.data_scale.ndim == 1:
            return centred_BV * self.data_scale
        return centred_BV @ self.data_scale

    def unscale(self, v_BV: Tensor) -> Tensor:
        """The inverse of `scale`."""
        if self.data_scale.ndim == 1:
            return v_BV / self.data_scale + self.data_mean_V
        centred_BV: Tensor = torch.linalg.solve(self.data_scale, v_BV, left=False)
        return centred_BV + self.data_mean_V


def load(folder: str | Path) -> AttnBM:
    """The model of an exported folder, for inference."""
    from safetensors.torch import load_file

    text = (Path(folder) / "config.json").read_text(encoding="utf-8")
    arguments: dict[str, Any] = json.loads(text)["model_args"]
    model = AttnBM(**arguments)
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.eval().requires_grad_(False)
