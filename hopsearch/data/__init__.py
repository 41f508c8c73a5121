"""Data: data sets, their splits, and augmentation on the tensors' own device.

    splits = load(DataConfig(source="digits"))
    augment = Augment(AugmentConfig(crop_pad=1, mixup=0.2), splits.facts)
    device = splits.train.index_device
    for index_B in epoch_batches(len(splits.train), 64, generator, device=device):
        x_BCHW, targets_BK = augment(*splits.train.batch(index_B), generator)

``dataset_config`` has settings and facts; ``sources`` and ``folders`` list images,
``stratified_split`` orders them, ``decoding``, ``preprocessing`` and ``cache`` turn them into
arrays, ``splits`` combines them into ``images``.
``augment`` combines ``geometry``, ``randaugment`` over ``pixel_ops``, and ``mixing``. The test
split is only read by `Splits.read_test`.
"""

from hopsearch.data.augmentation.augment import PAPER_AUGMENT, Augment, AugmentConfig
from hopsearch.data.batches import epoch_batches, ordered_batches
from hopsearch.data.comparison import (
    accepted_by_names,
    data_difference,
    data_identity,
    data_settings,
)
from hopsearch.data.files.dataset_config import DataConfig, DataFacts
from hopsearch.data.images import ImageSet
from hopsearch.data.splits import Splits, load

__all__ = [
    "PAPER_AUGMENT",
    "Augment",
    "AugmentConfig",
    "DataConfig",
    "DataFacts",
    "ImageSet",
    "Splits",
    "accepted_by_names",
    "data_difference",
    "data_identity",
    "data_settings",
    "epoch_batches",
    "load",
    "ordered_batches",
]
