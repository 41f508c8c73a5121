"""One training of a density.

Shapes: M = items taken through the model at once, N = items, V = values of a vector, H = hidden
units.
"""

import torch

from hopsearch.core.seeds import derive
from hopsearch.models.attnbm import AttnBM
from hopsearch.tasks.density.density_config import DensityTrialConfig
from hopsearch.tasks.density.vectors import VectorSplits
from hopsearch.training.trial_run import Row, TrialRun

MEMORISED = 0.95
"""Cosine of a training vector and a component's mean from which it counts as memorised."""
_MOST_COMPARED = 2048  # training vectors of which the memorised share is measured
_REPEATED = 0.1  # deviation of what is added to a row that starts a second component


class DensityTrialRun(TrialRun[DensityTrialConfig, AttnBM, VectorSplits]):
    """An attentional Boltzmann machine that learns a density by gradients of the exact likelihood;
    see `TrialRun`.

    A row's ``train_loss`` is the mean negative log-likelihood of a whole vector, in nats and
    without (V/2) log 2π, so that a learning rate does not depend on the number of values;
    ``val_nll`` is that of one value, 1/V of it. Neither depends on the size of a batch. It is
    computed in float32 on every device, whatever ``train.amp`` says.

    Args:
        config: the whole trial.
        data: training and validation vectors.

    Attributes:
        splits: the data.
        train_NV, val_NV: its vectors, on the device.
    """

    throughput = "vectors_per_s"

    def prepare(self, data: VectorSplits) -> None:
        """Move the vectors to the device."""
        self.splits = data
        self.train_NV = data.train_NV.to(self.device)
        self.val_NV = data.val_NV.to(self.device)
        self.n_train = len(self.train_NV)

    def build(self) -> AttnBM:
        """A model with the initial weights that ``model.init`` says."""
        config = self.config.model
        scaling = self.splits.scaling
        model = AttnBM(
            config.n_visible, config.n_hidden, config.biases, whitened=scaling.scale.ndim == 2
        )
        with torch.no_grad():
            model.data_mean_V.copy_(scaling.mean_V)
            model.data_scale.copy_(scaling.scale)
            if config.init == "random":
                model.weight_HV.normal_(std=config.n_visible**-0.5)
                return model
            rows_HV = _rows(self.splits.train_NV, config.n_hidden)
            model.weight_HV.copy_(rows_HV)
            if config.init == "balanced":
                mean_V = self.splits.train_NV.mean(0)
                model.bias_V.copy_(mean_V)
                model.weight_HV.sub_(mean_V)
                w_HV = model.weight_HV
                model.bias_H.copy_(-0.5 * w_HV.square().sum(1) - w_HV @ mean_V)
        return model

    def loss(self, index_M: torch.Tensor, share: float, first: bool) -> torch.Tensor:
        """The mean negative log-likelihood of these vectors, in nats."""
        nats_M: torch.Tensor = self.net(self.train_NV.index_select(0, index_M))
        return nats_M.mean()

    def validate(self) -> Row:
        """``val_nll`` and ``val_missing_mse``; see `density_task.METRICS`."""
        nll, mse = self._evaluate(self.val_NV)
        return {"val_nll": nll, "val_missing_mse": mse}

    def test(self, data: VectorSplits) -> Row:
        """``test_nll`` and ``test_missing_mse``."""
        nll, mse = self._evaluate(data.read_test().to(self.device))
        return {"test_nll": nll, "test_missing_mse": mse}

    @torch.no_grad()
    def measure(self) -> Row:
        """``effective_components``, 1 / Σ π²; and ``memorised_share``, the share of training
        vectors whose cosine with a component's mean is above `MEMORISED`, of the first 2,048.
        """
        model = self.evaluated
        unit_NV = torch.nn.functional.normalize(self.train_NV[:_MOST_COMPARED])
        unit_HV = torch.nn.functional.normalize(model.means())
        nearest_N = (unit_NV @ unit_HV.T).amax(1)
        return {
            "effective_components": float(model.effective_components()),
            "memorised_share": float((nearest_N > MEMORISED).double().mean()),
        }

    def example(self, count: int) -> torch.Tensor:
        """The first validation vectors."""
        return self.val_NV[:count]

    def missing_of(self, count: int) -> torch.Tensor:
        """Which values of a split's first items are missing: the same ones in every trial, on the
        CPU.
        """
        draw = torch.Generator().manual_seed(derive(0, "missing"))
        shape = (count, self.config.model.n_visible)
        return torch.rand(shape, generator=draw) < self.splits.missing

    @torch.no_grad()
    def _evaluate(self, v_NV: torch.Tensor) -> tuple[float, float]:
        """Nats of a value, and the mean squared error of missing values."""
        model = self.evaluated
        part = self.ranks.share(len(v_NV))
        missing_NV = self.missing_of(len(v_NV))[part].to(self.device)
        # nats, squared errors, missing values
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        size = self.config.train.eval_batch_size
        pairs = zip(v_NV[part].split(size), missing_NV.split(size), strict=True)
        for v_MV, missing_MV in pairs:
            wrong_MV = model.complete(v_MV, missing_MV) - v_MV
            sums[0] += model(v_MV).double().sum()
            sums[1] += wrong_MV.square().double().sum()
            sums[2] += missing_MV.sum()
        nats, squares, missing = self.ranks.sum(sums).tolist()
        return nats / v_NV.numel(), squares / max(1.0, missing)


def _rows(train_NV: torch.Tensor, count: int) -> torch.Tensor:
    """So many training rows, drawn without replacement; once all are taken again, with a little
    noise: equal components would stay equal.
    """
    order_N = torch.randperm(len(train_NV))
    rows_HV = train_NV[order_N.repeat(-(-count // len(order_N)))[:count]]
    rows_HV[len(order_N) :] += _REPEATED * torch.randn(rows_HV[len(order_N) :].shape)
    return rows_HV
