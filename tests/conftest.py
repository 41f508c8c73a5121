"""Fixtures shared by all tests: small real data, small real studies, and an environment of their
own.

Ray and Optuna are imported where a test needs them: the tests marked ``gpu`` also run on machines
that have neither.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from hopsearch.core.seeds import derive
from hopsearch.data import DataConfig, load
from hopsearch.space import Space
from hopsearch.tasks.images import Images
from hopsearch.tasks.images.classifier_config import ImageTrialConfig, resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.training import Constraint
from tests.services import postgresql as postgresql
from tests.services import s3 as s3
from tests.turns import not_now, this_turn, turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from hopsearch.orchestration.dispatcher import Dispatcher
    from hopsearch.study import Admission, Identity, Study, TrialRecord

pytest.register_assert_rewrite("tests.processes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked ``in_turns`` and has its turn on another commit."""
    if turns() == 1:
        return
    left_out = set(not_now(items, turns(), this_turn()))
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 9, "reduction": 3},
    "fixed": {"model.family": "imixer"},
    "parameters": {
        "model.depth": {"type": "int", "low": 1, "high": 8},
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
        "model.n_iter": {"type": "int", "low": 0, "high": 2},
        "model.h_ratio": {
            "type": "float",
            "low": 0.5,
            "high": 2.0,
            "step": 0.5,
            "when": {"model.n_iter": {"min": 1}},
        },
        "augment.label_smoothing": {"type": "categorical", "choices": [0.0, 0.1]},
    },
    "first": [{"model.depth": 4, "optim.lr": 2e-3}],
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HOPSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def at_home(tmp_path_factory, monkeypatch):
    """In the project's root, with a token and a key in a home of its own, as ``ray up`` is run."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray" / "hopsearch").mkdir(parents=True)
    (home / ".ssh").mkdir()
    (home / ".ssh" / "id_ed25519").touch(mode=0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(Path(__file__).parents[1])


@pytest.fixture
def _no_waiting_for_the_disk(monkeypatch):
    """For simulated searches, during which nobody pulls a plug."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    return load(DataConfig())


@pytest.fixture
def tiny(digits) -> ImageTrialConfig:
    """An iMixer that trains an epoch of digits in a fraction of a second."""
    values = {
        "model.family": "imixer",
        "model.depth": 2,
        "model.dim": 16,
        "model.patch_size": 4,
        "model.drop_path": 0.1,
        "optim.lr": 3e-3,
        "optim.batch_size": 128,
        "augment.mixup": 0.2,
        "augment.crop_pad": 1,
        "train.epochs": 4,
    }
    return resolve(values, digits.facts, seed=3)


@pytest.fixture
def trial(tiny, digits) -> ImageTrialRun:
    return ImageTrialRun(tiny, digits)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    from tests.browser import launched  # selenium is for the tests that use it

    yield from launched(tmp_path_factory.mktemp("chromium"))


FAMILIES_SPACE = {
    "fidelity": {"min_epochs": 1, "max_epochs": 3, "reduction": 3},
    "fixed": {"model.dim": 16, "model.patch_size": 2, "optim.batch_size": 128, "train.epochs": 3},
    "parameters": {
        "model.family": {
            "type": "categorical",
            "choices": ["imixer", "paramixer", "symmixer", "asymmixer"],
        },
        "model.depth": {"type": "int", "low": 1, "high": 2},
        "model.n_iter": {"type": "int", "low": 1, "high": 2},
        "model.h_ratio": {
            "type": "float",
            "low": 0.5,
            "high": 2.0,
            "step": 0.5,
            "when": {"model.family": "imixer"},
        },
        "model.symmetry_breaking": {
            "type": "categorical",
            "choices": [0.0, 1e-3],
            "when": {"model.family": "asymmixer"},
        },
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
    },
    "first": [
        {"model.family": family, "model.depth": 1, "model.n_iter": 2}
        for family in ("imixer", "asymmixer")
    ],
}


