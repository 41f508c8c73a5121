"""One image file to pixels: the same as other tools make, at a cost bounded by the result, whatever
the file.
"""

import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from hopsearch.core.errors import DataError
from hopsearch.data import DataConfig, load
from hopsearch.data.files import decoding, preprocessing
from hopsearch.data.files.reading_progress import watched_by
from tests.test_data_sources import fill, picture


def photograph(width: int = 533, height: int = 400, seed: int = 0) -> Image.Image:
    """Smoothed noise with detail at every scale."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for cells, weight in ((4, 50), (16, 25), (64, 15), (256, 5)):
        for channel in range(3):
            coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
            total[..., channel] += weight * np.asarray(
                coarse.resize((width, height), Image.Resampling.BICUBIC)
            )
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def seen(file: bytes, size: int, channels: int = 3, crop_pct: float = 1.0) -> np.ndarray:
    with Image.open(io.BytesIO(file)) as image:
        return preprocessing.to_pixels(image, size, channels, crop_pct).astype(int)


def plain(file: bytes, size: int, crop_pct: float = 1.0) -> np.ndarray:
    """The whole image decoded, resized and cut out by torchvision's transforms on PIL."""
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    image = Image.open(io.BytesIO(file)).convert("RGB")
    resized = Resize(int(size / crop_pct), InterpolationMode.BICUBIC)(image)
    return np.asarray(CenterCrop(size)(resized)).transpose(2, 0, 1).astype(int)


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize(
    "sides",
    [
        (40, 20),
        (20, 40),
        (3, 5),
        (1, 1),
        (21, 20),
        (57, 300),
        (700, 60),
        (16, 16),
        (18, 18),
        (14, 14),
    ],
)
def test_the_view_is_torchvisions_to_one_grey_level(sides, crop_pct):
    file = encoded(picture(3, sides), "PNG")
    assert np.abs(seen(file, 16, crop_pct=crop_pct) - plain(file, 16, crop_pct)).max() <= 1


@pytest.mark.parametrize(("size", "crop_pct"), [(32, 1), (64, 1), (224, 1), (224, 0.875)])
@pytest.mark.parametrize(
    ("sides", "scaled_from"), [((533, 400), 101), ((400, 533), 101), ((1601, 1203), 301)]
)
def test_jpegs_look_like_the_whole_decoded_by_pil(sides, scaled_from, size, crop_pct):
    file = encoded(photograph(*sides), quality=90)
    apart = np.abs(seen(file, size, crop_pct=crop_pct) - plain(file, size, crop_pct))
    # Decoded whole: one level of rounding. Decoded small: no more than by PIL's own draft mode.
    mean, most = (3.5, 25) if size / crop_pct < scaled_from else (0.02, 1)
    assert apart.mean() < mean
    assert apart.max() <= most


KINDS = {
    "plain": lambda image: encoded(image, quality=90),
    "progressive": lambda image: encoded(image, quality=90, progressive=True),
    "fine colours": lambda image: encoded(image, quality=95, subsampling=0),
    "grey": lambda image: encoded(image.convert("L"), quality=90),
    "CMYK": lambda image: encoded(image.convert("CMYK"), quality=90),
    "RGB inside": lambda image: encoded(image, quality=90, keep_rgb=True),
    "MPO": lambda image: encoded(image, "MPO", save_all=True, append_images=[photograph(seed=9)]),
}


@pytest.mark.parametrize("size", [20, 100])
@pytest.mark.parametrize("sides", [(533, 400), (401, 333)])
@pytest.mark.parametrize("kind", KINDS)
def test_without_the_fast_decoder_the_pixels_are_the_same(kind, sides, size, monkeypatch):
    file = KINDS[kind](photograph(*sides))
    for channels in (3, 1):
        fast = seen(file, size, channels)
        with monkeypatch.context() as patch:
            patch.setattr(preprocessing, "_simplejpeg", lambda: None)
            assert np.abs(seen(file, size, channels) - fast).max() <= 1


