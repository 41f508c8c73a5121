"""The data sources by name: embedded digits, torchvision's sets, image folders. Each gives pools of images with labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hopsearch.config import did_you_mean
from hopsearch.data.folder import Files, channels_of, decode, natural_size, scan
from hopsearch.data.images import DataConfig
from hopsearch.errors import DataError

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], list[str]]
"""Images (N, C, H, W), labels (N,), names of skipped images."""


@dataclass(frozen=True)
class Source:
    """A data set before it is read.

    Attributes:
        name: as the user wrote it.
        classes: class names.
        flip: whether a mirrored image keeps its label.
        identity: lines that change when the content does.
        train: decodes the training pool.
        test: decodes the test split; None where the pool has to be split.
        cached: whether decoding is worth keeping on disk.
    """

    name: str
    classes: tuple[str, ...]
    flip: bool
    identity: tuple[str, ...]
    train: Callable[[], Arrays]
    test: Callable[[], Arrays] | None = None
    cached: bool = True


TORCHVISION = ("cifar10", "cifar100", "fashion_mnist", "imagenet")
NAMES = ("digits", *TORCHVISION)


def open_source(config: DataConfig, download_to: Path) -> Source:
    """Find the source that ``config.source`` names.

    Raises:
        DataError: unknown name, or a folder that is not there or not laid out as it must be.
    """
    name, _, where = config.source.partition(":")
    if name == "digits" and not where:
        return _digits()
    if name == "imagenet":
        return _imagenet(config, where)
    if name in TORCHVISION:
        return _torchvision(config, name, Path(where).expanduser() if where else download_to)
    if "/" not in config.source and not Path(config.source).exists():
        known = [*NAMES, "<folder>"]
        raise DataError("data", f"must be a known source or a folder, got {config.source!r}", did_you_mean(config.source, known))
    train, test = scan(Path(config.source).expanduser())
    return _files(config, config.source, train, test)


def _digits() -> Source:
    def read() -> Arrays:
        from sklearn.datasets import load_digits  # a second to import, and only this source needs it

        bunch = load_digits()
        images = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)[:, None]
        return images, bunch.target.astype(np.int64), []

    names = tuple(str(digit) for digit in range(10))
    return Source("digits", names, flip=False, identity=("scikit-learn digits",), train=read, cached=False)


def _files(config: DataConfig, name: str, train: Files, test: Files | None) -> Source:
    size, channels = config.image_size or natural_size(train), channels_of(train)

    def reader(files: Files) -> Callable[[], Arrays]:
        return lambda: decode(files, size, channels, config.on_corrupt)

    identity = (f"{size} {channels} {config.on_corrupt}", *train.identity(), *(test.identity() if test else ()))
    return Source(name, train.classes, True, identity, reader(train), reader(test) if test else None)


def _torchvision(config: DataConfig, name: str, root: Path) -> Source:
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "fashion_mnist": datasets.FashionMNIST}[name]

    def open_split(train: bool) -> Any:
        try:
            return kind(root, train=train)
        except RuntimeError:
            pass  # not there, or damaged: fetch it
        try:
            return kind(root, train=train, download=True)
        except (OSError, RuntimeError) as error:
            hint = f"Put torchvision's files of {name} there yourself, or run once where there is a network"
            raise DataError(f"data={name}:{root}", f"must be there or downloadable, got: {error}", hint) from None

    def reader(train: bool) -> Callable[[], Arrays]:
        def read() -> Arrays:
            split = open_split(train)
            pixels = np.asarray(split.data, np.uint8)
            images = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
            return resize(images, config.image_size), np.asarray(split.targets, np.int64), []

        return read

    classes = tuple(str(one) for one in open_split(train=True).classes)
    return Source(config.source, classes, name != "fashion_mnist", (name, str(config.image_size)), reader(True), reader(False))


def _imagenet(config: DataConfig, where: str) -> Source:
    from torchvision import datasets

    root = Path(where).expanduser()

    def files(split: str) -> Files:
        try:
            found = datasets.ImageNet(str(root), split=split)
        except (OSError, RuntimeError) as error:
            rule = f"must hold ImageNet as torchvision reads it, got: {error}"
            raise DataError(f"data=imagenet:{where}", rule, "It cannot be downloaded: put the official archives there") from None
        classes = tuple(names[0] for names in found.classes)
        return Files(root, tuple(Path(path) for path, _ in found.samples), tuple(label for _, label in found.samples), classes)

    return _files(config, config.source, files("train"), files("val"))


def resize(images: npt.NDArray[np.uint8], size: int | None) -> npt.NDArray[np.uint8]:
    """Resize (N, C, H, W) images bicubically to a side of ``size``; None leaves them."""
    if size is None or images.shape[-1] == size:
        return np.ascontiguousarray(images)
    import torch
    import torch.nn.functional as F

    parts = [
        F.interpolate(torch.from_numpy(np.ascontiguousarray(part)).float(), (size, size), mode="bicubic", antialias=True)
        for part in np.array_split(images, max(1, len(images) // 2048))
    ]
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts]).numpy()
