"""``python -m hopsearch.train model=<preset>|from=<study> [key=value …]``: train one model on one
or many machines.

    python -m hopsearch.train model=imixer_s16_224 data=photos workers=4 gpus=1
    python -m hopsearch.train from=imixer-digits epochs=300
    python -m hopsearch.train from=imixer-digits#7

from=<study> takes a study's winner, from=<study>#<trial> any of its trials. Settings below model.,
optim., augment. and train. override both. The same command again resumes from the last checkpoint.
"""

import os
import sys

from hopsearch.command_line import manual, signals, utf8

if __name__ == "__main__":
    utf8.start()
    manual.show_if_asked("train")
    signals.supervise()  # before the imports: they take seconds
    os.environ.setdefault("HOPSEARCH_TIMM", "0")
    from hopsearch.ray_backend.cluster.connection import start_ahead

    start_ahead(sys.argv[1:])

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import Field, field_validator
from rich.console import Console

from hopsearch.command_line.command import Interrupted, run_as_program
from hopsearch.command_line.words import read_words
from hopsearch.core import paths
from hopsearch.core.config import flatten, parse
from hopsearch.core.errors import ConfigError, ResourceError, StudyError
from hopsearch.core.study_names import Name, check_name, derive_name
from hopsearch.data import DataConfig, DataFacts, accepted_by_names, data_difference, data_identity
from hopsearch.data.comparison import kept
from hopsearch.jobs.job import Job
from hopsearch.models import preset, require_size
from hopsearch.orchestration.resources import TrialResources
from hopsearch.ray_backend.cluster.connection import connect, places
from hopsearch.ray_backend.cluster.growth import growth
from hopsearch.ray_backend.long_training import run_training
from hopsearch.ray_backend.long_training_end import finish_training
from hopsearch.reporting.terminal.console import make_console
from hopsearch.reporting.terminal.data_reading import read_data
from hopsearch.reporting.terminal.printout import plain
from hopsearch.reporting.terminal.training_progress import Curve
from hopsearch.storage.mirror import Place
from hopsearch.study import StudyLock, StudyView
from hopsearch.study.significance import winner_values, winner_verdicts
from hopsearch.tasks.images import (
    METRICS,
    SETTINGS,
    Images,
    ImageTrialConfig,
    opening,
    require_schedule,
    resolve,
    viewed,
)
from hopsearch.tasks.images.classification_metrics import ACCURACY
from hopsearch.tasks.setting_errors import on_command_line
from hopsearch.verb_settings import TrainingVerb

_WHAT = "training.json"
_PRESET = "model="


class TrainingConfig(TrainingVerb):
    """A training."""

    model: str | None = None
    """What to train: a preset, e.g. imixer_s16_224; override its settings with model.<name>=…"""
    from_: str | None = Field(default=None, alias="from")
    """What to train instead of a preset: a study's winner, <study>, or one of its trials,
    <study>#<trial>.
    """
    data: DataConfig = DataConfig()
    """Images; data=<source> is short for data.source=<source>. With from= the study's data and
    split are used.
    """
    database: str | None = None
    """Optuna storage URL, if the study of from= uses one."""
    recipe: str = "default"
    """Base recipe below the given values: default, imixer or paramixer (the papers' authors'
    settings), or paper (that of the model's own paper).
    """
    epochs: int | None = Field(default=None, gt=0)
    """Epochs to train; short for train.epochs."""
    workers: tuple[int, int] = (1, 1)
    """Processes that train together: a number, or fewest..most, e.g. 2..8, to continue with what is
    available.
    """
    cpus: float = Field(default=1, gt=0)
    """CPU cores of a worker, and threads (at least one)."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a worker."""
    wait: bool = False
    """Wait for further machines, if the cluster is too small now."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of images and augmentation; a study's trial uses its own."""
    storage: str = "runs"
    """Folder of the studies and trainings, or a storage, e.g. s3://bucket/path, kept in sync with
    ./runs; for several machines use a storage, or a folder shared by all of them.
    """
    name: Name | None = None
    """The training's name; by default derived from the model and the data."""
    address: str | None = None
    """Ray cluster to join (auto, or host:port); by default a local one is started."""

    @field_validator("from_")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if value is None:
            return None
        study, hash_, number = value.partition("#")
        if hash_ and not number.isdecimal():
            raise ValueError(
                f"a trial is named by its number; Write e.g. {study}#0, or {study} for the winner"
            )
        return check_name(study) + hash_ + number

    @field_validator("workers", mode="before")
    @classmethod
    def _range(cls, value: object) -> Any:
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", str(value))
        if isinstance(value, tuple):
            return value
        if not match or not 1 <= int(match[1]) <= int(match[2] or match[1]):
            raise ValueError(
                "must be a number or fewest..most; Write e.g. workers=4 or workers=2..8"
            )
        return int(match[1]), int(match[2] or match[1])


