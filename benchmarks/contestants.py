"""A contestant by its name: a search by our own study, or a rival in this process or in one of its
own.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaged_rival import PACKAGED, PackagedRival
from rivals import OptunaHyperband, PlainOptuna, RayTune, simulate

from hopsearch.orchestration.simulation.simulator import Event, Landscape, Simulation
from hopsearch.space import Space
from hopsearch.study import MEMORY, Identity, Study

RIVALS = {"optuna": PlainOptuna, "optuna_hyperband": OptunaHyperband, "ray": RayTune}
"""Those that run in this process."""


@dataclass(frozen=True)
class Setting:
    """What is the same for all contestants of a comparison.

    Attributes:
        space, landscape: what is searched.
        workers: how many train at once.
        epochs: after which it is over; a rival may plan with them.
        python: the interpreter that has the packages of `PACKAGED`, where one of these is called.
    """

    space: Space
    landscape: Landscape
    workers: int
    epochs: int
    python: Path | None = None


def add_arguments(
    parser: argparse.ArgumentParser, contestants: Sequence[str], workers: Sequence[int], seeds: int
) -> None:
    """What every comparison is told on the command line.

    Args:
        parser: gets ``--contestants``, ``--workers``, ``--seeds``, ``--seed``, ``--jobs`` and
            ``--rivals-python``.
        contestants, workers, seeds: the defaults.
    """
    parser.add_argument(
        "--contestants", nargs="+", default=list(contestants), help="names, or sampler+pruner"
    )
    parser.add_argument("--workers", nargs="+", type=int, default=list(workers))
    parser.add_argument("--seeds", type=int, default=seeds, help="how many")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="the first of them: choose on others than those of the report",
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--rivals-python", type=Path, help="interpreter of the environment of rivals.txt"
    )


def events(name: str, setting: Setting, seed: int) -> Iterator[Event]:
    """The contestant's search, until ``setting.epochs`` at least; ours is told of them, too."""
    if name in RIVALS:
        yield from simulate(RIVALS[name](setting.space, seed), setting.landscape, setting.workers)
    elif name in PACKAGED:
        if setting.python is None:
            raise ValueError(f"{name} needs --rivals-python")
        with PackagedRival(setting.python, name, setting.space, seed, setting.epochs) as rival:
            yield from simulate(rival, setting.landscape, setting.workers)
    else:
        yield from _ours(name, setting, seed)


def _ours(words: str, setting: Setting, seed: int) -> Iterator[Event]:
    sampler, pruner = words.split("+")
    identity = Identity("outside", setting.space, {}, "default", {}, seed)
    with (
        tempfile.TemporaryDirectory() as folder,
        Study(Path(folder) / "study", identity, sampler, pruner, MEMORY) as study,
    ):
        yield from Simulation(
            study, setting.landscape, setting.workers, 10**9, epochs=setting.epochs
        ).events()