def test_the_fast_decoder_is_used():
    pytest.importorskip("simplejpeg")
    with Image.open(io.BytesIO(encoded(photograph()))) as image:
        assert preprocessing._decode_jpeg(image, "RGB", 2).shape == (200, 267, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_photos_are_turned_upright(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(photograph(300, 200), form, exif=exif)
    expected = plain(encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(file))), "PNG"), 50)
    assert np.abs(seen(file, 50) - expected).mean() < 3


def test_damaged_exif_does_not_cost_the_image():
    file = encoded(photograph(), exif=b"Exif\0\0garbage")
    assert np.abs(seen(file, 64) - seen(encoded(photograph()), 64)).max() == 0


@pytest.mark.parametrize(
    ("form", "suffix"), [("GIF", "gif"), ("PNG", "png"), ("TIFF", "tif"), ("WEBP", "webp")]
)
def test_of_many_frames_the_first_is_seen(tmp_path, form, suffix):
    first, rest = (
        Image.new("RGB", (20, 20), (255, 0, 0)),
        [Image.new("RGB", (20, 20), (0, n, 255)) for n in range(30)],
    )
    file = encoded(first, form, save_all=True, append_images=rest)
    assert np.abs(seen(file, 8)[:, 4, 4] - (255, 0, 0)).max() <= 4