def study_of(config: TrainingConfig) -> StudyView | None:
    """The study of the trial; None for a preset.

    Raises:
        UserError: neither or both of model and from, no such study, or a setting that has no effect
            with from=.
    """
    if (config.model is None) == (config.from_ is None):
        raise ConfigError(
            "command line",
            "exactly one of model= and from= is required",
            "Write e.g. model=imixer_s16_224",
        )
    if config.from_ is None:
        return None
    if unused := sorted({"recipe", "seed"} & config.model_fields_set):
        got = ", ".join(f"{key}={getattr(config, key)}" for key in unused)
        rule = f"{' and '.join(unused)} must not be set together with from=, got {got}"
        raise ConfigError(
            "command line",
            rule,
            "Leave it out with from=; train.*, optim.* and augment.* change the training",
        )
    place = Place.of(config.storage, config.from_.partition("#")[0])
    place.bring_journal()
    view = StudyView.open(place.folder, config.database)
    view.identity.require_images(f"from={config.from_}")
    return view


def data_of_study(config: TrainingConfig, view: StudyView) -> DataConfig:
    """The data settings of the trial's study, overridden by those of the command line."""
    known = view.identity.origin.get("data", {}) or {
        "source": view.identity.data.get("source", config.data.source)
    }
    fields = DataConfig.model_fields
    # Without the defaults: ineffective settings are only reported if the user gave them.
    stored = {
        name: value
        for name, value in known.items()
        if name in fields and value != fields[name].default
    }
    said = {name: getattr(config.data, name) for name in config.data.model_fields_set}
    return parse(DataConfig, {**stored, **said}, f"study {view.identity.name}: data")


def what_to_train(
    config: TrainingConfig, facts: DataFacts, fixed: dict[str, object]
) -> ImageTrialConfig:
    """The trial that the command line refers to.

    Raises:
        UserError: neither or both of model and from, an unknown model or study, an invalid setting,
            or different data than the study's.
    """
    view = study_of(config)
    if config.epochs is not None:
        fixed = fixed | {"train.epochs": config.epochs}
    if view is None:
        named = {f"model.{key}": value for key, value in preset(str(config.model)).items()}
        trial = resolve({**named, **fixed}, facts, config.seed, config.recipe, "command line")
        if "model.patch_size" not in fixed:
            require_size(str(config.model), facts.image_size)
        return trial
    study, _, number = str(config.from_).partition("#")
    if number:
        record = view.records.get(int(number)) if number.isdigit() else None
        if record is None:
            raise StudyError(
                str(view.folder),
                f"must have trial {number}",
                f"It has 0 to {max(view.records, default=0)}",
            )
    else:
        if not view.ranked():
            raise StudyError(
                str(view.folder), "must have a trial with a value, got none", "Search first"
            )
        record = view.records[view.winner["trial"]] if view.winner else view.ranked()[0]
    view.identity.require_data(data_identity(config.data, facts), f"from={config.from_}")
    return resolve(
        {**record.config, **fixed},
        facts,
        record.seed,
        view.identity.recipe,
        f"study {study}, trial {record.number}",
    )


def train(config: TrainingConfig, fixed: dict[str, object]) -> None:
    """Run the training that ``config`` describes to its end, and write the model.

    Raises:
        UserError: the user must act.
        Interrupted: Ctrl-C or SIGTERM; the epoch in progress is saved.
    """
    console = make_console(name=__name__, quiet=config.quiet)
    if view := study_of(config):
        given = ", ".join(
            f"data.{name}={getattr(config.data, name)}"
            for name in sorted(config.data.model_fields_set)
        )
        config = config.model_copy(update={"data": data_of_study(config, view)})
        said = (
            f"data as in study {view.identity.name}: {config.data.source}, split_seed "
            f"{config.data.split_seed}"
        )
        if given:
            said = f"data as in study {view.identity.name}, except {given}"
        console.print(said, markup=False)
    else:
        config = config.model_copy(update={"data": viewed(config.data, config.recipe)})
    facts = cast(DataFacts, read_data(Images(), config.data, console).facts)
    try:
        trial = what_to_train(config, facts, fixed)
        require_schedule(trial, facts, "command line")
    except ConfigError as error:
        raise on_command_line(error, fixed) from None
    name = config.name or derive_name(
        re.sub(r"[^A-Za-z0-9_.]+", "-", f"{config.model or config.from_}-{facts.name}")
    )
    place = Place.of(config.storage, name)
    folder = place.folder
    lock = StudyLock(folder)
    try:
        say = plain(console)
        with signals.closed_whole(place.owned(say)) as owned:
            owned.pull()
            if said := require_same(folder / _WHAT, trial, data_identity(config.data, facts)):
                say(said)
            owned.push()
            say(f"training {folder}: watch it: tensorboard --logdir {folder / 'tensorboard'}")
            for sentence in opening(trial, facts, config.recipe if config.model else None, fixed):
                say(sentence)
            with connect(config.address):
                _run(config, trial, facts, owned, console)
    except KeyboardInterrupt:
        signals.saving()
        raise Interrupted("Saved. Run the same command to resume.") from None
    finally:
        lock.release()


