"""What is to be said of a classifier's training before it starts, and what of its settings cannot
be.
"""

from collections.abc import Mapping

from hopsearch.core.errors import ConfigError
from hopsearch.data import DataFacts
from hopsearch.models import about_patches
from hopsearch.tasks.images.classifier_config import ImageTrialConfig
from hopsearch.tasks.images.recipes import choose_recipe, fit_lengths, recipe
from hopsearch.training import schedule
from hopsearch.training.schedule import rates


def require_schedule(trial: ImageTrialConfig, facts: DataFacts, place: str) -> None:
    """Refuse an inconsistent schedule.

    Raises:
        ConfigError: as `hopsearch.training.schedule.require_schedule`, or mixing without a partner.
    """
    schedule.require_schedule(trial, facts.n_train, place)
    optim = trial.optim
    mixing = [name for name in ("mixup", "cutmix") if getattr(trial.augment, name)]
    if mixing and min(optim.batch_size, facts.n_train) < 2 * trial.augment.mix_groups:
        rule = (
            f"{mixing[0]} needs 2 images in each of mix_groups={trial.augment.mix_groups}, got "
            f"batch_size {optim.batch_size}"
        )
        raise ConfigError(
            f"{place}: augment", rule, f"Raise optim.batch_size, or set augment.{mixing[0]}=0"
        )


def remarks(trial: ImageTrialConfig, facts: DataFacts) -> list[str]:
    """Remarks on settings of a trial that act differently than they read."""
    said = schedule.remarks(trial, facts.n_train)
    return [*said, *filter(None, [about_patches(trial.model)])]


def opening(
    trial: ImageTrialConfig, facts: DataFacts, recipe_name: str | None, values: Mapping[str, object]
) -> list[str]:
    """Messages printed before a training starts: recipe, model, learning rate, and remarks on
    settings.

    Args:
        trial: the trial's config.
        facts: of the data.
        recipe_name: the requested recipe; None if the trial is from a study.
        values: settings that override the recipe's.
    """
    model = trial.model
    said = list[str]()
    if recipe_name is not None:
        chosen, why = choose_recipe(recipe_name, [model.family], "command line")
        length = {**values, "train.epochs": trial.train.epochs}
        said += [
            sentence
            for sentence in (why, fit_lengths(chosen, recipe(chosen, model.family), length)[1])
            if sentence
        ]
    said.append(
        f"model: {model.family}, images of {model.image_size} px in {model.tokens} patches of "
        f"{model.patch_size} px"
    )
    return [*said, f"learning rate: {rates([trial])}", *remarks(trial, facts)]
