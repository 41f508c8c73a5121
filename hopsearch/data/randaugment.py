"""RandAugment for batches (Cubuk et al. 2020, arXiv 1909.13719), after timm's ``rand-m9-mstd0.5-inc1``.

The fifteen operations, their magnitudes and their chances are timm's. What differs from its PIL form:

* images of a batch that drew the same operation are processed together, in float; after each layer values are rounded to
  whole 0 … 255, where PIL rounds within some operations too (one grey level of difference);
* rotation, shear and translation sample bilinearly; timm draws bilinear or bicubic;
* only ``mN``, ``mstdX``, ``incB`` and ``nL`` are understood, and ``inc1`` is the only form.

Shapes: B = batch, G = images that drew one operation, C = channels, H = W = pixels.
"""

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F

from hopsearch.errors import ConfigError

_FILL = 128.0  # timm fills with the mean, which is 0.5 in these recipes
_CHANCE = 0.5  # of an operation that was drawn to be applied
_GREY = (0.299, 0.587, 0.114)


def parse_randaugment(text: str) -> tuple[float, float, int]:
    """Magnitude, its standard deviation, and layers of e.g. ``rand-m9-mstd0.5-inc1``.

    Raises:
        ConfigError: not in that form.
    """
    match = re.fullmatch(r"rand-m(\d+(?:\.\d+)?)(?:-n(\d+))?(?:-mstd(\d+(?:\.\d+)?))?(?:-n(\d+))?-inc1", text)
    if not match:
        rule = f"must read rand-m<magnitude>[-n<layers>][-mstd<deviation>]-inc1, got {text!r}"
        raise ConfigError("augment.randaugment", rule, "The papers' is rand-m9-mstd0.5-inc1")
    return float(match[1]), float(match[3] or 0.0), int(match[2] or match[4] or 2)


