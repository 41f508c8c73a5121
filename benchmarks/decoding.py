"""How fast JPEGs become the pixels a network sees, in images per second on one core, beside PIL and
torchvision.

    python benchmarks/decoding.py [--repeats 9] [--images 24] [--sizes 32 224]

The images are made here: 400 × 533, quality 90, smoothed noise with detail at every scale, some 60
kB each. Rivals, all from bytes in memory to a square of uint8 (``torchvision, decoding alone`` to
the whole image), all with one thread:

* ``ours``: `hopsearch.data.files.preprocessing.to_pixels`;
* ``ours, without simplejpeg``: the same where that package is missing;
* ``PIL``: open, convert to RGB, bicubic resize of the shorter side, centre crop;
* ``PIL, draft mode``: the same after ``Image.draft``, which decodes at the smallest scale that is
  not below the target;
* ``torchvision``: ``decode_jpeg``, then its antialiased bicubic ``resize`` on uint8 and
  ``center_crop``;
* ``torchvision, decoding alone``.

All take turns, every other turn backwards; seconds are the processor's, so that other programs
matter less. A cell is the median of the turns and its quartiles; "over PIL" is the ratio of a turn.
"Difference" is the mean and the largest difference to PIL's way in grey levels. The last lines
decode files with `decode_all`, on all cores, by the clock.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from machine import machine
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from hopsearch.data.files import preprocessing
from hopsearch.data.files.decoding import decode_all
from hopsearch.data.folders.image_folder import open_folder

WIDTH, HEIGHT, QUALITY = 533, 400, 90
PLAIN = "PIL"
Way = Callable[[bytes, int], np.ndarray]


def photograph(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    total = np.full((HEIGHT, WIDTH, 3), 128.0)
    for cells, weight in ((5, 60), (20, 30), (80, 20), (400, 4)):
        for channel in range(3):
            coarse = Image.fromarray(
                rng.standard_normal((cells, cells * 4 // 3)).astype(np.float32)
            )
            total[..., channel] += weight * np.asarray(
                coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            )
    buffer = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def ours(file: bytes, size: int) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return preprocessing.to_pixels(image, size, 3)


def ours_without(file: bytes, size: int) -> np.ndarray:
    found, preprocessing._simplejpeg = preprocessing._simplejpeg, lambda: None
    try:
        return ours(file, size)
    finally:
        preprocessing._simplejpeg = found


def pil(file: bytes, size: int, draft: bool = False) -> np.ndarray:
    image = Image.open(io.BytesIO(file))
    whole = image.size
    if draft:
        image.draft("RGB", (size, size))
    image = image.convert("RGB")
    scale = size / min(whole)
    width, height = (max(size, int(side * scale)) for side in whole)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size))).transpose(2, 0, 1)


def pil_draft(file: bytes, size: int) -> np.ndarray:
    return pil(file, size, draft=True)


def torchvision_decoding(file: bytes, size: int) -> torch.Tensor:
    return decode_jpeg(torch.frombuffer(bytearray(file), dtype=torch.uint8), mode=ImageReadMode.RGB)


def torchvision_whole(file: bytes, size: int) -> np.ndarray:
    image = resize(
        torchvision_decoding(file, size), [size], InterpolationMode.BICUBIC, antialias=True
    )
    return center_crop(image, [size]).numpy()


WAYS: dict[str, Way] = {
    "ours": ours,
    "ours, without simplejpeg": ours_without,
    PLAIN: pil,
    "PIL, draft mode": pil_draft,
    "torchvision": torchvision_whole,
    "torchvision, decoding alone": torchvision_decoding,
}


def quartiles(values: list[float], form: str) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} [{low:{form}}, {high:{form}}]"


def measure(files: list[bytes], size: int, repeats: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(-1, repeats):
        for name in WAYS if turn % 2 else reversed(WAYS):
            start = time.process_time()
            for file in files:
                WAYS[name](file, size)
            if turn >= 0:
                rates[name].append(len(files) / (time.process_time() - start))
    return rates


def difference(files: list[bytes], name: str, size: int) -> str:
    if "alone" in name:
        return ""
    apart = [np.abs(WAYS[name](file, size).astype(int) - pil(file, size)) for file in files[:8]]
    return f"{np.mean(apart):.2f}, {np.max(apart)}"


def on_all_cores(files: list[bytes], size: int) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        for label in ("a", "b"):
            Path(scratch, label).mkdir()
            for number, file in enumerate(files * (1 + 300 // len(files))):
                Path(scratch, label, f"{number}.jpg").write_bytes(file)
        part = open_folder(Path(scratch)).train
        start = time.perf_counter()
        assert not [found for found in decode_all(part, size, 3) if isinstance(found, str)]
        return len(part) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224])
    options = parser.parse_args()
    torch.set_num_threads(1)
    files = [photograph(seed) for seed in range(options.images)]
    fast = preprocessing._simplejpeg()
    versions = (
        f"torchvision {torchvision.__version__}, Pillow {Image.__version__}, simplejpeg "
        f"{getattr(fast, '__version__', 'none')}"
    )
    print(f"{machine()}, {versions}")
    print(
        f"{len(files)} images of {HEIGHT} × {WIDTH}, "
        f"{statistics.mean(map(len, files)) / 1000:.0f} kB; {options.repeats} turns\n"
    )
    print("| px | | images/s a core | over PIL | difference |\n|" + "---|" * 5)
    for size in options.sizes:
        rates = measure(files, size, options.repeats)
        for name, own in rates.items():
            ratios = [mine / plain for mine, plain in zip(own, rates[PLAIN], strict=True)]
            cells = [
                f"{size}",
                name,
                quartiles(own, ",.0f"),
                quartiles(ratios, ".2f"),
                difference(files, name, size),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
    for size in options.sizes:
        print(f"\n{size} px, files on disk, all cores: {on_all_cores(files, size):,.0f} images/s")


if __name__ == "__main__":
    main()
