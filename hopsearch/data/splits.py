"""Loading: decode once a machine, split once and for all, hand out training and validation; the test split on purpose only."""

import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hopsearch.data.folder import require_enough
from hopsearch.data.images import DataConfig, DataFacts, ImageSet
from hopsearch.data.sources import Arrays, Source, open_source, resize
from hopsearch.errors import DataError


@dataclass(frozen=True)
class Splits:
    """A data set, split.

    Attributes:
        facts: what it is.
        train, val: what a search sees.
    """

    facts: DataFacts
    train: ImageSet
    val: ImageSet
    _read_test: Callable[[], Arrays] = field(repr=False)

    def read_test(self) -> ImageSet:
        """The test split, read now: for finished winners only."""
        images, labels, _ = self._read_test()
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


@functools.lru_cache(maxsize=4)
def load(config: DataConfig) -> Splits:
    """Load a data set; a process reads it once, a machine decodes it once.

    Raises:
        DataError: it is missing, damaged, or cannot be split.
    """
    cache = Path(config.cache or os.environ.get("HOPSEARCH_CACHE") or Path.home() / ".cache" / "hopsearch").expanduser()
    source = open_source(config, cache / "torchvision")
    splitting = f"{config.val_fraction} {config.test_fraction} {config.split_seed} {config.image_size}"
    fingerprint = hashlib.sha256("\n".join([*source.identity, splitting]).encode()).hexdigest()[:16]

    def read(part: str, make: Callable[[], Arrays]) -> Arrays:
        return _cached(cache / f"{fingerprint}-{part}", make, config.memory_limit) if source.cached else make()

    images, labels, skipped = read("train", lambda: _in_split_order(source, config))
    n_test, n_val = _sizes(labels, source, config)
    n_train = len(labels) - n_val - n_test

    def cut(start: int, end: int) -> ImageSet:
        return ImageSet(torch.from_numpy(images[start:end]), torch.from_numpy(labels[start:end]))

    test = source.test
    read_test = (
        (lambda: read("test", test)) if test else (lambda: (images[n_train + n_val :], labels[n_train + n_val :], skipped))
    )
    facts = DataFacts(
        source.name, images.shape[-1], images.shape[1], source.classes, n_train, n_val, source.flip, fingerprint, tuple(skipped)
    )
    return Splits(facts, cut(0, n_train), cut(n_train, n_train + n_val), read_test)


def stratified(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Mark ``fraction`` of each class, at least one image and never all, by a seeded draw."""
    random = np.random.default_rng(seed)
    marked = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(len(members) - 1, max(1, round(fraction * len(members))))
        marked[random.permutation(members)[:count]] = True
    return marked


def _in_split_order(source: Source, config: DataConfig) -> Arrays:
    # Training, validation and (where split off here) test images lie one after the other, so each split is a view, also of a map.
    images, labels, skipped = source.train()
    images = resize(images, config.image_size)
    require_enough(labels.tolist(), source.classes, 2 if source.test else 3, f"data={source.name}")
    rank = np.zeros(len(labels), np.int64)
    if source.test is None:
        rank[stratified(labels, config.test_fraction, config.split_seed)] = 2
    rest = np.flatnonzero(rank == 0)
    rank[rest[stratified(labels[rest], config.val_fraction, config.split_seed + 1)]] = 1
    order = np.argsort(rank, kind="stable")
    return images[order], labels[order], skipped


def _sizes(labels: npt.NDArray[np.int64], source: Source, config: DataConfig) -> tuple[int, int]:
    """Images of the test and validation splits; counted as `_in_split_order` has drawn them."""
    counts = np.unique(labels, return_counts=True)[1]

    def part(counts: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.int64]:
        return np.array([min(n - 1, max(1, round(fraction * n))) for n in counts.tolist()])

    test = part(counts, config.test_fraction) if source.test is None else np.zeros_like(counts)
    return int(test.sum()), int(part(counts - test, config.val_fraction).sum())


def _cached(folder: Path, make: Callable[[], Arrays], memory_limit: float) -> Arrays:
    """Arrays from ``folder``, made and kept there where they are not yet, or not whole."""
    try:
        return _read(folder, memory_limit)
    except (OSError, ValueError, EOFError, KeyError):
        shutil.rmtree(folder, ignore_errors=True)  # missing, or left half-written by a full disk
    images, labels, skipped = make()
    scratch = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".decoding-", dir=folder.parent))
        np.save(scratch / "images.npy", images, allow_pickle=False)
        np.save(scratch / "labels.npy", labels, allow_pickle=False)
        (scratch / "about.json").write_text(json.dumps({"skipped": skipped, "bytes": images.nbytes}))
        os.rename(scratch, folder)  # whole or not at all; where another process was first, its copy is as good
    except OSError as error:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if not folder.exists() and images.nbytes > memory_limit:
            hint = "Free some space, or give another folder with data.cache="
            raise DataError(str(folder), f"decoded images must fit the disk, got: {error}", hint) from None
    return images, labels, skipped


def _read(folder: Path, memory_limit: float) -> Arrays:
    about = json.loads((folder / "about.json").read_text())
    # Copy-on-write maps count as writable, which torch asks for; nobody writes. Processes share the pages.
    images = np.load(folder / "images.npy", mmap_mode="c" if about["bytes"] > memory_limit else None, allow_pickle=False)
    return images, np.load(folder / "labels.npy", allow_pickle=False), about["skipped"]
