"""``python -m hopsearch.tune space=imixer``: search a space, go on where the same command left off, and finish the winner.

Words below model., optim., augment. and train. fix what the space would search, e.g. model.depth=4.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from rich.console import Console

import hopsearch
from hopsearch.command import Interrupted, run_verb
from hopsearch.config import Settings, flatten, parse, read_words
from hopsearch.data import DataConfig, DataFacts, load
from hopsearch.distributed.budget import Budget, CostConfig
from hopsearch.distributed.checkpoints import CheckpointConfig
from hopsearch.distributed.cluster import MOST, TrialResources, connect, slots
from hopsearch.distributed.dispatcher import Dispatcher, assess
from hopsearch.distributed.driver import finish_winner, interrupted, run_search
from hopsearch.distributed.growth import growth
from hopsearch.distributed.live import LiveView
from hopsearch.distributed.mirror import JournalMirror, Place
from hopsearch.distributed.plan import show_plan
from hopsearch.errors import ConfigError, UserError
from hopsearch.space import Space, load_space
from hopsearch.study import (
    Admission,
    Board,
    Identity,
    Prior,
    Study,
    StudyView,
    WarmStart,
    make_console,
    make_pruner,
    make_sampler,
    show,
    write_csv,
)
from hopsearch.training import Constraint, recipe, resolve

_SECTIONS = ("model", "optim", "augment", "train")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class TuneConfig(Settings):
    """A search."""

    space: str
    """Search space: a shipped one by name, or the path of a YAML file."""
    data: DataConfig = DataConfig()
    """Images; data=<source> is short for data.source=<source>."""
    objective: str | None = None
    """Metric to search for instead of the space's, or several: val_acc,params finds the best compromises. After the first,
    a metric of the epochs, come costs: params, flops, memory, latency."""
    direction: str | None = None
    """maximize or minimize, one an objective; costs are minimised without being told."""
    trials: int = Field(default=24, gt=0)
    """Trials of the study in all; raise it to extend a finished search."""
    time: float | None = Field(default=None, gt=0)
    """Wall-clock budget of the search over all its runs, e.g. 90s, 15m, 2h; running trials stop after their epoch."""
    epochs: int | None = Field(default=None, gt=0)
    """Budget of epochs over all trials."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Budget of hours that trials train, times their GPUs."""
    cost: CostConfig = CostConfig()
    """Budget of money."""
    plateau: int | None = Field(default=None, gt=0)
    """Stop when so many trials have come to their first epoch since the best value was reached."""
    dry_run: bool = False
    """Print the plan (rungs, expected epochs, hours and money, share of infeasible configurations) and start nothing."""
    sampler: str = "tpe"
    """tpe, random, gp, cmaes, qmc, nsgaii, nsgaiii or grid."""
    pruner: str = "asha_promotion"
    """asha_promotion, asha, hyperband, pasha, median, patience, one_epoch or none."""
    prior: dict[str, Any] = Field(default_factory=dict)
    """Beliefs about good values, by parameter, e.g. prior.optim.lr=2e-3; they fade as trials come in."""
    warm_start: str | None = None
    """Another study (its name, beside this one) whose trials the sampler learns from."""
    seed: int = Field(default=0, ge=0)
    """The study's seed; everything random follows from it."""
    recipe: str = "default"
    """Recipe under the space's values: default, or paper for the papers' settings."""
    storage: str = "runs"
    """Folder of the studies, or a storage, e.g. s3://bucket/path, which is then kept alike with ./runs: for machines that may be
    lost, and for workers on several machines."""
    study: str | None = None
    """Name of the study; by default made from space and data."""
    database: str | None = None
    """Optuna storage URL, e.g. sqlite:///study.db, instead of the study's journal."""
    trial: TrialResources = TrialResources()
    """What a trial is given."""
    constraint: Constraint = Constraint()
    """Hard limits on a configuration's cost."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Whose checkpoints are kept."""
    address: str | None = None
    """Ray cluster to join (auto, or host:port); by default one of this machine's own."""
    finish: bool = True
    """Bring the winner to full epochs, beyond all budgets, and read its test accuracy."""

    @field_validator("time", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", value) if isinstance(value, str) else None
        if isinstance(value, str) and not match:
            raise ValueError("must be a number with a unit s, m, h or d; Write e.g. time=15m")
        return float(match[1]) * _UNITS[match[2]] if match else value


def open_space(name: str, facts: DataFacts, fixed: dict[str, Any], recipe_name: str) -> Space:
    """The space for this data with the command line's values taken out of the search, checked against the configs.

    Raises:
        UserError: an unknown space, or a value that no trial could have.
    """
    about = {"image_size": facts.image_size, "channels": facts.channels, "classes": len(facts.classes), "n_train": facts.n_train}
    space = load_space(name).resolve({f"data.{key}": value for key, value in about.items()})
    epochs = fixed.pop("train.epochs", None)
    if epochs is None:
        epochs = recipe(recipe_name, "").get("train.epochs")
    if epochs is not None:
        least = min(space.fidelity.min_epochs, epochs)
        fidelity = type(space.fidelity)(least, epochs, space.fidelity.reduction)
        space = Space.from_dict(space.to_dict() | {"fidelity": fidelity.to_dict()}, space.source)
    space = space.override({**fixed, "train.epochs": space.fidelity.max_epochs})
    for point in _corners(space):
        resolve(point, facts, 0, recipe_name, space.source)
    return space


def _corners(space: Space) -> list[dict[str, Any]]:
    """A configuration a value of each discrete parameter: enough to meet every family and every bound once."""
    sizes = [len(values) for parameter in space.parameters.values() if (values := parameter.values()) is not None]

    def pick(turn: int) -> dict[str, Any]:
        def value(name: str, parameter: Any) -> Any:
            values = parameter.values()
            return parameter.low if values is None else values[turn % len(values)]

        return space.walk(value)

    return [pick(turn) for turn in range(min(16, max(sizes, default=1)))]


def search(config: TuneConfig, fixed: dict[str, Any]) -> Path:
    """Run the search that ``config`` describes to its end, print what it found, and return the study's folder.

    Args:
        config: the settings.
        fixed: dotted settings of the trials that are not to be searched.

    Raises:
        UserError: the user must act.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    console = make_console()
    facts = load(config.data).facts
    if facts.skipped:
        console.print(f"skipped {len(facts.skipped)} unreadable images: {', '.join(facts.skipped[:3])} …", markup=False)
    space = open_space(config.space, facts, fixed, config.recipe)
    if config.objective or config.direction:
        objective = config.objective or space.objective
        guess = "minimize" if objective.partition(",")[0].endswith("loss") else "maximize"
        space = replace(space, objective=objective, direction=config.direction or guess)
    name = config.study or f"{Path(config.space).stem}-{_slug(config.data.source)}"
    identity = Identity(
        name=name,
        space=space,
        data={"source": config.data.source, "image_size": facts.image_size, "fingerprint": facts.fingerprint},
        recipe=config.recipe,
        constraint=config.constraint.model_dump(exclude_none=True),
        seed=config.seed,
        origin=origin() | about_data(config.data, facts),
    )
    if config.dry_run:
        _plan(config, identity, facts, console)
        return Place.of(config.storage, name).folder
    place = Place.of(config.storage, name)
    warm = WarmStart(StudyView.open(place.folder.parent / config.warm_start), space) if config.warm_start else None
    if warm:
        console.print(str(warm), markup=False)
    how = (config.sampler, config.pruner, config.database, Prior(flatten(config.prior)), warm)
    with place.journal() as journal, Study(place.folder, identity, *how) as study:
        try:
            _run(config, study, place, journal, facts, console)
        except KeyboardInterrupt:
            raise Interrupted(interrupted(study)) from None
    return place.folder


def _budget(config: TuneConfig) -> Budget:
    gpus = config.trial.gpus * config.trial.workers
    if config.gpu_hours is not None and not gpus:
        raise ConfigError("gpu_hours", "trials must have GPUs for a budget of them, got trial.gpus=0", "Give trial.gpus=1")
    money, per_hour = config.cost.limit, config.cost.per_hour or 0.0
    return Budget(config.trials, config.time, config.epochs, config.gpu_hours, gpus, money, per_hour, config.plateau)


def _plan(config: TuneConfig, identity: Identity, facts: DataFacts, console: Console) -> None:
    make_sampler(config.sampler, identity.space, config.seed, 0)
    make_pruner(config.pruner, identity.space.fidelity)

    def admit(values: dict[str, Any]) -> Admission:
        return assess(values, facts, config.constraint, identity)

    slots = config.trial.concurrent or max(1, int((os.cpu_count() or 1) // config.trial.cpus))
    show_plan(identity, config.data, _budget(config), config.pruner, slots, admit, console)


def _run(
    config: TuneConfig, study: Study, place: Place, journal: JournalMirror | None, facts: DataFacts, console: Console
) -> None:
    budget = _budget(config)
    threads = max(1, int(config.trial.cpus))
    known = len(study.counted())
    console.print(f"study {study.folder}: {'begins' if not known else f'goes on from {known} trials, {study.epochs} epochs'}")
    console.print(f"watch it: tensorboard --logdir {study.folder / 'tensorboard'}")
    with connect(config.address):
        grown = growth() if config.address else None
        places = slots(config.trial, grown, config.trials)
        if grown:
            capped = " (more with trial.concurrent=…)" if places == MOST and not config.trial.concurrent else ""
            console.print(f"the cluster grows to {grown}; up to {places} trials at once{capped}", markup=False)
        board, live = Board(study), LiveView(study, config.trials, places)
        whose = (place, journal, config.checkpoint, live.say)
        dispatcher = Dispatcher(study, config.data, facts, config.constraint, budget, (board, live), threads, *whose)
        live.budgets = lambda: dispatcher.left
        try:
            with live:
                run_search(dispatcher, config.trial, places)
            if dispatcher.stopped:
                console.print(f"stopped: {dispatcher.stopped}")
            if config.finish and study.ranked():
                finish_winner(dispatcher, config.trial, console.print)
            dispatcher.checkpoints.settle()
        finally:
            with contextlib.suppress(UserError, OSError):  # a full disk has been told of already
                study.note("seconds", round(dispatcher.seconds, 2))
                board.close()
    study.refresh()
    show(study, console)
    console.print(f"all trials: {write_csv(study)}")
    place.push()
    place.push_tree("tensorboard")


def origin() -> dict[str, Any]:
    """Where a study comes from: versions, code revision, command. For the reader; not compared."""
    packages = {name: importlib.metadata.version(name) for name in ("ray", "optuna", "torch", "timm")}
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        revision = subprocess.run(git, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = ""
    command = " ".join(sys.argv[1:])
    return {
        "hopsearch": hopsearch.__version__,
        "revision": revision,
        "python": platform.python_version(),
        **packages,
        "command": command,
    }


def about_data(data: DataConfig, facts: DataFacts) -> dict[str, Any]:
    """What a model card and a report say of the data, where the images themselves may not be at hand."""
    images = {"train": facts.n_train, "val": facts.n_val, "test": facts.n_test}
    return {"data": data.model_dump(exclude={"cache", "memory_limit"}), "images": images, "classes": list(facts.classes)}


def _slug(source: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", Path(source.partition(":")[0]).name).strip("-") or "data"


def main(words: Sequence[str]) -> None:
    """Read the command line and search."""
    values = read_words(words, shorthand={"data": "data.source"})
    fixed = flatten({section: values.pop(section) for section in _SECTIONS if section in values})
    search(parse(TuneConfig, values, "command line"), fixed)


if __name__ == "__main__":
    sys.exit(run_verb(main, TuneConfig, __doc__ or ""))
