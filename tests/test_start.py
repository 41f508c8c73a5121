"""What a program of ours imports, and that what it does without is done alike."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from hopsearch.data.sources import open_source
from hopsearch.models.mixer import _lecun_normal
from hopsearch.training.optimizer import _decayed

ROOT = Path(__file__).parents[1]


def modules_of(code: str, **more: str) -> set[str]:
    """What is imported after ``code``, in a process of its own."""
    show = "import sys; print(chr(10).join(sys.modules))"
    env = os.environ | {"PYTHONPATH": str(ROOT), **more}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{show}"],
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_first_weights_are_those_of_timm():
    from timm.layers import lecun_normal_

    ours, theirs = torch.empty(64, 3, 4, 4), torch.empty(64, 3, 4, 4)
    torch.manual_seed(0)
    _lecun_normal(ours)
    torch.manual_seed(0)
    lecun_normal_(theirs)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_weight_decay_is_that_of_timm(decay):
    from timm.optim import param_groups_weight_decay

    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2, bias=False))
    theirs = param_groups_weight_decay(model, decay)
    for ours, group in zip(_decayed(model, decay), theirs, strict=True):
        assert [id(each) for each in ours["params"]] == [id(each) for each in group["params"]]
        assert ours["weight_decay"] == group["weight_decay"]


def test_a_worker_imports_neither_timm_nor_the_compiler():
    found = modules_of("import hopsearch.jobs.job", HOPSEARCH_TIMM="0")
    assert "hopsearch.training.trial_run" in found
    assert (
        not {
            "timm",
            "torchvision",
            "torch._dynamo",
            "torch._inductor",
            "tensorboard",
            "plotly",
            "sklearn",
        }
        & found
    )


def test_only_another_optimizer_than_adamw_imports_timm_and_only_where_it_is_built():
    code = """
        import sys, torch
        from hopsearch.models import MlpMixerConfig, build
        from hopsearch.tasks.images import ImageTrialConfig, estimate_cost
        from hopsearch.training import OptimConfig
        from hopsearch.training.optimizer import build_optimizer
        sizes = MlpMixerConfig(image_size=8, patch_size=2, channels=1, classes=10, depth=1, dim=16)
        build_optimizer(build(sizes), OptimConfig(), torch.device("cpu"))
        muon = OptimConfig(name="muon")
        estimate_cost(ImageTrialConfig(model=sizes, optim=muon))
        assert "timm" not in sys.modules, "imported"
        build_optimizer(build(sizes), muon, torch.device("cpu"))
    """
    assert "timm" in modules_of(textwrap.dedent(code), HOPSEARCH_TIMM="0")


def test_a_cost_is_estimated_without_the_compiler_and_the_same_with_it():
    code = """
        import sys
        from hopsearch.models import IMixerConfig
        from hopsearch.tasks.images.cost_estimate import _measure
        sizes = IMixerConfig(image_size=8, patch_size=2, channels=1, classes=10, depth=2, dim=32)
        alone = _measure(sizes, 4, 5, False)
        assert "torch._dynamo" not in sys.modules, "imported"
        import torch._dynamo
        _measure.cache_clear()
        assert _measure(sizes, 4, 5, False) == alone, "not the same"
        import torch
        twice = torch.compile(lambda x: 2 * x, backend="eager")
        assert twice(torch.ones(2)).tolist() == [2, 2]
        wrapped = torch.optim.Optimizer.zero_grad.__wrapped__
        assert not hasattr(wrapped, "__dynamo_disable"), "left behind"
    """
    assert "torch._dynamo" in modules_of(textwrap.dedent(code), HOPSEARCH_TIMM="0")


def test_the_digits_are_those_of_scikit_learn():
    theirs = load_digits()
    part = open_source("digits", Path()).train
    assert torch.equal(torch.tensor(part.labels_N), torch.tensor(theirs.target))
    assert np.array_equal(part.pixels, np.rint(theirs.images * (255 / 16)).astype(np.uint8))


def test_timm_knows_our_models_wherever_they_are_imported():
    assert "timm" in modules_of(
        "import hopsearch.models, timm; assert timm.is_model('imixer_s16_224')"
    )
