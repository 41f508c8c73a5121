"""What the study itself costs a trial (ask + every report + tell) as it grows, and how long a grown
one takes to open again.

    python benchmarks/study_scale.py [--sizes 100 1000 10000]
            [--samplers random tpe] [--trials 20] [--repeats 3]

Nothing is trained: a trial's curve is made up, and the space is the shipped ``imixer`` for 8 px
images with its ASHA rungs. The study is filled to each size with random trials; then ``--trials``
more are asked from each sampler and driven to their end, each call durable in the journal when it
returns. The rival is Optuna alone in the same process, over a copy of the same journal:
``study.ask``, a suggestion a parameter, as many ``trial.report``, ``study.tell``. The difference is
what our bookkeeping costs (config, seed, cost, decisions, checkpoint, duplicates) less Optuna's
file lock; what both pay is the sampler and the journal.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import optuna
from machine import machine
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hopsearch.core.seeds import derive
from hopsearch.space import load_space
from hopsearch.study import Admission, Identity, State, Study
from hopsearch.study.sampling.samplers import make_sampler, suggest_value

SPACE = load_space("imixer").resolve(
    {
        "data.image_size": 8,
        "data.channels": 1,
        "data.classes": 10,
        "data.n_train": 1257,
        "data.source": "digits",
    }
)
ADMISSION = Admission({"n_params": 1, "flops": 1, "memory": 1})


def value(number: int, epoch: int) -> float:
    """A made-up learning curve."""
    return derive("level", number) / 2**31 * 0.5 + 0.5 * (1 - 0.7**epoch)


def open_study(folder: Path, sampler: str) -> Study:
    return Study(
        folder, Identity("scale", SPACE, {"source": "none"}, "default", {}, 0), sampler, "asha"
    )


def drive(study: Study, trials: int) -> int:
    """Ask for so many trials and drive each to its end; returns the epochs reported."""
    epochs = 0
    for _ in range(trials):
        record = study.ask(lambda config: ADMISSION)
        assert record is not None
        while record.state == State.RUNNING:
            epoch = record.epoch + 1
            study.report(
                record.number, epoch, value(record.number, epoch), float(epoch), f"epoch_{epoch}.pt"
            )
            epochs += 1
    return epochs


def drive_plain(study: optuna.Study, trials: int, epochs: int) -> None:
    """Optuna alone: as many trials and, as nearly as they divide, as many reports."""
    for turn in range(trials):
        trial = study.ask()
        SPACE.walk(partial(suggest_value, trial))
        for epoch in range(1, 1 + epochs // trials + (turn < epochs % trials)):
            trial.report(value(trial.number, epoch), epoch)
        study.tell(trial, value(trial.number, 1))


@dataclass
class Turn:
    """One repeat: seconds to open the study by the clock and of the processor, seconds a trial, the
    rival's, reports a trial.
    """

    opening: float
    processor: float
    ours: float
    plain: float
    reports: float


def take_turn(full: Path, scratch: Path, sampler: str, trials: int) -> Turn:
    """Go on from copies of the full study: ours first, then Optuna alone."""
    ours, plain = (Path(shutil.copytree(full, scratch / name)) for name in ("ours", "plain"))
    try:
        start, busy = time.perf_counter(), time.process_time()
        with open_study(ours, sampler) as study:
            opened, busy = time.perf_counter(), time.process_time() - busy
            epochs = drive(study, trials)
            driven = time.perf_counter()
        storage = JournalStorage(JournalFileBackend(str(plain / "journal.log")))
        rival = optuna.load_study(
            study_name="scale", storage=storage, sampler=make_sampler(sampler, SPACE, 0, 0)
        )
        begun = time.perf_counter()
        drive_plain(rival, trials, epochs)
        ended = time.perf_counter()
    finally:
        shutil.rmtree(ours)
        shutil.rmtree(plain)
    return Turn(
        opened - start, busy, (driven - opened) / trials, (ended - begun) / trials, epochs / trials
    )


def spread(values: list[float], digits: int) -> str:
    """Median and range."""
    middle, low, high = (
        f"{number:.{digits}f}" for number in (statistics.median(values), min(values), max(values))
    )
    return f"{middle} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[100, 1000, 10000])
    parser.add_argument("--samplers", nargs="+", default=["random", "tpe"])
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        f"{machine()}; optuna {optuna.__version__}; {options.trials} trials a turn, "
        f"{options.repeats} turns\n"
    )
    titles = [
        "trials",
        "journal",
        "sampler",
        "ms a trial",
        "reports a trial",
        "Optuna alone, ms",
        "ratio",
    ]
    print(
        "| "
        + " | ".join([*titles, "s to open again", "of the processor"])
        + " |\n"
        + "|---" * (len(titles) + 2)
        + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        full = Path(scratch) / "full"
        for size in options.sizes:
            # the filling is not timed
            with open_study(full, "random") as study, mock.patch("os.fsync"):
                drive(study, size - len(study.counted()))
            megabytes = (full / "journal.log").stat().st_size / 1e6
            for sampler in options.samplers:
                turns = [
                    take_turn(full, Path(scratch), sampler, options.trials)
                    for _ in range(options.repeats)
                ]
                cells = [
                    f"{size:,}",
                    f"{megabytes:.1f} MB",
                    sampler,
                    spread([1e3 * turn.ours for turn in turns], 1),
                    f"{turns[0].reports:.1f}",
                    spread([1e3 * turn.plain for turn in turns], 1),
                    spread([turn.ours / turn.plain for turn in turns], 2),
                    spread([turn.opening for turn in turns], 2),
                    spread([turn.processor for turn in turns], 2),
                ]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
