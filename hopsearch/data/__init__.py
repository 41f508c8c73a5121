"""What models are trained on: images decoded once, split once, augmented in batches on the device."""

from hopsearch.data.augment import Augment, AugmentConfig, epoch_batches
from hopsearch.data.images import DataConfig, DataFacts, ImageSet
from hopsearch.data.sources import NAMES
from hopsearch.data.splits import Splits, load

__all__ = ["NAMES", "Augment", "AugmentConfig", "DataConfig", "DataFacts", "ImageSet", "Splits", "epoch_batches", "load"]
