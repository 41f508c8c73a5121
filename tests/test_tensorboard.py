"""The study in TensorBoard: what is in the event files, and what a real TensorBoard says of a real
study.
"""

import io
import json
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hopsearch.jobs.job import Job, JobRun
from hopsearch.reporting.tensorboard import Board
from hopsearch.study import StudyView
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.training_pictures import confusion, draw, token_mixing
from tests.conftest import admit_all, finish, open_study


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


@contextmanager
def tensorboard(logdir: Path):
    """A real TensorBoard on loopback; yields a function that asks it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        "--logdir",
        str(logdir),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--reload_interval",
        "1",
    ]
    log = (logdir.parent / "tensorboard.txt").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", *words], stdout=log, stderr=log
    )
    home = f"http://127.0.0.1:{port}"

    def ask(path: str, body: dict | None = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{home}/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    ask.home = home
    try:
        deadline = time.monotonic() + 50
        while time.monotonic() < deadline:
            with suppress(OSError):
                ask("data/environment")
                break
            time.sleep(0.1)
        yield ask
    finally:
        process.terminate()
        process.wait()
        log.close()


def sessions(ask, names, metric="best/val_acc") -> dict[str, tuple[dict, float | None]]:
    """What the HParams tab asks for to fill its table: by trial its parameters and its metric."""
    columns = [{"hparam": name} for name in names] + [{"metric": {"group": "", "tag": metric}}]
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    body = {
        "experimentName": "",
        "allowedStatuses": statuses,
        "colParams": columns,
        "startIndex": 0,
        "sliceSize": 2000,
    }
    found = ask("data/plugin/hparams/session_groups", body)["sessionGroups"]
    return {
        group["sessions"][0]["name"]: (
            group.get("hparams", {}),
            next(
                (
                    value["value"]
                    for value in group.get("metricValues", [])
                    if value["name"]["tag"] == metric
                ),
                None,
            ),
        )
        for group in found
    }


def wait_for(condition, seconds: float = 40):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError("TensorBoard did not come to show it")


@pytest.mark.long
@pytest.mark.timeout(120)
def test_a_real_tensorboard_shows_every_trial(searched):
    view = StudyView.open(searched)
    names = list(view.identity.space.parameters)
    with tensorboard(searched / "tensorboard") as ask:
        rows = wait_for(lambda: len(found := sessions(ask, names)) >= len(view.counted()) and found)
        assert set(rows) == {f"trial_{record.number:04d}" for record in view.counted()}
        for record in view.counted():
            shown, best = rows[f"trial_{record.number:04d}"]
            assert best == pytest.approx(view.value(record), abs=1e-6)
            # a conditional parameter that a trial has not is absent, not zero
            assert set(shown) == set(record.params)
            for name, value in record.params.items():
                assert shown[name] == (value if isinstance(value, str) else pytest.approx(value))
        experiment = ask("data/plugin/hparams/experiment", {"experimentName": ""})
        assert {info["name"] for info in experiment["hparamInfos"]} == set(names)
        assert "best/val_acc" in {info["name"]["tag"] for info in experiment["metricInfos"]}
        family = next(info for info in experiment["hparamInfos"] if info["name"] == "model.family")
        assert set(family["domainDiscrete"]) == {"imixer", "paramixer", "symmixer", "asymmixer"}

        tags = ask("data/plugin/scalars/tags")
        for record in view.counted():  # shared tags, so that trials lie over each other
            assert {"validation/val_acc", "train/train_loss", "asymmetry/tokens/mean"} <= set(
                tags[f"trial_{record.number:04d}"]
            )
        layout = ask("data/plugin/custom_scalars/layout")
        assert [category["title"] for category in layout["category"]] == [
            "search",
            "symmetry",
            "iteration",
        ]
        images = ask("data/plugin/images/tags")
        drawn = {name for name, found in images.items() if "tokens/mixing" in found}
        assert drawn == {
            f"trial_{record.number:04d}" for record in view.counted() if record.epoch >= 3
        }
        one = next(record for record in view.counted() if record.epoch == 3)
        path = f"data/plugin/images/images?run=trial_{one.number:04d}&tag=tokens%2Fmixing&sample=0"
        assert [image["step"] for image in ask(path)] == [3]


def test_pictures_survive_a_restart(tmp_path, tiny, digits):
    job = Job(
        number=0,
        trial=tiny,
        data={"source": "digits"},
        folder=str(tmp_path / "trials" / "0000"),
        pictures=(1, 3),
    )
    first = JobRun(job)
    told = [first.advance().pictures for _ in range(2)]
    assert [list(drawn) for drawn in told] == [[1], []]
    again = JobRun(job)  # another process
    assert again.advance().pictures == told[0]
    assert list(again.advance().pictures) == [3]
    assert list(JobRun(job).advance().pictures) == [1, 3]
    with open_study(tmp_path) as study:
        record = study.ask(admit_all)
        board = Board(study)
        board.pictures(record, told[0])
        board.pictures(record, JobRun(job).advance().pictures)
        board.close()
        found = events(study.folder / "tensorboard" / "trial_0000")
    assert [event.step for event in found.Images("tokens/mixing")] == [1, 3]
    png = found.Images("tokens/mixing")[0]
    assert Image.open(io.BytesIO(png.encoded_image_string)).size == (png.width, png.height)


def test_a_picture_that_fails_costs_no_trial(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr("hopsearch.tasks.images.task.draw", lambda run: 1 / 0)
    run = JobRun(
        Job(
            number=0,
            trial=tiny,
            data={"source": "digits"},
            folder=str(tmp_path / "0000"),
            pictures=(1,),
        )
    )
    progress = run.advance()
    assert (progress.failure, progress.pictures, len(progress.rows)) == (None, {}, 1)
    assert "ZeroDivisionError" in (tmp_path / "0000" / "pictures.error.txt").read_text()


class TestPictures:
    def test_token_mixing_shows_the_products_on_the_grid(self, trial):
        """Tile (i, j) is the row of W2 W1 of output token (i, j), red where positive, blue where
        negative.
        """
        with torch.no_grad():
            first, second = trial.model.blocks[0].mlp_tokens.pair()
            mixing = (second @ first).reshape(2, 2, 2, 2)
        picture = np.asarray(token_mixing(trial.model)).astype(int)
        scale = -(-200 // 5)  # two tiles of two, and a frame between
        for i, j, k, m in np.ndindex(2, 2, 2, 2):
            red, _, blue = picture[
                (3 * i + k) * scale + scale // 2, (3 * j + m) * scale + scale // 2
            ]
            assert (red > blue) == (float(mixing[i, j, k, m]) > 0), (i, j, k, m)

    def test_a_confusion_matrix(self):
        labels, said = torch.tensor([0, 0, 1, 1, 24]), torch.tensor([0, 1, 1, 1, 0])
        picture = np.asarray(confusion(labels, said, [str(label) for label in range(25)]))
        cell = 200 // 25
        shade = picture[cell // 2 :: cell, cell // 2 :: cell, 0]
        assert (shade[0, 0], shade[0, 1], shade[1, 1], shade[24, 0], shade[5, 5]) == (
            127,
            127,
            0,
            0,
            255,
        )

    def test_all_of_them_are_small_and_readable(self, trial):
        trial.step()
        model, before = (
            trial.evaluated,
            {name: value.clone() for name, value in trial.evaluated.state_dict().items()},
        )
        pictures = draw(trial)
        assert set(pictures) == {"tokens/mixing", "validation/confusion", "validation/wrong"}
        assert sum(map(len, pictures.values())) < 20_000
        assert all(Image.open(io.BytesIO(png)).format == "PNG" for png in pictures.values())
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    @pytest.mark.parametrize("image_size", [224])
    def test_bounded_for_the_papers_size(self, image_size, digits):
        from hopsearch.models import build, parse_model

        sizes = {
            "family": "paramixer",
            "image_size": image_size,
            "patch_size": 16,
            "dim": 64,
            "depth": 12,
        }
        picture = token_mixing(build(parse_model(sizes, "test")))
        assert picture.width * picture.height < 500_000

    def test_drawing_does_not_change_the_training(self, tiny, digits, tmp_path):
        plain, drawn = (ImageTrialRun(tiny, digits) for _ in range(2))
        plain.step(), drawn.step()
        draw(drawn)
        assert plain.step()["train_loss"] == drawn.step()["train_loss"]


def test_bytes_of_a_trial(searched):
    """What a study costs on disk: some 0.7 kB an epoch, 1.5 kB of text, 8 kB a drawn rung; the
    limits leave room.
    """
    view = StudyView.open(searched)
    for record in view.counted():
        folder = searched / "tensorboard" / f"trial_{record.number:04d}"
        size = sum(file.stat().st_size for file in folder.iterdir())
        drawn = record.epoch >= 3
        assert size < 4_000 + 1_500 * record.epoch + 20_000 * drawn, (
            record.number,
            record.epoch,
            size,
        )


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_trials_open_in_seconds(tmp_path):
    with open_study(tmp_path) as study:
        board = Board(study)
        while len(study.counted()) < 1000:
            record = study.ask(admit_all)
            if record is None:
                break
            finish(study, record.number)
            board.rows(
                record,
                [
                    {"epoch": e, "val_acc": v, "train_loss": v, "val_loss": v}
                    for e, v in record.curve.items()
                ],
            )
            board.end(record)
        board.close()
        names = list(study.identity.space.parameters)
        counted = study.counted()
    with tensorboard(tmp_path / "test" / "tensorboard") as ask:
        began = time.monotonic()
        rows = wait_for(lambda: len(found := sessions(ask, names)) >= len(counted) and found, 100)
        print(f"{len(counted)} trials in TensorBoard after {time.monotonic() - began:.1f} s")
    assert all(best is not None for _, best in rows.values())
