"""What a trial costs beyond its training: a search of one-epoch trials, against its pure training
and against plain Ray Tune.

    python benchmarks/trial_overhead.py [--trials 40] [--repeats 3] [--depth 4] [--plain-repeats 1]

Every contestant trains the same trials, one epoch each of ``space=imixer`` on digits with a fixed
depth and width, one thread a trial:

* ``pure``: one process, one after the other, ``ImageTrialRun.step`` and nothing else. Its time is
  the limit.
* ``search, 1 slot``: our driver with one worker, so that the ratio to ``pure`` is what asking,
  sending, saving the checkpoint, journal and TensorBoard cost. Counted once warm: from the end of
  the first trial to the end of the last; the same trials of ``pure`` are the denominator.
* ``search``: our driver with a worker a core, from the command to the last trial, start of Ray and
  workers included.
* ``plain Tune``: what one writes first: a function trainable, ``OptunaSearch`` and
  ``ASHAScheduler``, as many at once, counted the same way.

The contestants take turns; each turn gives one ratio. Time is wall time.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import machine

from hopsearch.data import DataConfig, load
from hopsearch.orchestration.dispatcher import Budget, Dispatcher
from hopsearch.orchestration.resources import TrialResources
from hopsearch.orchestration.space_preparation import open_space
from hopsearch.ray_backend.cluster.connection import connect, slots
from hopsearch.ray_backend.driver import run_search
from hopsearch.reporting.tensorboard import Board
from hopsearch.space import Space
from hopsearch.study import Identity, Study, StudyView, TrialRecord
from hopsearch.study.sampling.samplers import suggest_value
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.training import Constraint, Row

RESOURCES = TrialResources()


class Ends:
    """An observer that notes when each trial ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.numbers: list[int] = []

    def begin(self, record: TrialRecord) -> None:
        """Nothing to note."""

    def rows(self, record: TrialRecord, rows: tuple[Row, ...]) -> None:
        """Nothing to note."""

    def end(self, record: TrialRecord) -> None:
        """The trial's number and the time."""
        self.times.append(time.perf_counter())
        self.numbers.append(record.number)


def space(depth: int) -> Space:
    fixed = {"model.depth": depth, "model.dim": 64, "model.patch_size": 2, "train.epochs": 1}
    return open_space("imixer", load(DataConfig()).facts, fixed, "default").space


def search(folder: Path, trials: int, places: int | None, depth: int) -> tuple[float, Ends]:
    """Our search; returns the seconds of all of it, and when its trials ended."""
    start, ends = time.perf_counter(), Ends()
    identity = Identity(folder.name, space(depth), {"source": "digits"}, "default", {}, 0)
    with Study(folder, identity, "tpe", "asha") as study, connect():
        board = Board(study)
        observers = (board, ends)
        desk = Dispatcher(
            study, DataConfig(), load(DataConfig()).facts, Constraint(), Budget(trials), observers
        )
        run_search(desk, RESOURCES, places or slots(RESOURCES))
        seconds = time.perf_counter() - start
        board.close()
    return seconds, ends


def pure(folder: Path, numbers: list[int]) -> float:
    """The same trials, trained in this process one after the other."""
    view, splits = StudyView.open(folder), load(DataConfig())
    torch.set_num_threads(1)
    configs = [
        resolve(view.records[number].config, splits.facts, view.records[number].seed)
        for number in numbers
    ]
    start = time.perf_counter()
    for config in configs:
        ImageTrialRun(config, splits).step()
    return time.perf_counter() - start


def define(searched: Space, trial: Any) -> None:
    """The space in Optuna's define-by-run form."""
    searched.walk(partial(suggest_value, trial))


def plain(trials: int, depth: int, folder: Path) -> float:
    """Plain Ray Tune over the same space; returns the seconds of all of it."""
    # not before hopsearch, which sets the environment that Ray reads when it is imported
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    searched = space(depth)

    def train(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        splits = load(DataConfig())
        run = ImageTrialRun(
            resolve(searched.walk(lambda name, _: config[name]), splits.facts, seed=0), splits
        )
        tune.report(run.step())

    start = time.perf_counter()
    with connect():
        tuner = tune.Tuner(
            tune.with_resources(train, {"cpu": 1}),
            tune_config=tune.TuneConfig(
                search_alg=OptunaSearch(partial(define, searched), metric="val_acc", mode="max"),
                scheduler=ASHAScheduler(metric="val_acc", mode="max", max_t=1, grace_period=1),
                num_samples=trials,
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        )
        results = tuner.fit()
        assert not results.errors, results.errors
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    return (
        f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"
        if values
        else "not run"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--plain-repeats", type=int, default=1, help="plain Tune takes minutes a turn"
    )
    parser.add_argument("--depth", type=int, default=4)
    options = parser.parse_args()
    print(f"{machine()}; {options.trials} one-epoch trials, depth {options.depth}", flush=True)
    warm, extra, ours, theirs, ratios = [], [], [], [], []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for turn in range(options.repeats):
            _, ends = search(root / "one", options.trials, 1, options.depth)
            limit = pure(root / "one", ends.numbers[1:])
            wall = ends.times[-1] - ends.times[0]
            warm.append(wall / limit)
            extra.append((wall - limit) / (options.trials - 1))
            all_of_it, _ = search(root / "all", options.trials, None, options.depth)
            ours.append(60 * options.trials / all_of_it)
            if turn < options.plain_repeats:
                theirs.append(
                    60 * options.trials / plain(options.trials, options.depth, root / "plain")
                )
                ratios.append(ours[-1] / theirs[-1])
            shutil.rmtree(root / "one")
            shutil.rmtree(root / "all")
    print("\n| figure | median [least, most] | turns |\n|---|---|---|")
    print(f"| search with 1 slot, warm, over pure training | {spread(warm)} | {len(warm)} |")
    print(f"| seconds a trial beyond its training | {spread(extra)} | {len(extra)} |")
    print(f"| search, trials a minute | {spread(ours)} | {len(ours)} |")
    print(f"| plain Tune, trials a minute | {spread(theirs)} | {len(theirs)} |")
    print(f"| search over plain Tune | {spread(ratios)} | {len(ratios)} |")


if __name__ == "__main__":
    main()
