"""Turns uint8 images and labels into training batches, on the tensors' own device.

The order is timm's: crop and flip, RandAugment, then mixing, then erasing. Mean and standard
deviation are 0.5.

Shapes: B batch, C channels, H/W height and width, K classes.
"""

from typing import Literal, Self

import torch
from pydantic import Field, field_validator, model_validator

from hopsearch.core.config import Settings
from hopsearch.data.augmentation.geometry import padded_crop, random_flip, resized_crop, stretch
from hopsearch.data.augmentation.mixing import Mix, erase, soft_targets
from hopsearch.data.augmentation.randaugment import RandAugment, parse_policy
from hopsearch.data.files.dataset_config import DataFacts


class AugmentConfig(Settings):
    """Augmentation of training images; everything is off by default except flips, if the data
    allows them.
    """

    crop_pad: int = Field(default=0, ge=0)
    """Black pixels added on every side before cropping to the image's size at a random position."""
    resized_crop: float | None = Field(default=None, gt=0, le=1)
    """Smallest area of a random box, as a share of the image, that is stretched to full size; None:
    no such crop.
    """
    interpolation: Literal["bilinear", "bicubic", "random"] = "bilinear"
    """How such a box is resized; random: bilinear or bicubic, drawn per image, as in timm."""
    flip: bool | None = None
    """Mirror half of the images left to right. None: if the data set allows it."""
    randaugment: str | None = None
    """RandAugment in timm's notation, e.g. ``rand-m9-mstd0.5-inc1``; ``none`` is off."""
    erasing: float = Field(default=0.0, ge=0, le=1)
    """Probability that a box of an image is replaced by noise."""
    mixup: float = Field(default=0.0, ge=0)
    """α of mixup's Beta distribution; 0 is off. With cutmix too, each batch uses one of the two."""
    cutmix: float = Field(default=0.0, ge=0)
    """α of cutmix's Beta distribution; 0 is off."""
    mix_groups: int = Field(default=1, ge=1)
    """Groups of a batch that draw mixup or cutmix, its weight and its pairs independently, like the
    papers' four GPUs.
    """
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes."""

    @field_validator("randaugment")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value in (None, "none"):  # a word, so that a search space can list it among the choices
            return None
        parse_policy(value)
        return value

    @model_validator(mode="after")
    def _one_crop(self) -> Self:
        if self.crop_pad and self.resized_crop is not None:
            raise ValueError(
                "only one of crop_pad and resized_crop may be set; set crop_pad=0 or "
                "resized_crop=null"
            )
        return self


PAPER_AUGMENT = AugmentConfig(
    resized_crop=0.08,
    interpolation="random",
    randaugment="rand-m9-mstd0.5-inc1",
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    mix_groups=4,
    label_smoothing=0.1,
)
"""The augmentation of arXiv 2304.13061 and 2406.12220; the crop is timm's default, which the
authors' scripts keep.
"""


class Augment:
    """`AugmentConfig` for one data set.

    Args:
        config: the settings.
        facts: the input size of the network, whether flips are allowed, and the number of classes.
    """

    def __init__(self, config: AugmentConfig, facts: DataFacts) -> None:
        self._config = config
        self._classes = len(facts.classes)
        self._size = facts.image_size
        self._flip = facts.flip if config.flip is None else config.flip
        self._randaugment = (
            RandAugment(parse_policy(config.randaugment)) if config.randaugment else None
        )
        self._mix = Mix(config.mixup, config.cutmix)

    @torch.no_grad()
    def __call__(
        self,
        images_BCHW: torch.Tensor,
        labels_B: torch.Tensor,
        generator: torch.Generator,
        share: float = 1.0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One training batch; the same generator state gives the same batch.

        Args:
            images_BCHW: uint8, square, in their stored size; not modified.
            labels_B: int64.
            generator: all randomness; on the images' device.
            share: of the whole batch, if this is only a part: ``mix_groups`` refers to the whole.

        Returns:
            float32 images (B, C, H, W), normalised, and class probabilities (B, K). Both stay in
            the order of the images.
        """
        x_BCHW = self._moved(images_BCHW, generator)
        if self._randaugment:
            x_BCHW = self._randaugment(x_BCHW, generator)
        x_BCHW = self.normalize(x_BCHW)
        targets_BK = soft_targets(labels_B, self._classes, self._config.label_smoothing)
        groups = max(1, round(self._config.mix_groups * share))
        x_BCHW, targets_BK = self._mix(x_BCHW, targets_BK, generator, groups)
        if self._config.erasing:
            x_BCHW = erase(x_BCHW, self._config.erasing, generator)
        return x_BCHW, targets_BK

    @staticmethod
    def normalize(images_BCHW: torch.Tensor) -> torch.Tensor:
        """uint8 0 … 255 to float32 -1 … 1, which is mean and standard deviation 0.5."""
        return images_BCHW.float().mul_(2 / 255).sub_(1)

    def _moved(self, x_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        config = self._config
        if config.resized_crop is not None:
            return resized_crop(
                x_BCHW, config.resized_crop, self._flip, generator, self._size, config.interpolation
            )
        if config.crop_pad:
            x_BCHW = padded_crop(x_BCHW, config.crop_pad, generator)
        if x_BCHW.shape[-1] != self._size:
            x_BCHW = stretch(x_BCHW, self._size)
        return random_flip(x_BCHW, generator) if self._flip else x_BCHW
