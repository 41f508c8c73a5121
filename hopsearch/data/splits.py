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

from hopsearch.data.files.cache import Decoded, cache_folder, cached_format, part_key, read_part
from hopsearch.data.files.dataset_config import DataConfig, DataFacts
from hopsearch.data.files.decoding import natural_format, own_size
from hopsearch.data.files.listed_parts import ArrayPart, FilePart, HeldOut, Part, Source, digest
from hopsearch.data.files.original_sizes import Originals
from hopsearch.data.files.preprocessing import Pixels
from hopsearch.data.files.stratified_split import (
    Indices,
    prefix_length,
    require_per_class,
    stratified_order,
)
from hopsearch.data.fingerprint import Prints
from hopsearch.data.images import ImageSet
from hopsearch.data.sources import open_source
from hopsearch.data.summary import part_words, summary

_REMEMBERED = 4  # data sets cached per process; a worker uses one


class Splits:
    """Training and validation images; the test split is only read by `read_test`."""

    def __init__(
        self, facts: DataFacts, train: ImageSet, val: ImageSet, open_test: Callable[[], ImageSet]
    ) -> None:
        self.facts = facts
        self.train = train
        self.val = val
        self._open_test = open_test
        self._test = None
        self._lock = threading.Lock()

    _test: ImageSet | None

    def read_test(self) -> ImageSet:
        """Read the test split: for finished winners, never for a search.

        Raises:
            DataError: it cannot be read; see `load`.
        """
        with self._lock:
            if self._test is None:
                self._test = self._open_test()
            return self._test


def load(config: DataConfig) -> Splits:
    """Read a data set's training and validation images; a second call in the same process returns
    the same object.

    Raises:
        DataError: unknown source, missing or empty folder, too few images in a class, an unreadable
            image, no space for decoded images.
    """
    with _LOADING:
        return _load(config)


def forget() -> None:
    """Clear the cache of `load`: files may have changed, e.g. in a notebook that searches twice."""
    with _LOADING:
        _load.cache_clear()


_LOADING = threading.Lock()  # concurrent calls from two threads read only once


@functools.lru_cache(maxsize=_REMEMBERED)
def _load(config: DataConfig) -> Splits:
    source = open_source(
        config.source, cache_folder(config.cache) / "torchvision", config.val, config.test
    )
    place = f"data.source={config.source}"
    require_per_class(
        source.train.labels_N, source.classes, 1 + (not source.test) + (not source.val), place
    )
    pool, test = _hold_out(source, config)
    pool, n_val = _order(source, pool, config)
    size, channels, decoded = _decode_to_train(pool, config)
    kept = np.delete(np.arange(len(pool)), decoded.skipped)
    n_val = int(np.count_nonzero(kept < n_val))
    labels_N = pool.labels_N[kept]
    skipped = tuple(pool.name(index) for index in decoded.skipped)
    _report_skipped(skipped, place)
    for labels, part in ((labels_N[:n_val], "validation"), (labels_N[n_val:], "training")):
        require_per_class(labels, source.classes, 1, f"{place}: {part} part")
    whole = _image_set(decoded, labels_N)
    kept_at = decoded.images_NCHW.shape[-1]
    seen = whole
    if kept_at != size or config.crop_pct != 1:
        seen = _decode_to_evaluate(pool.take(kept[:n_val]), "validation", config, size, channels)
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
        crop_pct=config.crop_pct,
        skipped=skipped,
        val_by_class=_by_class(labels_N[:n_val], source),
        train_by_class=_by_class(labels_N[n_val:], source),
        former_fingerprint=print_of.names(),
        parts=part_words(config, source),
    )
    found = (
        *summary(config, source, facts),
        *_sizes(pool, decoded, size),
        *print_of.warnings(kept),
    )
    facts = replace(facts, summary=found)
    return Splits(
        facts,
        _cut(whole, n_val, None),
        _cut(seen, 0, n_val),
        lambda: _decode_to_evaluate(test.open(), "test", config, size, channels),
    )


