"""Turns one image file into a network's uint8 input: upright, 8 bits per channel, resized,
centre-cropped.

The rule is torchvision's Resize (bicubic, antialiased) and CenterCrop. The cost depends on the
result, not on the file: a JPEG is decoded at 1/2, 1/4 or 1/8 if that leaves 1.5 to 2 times the
pixels needed per side, and of an elongated image only the cropped region is resized.

Shapes: C channels, H/W height and width.
"""

import contextlib
import functools
import math
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error),
    # the latter: with python -W error
    *(MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""PIL's exceptions for images that are damaged or too large to decode."""
_FILE_SHOWN = re.compile(r" (<_io\.\w+( object at 0x[0-9a-f]+| name=.*)>)$")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)
# pixels: above it a process decodes one image at a time, since each takes 100 MB and more
_LARGE = 2**25
_ELONGATED = 4  # largest size of a whole resized image, as a multiple of the result
# Times the resized pixels per side that a JPEG decoded at 1/n must still have. At 1/8 a pixel is
# the mean of a block, which is equally accurate with fewer of them.
_SPARE = {8: 1.5, 4: 2.0, 2: 2.0}
_one_large = threading.Lock()


@dataclass(frozen=True)
class View:
    """The size to which an upright image is resized, and the position of the cropped square.

    Attributes:
        width, height: of the whole image, resized.
        left, top: of the square in it.
        size: pixels per side of the square.
    """

    width: int
    height: int
    left: int
    top: int
    size: int

    @classmethod
    def of(cls, width: int, height: int, size: int, crop_pct: float = 1.0) -> "View":
        """The shorter side becomes ``size / crop_pct``, rounded down, and the centre ``size`` ×
        ``size`` is cropped.
        """
        short = math.floor(size / crop_pct)
        # Rounded as in torchvision, so that a model gets the same pixels as with other tools.
        long = int(short * max(width, height) / min(width, height))
        width, height = (short, long) if width <= height else (long, short)
        return cls(width, height, round((width - size) / 2), round((height - size) / 2), size)

    @property
    def shorter(self) -> int:
        """Pixels of the resized image's shorter side."""
        return min(self.width, self.height)


def to_pixels(image: Image.Image, size: int, channels: int, crop_pct: float = 1.0) -> Pixels:
    """The pixels (C, size, size) of an opened image; for an animation or a document, of the first
    frame.

    16-bit grey is scaled to 8 bits; transparent pixels show white; CMYK, palette and other colour
    modes become RGB.

    Args:
        image: opened, not yet loaded: unneeded detail of a JPEG is then not decoded.
        size: pixels per side.
        channels: 1 (grey) or 3 (RGB).
        crop_pct: share of the resized image's shorter side that is cropped. Below 1 it is the
            papers' evaluation, and the pixels agree with timm's to one grey level: decoded at full
            size and resized by PIL, which takes longer.

    Raises:
        OSError, ValueError, …: see `UNREADABLE`.
    """
    upright_width, upright_height = upright_size(image)
    view = View.of(upright_width, upright_height, size, crop_pct)
    mode = "L" if channels == 1 else "RGB"
    exact = crop_pct < 1
    scale = 1 if exact else _jpeg_scale(image, view)
    large = image.width * image.height > _LARGE * scale**2
    try:
        with _one_large if large else contextlib.nullcontext():
            decoded = _decode_jpeg(image, mode, scale)
            pixels_HWC = _cut_out(
                _decode_with_pil(image, mode, scale) if decoded is None else decoded,
                view,
                large,
                exact,
            )
    except MemoryError:
        raise MemoryError(
            f"not enough memory to decode {image.width} × {image.height} pixels"
        ) from None
    return np.ascontiguousarray(pixels_HWC.transpose(2, 0, 1))


