"""The density of vectors and images, as a `Task`."""

import inspect
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from hopsearch.artifact.folder import CODE, CONFIG, WEIGHTS, write_weights
from hopsearch.core.errors import ConfigError
from hopsearch.core.metrics import Metric
from hopsearch.data import data_settings
from hopsearch.models import attnbm
from hopsearch.tasks.contract import Task
from hopsearch.tasks.density.component_pictures import draw
from hopsearch.tasks.density.density_config import DensityData, DensityTrialConfig
from hopsearch.tasks.density.density_run import DensityTrialRun
from hopsearch.tasks.density.vectors import VectorFacts, VectorSplits, load
from hopsearch.training import Cost
from hopsearch.training.known_optimizers import OPTIMIZERS

NLL = Metric("val_nll", maximize=False, unit="nats per value")
"""Mean negative log-likelihood of a held-out vector divided by its number of values V, without the
constant ½ log 2π; of the scaled vectors, so only comparable where the data are scaled alike.
"""
MISSING = Metric("val_missing_mse", maximize=False, unit="squared scaled values")
"""Mean squared error of values taken from held-out vectors (``data.missing``), put back as their
exact conditional mean given the others; of the scaled vectors.
"""
METRICS = (NLL, MISSING)
"""All of them; the first is the objective of a space that names none."""

_FLOAT = 4  # bytes of a float32
_N_VISIBLE = "model.n_visible"


class Density(Task[DensityData, VectorSplits, DensityTrialConfig, VectorFacts, DensityTrialRun]):
    """Attentional Boltzmann machines learn the density of vectors."""

    name = "density"
    metrics = METRICS
    data = DensityData
    config = DensityTrialConfig
    throughput = DensityTrialRun.throughput

    def load(self, data: DensityData) -> VectorSplits:
        """See `hopsearch.tasks.density.vectors.load`."""
        return load(data)

    def start(self, config: DensityTrialConfig, data: VectorSplits) -> DensityTrialRun:
        """See `DensityTrialRun`."""
        return DensityTrialRun(config, data)

    def cost(self, config: DensityTrialConfig) -> Cost:
        """Of the forward pass, W v alone; of memory, the weights, and fields and vectors of a
        batch.
        """
        visible = config.model.n_visible
        hidden = config.model.n_hidden
        n_params = hidden * visible + (hidden + visible if config.model.biases else 0)
        averaged = int(config.train.ema_decay is not None)
        copies = 2 + OPTIMIZERS[config.optim.name].state_copies + averaged
        most = config.train.micro_batch or config.optim.batch_size
        batch = min(config.optim.batch_size, most) * (2 * visible + hidden)
        return Cost(
            n_params=n_params,
            flops=2 * hidden * visible,
            memory=_FLOAT * (n_params * copies + batch),
        )

    def condition_facts(self, facts: VectorFacts) -> dict[str, object]:
        """How many values a vector has, and how many vectors there are to train on."""
        return {"n_visible": facts.n_visible, "n_train": facts.n_train}

    def resolve(
        self,
        values: Mapping[str, object],
        facts: VectorFacts,
        seed: int,
        recipe: str = "default",
        place: str = "config",
    ) -> DensityTrialConfig:
        """A trial's config; the number of visible units is the data's."""
        size = facts.n_visible
        if values.get(_N_VISIBLE, size) != size:
            rule = f"is determined by the data, which have {size}, got {values[_N_VISIBLE]!r}"
            raise ConfigError(f"{place}: {_N_VISIBLE}", rule, "Leave it out")
        found = super().resolve({**values, _N_VISIBLE: size}, facts, seed, recipe, place)
        assert isinstance(found, DensityTrialConfig), "the task's own config"
        return found

    def reported(self, facts: VectorFacts, trial: DensityTrialConfig | None = None) -> list[str]:
        """The metrics, and of a trial what `DensityTrialRun.measure` gives."""
        of_the_model = ("effective_components", "memorised_share") if trial else ()
        return [*super().reported(facts), *of_the_model]

    def data_identity(self, data: DensityData, facts: VectorFacts) -> dict[str, object]:
        """Source, contents and split; scaling, and what is missing."""
        whitened = {"whiten_eps": data.whiten_eps} if data.scaling == "whiten" else {}
        return {
            "source": data.source,
            "n_visible": facts.n_visible,
            "fingerprint": facts.fingerprint,
            "scaling": data.scaling,
            "centred": data.centred,
            "missing": data.missing,
            **whitened,
        }

    def data_description(self, data: DensityData, facts: VectorFacts) -> dict[str, object]:
        """The settings that determine the vectors, and how many each split has."""
        return super().data_description(data, facts) | {"data": data_settings(data)}

    def draw(self, run: DensityTrialRun) -> dict[str, bytes]:
        """See `hopsearch.tasks.density.component_pictures.draw`."""
        return draw(run)

    def publish(self, run: DensityTrialRun, folder: Path) -> None:
        """Write the weights, a config.json that has what builds their model, and its code, with
        which torch alone loads it.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(folder / WEIGHTS, run.evaluated.state_dict())
        model = run.config.model
        about = {
            "architecture": "attnbm",
            "model_args": {
                "n_visible": model.n_visible,
                "n_hidden": model.n_hidden,
                "biases": model.biases,
                "whitened": run.splits.scaling.scale.ndim == 2,
            },
            "shape": list(run.splits.facts.shape),
            "hopsearch": {"task": self.name, "trial": json.loads(run.config.model_dump_json())},
        }
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        shutil.copyfile(inspect.getfile(attnbm), folder / CODE)
