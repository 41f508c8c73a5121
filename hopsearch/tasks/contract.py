"""The contract between a search and what its trials train.

A task says what the data are, what a trial's settings are and how one is trained, costed and
written. All that follows (rungs, kills, resuming, several GPUs, report, export) knows it through
`Task` and `hopsearch.training.TrialRun`; what a report or an export says of classes and images
beside that, it says of images alone.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol

from torch import nn
from typing_extensions import TypeVar

from hopsearch.artifact.folder import CONFIG, WEIGHTS, write_weights
from hopsearch.command_line.words import Sections
from hopsearch.core.config import Settings, choices, parse
from hopsearch.core.errors import ConfigError
from hopsearch.core.metrics import Metric
from hopsearch.space import Space
from hopsearch.training import Cost, TrialConfig, TrialRun
from hopsearch.training import schedule as schedules
from hopsearch.training.trial_config import read_sections, sections_of

EVERY_EPOCH = ("train_loss", "lr", "peak_lr", "seconds")
"""What every epoch of every task reports beside its metrics; see `TrialRun.step`."""

Run = TrialRun[TrialConfig, nn.Module, Any]
"""A trial of any task."""


class FactsLike(Protocol):
    """What a search needs to know of a data set, whatever it holds."""

    @property
    def name(self) -> str:
        """A short name: the study is named after it."""

    @property
    def n_train(self) -> int:
        """Items to train on."""

    @property
    def n_val(self) -> int:
        """Items to search on."""

    @property
    def n_test(self) -> int:
        """Items kept for the end."""

    @property
    def fingerprint(self) -> str:
        """A hash of the contents and the split: equal for the same data, different for others."""

    @property
    def summary(self) -> tuple[str, ...]:
        """What was found, in lines to print."""


@dataclass(frozen=True)
class Facts:
    """`FactsLike`, for a task that has nothing to add.

    Attributes:
        name, n_train, n_val, n_test, fingerprint, summary: see `FactsLike`.
    """

    name: str
    n_train: int
    n_val: int
    n_test: int
    fingerprint: str
    summary: tuple[str, ...] = ()


class Data(Protocol):
    """What `Task.load` returns: at least its `facts`; the rest is the task's own business."""

    @property
    def facts(self) -> FactsLike:
        """What a search needs to know of it."""


# Any by default: what holds some task hands back to it only what came from it, which no other type
# says; and a task that does not name its types may still annotate its methods.
SettingsT = TypeVar("SettingsT", bound=Settings, default=Any)
DataT = TypeVar("DataT", bound=Data, default=Any)
ConfigT = TypeVar("ConfigT", bound=TrialConfig, default=Any)
FactsT = TypeVar("FactsT", bound=FactsLike, default=Any)
RunT = TypeVar("RunT", bound=Run, default=Any)


