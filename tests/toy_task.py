"""A task of a user's own: a small network learns a line from noisy points."""

import torch
from torch import nn

from hopsearch.tasks import Cost, Facts, Metric, Settings, Task, TrialConfig, TrialRun


class Points(Settings):
    """What stands below ``data.``."""

    source: str = "points"
    count: int = 96
    noise: float = 0.1


class Model(Settings):
    """What stands below ``model.``."""

    hidden: int = 4


class LineConfig(TrialConfig):
    """A trial's settings; ``optim.`` and ``train.`` come with it."""

    model: Model = Model()


class Splits:
    """Points in three splits: train, validation and test."""

    def __init__(self, config: Points) -> None:
        draw = torch.Generator().manual_seed(0)
        self.x_SN1 = torch.rand(3, config.count, 1, generator=draw)
        self.y_SN1 = 2 * self.x_SN1 + config.noise * torch.randn(3, config.count, 1, generator=draw)
        self.facts = Facts("points", config.count, config.count, config.count, str(config))


class LineRun(TrialRun[LineConfig, nn.Module, Splits]):
    """One training."""

    def prepare(self, data: Splits) -> None:
        self.x_SN1 = data.x_SN1.to(self.device)
        self.y_SN1 = data.y_SN1.to(self.device)
        self.n_train = self.x_SN1.shape[1]

    def build(self) -> nn.Module:
        width = self.config.model.hidden
        return nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, 1))

    def loss(self, index_M: torch.Tensor, share: float, first: bool) -> torch.Tensor:
        return nn.functional.mse_loss(self.net(self.x_SN1[0][index_M]), self.y_SN1[0][index_M])

    def validate(self) -> dict[str, float]:
        return {"val_error": self.error(1)}

    def test(self, data: Splits) -> dict[str, float]:
        return {"test_error": self.error(2)}

    def example(self, count: int) -> torch.Tensor:
        return self.x_SN1[1][:count]

    @torch.inference_mode()
    def error(self, split: int) -> float:
        return float((self.evaluated(self.x_SN1[split]) - self.y_SN1[split]).abs().mean())


class Line(Task[Points, Splits, LineConfig]):
    """The task."""

    name = "line"
    metrics = (Metric("val_error", maximize=False),)
    data = Points
    config = LineConfig

    def load(self, data: Points) -> Splits:
        return Splits(data)

    def start(self, config: LineConfig, data: Splits) -> LineRun:
        return LineRun(config, data)

    def cost(self, config: LineConfig) -> Cost:
        hidden = config.model.hidden
        return Cost(n_params=3 * hidden + 1, flops=4 * hidden, memory=12 * (3 * hidden + 1))