def _run(
    config: TrainingConfig,
    trial: ImageTrialConfig,
    found: DataFacts,
    place: Place,
    console: Console,
) -> None:
    folder = place.folder
    resources = TrialResources(workers=config.workers[0], cpus=config.cpus, gpus=config.gpus)
    grown = growth() if config.address else None
    room = config.workers[0] if config.wait and not grown else places(resources, grown=grown)
    if config.workers[0] > room:
        each = f"{config.cpus:g} CPU and {config.gpus:g} GPU"
        rule = (
            f"the cluster must have room for {config.workers[0]} workers of {each}, got room "
            f"for {room}"
        )
        raise ResourceError(
            "workers",
            rule,
            "Set fewer, join a larger cluster with address=…, or set wait=true for one that grows",
        )
    job = Job(
        number=0,
        trial=trial,
        data=config.data,
        folder=str((folder / paths.CHECKPOINTS).resolve()),
        mirror=place.below(str(paths.CHECKPOINTS)),
        fence=place.fence,
        threads=max(1, int(config.cpus)),
    )
    with Curve(folder / paths.TENSORBOARD, trial, ACCURACY, console) as curve:
        run_training(
            job, config.workers, resources, curve.take, console.print, found.n_train + found.n_val
        )
    images = found.n_train + found.n_val + found.n_test
    facts = finish_training(
        job, resources, folder / paths.MODEL, place.below(str(paths.MODEL)), images, console.print
    )
    (folder / "result.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    place.push()
    place.push(str(paths.TENSORBOARD))
    console.print(
        (
            f"trained {facts['epochs']} epochs: {winner_values(facts, {}, METRICS)}; weights in "
            f"{folder / paths.MODEL}"
        ),
        markup=False,
    )
    for sentence in winner_verdicts(facts, {}, found.classes, METRICS):
        console.print(sentence, markup=False)


def require_same(file: Path, trial: ImageTrialConfig, data: Mapping[str, object]) -> str:
    """Record the training's settings in ``file``, and refuse a different training in the same
    folder.

    Returns:
        A note on how the data was compared; empty if nothing is.

    Raises:
        ConfigError: the folder contains a different training; the message lists the differences.
    """
    now = flatten(json.loads(trial.model_dump_json()))
    free = {
        "train.device",
        "train.amp",
        "train.compile",
        "train.micro_batch",
        "train.grad_checkpointing",
        "train.eval_batch_size",
    }
    said = ""
    if file.exists():
        # Settings added later had their defaults then.
        defaults = ImageTrialConfig(model=trial.model).model_dump(mode="json", exclude={"model"})
        before = flatten(defaults) | json.loads(file.read_text(encoding="utf-8"))
        begun = {
            key.removeprefix("data."): before.pop(key)
            for key in list(before)
            if key.startswith("data.")
        }
        keys = [key for key in sorted({*before, *now} - free) if before.get(key) != now.get(key)]
        lines = [f"{key}: {now.get(key)} != {before.get(key)}" for key in keys]
        lines += data_difference(
            {key: value for key, value in data.items() if key in begun or key not in kept(data)},
            begun,
        )
        said = accepted_by_names(data, begun)
        if lines:
            rule = (
                f"settings differ from the saved training (requested != saved): {'; '.join(lines)}"
            )
            raise ConfigError(
                str(file.parent), rule, "Use another name, name=<name>, or revert the change"
            )
    file.write_text(
        json.dumps({**now, **flatten({"data": kept(data)})}, indent=2) + "\n", encoding="utf-8"
    )
    return said


def main(words: Sequence[str]) -> None:
    """Read the command line and train."""
    signals.begin()
    # model= names a preset, keys below model. are its settings: separated while parsing.
    values = read_words(words, TrainingConfig, SETTINGS, {"data": "data.source", "model": _PRESET})
    fixed = flatten({section: values.pop(section) for section in SETTINGS if section in values})
    if _PRESET in values:
        values["model"] = values.pop(_PRESET)
    train(parse(TrainingConfig, values, "command line", beside=SETTINGS), fixed)


if __name__ == "__main__":
    run_as_program(main, TrainingConfig, __doc__ or "")
