"""Settings of the data (`DataConfig`), and facts about it for the rest of the program
(`DataFacts`).
"""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from hopsearch.core.config import Settings

MOST_PIXELS = 4096
"""Largest supported image size, in pixels per side."""


class DataConfig(Settings):
    """Where the images come from and how they are split.

    The split depends only on ``split_seed``, never on a trial's seed: all trials of a study are
    measured on the same images.
    """

    source: str = "digits"
    """``digits``, ``cifar10:<dir>``, ``cifar100:<dir>``, ``fashion_mnist:<dir>``,
    ``imagenet:<dir>``, or an image folder: ``<class>/*`` alone, or ``train/<class>/*`` with
    ``val/<class>/*`` and ``test/<class>/*`` (Training, valid, seg_test, … too). Without ``:<dir>``,
    downloadable sets are stored in the cache.
    """
    val: str | None = Field(default=None, min_length=1)
    """Folder of the validation images (``<class>/*``), if it is not in the image folder. ``none``:
    split them off the training images, even if there is a folder.
    """
    test: str | None = Field(default=None, min_length=1)
    """Folder of the test images, likewise."""
    image_size: int | None = Field(default=None, ge=1, le=MOST_PIXELS)
    """Pixels per side: the shorter side is resized to it (bicubic), then the centre is cropped.
    None: the images' own size if all are square and equal, else 224.
    """
    crop_pct: float = Field(default=1.0, gt=0, le=1)
    """Share of a side used in evaluation: the shorter side is resized to image_size / crop_pct
    before the centre is cropped.
    """
    keep_original: bool = False
    """Keep training images at their original size if all are square and equal, so that
    augment.resized_crop crops from the originals; otherwise images are resized to image_size first,
    and cropped from that.
    """
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of the training images used for validation, the same in every class; only used without
    a validation folder.
    """
    test_fraction: float = Field(default=0.15, gt=0, lt=1)
    """Share of all images held out for the final test; only used if the source has no test
    split.
    """
    split_seed: int = Field(default=0, ge=0)
    """Seed that determines which images are held out."""
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    """What to do with an unreadable image: stop with an error, or skip it with a warning."""
    memory_limit: int = Field(default=4 * 2**30, ge=0)
    """Bytes of decoded images that a process reads into memory; a larger split is memory-mapped
    from the cache and shared by all processes of a machine.
    """
    cache: str | None = None
    """Folder of decoded images. None: ``$HOPSEARCH_CACHE``, else ``~/.cache/hopsearch``."""


@dataclass(frozen=True)
class DataFacts:
    """Facts about a data set, known once its training split is read."""

    name: str
    """``digits``, ``cifar10``, … or the folder's name."""
    image_size: int
    """Pixels per side."""
    channels: int
    """1 (grey) or 3 (RGB)."""
    classes: tuple[str, ...]
    """Class names; a label is an index into it."""
    n_train: int
    """Images to train on."""
    n_val: int
    """Images to search on."""
    n_test: int
    """Test images, as listed: unreadable ones are only detected when the test split is read."""
    flip: bool
    """Whether a mirrored image keeps its label (false for digits and the MNIST-like sets)."""
    fingerprint: str
    """Hash of the images' contents, classes, size and split: equal for the same data in any
    location and under any name, different for other data or another split.
    """
    crop_pct: float = 1.0
    """See `DataConfig.crop_pct`: how images are prepared for a model."""
    skipped: tuple[str, ...] = ()
    """Names of unreadable training images, which are skipped."""
    train_by_class: tuple[int, ...] = ()
    """Images to train on, by class."""
    val_by_class: tuple[int, ...] = ()
    """Images to search on, by class."""
    former_fingerprint: str = field(default="", compare=False)
    """The fingerprint of studies up to version 0.1, from names and file sizes; empty if those split
    the folder differently.
    """
    parts: dict[str, str] = field(default_factory=dict, compare=False)
    """Origin of the validation and test splits, in words."""
    summary: tuple[str, ...] = field(default=(), compare=False)
    """A summary of the data in lines to print, including warnings about duplicate images."""