def png(
    width: int,
    height: int,
    depth: int,
    colours: int,
    *chunks: tuple[bytes, bytes],
    rows: bytes | None = None,
) -> bytes:
    """A PNG made by hand."""
    channels = {0: 1, 2: 3, 3: 1}[colours]
    row = b"\0" + bytes((width * depth * channels + 7) // 8)
    data = zlib.compress(row * height if rows is None else rows)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)),
        *chunks,
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    body = (
        struct.pack(">I", len(text)) + tag + text + struct.pack(">I", zlib.crc32(tag + text))
        for tag, text in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def test_huge_palettes_and_wide_samples():
    palette = (b"PLTE", bytes(range(256)) * 3)
    assert seen(png(30, 20, 8, 3, palette), 8).shape == (3, 8, 8)
    assert seen(png(30, 20, 16, 2), 8).max() == 0
    with pytest.raises(preprocessing.UNREADABLE):
        seen(png(30, 20, 8, 3, (b"PLTE", bytes(3 * 200_000)), rows=b"\0"), 8)


def test_a_photograph_of_many_pixels_is_read_without_a_word():
    wide = png(12_000, 9_000, 1, 0)  # PIL warns from 90 million pixels on
    folder_of = [wide, wide]
    part = _Files(folder_of)
    assert [found.max() for found in decoding.decode_all(part, 8, 1)] == [0, 0]


def test_above_pils_limit_an_image_is_unreadable():
    (reason,) = decoding.decode_all(_Files([png(20_000, 20_000, 1, 0, rows=b"")]), 8, 1)
    assert "exceeds limit of 178956970 pixels" in reason


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_truncated_file_is_unreadable(form):
    file = encoded(photograph(), form)
    reasons = list(decoding.decode_all(_Files([file[: len(file) // 2], b"", file[:30]]), 32, 3))
    assert all(isinstance(reason, str) and reason for reason in reasons)


class _Files:
    """A part whose files are in memory."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def open(self, index: int) -> Image.Image:
        return Image.open(io.BytesIO(self.files[index]))


ELONGATED = """
import resource, sys
from pathlib import Path
from PIL import Image
from hopsearch.data import DataConfig, load
folder = Path(sys.argv[1])
sides = [(1, 12_000), (12_000, 1), (1, 60_000), (60_000, 1), (8, 60_000), (60_000, 2)]
for label in ("a", "b"):
    (folder / label).mkdir(parents=True)
    for number, size in enumerate(sides):
        for form in ("png", "jpg", "tif"):
            if form == "png" or number < 5:
                Image.new("RGB", size).save(folder / label / f"{number}.{form}")
# once at a small size, so that all modules and threads are there
load(DataConfig(source=str(folder), image_size=9))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
facts = load(DataConfig(source=str(folder))).facts
assert facts.image_size == 224, facts
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

SCARCE = """
import resource, sys
from pathlib import Path
import numpy
from hopsearch.data.files.decoding import decode_all
from hopsearch.data.folders.image_folder import open_folder
part = open_folder(Path(sys.argv[1])).train
list(decode_all(part.take(numpy.array([0, 1])), 9, 1))  # all modules and threads are there
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, resource.RLIM_INFINITY))
print([found if isinstance(found, str) else found.shape for found in decode_all(part, 8, 1)])
"""


def run_script(script: str, folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", script, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=55)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_elongated_image_costs_no_more_than_others(tmp_path):
    assert int(run_script(ELONGATED, tmp_path / "images")) < 150  # MB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_an_image_for_which_there_is_no_memory_is_unreadable(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.png").write_bytes(png(20, 20, 1, 0))
    (tmp_path / "a" / "9.png").write_bytes(png(13_000, 13_000, 1, 0))
    told = "'not enough memory to decode 13000 × 13000 pixels'"
    assert (
        run_script(SCARCE, tmp_path).strip()
        == f"[(1, 8, 8), (1, 8, 8), {told}, (1, 8, 8), (1, 8, 8)]"
    )


def test_images_larger_than_can_be_trained_on_need_a_size(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(3):
            Image.new("1", (4100, 4100)).save(tmp_path / label / f"{number}.png")
    with pytest.raises(
        DataError, match=r"at most 4096 pixels per side, got 4100\. Set data\.image_size"
    ):
        load(DataConfig(source=str(tmp_path)))


# Threads


def test_the_number_of_threads_changes_no_pixel(monkeypatch):
    files = [encoded(photograph(100 + 7 * n, 90, seed=n), quality=80) for n in range(80)]
    found = []
    for cores in (1, 7):
        monkeypatch.setattr(decoding, "_cores", lambda cores=cores: cores)
        found.append(np.stack(list(decoding.decode_all(_Files(files), 32, 3))))
    assert np.array_equal(*found)


def test_all_cores_decode(monkeypatch):
    monkeypatch.setattr(decoding, "_cores", lambda: 6)
    together = threading.Barrier(6, timeout=10)
    assert sum(decoding.in_threads(lambda index: bool(together.wait() + 1), 6)) == 6


def test_slow_images_are_handed_over_one_by_one_and_fast_ones_together():
    took: dict[str, list[range]] = {}
    real = decoding._run
    for name, seconds in (("slow", 0.15), ("fast", 0.0)):
        took[name] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                decoding,
                "_run",
                lambda task, run, stop, seen=took[name]: seen.append(run) or real(task, run, stop),
            )
            count = 8 if name == "slow" else 2000
            assert list(
                decoding.in_threads(lambda index, wait=seconds: time.sleep(wait) or index, count)
            ) == list(range(count))
    assert {len(run) for run in took["slow"]} == {1}
    assert max(len(run) for run in took["fast"]) == 32


def test_ctrl_c_ends_decoding_at_once():
    count = []

    def slow(index: int) -> int:
        count.append(index)
        time.sleep(0.05)
        return index

    results = decoding.in_threads(slow, 100_000)
    # a shell's background job ignores it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(results)
    finally:
        signal.signal(signal.SIGINT, before)
    started = len(count)
    time.sleep(0.3)
    assert len(count) <= started + decoding._cores()
    assert len(count) < 50 * decoding._cores()


def test_an_error_elsewhere_stops_the_threads_too(tmp_path, monkeypatch):
    decoded = []
    real = decoding.to_pixels

    def slow(*words):
        decoded.append(1)
        time.sleep(0.02)
        return real(*words)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(decoding, "to_pixels", slow)
    fill(tmp_path / "images", {"a": 300, "b": 300})
    with watched_by(stopped), pytest.raises(KeyboardInterrupt) as caught:
        load(DataConfig(source=str(tmp_path / "images")))
    count = len(decoded)
    time.sleep(0.3)
    assert len(decoded) <= count + decoding._cores()
    # which holds the frames: nothing but closing them stops the threads
    assert caught.value.__traceback__ is not None