class Task(ABC, Generic[SettingsT, DataT, ConfigT, FactsT, RunT]):
    """What a trial trains.

    A task gives its metrics and settings as class attributes, and five methods: `load`, `start`,
    `cost`, and where its trials need more than their own settings, `resolve` and `publish`. It has
    no state: an instance is made wherever it is needed.

    Its types, for a type checker, are those of the data's settings, of the data and of a trial's
    settings: ``Task[Points, Splits, LineConfig]``. Where its methods use more of the data's facts
    or of a trial than every task has, the types of these follow. All may be left out.
    """

    name: ClassVar[str]
    """As messages call it."""
    metrics: ClassVar[tuple[Metric, ...]]
    """What every epoch reports of the validation split; the first is the objective where a space
    names none.
    """
    data: ClassVar[type[Settings]]
    """The settings below ``data.``; one of them is ``source``."""
    config: ClassVar[type[TrialConfig]]
    """A trial's settings: a section for each first word."""
    settings: ClassVar[Sections] = {}
    """The same for the command line, where a section has one of several classes; empty where
    `config` says it all.
    """
    recipes: ClassVar[tuple[str, ...]] = ("default",)
    """Names of settings that may lie under a trial's own."""
    throughput: ClassVar[str] = TrialRun.throughput
    """The name of the training speed in an epoch's row."""

    # What every task must say.

    @abstractmethod
    def load(self, data: SettingsT) -> DataT:
        """Read the training and validation data: once in a process for the same settings, and all
        its trials share them, so that none may change them.

        Raises:
            DataError: the data cannot be read.
        """

    @abstractmethod
    def start(self, config: ConfigT, data: DataT) -> RunT:
        """A trial, nothing of it trained."""

    @abstractmethod
    def cost(self, config: ConfigT) -> Cost:
        """What a configuration costs, found out without training it."""

    # What most tasks need not say.

    def condition_facts(self, facts: FactsT) -> dict[str, object]:
        """What conditions of a space may ask about the data: with ``{"n_train": 96}`` a parameter
        can be searched ``when: {data.n_train: {min: 50}}``.
        """
        return {"n_train": facts.n_train}

    def resolve(
        self,
        values: Mapping[str, object],
        facts: FactsT,
        seed: int,
        recipe: str = "default",
        place: str = "config",
    ) -> TrialConfig:
        """A trial's config from dotted values.

        Args:
            values: dotted names and values.
            facts: of the data.
            seed: the trial's seed. Nothing but the config's own ``seed`` may depend on it: a
                proposal is resolved before it has one.
            recipe: one of `recipes`.
            place: first words of an error.

        Raises:
            ConfigError: unknown name, wrong type, or a broken rule.
        """
        settings = {**self.recipe(recipe, ""), **values}
        tree = read_sections(settings, sections_of(self.config), place)
        parts = {
            name: parse(_class_of(self.config, name), tree[name], f"{place}: {name}")
            for name in tree
        }
        return parse(self.config, parts | {"seed": seed}, place)

    def publish(self, run: RunT, folder: Path) -> None:
        """Write a finished winner's model for others: weights as safetensors, and a config.json
        with the whole trial.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / WEIGHTS, run.evaluated.state_dict())
        trial = json.loads(run.config.model_dump_json())
        about = {"hopsearch": {"task": self.name, "trial": trial}}
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def draw(self, run: RunT) -> dict[str, bytes]:
        """Pictures of where a trial stands, in evaluation mode, as PNG by TensorBoard tag."""
        return {}

    def reported(self, facts: FactsT, trial: ConfigT | None = None) -> list[str]:
        """Names of what an epoch reports, which can be searched for: what it reports in every
        trial, such as ``val_error``; with a ``trial``, also what only such a configuration's model
        gives (`TrialRun.measure`), such as ``fixed_point/residual/mean``.
        """
        return [*(metric.name for metric in self.metrics), *EVERY_EPOCH, self.throughput]

    def direction(self, metric: str) -> str:
        """Which way is better of what an epoch reports, ``maximize`` or ``minimize``; empty where
        only who searches for it can say.
        """
        known = {each.name: each.direction for each in self.metrics}
        return known.get(metric, "minimize" if metric.endswith("loss") else "")

    def data_identity(self, data: SettingsT, facts: FactsT) -> dict[str, object]:
        """What a study knows its data by, such as ``{"source": "points", "fingerprint": "9f3a"}``:
        it is continued only on data that have the same.
        """
        return {**data.model_dump(mode="json"), "fingerprint": facts.fingerprint}

    def data_description(self, data: SettingsT, facts: FactsT) -> dict[str, object]:
        """What a study's reports say of its data, which may not be at hand then; nothing is
        compared with it. ``data``: the settings; ``images``: how many items each split has, such
        as ``{"train": 96, "val": 32, "test": 32}``.
        """
        items = {"train": facts.n_train, "val": facts.n_val, "test": facts.n_test}
        return {"data": data.model_dump(mode="json"), "images": items}

    def viewed(self, data: SettingsT, recipe: str) -> SettingsT:
        """Data settings with what a recipe says of them below the user's own."""
        return data

    def recipe(self, name: str, family: str) -> dict[str, object]:
        """The dotted settings of a recipe.

        Raises:
            ConfigError: unknown name.
        """
        if name not in self.recipes:
            raise ConfigError("recipe", f"unknown recipe {name!r}", choices(name, self.recipes))
        return {}

    def choose_recipe(self, name: str, families: Iterable[str], place: str) -> tuple[str, str]:
        """The recipe of all these families, and a sentence where that is not the one asked for.

        Raises:
            ConfigError: unknown name.
        """
        self.recipe(name, "")
        return name, ""

    def adapt(self, space: Space, recipe: str) -> tuple[Space, list[str]]:
        """A space as it must be under a recipe, and sentences about what was changed.

        Args:
            space: as the file and the command line say.
            recipe: the chosen one.
        """
        return space, []

    def require_schedule(self, trial: ConfigT, facts: FactsT, place: str) -> None:
        """Refuse a schedule that cannot train as it says.

        Raises:
            ConfigError: see `hopsearch.training.schedule.require_schedule`.
        """
        schedules.require_schedule(trial, facts.n_train, place)

    def remarks(self, trial: ConfigT, facts: FactsT) -> list[str]:
        """Sentences about what of a trial's settings acts otherwise than it reads."""
        return schedules.remarks(trial, facts.n_train)

    @property
    def sections(self) -> Sections:
        """A trial's settings by the first part of their names, for the command line."""
        return self.settings or {
            name: (_class_of(self.config, name),) for name in sections_of(self.config)
        }


def _class_of(config: type[TrialConfig], section: str) -> type[Settings]:
    found: type[Settings] = config.model_fields[section].annotation  # type: ignore[assignment]
    return found
