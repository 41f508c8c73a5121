"""The classification of images, as a `Task`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hopsearch.artifact.folder import WEIGHTS, config_of, write_config, write_weights
from hopsearch.data import DataConfig, DataFacts, Splits, data_identity, data_settings, load
from hopsearch.models import measured
from hopsearch.space import Space
from hopsearch.tasks.contract import Task
from hopsearch.tasks.images.class_imbalance import RECALL, recall_names
from hopsearch.tasks.images.classification_metrics import METRICS
from hopsearch.tasks.images.classifier_config import SETTINGS, ImageTrialConfig, resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.cost_estimate import estimate_cost
from hopsearch.tasks.images.recipes import RECIPES, choose_recipe, fit_lengths, recipe, viewed
from hopsearch.tasks.images.training_pictures import draw
from hopsearch.tasks.images.training_remarks import remarks, require_schedule
from hopsearch.training import Cost


class Images(Task[DataConfig, Splits, ImageTrialConfig, DataFacts, ImageTrialRun]):
    """Mixers learn to tell the classes of images apart."""

    name = "images"
    metrics = METRICS
    data = DataConfig
    config = ImageTrialConfig
    settings = SETTINGS
    recipes = RECIPES
    throughput = ImageTrialRun.throughput

    def load(self, data: DataConfig) -> Splits:
        """See `hopsearch.data.load`."""
        return load(data)

    def start(self, config: ImageTrialConfig, data: Splits) -> ImageTrialRun:
        """See `ImageTrialRun`."""
        return ImageTrialRun(config, data)

    def cost(self, config: ImageTrialConfig) -> Cost:
        """See `estimate_cost`."""
        return estimate_cost(config)

    def condition_facts(self, facts: DataFacts) -> dict[str, object]:
        """Size, channels, classes, and how many images there are to train on."""
        return {
            "image_size": facts.image_size,
            "channels": facts.channels,
            "classes": len(facts.classes),
            "n_train": facts.n_train,
        }

    def resolve(
        self,
        values: Mapping[str, object],
        facts: DataFacts,
        seed: int,
        recipe: str = "default",
        place: str = "config",
    ) -> ImageTrialConfig:
        """See `hopsearch.tasks.images.classifier_config.resolve`."""
        return resolve(values, facts, seed, recipe, place)

    def publish(self, run: ImageTrialRun, folder: Path) -> None:
        """Write the weights that are evaluated, and the config that builds their model: hopsearch
        and timm (``timm.create_model("local-dir:<folder>")``) read both.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / WEIGHTS, run.evaluated.state_dict())
        trial = json.loads(run.config.model_dump_json())
        classes = run.facts.classes
        crop_pct = run.facts.crop_pct
        about = config_of(run.config.model, classes, trial, folded=False, crop_pct=crop_pct)
        write_config(folder, about)

    def draw(self, run: ImageTrialRun) -> dict[str, bytes]:
        """See `hopsearch.tasks.images.training_pictures.draw`."""
        return draw(run)

    def reported(self, facts: DataFacts, trial: ImageTrialConfig | None = None) -> list[str]:
        """The recalls where the classes are few enough, and what a trial's family measures of
        itself.
        """
        of_the_model = measured(trial.model) if trial else ()
        return [*super().reported(facts), *recall_names(facts.classes), *of_the_model]

    def direction(self, metric: str) -> str:
        """A class's recall is better the higher it is; a measure of the model has no direction."""
        return "maximize" if metric.startswith(RECALL) else super().direction(metric)

    def data_identity(self, data: DataConfig, facts: DataFacts) -> dict[str, object]:
        """See `hopsearch.data.data_identity`."""
        return data_identity(data, facts)

    def data_description(self, data: DataConfig, facts: DataFacts) -> dict[str, object]:
        """The settings, how many images each split has, and the classes."""
        about = super().data_description(data, facts)
        return {
            "data": {**data_settings(data), **facts.parts},
            "images": about["images"],
            "classes": list(facts.classes),
            "val_by_class": list(facts.val_by_class),
        }

    def viewed(self, data: DataConfig, recipe: str) -> DataConfig:
        """See `hopsearch.tasks.images.recipes.viewed`."""
        return viewed(data, recipe)

    def recipe(self, name: str, family: str) -> dict[str, object]:
        """See `hopsearch.tasks.images.recipes.recipe`."""
        return recipe(name, family)

    def choose_recipe(self, name: str, families: Iterable[str], place: str) -> tuple[str, str]:
        """See `hopsearch.tasks.images.recipes.choose_recipe`."""
        return choose_recipe(name, families, place)

    def adapt(self, space: Space, recipe: str) -> tuple[Space, list[str]]:
        """No search of the padded crop where the recipe crops and resizes: only one of the two can
        be. A recipe's warm-up and cooldown are shortened with the training.
        """
        settings = self.recipe(recipe, "")
        given = {**dict.fromkeys(space.parameters), **space.fixed}
        said = list(filter(None, [fit_lengths(recipe, settings, given)[1]]))
        name = "augment.crop_pad"
        other = "augment.resized_crop"
        crop = {**settings, **space.fixed}.get(other)
        if name not in space.parameters or crop in (None, "null"):
            return space, said
        uncropped = f"{name} is 0, not searched: recipe={recipe} crops with {other} instead"
        return space.override({name: 0}), [uncropped, *said]

    def require_schedule(self, trial: ImageTrialConfig, facts: DataFacts, place: str) -> None:
        """See `hopsearch.tasks.images.training_remarks.require_schedule`."""
        require_schedule(trial, facts, place)

    def remarks(self, trial: ImageTrialConfig, facts: DataFacts) -> list[str]:
        """See `hopsearch.tasks.images.training_remarks.remarks`."""
        return remarks(trial, facts)