@contextlib.contextmanager
def pil_quiet() -> Iterator[None]:
    """Suppress PIL's warnings about suspicious files: damaged metadata, 90 million pixels.

    Only decodable pixels matter: PIL refuses images above 180 million pixels, and those it cannot
    decode. Not thread-safe: warning filters are process-wide.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def reason_of(error: BaseException, file: str | PathLike[str] = "") -> str:
    """Why an image cannot be read, in words: without the file name, which the message contains
    already, and without in-memory object names.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    return _FILE_SHOWN.sub("", reason).removesuffix(f" {str(file)!r}").rstrip(".")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height after EXIF rotation, from the header only."""
    return (image.height, image.width) if _orientation(image) in SIDEWAYS else image.size


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except (*UNREADABLE, TypeError):
        return 1  # damaged EXIF: the pixels are unaffected


# Decoding


def _jpeg_scale(image: Image.Image, view: View) -> int:
    """1, 2, 4 or 8: the factor by which a JPEG may be decoded smaller; 1 for other formats."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    return next(
        (
            scale
            for scale, spare in _SPARE.items()
            if min(image.size) // scale >= spare * view.shorter
        ),
        1,
    )


def _decode_jpeg(image: Image.Image, mode: str, scale: int) -> Pixels | None:
    """Decode with libjpeg-turbo itself, twice as fast as through PIL; None if PIL must decode it or
    report the error.
    """
    file: Any = getattr(image, "fp", None)
    decoder = _simplejpeg()
    plain = image.mode in ("L", mode) and _orientation(image) == 1
    if decoder is None or file is None or not plain or image.format not in ("JPEG", "MPO"):
        return None
    at = file.tell()
    try:
        file.seek(0)
        # exactly 1/scale, so that the result does not depend on the library
        least = (-(-side // scale) for side in image.size)
        width, height = least
        pixels: Pixels = decoder.decode_jpeg(
            file.read(),
            colorspace="GRAY" if mode == "L" else "RGB",
            min_width=width,
            min_height=height,
        )
    except ValueError:
        return None
    finally:
        file.seek(at)
    return pixels if pixels.shape[:2] == (height, width) else None


@functools.cache
def _simplejpeg() -> ModuleType | None:
    try:
        import simplejpeg
    except ImportError:  # no wheel for this machine: PIL is slower and gives the same pixels
        return None
    return cast(ModuleType, simplejpeg)


def _decode_with_pil(image: Image.Image, mode: str, scale: int) -> Image.Image:
    if scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    if _orientation(image) != 1:
        ImageOps.exif_transpose(image, in_place=True)
    return _to_mode(image, mode)


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey; PIL's own conversion clips it at 255
        wide = np.asarray(image)
        shift = 8 if wide.size and wide.max() > 255 else 0
        image = Image.fromarray(np.clip(wide >> shift, 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("floating-point images have no fixed range; save them with 8 or 16 bits")
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(ground, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)


# Resizing


def _cut_out(image: Image.Image | Pixels, view: View, large: bool, exact: bool) -> Pixels:
    """The square (size, size, C) of a whole upright image (H, W, C)."""
    elongated = view.width * view.height > (_ELONGATED**3 if exact else _ELONGATED) * view.size**2
    if elongated or large:
        return _cut_out_with_pil(
            image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze()), view
        )
    if exact:
        whole = image if isinstance(image, Image.Image) else Image.fromarray(image.squeeze())
        image = whole.resize((view.width, view.height), Image.Resampling.BICUBIC)
    pixels_HWC = np.atleast_3d(np.asarray(image, dtype=np.uint8))
    if pixels_HWC.shape[:2] != (view.height, view.width):
        # torch on bytes equals PIL's bicubic to one grey level, three times as fast, in this thread
        # and without the GIL.
        x_1CHW = torch.from_numpy(np.require(pixels_HWC, requirements=["C", "W"])).permute(2, 0, 1)[
            None
        ]
        x_1CHW = F.interpolate(
            x_1CHW, (view.height, view.width), mode="bicubic", antialias=True, align_corners=False
        )
        pixels_HWC = x_1CHW[0].permute(1, 2, 0).numpy()
    return pixels_HWC[view.top : view.top + view.size, view.left : view.left + view.size]


def _cut_out_with_pil(image: Image.Image, view: View) -> Pixels:
    """The same, using only the region of the image that the square shows."""
    across = image.width / view.width
    down = image.height / view.height
    right = (view.left + view.size) * across
    bottom = (view.top + view.size) * down
    box = (view.left * across, view.top * down, min(right, image.width), min(bottom, image.height))
    pixels = np.asarray(
        image.resize((view.size, view.size), Image.Resampling.BICUBIC, box=box), dtype=np.uint8
    )
    return np.atleast_3d(pixels)
