"""From a `DataConfig` to images in memory: `load`.

Shapes: N images, C channels, H/W height and width, B images of a batch.
"""

import functools
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from hopsearch.data.cache import Decoded, cache_folder, cached_format, part_key, read_part
from hopsearch.data.config import DataConfig, DataFacts
from hopsearch.data.decode import natural_format
from hopsearch.data.fingerprint import Prints
from hopsearch.data.images import ImageSet
from hopsearch.data.parts import ArrayPart, FilePart, HeldOut, Part, Source, digest
from hopsearch.data.sources import open_source
from hopsearch.data.split import Indices, prefix_length, require_per_class, stratified_order
from hopsearch.data.summary import part_words, summary
from hopsearch.data.view import Pixels

_REMEMBERED = 4  # data sets a process keeps; a worker uses one


class Splits:
    """Training and validation images; the test part is read only when `read_test` is called."""

    def __init__(self, facts: DataFacts, train: ImageSet, val: ImageSet, open_test: Callable[[], ImageSet]) -> None:
        self.facts, self.train, self.val = facts, train, val
        self._open_test, self._test, self._lock = open_test, None, threading.Lock()

    _test: ImageSet | None

    def read_test(self) -> ImageSet:
        """The test part: for finished winners, never for a search.

        Raises:
            DataError: it cannot be read; see `load`.
        """
        with self._lock:
            if self._test is None:
                self._test = self._open_test()
            return self._test


def load(config: DataConfig) -> Splits:
    """Read a data set's training and validation images; a second call in the same process returns the same object.

    Raises:
        DataError: unknown source, missing or empty folder, too few images in a class, an unreadable image, no room to decode.
    """
    with _LOADING:
        return _load(config)


def forget() -> None:
    """Let `load` look again: files may have changed since, in a notebook that searches twice."""
    with _LOADING:
        _load.cache_clear()


_LOADING = threading.Lock()  # two threads that ask at once read once


@functools.lru_cache(maxsize=_REMEMBERED)
def _load(config: DataConfig) -> Splits:
    source = open_source(config.source, cache_folder(config.cache) / "torchvision", config.val, config.test)
    place = f"data.source={config.source}"
    require_per_class(source.train.labels_N, source.classes, 1 + (not source.test) + (not source.val), place)
    pool, test = _hold_out(source, config)
    pool, n_val = _order(source, pool, config)
    size, channels, decoded = _decode(pool, config)
    kept = np.delete(np.arange(len(pool)), decoded.skipped)
    n_val = int(np.count_nonzero(kept < n_val))
    labels_N = pool.labels_N[kept]
    skipped = tuple(pool.name(index) for index in decoded.skipped)
    _report_skipped(skipped, place)
    for labels, part in ((labels_N[:n_val], "validation"), (labels_N[n_val:], "training")):
        require_per_class(labels, source.classes, 1, f"{place}: {part} part")
    whole = _image_set(decoded, labels_N)
    print_of = Prints(source, config, pool, test, n_val, size, channels, decoded.skipped)
    facts = DataFacts(
        name=source.name,
        image_size=size,
        channels=channels,
        classes=source.classes,
        n_train=len(labels_N) - n_val,
        n_val=n_val,
        n_test=test.count,
        flip=source.flip,
        fingerprint=print_of.contents(),
        skipped=skipped,
        val_by_class=_by_class(labels_N[:n_val], source),
        train_by_class=_by_class(labels_N[n_val:], source),
        former_fingerprint=print_of.names(),
        parts=part_words(config, source),
    )
    facts = replace(facts, summary=(*summary(config, source, facts), *print_of.warnings(kept)))
    return Splits(facts, _cut(whole, n_val, None), _cut(whole, 0, n_val), lambda: _read_test(test, config, size, channels, place))


def _hold_out(source: Source, config: DataConfig) -> tuple[Part, HeldOut]:
    if source.test:
        return source.train, source.test
    labels_N = source.train.labels_N
    order_N = stratified_order(labels_N, config.split_seed)
    # Each class must be left with an image to train on, and another where the validation part is cut off too.
    end = prefix_length(labels_N, config.test_fraction)
    test_M, pool_M = np.sort(order_N[:end]), np.sort(order_N[end:])
    least = 1 if source.val else 2
    require_per_class(labels_N[pool_M], source.classes, least, f"data.source={config.source}: left by data.test_fraction")
    held_out = source.train.take(test_M)
    return source.train.take(pool_M), HeldOut(len(held_out), held_out.identity(), lambda: held_out, listed=held_out)


def _order(source: Source, pool: Part, config: DataConfig) -> tuple[Part, int]:
    """The images in the order in which they are decoded, and how many at its beginning are for validation."""
    pool = pool.take(stratified_order(pool.labels_N, config.split_seed))
    if source.val is None:
        return pool, prefix_length(pool.labels_N, config.val_fraction)
    assert isinstance(pool, FilePart), "a validation folder belongs to image files"
    return source.val.followed_by(pool), len(source.val)


def _by_class(labels_N: Indices, source: Source) -> tuple[int, ...]:
    return tuple(np.bincount(labels_N, minlength=len(source.classes)).tolist())


def _decode(part: Part, config: DataConfig, size: int | None = None, channels: int | None = None) -> tuple[int, int, Decoded]:
    """A part's pixels in its natural format, or in the one given."""
    key = part_key(part, size or config.image_size, config.on_corrupt)
    folder = cache_folder(config.cache)
    if size is None or channels is None:
        size, channels = cached_format(folder, key) or natural_format(part, config.image_size)
    else:
        key = digest([key, channels])
    if isinstance(part, ArrayPart) and part.pixels.shape[1:3] == (size, size):
        return size, channels, Decoded(_channels_first(part), (), mapped=False)
    return size, channels, read_part(folder, key, part, size, channels, config.on_corrupt == "skip", config.memory_limit)


def _channels_first(part: ArrayPart) -> Pixels:
    pixels = part.pixels[:, None] if part.pixels.ndim == 3 else part.pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels)


def _read_test(test: HeldOut, config: DataConfig, size: int, channels: int, place: str) -> ImageSet:
    part = test.open()
    decoded = _decode(part, config, size, channels)[2]
    _report_skipped(tuple(part.name(index) for index in decoded.skipped), f"{place}: test part")
    return _image_set(decoded, np.delete(part.labels_N, decoded.skipped))


def _report_skipped(names: tuple[str, ...], place: str) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(f"{place}: {len(names)} unreadable images are left out: {', '.join(names[:3])}{more}", stacklevel=4)


def _image_set(decoded: Decoded, labels_N: Indices) -> ImageSet:
    return ImageSet(torch.from_numpy(decoded.images_NCHW), torch.from_numpy(np.ascontiguousarray(labels_N)), decoded.mapped)


def _cut(whole: ImageSet, start: int, end: int | None) -> ImageSet:
    return ImageSet(whole.images_NCHW[start:end], whole.labels_N[start:end], whole.mapped)  # views: no pixel is copied
