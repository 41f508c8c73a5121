"""Images in memory, and what is known of a data set.

Shapes: N = images, C = channels, H = W = pixels.
"""

from dataclasses import dataclass, field

import torch
from pydantic import Field

from hopsearch.config import Settings


class DataConfig(Settings):
    """Which images, how they are read, and how they are split."""

    source: str = "digits"
    """digits (embedded), an image folder, or cifar10|cifar100|fashion_mnist|imagenet:<folder>."""
    image_size: int | None = Field(default=None, ge=1)
    """Pixels a side; none takes the images' own size where all share one, else 224."""
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training data that searches validate on; stratified."""
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share kept for the test where the source has no test split of its own; stratified."""
    split_seed: int = Field(default=0, ge=0)
    """Seed of the splits; not the study's, so that searches with other seeds are comparable."""
    on_corrupt: str = Field(default="refuse", pattern="^(refuse|skip)$")
    """What to do with an image that cannot be decoded: refuse the data set, or skip the image."""
    memory_limit: float = Field(default=4e9, gt=0)
    """Bytes above which decoded images are memory-mapped instead of held in memory."""
    cache: str | None = None
    """Folder of decoded images; by default $HOPSEARCH_CACHE, else ~/.cache/hopsearch."""


@dataclass(frozen=True)
class DataFacts:
    """What a data set is.

    Attributes:
        name: the source.
        image_size: pixels a side.
        channels: 1 or 3.
        classes: class names in the order of their labels.
        n_train, n_val: images of the two splits that a search sees.
        flip: whether a mirrored image keeps its label.
        fingerprint: identity of content and split; two data sets with the same one are the same.
        skipped: images that could not be decoded and were left out.
    """

    name: str
    image_size: int
    channels: int
    classes: tuple[str, ...]
    n_train: int
    n_val: int
    flip: bool
    fingerprint: str
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSet:
    """One split.

    Attributes:
        images_NCHW: uint8.
        labels_N: int64.
    """

    images_NCHW: torch.Tensor
    labels_N: torch.Tensor
    _moved: dict[torch.device, "ImageSet"] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.labels_N)

    def to(self, device: torch.device) -> "ImageSet":
        """The split on a device; copied once, then remembered."""
        if device == self.images_NCHW.device:
            return self
        if device not in self._moved:
            self._moved[device] = ImageSet(self.images_NCHW.to(device), self.labels_N.to(device))
        return self._moved[device]
