"""What data a study is trained on (`DataConfig`) and what the rest of the program may know about it
(`DataFacts`).
"""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from hopsearch.core.config import Settings

MOST_PIXELS = 4096
"""Pixels a side of the largest images that can be trained on."""


class DataConfig(Settings):
    """Where the images come from and how they are split.

    The split follows from ``split_seed`` alone, never from a trial's seed: all trials of a study
    are measured on the same images.
    """

    source: str = "digits"
    """``digits``, ``cifar10:<dir>``, ``cifar100:<dir>``, ``fashion_mnist:<dir>``,
    ``imagenet:<dir>``, or an image folder: ``<class>/*`` alone, or ``train/<class>/*`` with
    ``val/<class>/*`` and ``test/<class>/*`` (Training, valid, seg_test, … too). Without ``:<dir>``
    a set that can be downloaded lies in the cache."""
    val: str | None = Field(default=None, min_length=1)
    """Folder of the validation images (``<class>/*``), if it is not in the image folder. ``none``:
    cut them off the training images, even if there is a folder.
    """
    test: str | None = Field(default=None, min_length=1)
    """Folder of the test images, likewise."""
    image_size: int | None = Field(default=None, ge=1, le=MOST_PIXELS)
    """Pixels a side: the shorter side is resized to it (bicubic), then the centre is cut out. None:
    the images' own size if all are square and share one, else 224."""
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    """Share of a side that evaluation sees: the shorter side is resized to image_size / crop_pct
    before the centre is cut out.
    """
    keep_original: bool = False
    """Keep training images in their own size where all are square and share one, so that
    augment.resized_crop stretches the originals to image_size; others are resized to image_size
    first, and the crop is taken from that."""
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training images that searches measure on, the same in every class; used only
    without a validation folder.
    """
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of all images kept for the final test; used only where the source has no test part of
    its own.
    """
    split_seed: int = Field(default=0, ge=0)
    """Decides which images are held out."""
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    """What to do about an image that cannot be read: stop, or continue without it and say so."""
    memory_limit: int = Field(default=4 * 2**30, ge=0)
    """Bytes of decoded images that a process reads into memory; a larger part is mapped from the
    cache and shared by all processes of a machine."""
    cache: str | None = None
    """Folder of decoded images. None: ``$HOPSEARCH_CACHE``, else ``~/.cache/hopsearch``."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of a data set once its training part is read."""

    name: str
    """``digits``, ``cifar10``, … or the folder's name."""
    image_size: int
    """Pixels a side."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    classes: tuple[str, ...]
    """Class names; a label is a position in it."""
    n_train: int
    """Images to train on."""
    n_val: int
    """Images to search on."""
    n_test: int
    """Images kept for the end, as listed: an unreadable one is found only when the test part is
    read.
    """
    flip: bool
    """Whether a mirrored image keeps its label (false for digits and the MNIST-like sets)."""
    fingerprint: str
    """Hash of the images' contents, classes, size and split: equal wherever the same data lies
    under whatever name, different for other data or another split."""
    crop_pct: float = 1.0
    """See `DataConfig.crop_pct`: how images are to be prepared for a model."""
    skipped: tuple[str, ...] = ()
    """Names of the training images left out because they cannot be read."""
    train_by_class: tuple[int, ...] = ()
    """Images to train on, by class."""
    val_by_class: tuple[int, ...] = ()
    """Images to search on, by class."""
    former_fingerprint: str = field(default="", compare=False)
    """The same by the rule of studies up to 0.1, of names and file sizes; empty if those split the
    folder otherwise.
    """
    parts: dict[str, str] = field(default_factory=dict, compare=False)
    """Where the ``validation part`` and the ``test part`` are from, in words."""
    summary: tuple[str, ...] = field(default=(), compare=False)
    """What was found, in lines to print; warnings about images that are there twice are among
    them.
    """
