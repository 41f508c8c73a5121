"""What a program of ours imports, and that what it does without is done alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from hopsearch.models.mixer import _lecun_normal
from hopsearch.training.optimizer import _decayed

ROOT = Path(__file__).parents[1]


def modules_of(code: str, **more: str) -> set[str]:
    """What is imported after ``code``, in a process of its own."""
    show = "import sys; print(chr(10).join(sys.modules))"
    env = os.environ | {"PYTHONPATH": str(ROOT), **more}
    done = subprocess.run([sys.executable, "-c", f"{code}; {show}"], env=env, capture_output=True, text=True, timeout=50)
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
    found = modules_of("import hopsearch.distributed.job", HOPSEARCH_TIMM="0")
    assert "hopsearch.training.trial" in found
    assert not {"timm", "torchvision", "torch._dynamo", "torch._inductor", "tensorboard", "plotly", "sklearn"} & found


def test_timm_knows_our_models_wherever_they_are_imported():
    assert "timm" in modules_of("import hopsearch.models, timm; assert timm.is_model('imixer_s16_224')")
