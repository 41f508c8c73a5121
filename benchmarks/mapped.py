"""Batches of images that stay mapped on disk (above ``data.memory_limit``), in milliseconds, on one
core.

    python benchmarks/mapped.py [--repeats 15] [--images 3000] [--cold]

Rivals, by turns, on the same random indices of the same file:

* ``batch``: `ImageSet.batch`, as training reads them;
* ``indexed``: ``images[index]``, as training read them before;
* ``selected``: ``images.index_select``;
* ``in memory``: `ImageSet.batch` of the same images read into memory.

Each turn gives one ratio over ``batch``; the table has medians and quartiles. The file's pages are
in memory, and seconds are the processor's, so that other programs matter less; with ``--cold`` the
pages are dropped before each turn (Linux), and seconds are the clock's: what is then measured is
the disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import machine

from hopsearch.data import ImageSet

SIZES = {32: (512, 10), 224: (64, 1)}
"""Pixels a side to (batch, how many times as many images the set has)."""


def stored(folder: Path, size: int, count: int) -> Path:
    path, rng = folder / f"{size}.npy", np.random.default_rng(0)
    images_NCHW = np.lib.format.open_memmap(path, "w+", np.uint8, (count, 3, size, size))
    for start in range(0, count, 256):
        images_NCHW[start : start + 256] = rng.integers(
            0, 256, images_NCHW[start : start + 256].shape, dtype=np.uint8
        )
    images_NCHW.flush()
    return path


def forget(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def image_set(path: Path, mapped: bool) -> ImageSet:
    images_NCHW = torch.from_numpy(np.load(path, mmap_mode="c" if mapped else None))
    return ImageSet(images_NCHW, torch.zeros(len(images_NCHW), dtype=torch.int64), mapped)


def quartiles(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def measure(path: Path, batch: int, repeats: int, cold: bool) -> dict[str, list[float]]:
    memory, mapped = image_set(path, False), image_set(path, True)
    mapped.images_NCHW.sum()  # its pages are there
    clock = time.perf_counter if cold else time.process_time
    order = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {
        name: [] for name in ("batch", "indexed", "selected", "in memory")
    }
    for turn in range(-1, repeats):
        index_B = torch.randperm(len(mapped), generator=order)[:batch]
        for name in times if turn % 2 else reversed(times):
            if cold:
                del mapped  # pages in use are not dropped
                forget(path)
                mapped = image_set(path, True)
            images = memory if name == "in memory" else mapped
            start = clock()
            if name == "indexed":
                images.images_NCHW[index_B]
            elif name == "selected":
                images.images_NCHW.index_select(0, index_B)
            else:
                images.batch(index_B)
            if turn >= 0:
                times[name].append(1000 * (clock() - start))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument(
        "--images", type=int, default=3000, help="of 224 px; ten times as many of 32 px"
    )
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{machine()}; {options.repeats} "
        f"turns{', pages dropped before each' if options.cold else ''}\n"
    )
    print("| px | batch | | ms | over batch |\n|" + "---|" * 5)
    for size, (batch, more) in SIZES.items():
        with tempfile.TemporaryDirectory() as scratch:
            path = stored(Path(scratch), size, options.images * more)
            times = measure(path, batch, options.repeats, options.cold)
        for name, own in times.items():
            ratio = quartiles([mine / base for mine, base in zip(own, times["batch"], strict=True)])
            print(f"| {size} | {batch} | {name} | {quartiles(own)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
