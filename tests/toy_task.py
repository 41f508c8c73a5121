"""A task of a user's own, in forty lines: a line is fitted to noisy points."""

import torch
from torch import nn

from hopsearch.core.config import Settings
from hopsearch.core.metrics import Metric
from hopsearch.tasks import Facts, Task
from hopsearch.training import Cost, TrialConfig, TrialRun


class Points(Settings):
    """How many points there are, and how noisy they are."""

    source: str = "points"
    count: int = 96
    noise: float = 0.1


class Width(Settings):
    """The model's size."""

    hidden: int = 4


class LineConfig(TrialConfig):
    """A trial's settings."""

    model: Width = Width()


class Drawn:
    """Points on a line, in three splits of the same size."""

    def __init__(self, config: Points) -> None:
        draw = torch.Generator().manual_seed(0)
        self.x_SN1 = torch.rand(3, config.count, 1, generator=draw)
        noise_SN1 = torch.randn(3, config.count, 1, generator=draw)
        self.y_SN1 = 2 * self.x_SN1 - 1 + config.noise * noise_SN1
        self.facts = Facts("points", config.count, config.count, config.count, str(config))


class LineRun(TrialRun[LineConfig, nn.Module, Drawn]):
    """Minimises the squared error."""

    def prepare(self, data):
        self.x_SN1, self.y_SN1 = data.x_SN1.to(self.device), data.y_SN1.to(self.device)
        self.n_train = self.x_SN1.shape[1]

    def build(self):
        width = self.config.model.hidden
        return nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, 1))

    def loss(self, index_M, share, first):
        return nn.functional.mse_loss(self.net(self.x_SN1[0][index_M]), self.y_SN1[0][index_M])

    def validate(self):
        return {"val_error": self._error(1)}

    def test(self, data):
        return {"test_error": self._error(2)}

    def example(self, count):
        return self.x_SN1[1][:count]

    @torch.inference_mode()
    def _error(self, split):
        return float((self.evaluated(self.x_SN1[split]) - self.y_SN1[split]).abs().mean())


class Line(Task):
    """Fit a line."""

    name = "line"
    metrics = (Metric("val_error", maximize=False),)
    data = Points
    config = LineConfig

    def load(self, data):
        return Drawn(data)

    def start(self, config, data):
        return LineRun(config, data)

    def cost(self, config):
        return Cost(3 * config.model.hidden + 1, 4 * config.model.hidden, 1000)