@pytest.fixture(scope="session")
def searched(tmp_path_factory, digits) -> Path:
    """The folder of a real little search of digits with a finished winner, run by a plain loop in
    this process. Look only.
    """
    return search_little(tmp_path_factory.mktemp("runs") / "little", digits, FAMILIES_SPACE, 10)


def search_little(
    folder: Path, splits, space: dict, trials: int, config: DataConfig | None = None
) -> Path:
    """Really search a space on digits (or another data set) in this process, without Ray, and
    finish the winner.
    """
    from hopsearch import tune
    from hopsearch.jobs.job import JobRun
    from hopsearch.orchestration.dispatcher import Budget, Dispatcher
    from hopsearch.reporting.tensorboard import Board
    from hopsearch.study import Identity, Study

    config, facts = config or DataConfig(), splits.facts
    origin = tune.origin() | Images().data_description(config, facts)
    data = {
        "source": config.source,
        "image_size": facts.image_size,
        "fingerprint": facts.fingerprint,
    }
    about = Identity(folder.name, Space.from_dict(space), data, "default", {}, 0, origin)
    with Study(folder, about, "random", "asha") as study:
        board = Board(study)
        desk = Dispatcher(study, config, facts, Constraint(), Budget(trials), (board,))
        while job := desk.next_job():
            run = JobRun(job)
            while desk.take(job.number, run.advance()):
                pass
        best = study.ranked()[0]
        winner = {
            "trial": best.number,
            **JobRun(desk.job(best)).finish(folder / "winner"),
            "folder": "winner",
            "test_reads": 1,
        }
        study.note("winner", winner)
        board.close()
    return folder


def identity(name: str = "test", seed: int = 0, space: dict | None = None) -> Identity:
    from hopsearch.study import Identity

    return Identity(
        name,
        Space.from_dict(space or SPACE),
        {"source": "digits", "fingerprint": "0"},
        "default",
        {},
        seed,
    )


def open_study(folder: Path, sampler: str = "random", pruner: str = "asha", **words) -> Study:
    from hopsearch.study import Study

    return Study(folder / "test", identity(**words), sampler, pruner)


def admit_all(config: dict) -> Admission:
    from hopsearch.study import Admission

    return Admission({"n_params": 1000 * config["model.depth"], "flops": 1, "memory": 1})


def curve(number: int, epoch: int) -> float:
    """A made-up learning curve that differs by trial: for tests of the study, where nothing is
    trained.
    """
    return derive("level", number) / 2**31 * 0.5 + 0.5 * (1 - 0.7**epoch)


def drive(study: Study, trials: int) -> None:
    """Search without training: ask, report a made-up curve, until so many trials are over."""
    for record in study.resume(admit_all):
        finish(study, record.number)
    while (record := study.next(admit_all, trials)) is not None:
        finish(study, record.number)
    study.retire()


def finish(study: Study, number: int) -> None:
    record = study.records[number]
    while record.state.value == "running":
        epoch = record.epoch + 1
        study.report(number, epoch, curve(number, epoch), seconds=float(epoch))


def work(desk: Dispatcher, row: Callable[[TrialRecord], dict], workers: int = 1) -> None:
    """Search with a dispatcher and made-up epochs, in turn for each worker's trial."""
    from hopsearch.jobs.job import Progress

    out: list[TrialRecord] = []
    while True:
        while len(out) < workers and (job := desk.next_job()):
            out.append(desk.study.records[job.number])
        if not out:
            return
        record = out.pop(0)
        if desk.take(record.number, Progress(rows=(row(record),))):
            out.append(record)


def hear_interrupts() -> None:
    """For ``preexec_fn``: a shell's background job ignores SIGINT, `nohup` SIGHUP, and so would all
    that tests start there.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"HOPSEARCH_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}


def folder_of_images(root: Path, classes: int = 2, images: int = 8) -> Path:
    """A folder of random images, 8 px, one class folder after another."""
    random = np.random.default_rng(0)
    for label in range(classes):
        (root / f"class{label}").mkdir(parents=True)
        for number in range(images):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
                root / f"class{label}" / f"{number}.png"
            )
    return root
