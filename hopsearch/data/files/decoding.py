"""Decodes image files to uint8 pixels of one size, with one thread per core: decoders release the
GIL.

Shapes: N images, C channels, H/W height and width.
"""

import contextlib
import functools
import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from hopsearch.core.errors import DataError
from hopsearch.data.files.dataset_config import MOST_PIXELS
from hopsearch.data.files.listed_parts import ArrayPart, FilePart, Part
from hopsearch.data.files.preprocessing import (
    UNREADABLE,
    Pixels,
    pil_quiet,
    reason_of,
    to_pixels,
    upright_size,
)
from hopsearch.data.files.reading_progress import counted

T = TypeVar("T")
FALLBACK_SIZE = 224
"""Pixels per side if images differ in size and none is set."""
_GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_MOST_THREADS = 32  # more threads would wait for the GIL, which is held while opening a file
# images per task: handing over small ones one by one would cost more
_MOST_AT_ONCE = 32
_SECONDS_AT_ONCE = 0.1


def natural_format(part: Part, image_size: int | None) -> tuple[int, int]:
    """Pixels per side and channels of a split, from the images' headers only.

    The size is ``image_size`` if set, else the images' own if all are square and equal, else
    `FALLBACK_SIZE`; grey only if all are. Unreadable files are ignored here: decoding reports them.
    """
    if isinstance(part, ArrayPart):
        height, width = part.pixels.shape[1:3]
        own = height if height == width else FALLBACK_SIZE
        return image_size or own, 1 if part.pixels.ndim == 3 else 3
    size = image_size
    own_sizes = set()
    channels = 1
    with contextlib.closing(in_threads(functools.partial(_peek, part), len(part))) as peeked:
        for found in counted("looking at", peeked, len(part)):
            if found:
                own_sizes.add(found[0])
                channels = max(channels, found[1])
            if size is None and len(own_sizes) > 1:
                size = FALLBACK_SIZE
            if size is not None and channels == 3:
                return size, channels  # nothing left to determine
    if size is None:
        width, height = next(iter(own_sizes), (0, 1))
        size = width if width == height else FALLBACK_SIZE
        if size > MOST_PIXELS:
            rule = (
                f"without data.image_size, images must have at most {MOST_PIXELS} pixels per side, "
                f"got {size}"
            )
            raise DataError(part.name(0), rule, "Set data.image_size, e.g. data.image_size=224")
    return size, channels


def own_size(part: Part) -> int | None:
    """The images' own pixels per side, if all are square and equal, and not too large."""
    if isinstance(part, ArrayPart):
        height, width = part.pixels.shape[1:3]
        return height if height == width else None
    sizes = {found[0] for found in in_threads(functools.partial(_peek, part), len(part)) if found}
    width, height = sizes.pop() if len(sizes) == 1 else (0, 1)
    return width if width == height <= MOST_PIXELS else None


def decode_all(
    part: Part, size: int, channels: int, crop_pct: float = 1.0
) -> Generator[Pixels | str, None, None]:
    """Decoded images (C, H, W) in order, or the reason for one that cannot be read; see
    `to_pixels`.
    """
    task = functools.partial(
        _decode_or_reason, part, size=size, channels=channels, crop_pct=crop_pct
    )
    return in_threads(task, len(part))


def refuse_corrupt(part: Part, index: int, reason: str) -> DataError:
    """The error that names an unreadable image."""
    return DataError(
        part.name(index),
        f"the image cannot be read: {reason}",
        "Replace or remove it, or set data.on_corrupt=skip",
    )


def _decode_or_reason(
    part: Part, index: int, size: int, channels: int, crop_pct: float
) -> Pixels | str:
    try:
        # Read completely, which also hashes the contents.
        with (
            Image.open(io.BytesIO(part.read(index)))
            if isinstance(part, FilePart)
            else part.open(index) as image
        ):
            if isinstance(part, FilePart):
                part.own_N[index] = upright_size(image)
            return to_pixels(image, size, channels, crop_pct)
    except UNREADABLE as error:
        return reason_of(error)


def _peek(part: Part, index: int) -> tuple[tuple[int, int], int] | None:
    try:
        with part.open(index) as image:
            return upright_size(image), 1 if image.mode in _GREY_MODES else 3
    except UNREADABLE:
        return None


def in_threads(task: Callable[[int], T], count: int) -> Generator[T, None, None]:
    """Results of ``task(0)``, ``task(1)``, … in order.

    Work stops when the results are no longer wanted, by Ctrl-C too: images already being decoded
    are not waited for.
    """
    threads = max(1, min(_MOST_THREADS, _cores(), count))
    stop = threading.Event()
    pool = ThreadPoolExecutor(threads, "decode")
    all_there = threading.Barrier(threads)
    ahead: deque[Future[tuple[list[T], float]]] = deque()
    taken = 0
    at_once = 1
    with pil_quiet():  # raised here and not in the threads
        try:
            # started now: a thread without memory to start would be waited for forever
            for _ in range(threads):
                pool.submit(all_there.wait)
            while ahead or taken < count:
                while taken < count and len(ahead) < 2 * _cores():
                    run = range(taken, min(taken + at_once, count))
                    ahead.append(pool.submit(_run, task, run, stop))
                    taken = run.stop
                results, seconds = ahead.popleft().result()
                at_once = max(
                    1,
                    min(
                        _MOST_AT_ONCE,
                        2 * at_once,
                        int(_SECONDS_AT_ONCE * len(results) / max(seconds, 1e-9)),
                    ),
                )
                yield from results
        finally:
            stop.set()
            # if not all could be started: the others would wait for them
            all_there.abort()
            pool.shutdown(wait=False, cancel_futures=True)


def _run(task: Callable[[int], T], indices: range, stop: threading.Event) -> tuple[list[T], float]:
    """The results, and the seconds they took."""
    started = time.perf_counter()
    results = [task(index) for index in indices if not stop.is_set()]
    return results, time.perf_counter() - started


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
