"""Tasks with mistakes that a user makes, each a small change of the toy task."""

from typing import ClassVar

import torch
from torch import nn

from hopsearch.tasks import Cost, Facts, Metric, Settings, Task, TrialConfig
from tests.toy_task import Line, LineConfig, LineRun, Points


class NoMetrics(Line):
    """Nothing to search for."""

    metrics = ()


class OtherSplit(Line):
    """A metric that is not named after the validation split."""

    metrics = (Metric("error", maximize=False),)


class Twice(Line):
    """Two metrics of one name."""

    metrics = (Metric("val_error"), Metric("val_error"))


class Plain(Line):
    """Settings that are none."""

    data = dict


class Sourceless(Line):
    """Data settings that data=… cannot set."""

    class data(Settings):  # noqa: N801
        """Settings."""

        count: int = 96


class Single(Line):
    """A setting beside the groups."""

    class config(TrialConfig):  # noqa: N801
        """Settings."""

        depth: int = 3


class Unfinished(Task):
    """Methods are missing."""

    name = "unfinished"


class Arguments(Line):
    """Cannot be made."""

    def __init__(self, size: int) -> None:
        self.size = size


class Taken(Line):
    """A section that is named like a setting of the command."""

    class config(LineConfig):  # noqa: N801
        """Settings."""

        trial: Points = Points()


class Required(Line):
    """Data settings that must be given."""

    class data(Points):  # noqa: N801
        """Settings."""

        source: str


class Unreadable(Line):
    """Its data cannot be read."""

    def load(self, data):
        raise ValueError("no such column")


class Factless(Line):
    """Its data say nothing of themselves."""

    def load(self, data):
        return object()


class Empty(Line):
    """A split has no item."""

    def load(self, data):
        found = super().load(data)
        found.facts = Facts("points", 96, 0, 96, "x")
        return found


class Costless(Line):
    """Its cost is none."""

    def cost(self, config):
        return 3


class Miscounting(Line):
    """Its cost is of another model."""

    def cost(self, config):
        return Cost(n_params=1, flops=1, memory=1)


class Unknowing(Line):
    """Its facts are none."""

    def condition_facts(self, facts):
        return None


class Idle(Line):
    """Its training is none."""

    def start(self, config, data):
        return None


class Wrong(Line):
    """Its training is one of those below."""

    run: ClassVar[type[LineRun]]

    def start(self, config, data):
        return self.run(config, data)


class Uncounted(LineRun):
    """Items are not counted."""

    def prepare(self, data):
        super().prepare(data)
        del self.n_train


class NoModel(LineRun):
    """No model."""

    def build(self):
        return None


class NothingToLearn(LineRun):
    """No parameters."""

    def build(self):
        return nn.Identity()


class LossPerItem(LineRun):
    """A loss per item."""

    def loss(self, index_M, share, first):
        return (self.net(self.x_SN1[0][index_M]) - self.y_SN1[0][index_M]).abs()


class LossOfFloat(LineRun):
    """A loss without a gradient."""

    def loss(self, index_M, share, first):
        return super().loss(index_M, share, first).detach()


class LossRaises(LineRun):
    """A mistake in the task's code."""

    def loss(self, index_M, share, first):
        raise KeyError("width")


class NoRow(LineRun):
    """Nothing is returned."""

    def validate(self):
        return None


class OtherMetric(LineRun):
    """Another metric than the task names."""

    def validate(self):
        return {"val_other": 1.0}


class Word(LineRun):
    """No number."""

    def validate(self):
        return {"val_error": "small"}


class Infinite(LineRun):
    """No finite number."""

    def validate(self):
        return {"val_error": torch.tensor(float("inf"))}


class Untested(LineRun):
    """No metric of the test split."""

    def test(self, data):
        return {}


class TestNaN(LineRun):
    """No finite metric of the test split."""

    __test__ = False

    def test(self, data):
        return {"test_error": float("nan")}


class TestRaises(LineRun):
    """The test split cannot be read."""

    __test__ = False

    def test(self, data):
        raise ValueError("no test file")


for _run in LineRun.__subclasses__():
    globals()[f"{_run.__name__}Task"] = type(
        f"{_run.__name__}Task", (Wrong,), {"run": _run, "__module__": __name__}
    )
