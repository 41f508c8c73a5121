"""Augmentation in batches, on whatever device the images are; every random draw comes from the caller's generator.

Shapes: B = batch, C = channels, H = W = pixels, K = classes.
"""

import math
from collections.abc import Iterator

import torch
from pydantic import Field, field_validator

from hopsearch.config import Settings
from hopsearch.data.images import DataFacts
from hopsearch.data.randaugment import RandAugment, parse_randaugment
from hopsearch.errors import ConfigError


class AugmentConfig(Settings):
    """What happens to a training batch, in this order."""

    crop_pad: int = Field(default=0, ge=0)
    """Pad by so many black pixels and crop at random."""
    flip: bool | None = None
    """Mirror half of the images; none asks the data whether that keeps the label."""
    randaugment: str | None = None
    """RandAugment in timm's words, e.g. rand-m9-mstd0.5-inc1."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Chance of random erasing (pixel mode: a rectangle of noise)."""
    mixup: float = Field(default=0.0, ge=0)
    """Mixup's α; 0 is off. With CutMix on too, each batch gets one of the two."""
    cutmix: float = Field(default=0.0, ge=0)
    """CutMix's α; 0 is off."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of a target spread evenly over all classes."""

    @field_validator("randaugment")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is None or value == "none":
            return None
        try:
            parse_randaugment(value)
        except ConfigError as error:
            raise ValueError(f"{error.rule}; {error.hint}") from None
        return value


