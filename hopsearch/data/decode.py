"""From an image file to uint8 pixels of one size, in a thread pool (PIL lets go of the interpreter lock while it decodes).

Shapes: N images, C channels, H/W height and width.
"""

import functools
import io
import itertools
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from hopsearch.data.parts import ArrayPart, FilePart, Part, Pixels
from hopsearch.errors import DataError

T = TypeVar("T")
FALLBACK_SIZE = 224
"""Pixels a side where images differ in size and none is asked for."""
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error, Image.DecompressionBombError)
"""What PIL raises on damaged files."""
_GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")
_EXIF_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)
_MOST_THREADS = 16
_RUN = 32  # images a thread takes at once: small ones cost less than handing them over one by one


def natural_format(part: Part, image_size: int | None) -> tuple[int, int]:
    """Pixels a side and channels for a part, from the images' headers alone.

    The size is ``image_size`` where given, else the images' own where all are square and equal, else `FALLBACK_SIZE`; grey only
    if all are. Unreadable files have no say: decoding reports them.
    """
    if isinstance(part, ArrayPart):
        height, width = part.pixels.shape[1:3]
        own = height if height == width else FALLBACK_SIZE
        return image_size or own, 1 if part.pixels.ndim == 3 else 3
    size, own_sizes, channels = image_size, set(), 1
    for found in _in_threads(functools.partial(_peek, part), len(part)):
        if found:
            own_sizes.add(found[0])
            channels = max(channels, found[1])
        if size is None and len(own_sizes) > 1:
            size = FALLBACK_SIZE
        if size is not None and channels == 3:
            return size, channels  # nothing left to learn
    if size is None:
        width, height = next(iter(own_sizes), (0, 1))
        size = width if width == height else FALLBACK_SIZE
    return size, channels


def decode_all(part: Part, size: int, channels: int) -> Iterator[Pixels | str]:
    """Decoded images (C, H, W) in order, or the reason for one that cannot be read."""
    return _in_threads(functools.partial(_decode_or_reason, part, size=size, channels=channels), len(part))


def to_pixels(image: Image.Image, size: int, channels: int) -> Pixels:
    """Upright, 8 bits a channel, shorter side resized to ``size`` (bicubic), centre cut out: (C, size, size).

    16-bit grey is scaled to 8 bits; transparent pixels show white; CMYK, palette and other colour modes become RGB.

    Raises:
        OSError, ValueError, …: see `UNREADABLE`.
    """
    ImageOps.exif_transpose(image, in_place=True)
    image = _to_mode(image, "L" if channels == 1 else "RGB")
    width, height = image.size
    if (width, height) != (size, size):
        scale = size / min(width, height)
        width, height = max(size, round(width * scale)), max(size, round(height * scale))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def refuse_corrupt(part: Part, index: int, reason: str) -> DataError:
    """The error that names an unreadable image."""
    return DataError(part.name(index), f"the image cannot be read: {reason}", "Replace or remove it, or set data.on_corrupt=skip")


def _decode_or_reason(part: Part, index: int, size: int, channels: int) -> Pixels | str:
    try:
        # Read whole, which hashes the contents on the way.
        with Image.open(io.BytesIO(part.read(index))) if isinstance(part, FilePart) else part.open(index) as image:
            return to_pixels(image, size, channels)
    except UNREADABLE as error:
        return " ".join(str(error).split()) or type(error).__name__


def _peek(part: Part, index: int) -> tuple[tuple[int, int], int] | None:
    try:
        with part.open(index) as image:
            width, height = image.size
            if image.getexif().get(_EXIF_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            return (width, height), 1 if image.mode in _GREY_MODES else 3
    except UNREADABLE:
        return None


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; PIL's own conversion cuts it off at 255
        wide = np.asarray(image).astype(np.int64)
        shift = 8 if wide.size and wide.max() > 255 else 0
        image = Image.fromarray(np.clip(wide >> shift, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point images have no fixed range; save them with 8 or 16 bits")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


def _in_threads(task: Callable[[int], T], count: int) -> Iterator[T]:
    """Results of ``task(0)``, ``task(1)``, … in order; work stops when nobody asks for more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(_MOST_THREADS, cores)
    runs = (range(start, min(start + _RUN, count)) for start in range(0, count, _RUN))
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque(pool.submit(_run, task, run) for run in itertools.islice(runs, 2 * threads))
        while ahead:
            results = ahead.popleft().result()
            ahead.extend(pool.submit(_run, task, run) for run in itertools.islice(runs, 1))
            yield from results


def _run(task: Callable[[int], T], indices: range) -> list[T]:
    return [task(index) for index in indices]