class RandAugment:
    """Applies ``layers`` operations, each drawn anew for each image.

    Args:
        magnitude: mean of the level, on timm's scale of 0 to 10.
        deviation: standard deviation of the level.
        layers: operations one after the other.
    """

    def __init__(self, magnitude: float, deviation: float, layers: int) -> None:
        self.magnitude, self.deviation, self.layers = magnitude, deviation, layers

    def __call__(self, images_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment uint8 images; returns uint8."""
        x_BCHW = images_BCHW.float()
        for _ in range(self.layers):
            x_BCHW = self._layer(x_BCHW, generator).round_().clamp_(0, 255)
        return x_BCHW.to(torch.uint8)

    def _layer(self, x_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        b, device = len(x_BCHW), x_BCHW.device
        op_B = torch.randint(0, len(OPERATIONS), (b,), generator=generator, device=device)
        apply_B = torch.rand(b, generator=generator, device=device) < _CHANCE
        noise_B = torch.randn(b, generator=generator, device=device)
        level_B = (self.magnitude + self.deviation * noise_B).clamp(0, 10) / 10
        sign_B = torch.where(torch.rand(b, generator=generator, device=device) > 0.5, -1.0, 1.0)
        op_B = torch.where(apply_B, op_B, len(OPERATIONS))
        # One sort instead of fifteen masks; its counts are the only thing the host has to know.
        order_B = op_B.argsort(stable=True)
        counts = torch.bincount(op_B, minlength=len(OPERATIONS) + 1).tolist()
        out = x_BCHW.clone()
        for (_, operation), index_G in zip(OPERATIONS, order_B.split(counts)[: len(OPERATIONS)], strict=True):
            if len(index_G):
                out[index_G] = operation(x_BCHW[index_G], level_B[index_G], sign_B[index_G])
        return out


def _column(values_G: torch.Tensor) -> torch.Tensor:
    return values_G[:, None, None, None]


def _grey(x_GCHW: torch.Tensor) -> torch.Tensor:
    if x_GCHW.shape[1] == 1:
        return x_GCHW
    weights_C = torch.tensor(_GREY, device=x_GCHW.device)
    return (x_GCHW * weights_C[:, None, None]).sum(1, keepdim=True).round()


def auto_contrast(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to 0 … 255."""
    low, high = x_GCHW.amin((2, 3), keepdim=True), x_GCHW.amax((2, 3), keepdim=True)
    stretched = ((x_GCHW - low) * 255.0 / (high - low).clamp(min=1)).floor()
    return torch.where(high > low, stretched, x_GCHW)


def equalize(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Flatten each channel's histogram, by PIL's integer rule."""
    g, c, h, w = x_GCHW.shape
    values = x_GCHW.long().clamp_(0, 255).reshape(g * c, h * w)
    histogram = torch.zeros(g * c, 256, dtype=torch.long, device=x_GCHW.device)
    histogram.scatter_add_(1, values, torch.ones_like(values))
    last = 255 - (histogram.flip(1) > 0).long().argmax(1)
    step = (h * w - histogram.gather(1, last[:, None])) // 255
    before = histogram.cumsum(1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp_(max=255)
    table = torch.where(step > 0, table, torch.arange(256, device=x_GCHW.device))
    return table.gather(1, values).view(g, c, h, w).float()


def invert(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Negative."""
    return 255.0 - x_GCHW


def posterize(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Keep the upper 4 - floor(4 level) bits."""
    step = _column(torch.exp2(4.0 + (level_G * 4.0).floor()))
    return (x_GCHW / step).floor() * step


def solarize(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Negative above a threshold."""
    return torch.where(x_GCHW < _column(256.0 - (level_G * 256.0).floor()), x_GCHW, 255.0 - x_GCHW)


def solarize_add(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Brighten the dark half."""
    return torch.where(x_GCHW < 128.0, x_GCHW + _column((level_G * 110.0).floor()), x_GCHW).clamp(max=255.0)


def _enhance(other_GCHW: torch.Tensor, x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    factor_G = (1.0 + sign_G * level_G * 0.9).clamp(min=0.1)
    return torch.lerp(other_GCHW.expand_as(x_GCHW), x_GCHW, _column(factor_G))


def color(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Blend with its own greyscale."""
    return _enhance(_grey(x_GCHW), x_GCHW, level_G, sign_G)


def contrast(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Blend with its mean grey."""
    return _enhance(_grey(x_GCHW).mean((2, 3), keepdim=True).add(0.5).floor(), x_GCHW, level_G, sign_G)


def brightness(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Blend with black."""
    return _enhance(torch.zeros_like(x_GCHW), x_GCHW, level_G, sign_G)


def sharpness(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Blend with a smoothed self; the outermost pixels stay, as in PIL."""
    channels = x_GCHW.shape[1]
    kernel = torch.ones(3, 3, device=x_GCHW.device)
    kernel[1, 1] = 5.0
    smooth_GCHW = x_GCHW.clone()
    if min(x_GCHW.shape[2:]) > 2:
        weight = (kernel / 13.0).expand(channels, 1, 3, 3)
        smooth_GCHW[:, :, 1:-1, 1:-1] = F.conv2d(x_GCHW, weight, groups=channels).round()
    return _enhance(smooth_GCHW, x_GCHW, level_G, sign_G)


def _affine(x_GCHW: torch.Tensor, theta_G23: torch.Tensor) -> torch.Tensor:
    grid = F.affine_grid(theta_G23, list(x_GCHW.shape), align_corners=False)
    return F.grid_sample(x_GCHW - _FILL, grid, "bilinear", "zeros", align_corners=False) + _FILL


def _theta(level_G: torch.Tensor, **entries: torch.Tensor | float) -> torch.Tensor:
    theta_G23 = torch.eye(2, 3, device=level_G.device).repeat(len(level_G), 1, 1)
    for name, value in entries.items():
        theta_G23[:, int(name[1]), int(name[2])] = value
    return theta_G23


def rotate(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Up to 30 degrees about the centre."""
    angle_G = torch.deg2rad(-30.0 * level_G * sign_G)
    cos, sin = angle_G.cos(), angle_G.sin()
    return _affine(x_GCHW, _theta(level_G, t00=cos, t01=sin, t10=-sin, t11=cos))


def shear_x(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Up to 0.3, about the upper edge."""
    shear = 0.3 * level_G * sign_G
    return _affine(x_GCHW, _theta(level_G, t01=shear, t02=shear))


def shear_y(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Up to 0.3, about the left edge."""
    shear = 0.3 * level_G * sign_G
    return _affine(x_GCHW, _theta(level_G, t10=shear, t12=shear))


def translate_x(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Up to 45 % of the width."""
    return _affine(x_GCHW, _theta(level_G, t02=2 * 0.45 * level_G * sign_G))


def translate_y(x_GCHW: torch.Tensor, level_G: torch.Tensor, sign_G: torch.Tensor) -> torch.Tensor:
    """Up to 45 % of the height."""
    return _affine(x_GCHW, _theta(level_G, t12=2 * 0.45 * level_G * sign_G))


Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""From float images (G, C, H, W), levels in [0, 1] and signs to float images."""

OPERATIONS: tuple[tuple[str, Operation], ...] = (
    ("AutoContrast", auto_contrast),
    ("Equalize", equalize),
    ("Invert", invert),
    ("Rotate", rotate),
    ("PosterizeIncreasing", posterize),
    ("SolarizeIncreasing", solarize),
    ("SolarizeAdd", solarize_add),
    ("ColorIncreasing", color),
    ("ContrastIncreasing", contrast),
    ("BrightnessIncreasing", brightness),
    ("SharpnessIncreasing", sharpness),
    ("ShearX", shear_x),
    ("ShearY", shear_y),
    ("TranslateXRel", translate_x),
    ("TranslateYRel", translate_y),
)
"""timm's names of the operations, in its order."""