class Augment:
    """From uint8 images and labels to a normalised float batch and soft targets.

    Args:
        config: what to do.
        facts: number of classes, and whether images may be mirrored.
    """

    def __init__(self, config: AugmentConfig, facts: DataFacts) -> None:
        self.config, self.classes = config, len(facts.classes)
        self._flip = facts.flip if config.flip is None else config.flip
        self._randaugment = RandAugment(*parse_randaugment(config.randaugment)) if config.randaugment else None

    def __call__(
        self, images_BCHW: torch.Tensor, labels_B: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Augment a batch.

        Returns:
            float32 images (B, C, H, W) with mean = std = 0.5 taken off, and float32 targets (B, K) whose rows sum to 1.
        """
        config = self.config
        if config.crop_pad:
            images_BCHW = pad_crop(images_BCHW, config.crop_pad, generator)
        if self._flip:
            images_BCHW = random_flip(images_BCHW, generator)
        if self._randaugment:
            images_BCHW = self._randaugment(images_BCHW, generator)
        x_BCHW = self.normalize(images_BCHW)
        if config.erasing:
            x_BCHW = random_erasing(x_BCHW, config.erasing, generator)
        targets_BK = smooth_targets(labels_B, self.classes, config.label_smoothing)
        if (config.mixup or config.cutmix) and len(x_BCHW) > 1:
            x_BCHW, targets_BK = mix(x_BCHW, targets_BK, config.mixup, config.cutmix, generator)
        return x_BCHW, targets_BK

    @staticmethod
    def normalize(images_BCHW: torch.Tensor) -> torch.Tensor:
        """0 … 255 to -1 … 1: the papers' mean = std = 0.5."""
        return images_BCHW.float().mul_(2.0 / 255.0).sub_(1.0)


def epoch_batches(n: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Indices of one epoch in random order, on the generator's device; the last batch holds the rest."""
    order_N = torch.randperm(n, generator=generator, device=generator.device)
    return iter(order_N.split(batch_size))


def pad_crop(images_BCHW: torch.Tensor, pad: int, generator: torch.Generator) -> torch.Tensor:
    """Crop each image at a place of its own out of itself with a black border of ``pad`` pixels."""
    b, _, h, w = images_BCHW.shape
    device = images_BCHW.device
    padded = torch.nn.functional.pad(images_BCHW, (pad,) * 4)
    top_B, left_B = torch.randint(0, 2 * pad + 1, (2, b), generator=generator, device=device)
    rows_BH = top_B[:, None] + torch.arange(h, device=device)
    columns_BW = left_B[:, None] + torch.arange(w, device=device)
    batch_B = torch.arange(b, device=device)
    return (
        padded.permute(0, 2, 3, 1)[batch_B[:, None, None], rows_BH[:, :, None], columns_BW[:, None]]
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def random_flip(images_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image with a chance of one half."""
    mirrored_B = torch.rand(len(images_BCHW), generator=generator, device=images_BCHW.device) < 0.5
    return torch.where(mirrored_B[:, None, None, None], images_BCHW.flip(-1), images_BCHW)


def random_erasing(x_BCHW: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Replace a rectangle by normal noise (Zhong et al. 2017, arXiv 1708.04896; area 2 to 33 %, aspect 0.3 to 3.3).

    Differs from timm's: a rectangle that would not fit is clipped to the image instead of drawn again, up to ten times.
    """
    b, _, h, w = x_BCHW.shape
    device = x_BCHW.device
    chance, area, aspect, y, x = torch.rand(5, b, generator=generator, device=device)
    pixels_B = (0.02 + area * (1 / 3 - 0.02)) * h * w
    ratio_B = torch.exp(math.log(0.3) + aspect * (math.log(1 / 0.3) - math.log(0.3)))
    height_B = (pixels_B * ratio_B).sqrt().round().clamp(1, h - 1 if h > 1 else 1)
    width_B = (pixels_B / ratio_B).sqrt().round().clamp(1, w - 1 if w > 1 else 1)
    box_BHW = _boxes((y * (h - height_B + 1)).floor(), (x * (w - width_B + 1)).floor(), height_B, width_B, h, w)
    erased = (box_BHW & (chance < probability)[:, None, None])[:, None]
    noise_BCHW = torch.randn(x_BCHW.shape, generator=generator, device=device)
    return torch.where(erased, noise_BCHW, x_BCHW)


def smooth_targets(labels_B: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """One-hot targets with ``smoothing`` of the mass spread evenly over all classes."""
    targets_BK = torch.full((len(labels_B), classes), smoothing / classes, device=labels_B.device)
    return targets_BK.scatter_(1, labels_B[:, None], 1.0 - smoothing + smoothing / classes)


def mix(
    x_BCHW: torch.Tensor, targets_BK: torch.Tensor, mixup: float, cutmix: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) with the batch in reverse order, one λ a batch, as timm does.

    With both α > 0 each batch gets either with a chance of one half.
    """
    device = x_BCHW.device
    draw = torch.rand(3, generator=generator, device=device)
    use_cutmix = draw[0] < (0.5 if mixup and cutmix else float(bool(cutmix)))
    lam = torch.where(use_cutmix, _beta(cutmix or 1.0, generator), _beta(mixup or 1.0, generator))
    h, w = x_BCHW.shape[-2:]
    side = (1.0 - lam).clamp(min=0).sqrt()
    height, width = (h * side).floor(), (w * side).floor()
    top, left = (draw[1] * h).floor() - (height / 2).floor(), (draw[2] * w).floor() - (width / 2).floor()
    box_HW = _boxes(top[None], left[None], height[None], width[None], h, w)[0]
    pasted_HW = box_HW & use_cutmix
    lam = torch.where(use_cutmix, 1.0 - box_HW.float().mean(), lam)
    share_HW = torch.where(use_cutmix, 1.0 - pasted_HW.float(), lam)  # of the image itself, pixel by pixel
    return torch.lerp(x_BCHW.flip(0), x_BCHW, share_HW), torch.lerp(targets_BK.flip(0), targets_BK, lam)


def _beta(alpha: float, generator: torch.Generator) -> torch.Tensor:
    # torch.distributions takes no generator; a Beta(α, α) is a ratio of gammas.
    gamma_2 = torch._standard_gamma(torch.full((2,), alpha, device=generator.device), generator=generator)
    return gamma_2[0] / gamma_2.sum().clamp(min=1e-12)


def _boxes(
    top_B: torch.Tensor, left_B: torch.Tensor, height_B: torch.Tensor, width_B: torch.Tensor, h: int, w: int
) -> torch.Tensor:
    rows_H, columns_W = torch.arange(h, device=top_B.device), torch.arange(w, device=top_B.device)
    inside_BH = (rows_H >= top_B[:, None]) & (rows_H < (top_B + height_B)[:, None])
    inside_BW = (columns_W >= left_B[:, None]) & (columns_W < (left_B + width_B)[:, None])
    return inside_BH[:, :, None] & inside_BW[:, None]
