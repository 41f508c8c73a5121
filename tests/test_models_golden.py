"""Twenty training losses of each family, as committed: whatever changes them changes results, and
must be meant.

To renew the files after a change that is meant: HOPSEARCH_RENEW_GOLDEN=1 python -m pytest
tests/test_models_golden.py
"""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from hopsearch.models import FAMILIES, build, parse_model

GOLDEN = Path(__file__).parent / "assets" / "golden_losses"
RENEW = "HOPSEARCH_RENEW_GOLDEN"


@torch.no_grad()
def weights_from_formula(model):
    # torch does not promise the same random numbers in every release, so the start is computed.
    for index, (name, tensor) in enumerate(model.named_parameters()):
        position = torch.arange(tensor.numel(), dtype=torch.float64)
        wave = torch.sin(0.37 * position**2 + index).reshape(tensor.shape)
        if "norm" in name or tensor.ndim == 1:
            tensor.copy_(0.02 * wave + float("norm" in name and name.endswith("weight")))
        else:
            tensor.copy_(2 * wave / sum(tensor.flatten(1).shape) ** 0.5)
    for name, buffer in model.named_buffers():
        if name.endswith(("_u", "_v")):
            buffer.fill_(len(buffer) ** -0.5)


def twenty_losses(family):
    fields = {"image_size": 8, "patch_size": 2, "channels": 1, "classes": 10, "depth": 2, "dim": 32}
    if family == "asymmixer":
        fields["symmetry_breaking"] = 1e-3
    model = build(parse_model({**fields, "family": family}, "test")).train()
    weights_from_formula(model)
    digits = load_digits()
    x_NCHW = torch.tensor(digits.images[:640], dtype=torch.float32)[:, None] / 8 - 1
    labels_N = torch.tensor(digits.target[:640])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    losses = []
    for step in range(20):
        batch = slice(32 * step, 32 * step + 32)
        loss = F.cross_entropy(model(x_NCHW[batch]), labels_N[batch]) + model.regularization()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_are_as_committed(family, one_thread):
    losses = twenty_losses(family)
    file = GOLDEN / f"{family}.txt"
    if os.environ.get(RENEW):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{step} {loss:.7f}\n" for step, loss in enumerate(losses)))
    expected = [float(line.split()[1]) for line in file.read_text().splitlines()]
    advice = (
        f"The training of {family} has changed. If that is meant, run: {RENEW}=1 python -m "
        f"pytest tests/test_models_golden.py"
    )
    assert losses == pytest.approx(expected, rel=1e-4), advice
