"""RandAugment (arXiv 1909.13719) with timm's operations and magnitudes, over a whole batch on its
own device.

Each of ``layers`` passes gives an image one of 15 operations, each with probability ``probability``
/ 15, and a magnitude from N(magnitude, std²) clipped to [0, most]. What is timm's: the operations,
their arguments as functions of the magnitude, the grey fill of 128. What differs from timm's, which
works on PIL images one by one:

* A batch is partitioned: each operation gets at most C = ⌈pB/15⌉ images in random order. Every
image gets each operation with exactly timm's probability, but the counts per batch hardly vary. So
all shapes are known in advance: nothing is computed for images that do not need it, and there is no
GPU synchronisation to count them. * Rotations, shears and shifts are bilinear, whereas timm picks
bilinear or bicubic at random. * A pixel may differ from PIL's by one grey level where PIL computes
in double precision or in integers.

Shapes: B batch, S = 15 C slots of a pass, C images of an operation, R rows: the batch and its blank
ones.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import torch

from hopsearch.data.augmentation import pixel_ops
from hopsearch.data.augmentation.geometry import warp

Argument = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From magnitudes as a share of the scale's 10 (0 … 1, more with ``mmax``) and random signs ±1 to
an operation's argument.
"""

_SCALE = 10  # magnitudes are written on a scale to 10
_FILL = 128.0
_KEYS = {
    "m": "magnitude",
    "n": "layers",
    "p": "probability",
    "mstd": "std",
    "mmax": "most",
    "inc": "increasing",
}
_EXAMPLE = "The papers use rand-m9-mstd0.5-inc1"


@dataclass(frozen=True)
class Policy:
    """A parsed policy such as ``rand-m9-mstd0.5-inc1``; the defaults are timm's."""

    magnitude: float = 10.0
    layers: int = 2
    probability: float = 0.5
    std: float = 0.0
    """Standard deviation of the magnitude; above 100: uniform from 0 to the magnitude."""
    most: float = 10.0
    """Largest magnitude."""
    increasing: bool = False
    """Whether every operation gets stronger with the magnitude."""


def parse_policy(text: str) -> Policy:
    """Read timm's notation: ``rand`` and ``-m`` magnitude, ``-n`` layers, ``-p`` probability,
    ``-mstd``, ``-mmax``, ``-inc``.

    Raises:
        ValueError: "rule; remedy".
    """
    head, *sections = text.split("-")
    if head != "rand":
        raise ValueError(f"randaugment must start with rand; {_EXAMPLE}")
    values: dict[str, float] = {}
    for section in sections:
        match = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", section)
        if match is None or match[1] not in _KEYS:
            raise ValueError(
                f"randaugment has no section {section!r}, only a number after {', '.join(_KEYS)}; "
                f"{_EXAMPLE}"
            )
        values[_KEYS[match[1]]] = float(match[2])
    layers = int(values.pop("layers", 2))
    increasing = bool(values.pop("increasing", 0))
    policy = Policy(**values, layers=layers, increasing=increasing)
    if policy.probability > 1:
        raise ValueError(f"randaugment's p must be at most 1; {_EXAMPLE}")
    return policy


