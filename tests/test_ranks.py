"""Training over several processes is the training of one."""

import json
import subprocess
import sys

import pytest
import torch

from hopsearch.data import DataConfig, load
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.training import CheckpointFolder, Paused, Ranks
from tests import rank_process
from tests.conftest import environment


@pytest.mark.parametrize("n", [0, 1, 7, 54, 229])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 8])
def test_shares_are_everything_once(n, world):
    shares = []
    for rank in range(world):
        ranks = Ranks()
        ranks.rank, ranks.world = rank, world
        shares.append(range(n)[ranks.share(n)])
    assert [index for share in shares for index in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A folder with what 4 ranks, then 2, then 1 found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.rank_process", str(folder)]
    processes = [
        subprocess.Popen([*command, str(rank)], env=environment(folder), stderr=subprocess.PIPE)
        for rank in range(max(rank_process.WORLDS))
    ]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()[-2000:]
    rank_process.work(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(240)
class TestRanks:
    @pytest.mark.parametrize("world", rank_process.WORLDS)
    @pytest.mark.parametrize("how", ["plain", "accumulated"])
    def test_gradients_are_those_of_one(self, together, world, how):
        one, many = (torch.load(together / f"{how}_{number}.pt") for number in (1, world))
        assert one.keys() == many.keys()
        for name, gradient in one.items():
            assert torch.allclose(gradient, many[name], rtol=1e-5, atol=1e-6), name

    @pytest.mark.parametrize("world", rank_process.WORLDS)
    def test_validation_counts_every_image_once(self, together, world):
        one, many = (
            json.loads((together / f"{number}.json").read_text())["validation"]
            for number in (1, world)
        )
        assert many[1:] == one[1:], "accuracy and each class's hits and images, exactly"
        assert many[0] == pytest.approx(one[0], rel=1e-6)

    @pytest.mark.parametrize("world", rank_process.WORLDS)
    def test_the_curve_is_that_of_one(self, together, world):
        one, many = (json.loads((together / f"{number}.json").read_text()) for number in (1, world))
        assert many["curve"] == pytest.approx(one["curve"], rel=0.02)
        assert abs(many["val_acc"] - one["val_acc"]) < 0.05


def test_accumulation_is_the_whole_batch(digits):
    whole, parts = (
        rank_process.first_step(
            ImageTrialRun(rank_process.config(**{"train.micro_batch": micro}), digits)
        )
        for micro in (None, 7)
    )
    assert all(torch.allclose(whole[name], parts[name], rtol=1e-5, atol=1e-6) for name in whole)


def test_a_paused_epoch_goes_on_where_it_was(digits, tmp_path):
    plain = ImageTrialRun(rank_process.config(), digits)
    expected = [plain.step() for _ in range(2)]
    run = ImageTrialRun(rank_process.config(), digits)
    run.step()
    with pytest.raises(Paused):
        run.step(stop=lambda: True)
    assert run.position > 0
    run.save(CheckpointFolder(tmp_path), "val_acc")
    again = ImageTrialRun(rank_process.config(), load(DataConfig()))
    assert again.load_newest(CheckpointFolder(tmp_path))
    assert again.position == run.position
    row = again.step()
    same = ("epoch", "train_loss", "val_loss", "val_acc", "lr")
    assert {key: row[key] for key in same} == {key: expected[1][key] for key in same}
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            again.model.state_dict().values(), plain.model.state_dict().values(), strict=True
        )
    )
