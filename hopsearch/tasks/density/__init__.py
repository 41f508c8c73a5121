"""Densities of vectors and images by the attentional Boltzmann machine (AttnBM, arXiv 2212.04692),
an exact mixture of Gaussians: a task with a strong reference, EM.
"""

from hopsearch.tasks.density.density_config import (
    DensityData,
    DensityModelConfig,
    DensityTrialConfig,
)
from hopsearch.tasks.density.density_run import DensityTrialRun
from hopsearch.tasks.density.density_task import Density
from hopsearch.tasks.density.vectors import VectorFacts, VectorSplits, load

__all__ = [
    "Density",
    "DensityData",
    "DensityModelConfig",
    "DensityTrialConfig",
    "DensityTrialRun",
    "VectorFacts",
    "VectorSplits",
    "load",
]