def _hold_out(source: Source, config: DataConfig) -> tuple[Part, HeldOut]:
    if source.test:
        return source.train, source.test
    labels_N = source.train.labels_N
    order_N = stratified_order(labels_N, config.split_seed)
    # Each class needs one image for training, and another if the validation images are also split
    # off.
    end = prefix_length(labels_N, config.test_fraction)
    test_M = np.sort(order_N[:end])
    pool_M = np.sort(order_N[end:])
    least = 1 if source.val else 2
    require_per_class(
        labels_N[pool_M],
        source.classes,
        least,
        f"data.source={config.source}: left by data.test_fraction",
    )
    held_out = source.train.take(test_M)
    return source.train.take(pool_M), HeldOut(
        len(held_out), held_out.identity(), lambda: held_out, listed=held_out
    )


def _order(source: Source, pool: Part, config: DataConfig) -> tuple[Part, int]:
    """The images in decoding order, and the number of validation images at its start."""
    pool = pool.take(stratified_order(pool.labels_N, config.split_seed))
    if source.val is None:
        return pool, prefix_length(pool.labels_N, config.val_fraction)
    assert isinstance(pool, FilePart), "a validation folder requires an image folder"
    return source.val.followed_by(pool), len(source.val)


def _by_class(labels_N: Indices, source: Source) -> tuple[int, ...]:
    return tuple(np.bincount(labels_N, minlength=len(source.classes)).tolist())


def _decode_to_train(part: Part, config: DataConfig) -> tuple[int, int, Decoded]:
    """A split's pixels as stored for training, with the size and channels of a model's input."""
    folder = cache_folder(config.cache)
    key = part_key(part, config.image_size, config.on_corrupt)
    if not config.keep_original:
        size, channels = cached_format(folder, key) or natural_format(part, config.image_size)
        return size, channels, _decode(part, config, key, (size, channels, 1.0))
    key = digest([key, "original"])
    if found := cached_format(folder, key):
        own, channels = found
        size = config.image_size or own
    else:
        size, channels = natural_format(part, config.image_size)
        own = own_size(part) or size
    return size, channels, _decode(part, config, key, (own, channels, 1.0))


def _sizes(pool: Part, decoded: Decoded, size: int) -> list[str]:
    """Original sizes of training and validation images, and the size at which they are stored."""
    if isinstance(pool, ArrayPart):
        height, width = pool.pixels.shape[1:3]
        own = np.broadcast_to([width, height], (len(pool), 2))
        found = Originals.of(own, size)
    else:
        found = decoded.originals
    words = found.words(size) if found else ""
    kept_at = decoded.images_NCHW.shape[-1]
    kept = [f"  training images are kept at {kept_at} × {kept_at} px"] if kept_at != size else []
    return ([f"  originals: {words}"] if words else []) + kept


def _decode_to_evaluate(
    part: Part, what: str, config: DataConfig, size: int, channels: int
) -> ImageSet:
    """A split as used in evaluation; unreadable images are skipped."""
    key = digest([part_key(part, size, config.on_corrupt), channels])
    if config.crop_pct != 1:
        key = digest([key, config.crop_pct])
    decoded = _decode(part, config, key, (size, channels, config.crop_pct))
    _report_skipped(
        tuple(part.name(index) for index in decoded.skipped),
        f"data.source={config.source}: {what} part",
    )
    return _image_set(decoded, np.delete(part.labels_N, decoded.skipped))


def _decode(part: Part, config: DataConfig, key: str, form: tuple[int, int, float]) -> Decoded:
    size, channels, crop_pct = form
    if isinstance(part, ArrayPart) and part.pixels.shape[1:3] == (size, size) and crop_pct == 1:
        return Decoded(_channels_first(part), (), mapped=False)
    skip = config.on_corrupt == "skip"
    return read_part(
        cache_folder(config.cache), key, part, size, channels, skip, config.memory_limit, crop_pct
    )


def _channels_first(part: ArrayPart) -> Pixels:
    pixels = part.pixels[:, None] if part.pixels.ndim == 3 else part.pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels)


def _report_skipped(names: tuple[str, ...], place: str) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        warnings.warn(
            f"{place}: {len(names)} unreadable images are skipped: {', '.join(names[:3])}{more}",
            stacklevel=4,
        )


def _image_set(decoded: Decoded, labels_N: Indices) -> ImageSet:
    return ImageSet(
        torch.from_numpy(decoded.images_NCHW),
        torch.from_numpy(np.ascontiguousarray(labels_N)),
        decoded.mapped,
    )


def _cut(whole: ImageSet, start: int, end: int | None) -> ImageSet:
    # views: no pixel is copied
    return ImageSet(whole.images_NCHW[start:end], whole.labels_N[start:end], whole.mapped)