class RandAugment:
    """Applies a `Policy`.

    Args:
        policy: the policy.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._pixel = [*_PIXEL_OPS, *(_INCREASING_OPS if policy.increasing else _PLAIN_OPS)]
        self._ops = len(_AFFINE_OPS) + len(self._pixel)

    def __call__(self, x_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment uint8 images; the result has their shape, type and order."""
        count = len(x_BCHW)
        each = math.ceil(self._policy.probability * count / self._ops)
        if not each:
            return x_BCHW
        # A batch smaller than the slots is padded with blank rows, discarded at the end.
        rows = max(count, self._ops * each)
        x_RCHW = torch.cat((x_BCHW, x_BCHW.new_zeros(rows - count, *x_BCHW.shape[1:])))
        for _ in range(self._policy.layers):
            x_RCHW = self._layer(x_RCHW, each, generator)
        return x_RCHW[:count]

    def _layer(self, x_RCHW: torch.Tensor, each: int, generator: torch.Generator) -> torch.Tensor:
        rows = len(x_RCHW)
        slots = self._ops * each
        device = x_RCHW.device
        index_S = torch.randperm(rows, generator=generator, device=device)[:slots]
        used_S = (
            torch.rand(slots, generator=generator, device=device)
            < self._policy.probability * rows / slots
        )
        level_S = self._levels(slots, generator, device)
        sign_S = _signs(slots, generator, device)
        changed_SCHW = self._apply(x_RCHW.index_select(0, index_S), level_S, sign_S, each)
        # Source of each row: itself, or the changed images at the end. Gathering is far faster than
        # scattering.
        position = torch.arange(rows + slots, device=device)
        source_R = position[:rows].index_copy(
            0, index_S, torch.where(used_S, position[rows:], index_S)
        )
        return torch.cat((x_RCHW, changed_SCHW)).index_select(0, source_R)

    def _apply(
        self, x_SCHW: torch.Tensor, level_S: torch.Tensor, sign_S: torch.Tensor, each: int
    ) -> torch.Tensor:
        affine = len(_AFFINE_OPS) * each
        done = [
            warp(
                x_SCHW[:affine],
                affine_matrices(level_S[:affine], sign_S[:affine], x_SCHW.shape[-1]),
                _FILL,
            )
        ]
        for position, (_, function, argument) in enumerate(self._pixel):
            mine = slice(affine + position * each, affine + (position + 1) * each)
            done.append(function(x_SCHW[mine], argument(level_S[mine], sign_S[mine])))
        return torch.cat(done)

    def _levels(self, slots: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        policy = self._policy
        if policy.std > 100:
            level_S = torch.rand(slots, generator=generator, device=device).mul_(policy.magnitude)
        else:
            level_S = (
                torch.randn(slots, generator=generator, device=device)
                .mul_(policy.std)
                .add_(policy.magnitude)
            )
        return level_S.clamp_(0, policy.most).div_(_SCALE)


def affine_matrices(level_S: torch.Tensor, sign_S: torch.Tensor, size: int) -> torch.Tensor:
    """Maps (S, 2, 3) for `warp`: an equal share of the slots for each of `_AFFINE_OPS`, in
    order.
    """
    value_5C = (level_S * sign_S).view(len(_AFFINE_OPS), -1)
    angle_C, shear_x_C, shear_y_C, shift_x_C, shift_y_C = value_5C
    cosine_C = torch.cos(angle_C * math.radians(30))
    sine_C = torch.sin(angle_C * math.radians(30))
    matrix_5C23 = torch.zeros(*value_5C.shape, 2, 3, device=level_S.device)
    matrix_5C23[..., 0, 0] = matrix_5C23[..., 1, 1] = 1
    middle = size / 2  # the fixed point of a rotation
    matrix_5C23[0, :, 0, 0] = matrix_5C23[0, :, 1, 1] = cosine_C
    matrix_5C23[0, :, 0, 1] = -sine_C
    matrix_5C23[0, :, 1, 0] = sine_C
    matrix_5C23[0, :, 0, 2] = middle * (1 - cosine_C + sine_C)
    matrix_5C23[0, :, 1, 2] = middle * (1 - cosine_C - sine_C)
    matrix_5C23[1, :, 0, 1] = 0.3 * shear_x_C
    matrix_5C23[2, :, 1, 0] = 0.3 * shear_y_C
    matrix_5C23[3, :, 0, 2] = 0.45 * size * shift_x_C
    matrix_5C23[4, :, 1, 2] = 0.45 * size * shift_y_C
    return matrix_5C23.view(-1, 2, 3)


def _signs(slots: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    return torch.randint(2, (slots,), generator=generator, device=device).mul_(2).sub_(1)


def _none(level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return level


def _factor(level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return level * 1.8 + 0.1


def _factor_increasing(level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return (1 + 0.9 * level * sign).clamp_(min=0.1)


def _bits(level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return (level * 4).floor().clamp_(max=8)


def _bits_increasing(level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return (4 - _bits(level, sign)).clamp_(min=0)


def _threshold(level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return (level * 256).floor().clamp_(max=256)


def _threshold_increasing(level: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return 256 - _threshold(level, sign)


def _addition(level: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return (level * 110).floor().clamp_(max=128)


PixelOp = tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor], Argument]
_AFFINE_OPS = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
_PIXEL_OPS: list[PixelOp] = [
    ("AutoContrast", pixel_ops.auto_contrast, _none),
    ("Equalize", pixel_ops.equalize, _none),
    ("Invert", pixel_ops.invert, _none),
    ("SolarizeAdd", pixel_ops.solarize_add, _addition),
]
_PLAIN_OPS: list[PixelOp] = [
    ("Posterize", pixel_ops.posterize, _bits),
    ("Solarize", pixel_ops.solarize, _threshold),
    ("Color", pixel_ops.color, _factor),
    ("Contrast", pixel_ops.contrast, _factor),
    ("Brightness", pixel_ops.brightness, _factor),
    ("Sharpness", pixel_ops.sharpness, _factor),
]
_INCREASING_OPS: list[PixelOp] = [
    ("PosterizeIncreasing", pixel_ops.posterize, _bits_increasing),
    ("SolarizeIncreasing", pixel_ops.solarize, _threshold_increasing),
    ("ColorIncreasing", pixel_ops.color, _factor_increasing),
    ("ContrastIncreasing", pixel_ops.contrast, _factor_increasing),
    ("BrightnessIncreasing", pixel_ops.brightness, _factor_increasing),
    ("SharpnessIncreasing", pixel_ops.sharpness, _factor_increasing),
]
