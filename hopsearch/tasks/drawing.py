"""Pictures for TensorBoard, whatever a task shows in them."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 200
"""Minimum side of a picture in pixels."""

Pixels = npt.NDArray[np.uint8]
"""A picture as rows of pixels."""


def enlarged(pixels: Pixels) -> Image.Image:
    """A picture of at least `SIDE` pixels, each pixel a square."""
    scale = max(1, -(-SIDE // pixels.shape[0]))
    return Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1))


def png(picture: Image.Image) -> bytes:
    """As PNG, small: 64 colours are visually sufficient, at a third of the bytes."""
    out = io.BytesIO()
    few = picture.quantize(64, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(out, "PNG", optimize=False, compress_level=6)
    return out.getvalue()
