"""Settings of a density: the data and their scaling, and a trial's model."""

from typing import Literal

from pydantic import Field, model_validator

from hopsearch.core.config import Settings
from hopsearch.data import DataConfig
from hopsearch.training import TrialConfig

ARRAY_SUFFIX = ".npy"


class DensityData(DataConfig):
    """Vectors, or images that are flattened to vectors, and how they are scaled.

    A study has one scaling: likelihoods in differently scaled values cannot be compared.
    """

    source: str = "digits"
    """As of images: ``digits``, ``cifar10:<dir>``, …, or an image folder, grey or in colour, whose
    pixels are flattened; or a ``.npy`` file, an array whose first axis counts the vectors.
    """
    scaling: Literal["global", "standard", "whiten", "none"] = "global"
    """``global``: all values are divided by one standard deviation, over all of them.
    ``standard``: each is divided by its own. ``whiten``: then multiplied by (C + whiten_eps)^-½,
    C their correlation matrix (ZCA over pixels). ``none``: pixels from 0 to 1, vectors as they are.
    Deviations and C are those of the training part.
    """
    centred: bool = True
    """Whether each value's mean in the training part is subtracted; never with ``none``."""
    whiten_eps: float = Field(default=0.01, gt=0)
    """Added to the eigenvalues of the correlation matrix before they are inverted."""
    missing: float = Field(default=0.8, gt=0, lt=1)
    """Probability that a value is missing where val_missing_mse is measured; 0.8 as the authors'
    code does, whose threshold of 0.2 is what stays. It is a scaled value: with ``whiten`` a mix of
    all pixels, not one pixel.
    """

    @model_validator(mode="after")
    def _one_view(self) -> "DensityData":
        if self.keep_original or self.crop_pct != 1:
            name = "keep_original" if self.keep_original else "crop_pct"
            value = getattr(self, name)
            raise ValueError(
                f"{name} must be left out: training and validation must see images of one size, "
                f"got {value}; Set image_size instead"
            )
        if self.is_array and (given := self._of_images()):
            raise ValueError(
                f"{given} must be left out with a {ARRAY_SUFFIX} file, which is split by "
                f"val_fraction and test_fraction; Leave it out"
            )
        return self

    @property
    def is_array(self) -> bool:
        """Whether the source is a file of vectors."""
        return self.source.endswith(ARRAY_SUFFIX)

    def _of_images(self) -> str:
        given = [name for name in ("val", "test", "image_size") if getattr(self, name) is not None]
        return ", ".join(given)


class DensityModelConfig(Settings):
    """An attentional Boltzmann machine (`hopsearch.models.attnbm.AttnBM`)."""

    n_visible: int = Field(default=64, ge=1)
    """Values of a vector; determined by the data."""
    n_hidden: int = Field(default=50, ge=1)
    """Hidden units, each a component of the mixture."""
    biases: bool = True
    """Whether b and c are trained. Otherwise they stay as init sets them: 0, or for ``balanced``
    the mean and what makes all components' weights equal.
    """
    init: Literal["random", "rows", "balanced"] = "balanced"
    """``random``: W ~ N(0, 1/V), as the authors'; on data that are not centred one component takes
    all the weight and keeps it. ``rows``: W of training rows. ``balanced``: means at training rows,
    and equal weights.
    """


class DensityTrialConfig(TrialConfig):
    """One trial that learns a density."""

    model: DensityModelConfig = DensityModelConfig()
    """Sizes and switches of the model."""
