"""Settings of the training verbs in addition to their own: those of a trial, and the names listed
in ``--help``.
"""

from typing import Any, ClassVar, TypeVar

from pydantic import Field, create_model

from hopsearch.command_line.words import Sections
from hopsearch.core.config import Settings
from hopsearch.core.errors import ConfigError
from hopsearch.core.study_names import Name
from hopsearch.data import DataConfig
from hopsearch.orchestration.budget import BudgetConfig, CostConfig
from hopsearch.orchestration.checkpoint_cleanup import CheckpointConfig
from hopsearch.orchestration.resources import TrialResources
from hopsearch.orchestration.space_preparation import FidelityConfig
from hopsearch.orchestration.tie_break import FinishConfig
from hopsearch.space import about_space, list_spaces
from hopsearch.study import PRUNERS, SAMPLERS
from hopsearch.tasks import Task
from hopsearch.tasks.contract_checks import has_defaults
from hopsearch.tasks.images.classifier_config import FROM_DATA, SETTINGS
from hopsearch.tasks.images.recipes import RECIPES
from hopsearch.training import Constraint

Verb = TypeVar("Verb", bound="TrainingVerb")


class TrainingVerb(Settings):
    """Base of the settings of a verb that trains one model."""

    quiet: bool = False
    """Print nothing but errors."""

    sections: ClassVar[Sections] = SETTINGS
    from_data: ClassVar[tuple[str, ...]] = FROM_DATA

    @classmethod
    def listings(cls) -> dict[str, list[tuple[str, str]]]:
        """Presets and recipes, by name."""
        sizes = "<family>_<s|b|l><16|32>_224, e.g. imixer_s16_224 or mlpmixer_b32_224"
        return {"Presets (model=)": [(sizes, "")], "Recipes (recipe=)": [(", ".join(RECIPES), "")]}


class SearchVerb(TrainingVerb):
    """Base of the settings of a verb that searches."""

    @classmethod
    def listings(cls) -> dict[str, list[tuple[str, str]]]:
        """Spaces, samplers, early-stopping rules and recipes, by name."""
        return {
            "Search spaces": [(name, about_space(name)) for name in list_spaces()],
            "Samplers (sampler=)": [(", ".join(SAMPLERS), "")],
            "Early stopping (pruner=)": [(", ".join(PRUNERS), "")],
            "Recipes (recipe=)": [(", ".join(RECIPES), "")],
        }


class TuneConfig(SearchVerb):
    """A search."""

    space: str
    """Search space: a shipped one by name, or the path of a YAML file."""
    data: DataConfig = DataConfig()
    """Images; data=<source> is short for data.source=<source>."""
    objective: str | None = Field(default=None, min_length=1)
    """Objective, overriding the space's; several for a Pareto search, e.g. val_acc,n_params. The
    first is a metric reported every epoch, the others are costs: n_params, flops, memory, latency.
    """
    direction: str | None = None
    """maximize or minimize, one per objective; costs are always minimized. None: the metric's own
    direction.
    """
    trials: int = Field(default=24, gt=0)
    """Total number of trials; raise it to extend a finished search."""
    budget: BudgetConfig = BudgetConfig()
    """When the search ends before all its trials."""
    cost: CostConfig = CostConfig()
    """Prices."""
    fidelity: FidelityConfig = FidelityConfig()
    """How long trials train, overriding the space's file."""
    dry_run: bool = False
    """Print the plan (rungs, expected epochs, time and money, share of infeasible configurations)
    and start nothing.
    """
    sampler: str = "tpe_gp"
    """tpe_gp, tpe, gp, random, cmaes, qmc, nsgaii, nsgaiii or grid."""
    pruner: str = "adaptive_asha"
    """adaptive_asha, asha_promotion, curve, delayed_asha, asha, hyperband, pasha, median, patience,
    one_epoch or none.
    """
    prior: dict[str, Any] = Field(default_factory=dict)
    """Values expected to be good, by parameter, e.g. prior.optim.lr=2e-3; their weight fades as
    trials finish.
    """
    warm_start: Name | None = None
    """Name of another study in the same storage whose trials the sampler learns from."""
    seed: int = Field(default=0, ge=0)
    """The study's seed, from which all randomness is derived."""
    recipe: str = "default"
    """Base recipe below the space's values: default, imixer or paramixer (the authors' settings),
    or paper (that of the family's paper).
    """
    storage: str = "runs"
    """Folder of the studies, or a storage, e.g. s3://bucket/path, kept in sync with ./runs: for
    preemptible machines, and for workers on several machines.
    """
    study: Name | None = None
    """Name of the study; by default derived from space and data."""
    database: str | None = None
    """Optuna storage URL, e.g. sqlite:///study.db, to use instead of the study's journal."""
    trial: TrialResources = TrialResources()
    """The resources of a trial."""
    constraint: Constraint = Constraint()
    """Hard limits on a configuration's cost."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Which checkpoints are kept."""
    address: str | None = None
    """Ray cluster to join (auto, or host:port); by default a local one is started."""
    finish: FinishConfig = FinishConfig()
    """What is done for the winner."""


def of_task(schema: type[Verb], task: Task) -> type[Verb]:
    """A verb's settings where another task than images is trained: its own below ``data.``.

    Raises:
        ConfigError: a section of the task's settings is a setting of the verb's own.
    """
    taken = {field.alias or name for name, field in schema.model_fields.items()}
    if clash := sorted(taken & task.sections.keys() - {"model"}):
        rule = f"{task.config.__name__}.{clash[0]} must not be named like a setting of the command"
        raise ConfigError(f"task {task.name}", rule, "Rename this section of the task's settings")
    if task.data is DataConfig:
        return schema
    default: Any = task.data() if has_defaults(task.data) else {}
    return create_model(schema.__name__, __base__=schema, data=(task.data, default))
