"""Mixup, cutmix, label smoothing and random erasing, for a whole batch at once and without device
synchronisation.

Papers: mixup arXiv 1710.09412, cutmix arXiv 1905.04899, random erasing arXiv 1708.04896. As in
timm: one weight per batch or group, each image is mixed with its mirror position in the batch, and
one of the two is chosen with probability ½ if both are on.

Shapes: B batch, C channels, H/W height and width, K classes, E images to erase, A attempts, Q
quantiles.
"""

import math

import numpy as np
import torch

from hopsearch.data.augmentation.geometry import ATTEMPTS, first_fitting

_QUANTILES = 4097
_ERASED_AREA = (0.02, 1 / 3)
_LOG_RATIO = math.log(1 / 0.3)  # aspect ratios of an erased box: 0.3 … 1/0.3


class Mix:
    """Mixup and cutmix of a batch.

    Args:
        mixup: α of mixup's Beta(α, α); 0 is off.
        cutmix: α of cutmix's; 0 is off.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        self._mixup = mixup
        self._cutmix = cutmix
        self._tables = {alpha: _beta_quantiles(alpha) for alpha in (mixup, cutmix) if alpha > 0}

    def __call__(
        self,
        x_BCHW: torch.Tensor,
        targets_BK: torch.Tensor,
        generator: torch.Generator,
        groups: int = 1,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mix float images, in place, and their soft targets; each of ``groups`` has independent
        draws and pairs.
        """
        if not self._tables:
            return x_BCHW, targets_BK
        if groups > 1:
            parts = zip(x_BCHW.tensor_split(groups), targets_BK.tensor_split(groups), strict=True)
            return x_BCHW, torch.cat(
                [self(x, targets, generator)[1] for x, targets in parts if len(x)]
            )
        weight_HW = self._weights(x_BCHW.shape[-1], x_BCHW.device, generator)
        share = weight_HW.mean()  # weight of the image itself; exact for a cut box too
        return x_BCHW.lerp_(x_BCHW.flip(0), 1 - weight_HW), torch.lerp(
            targets_BK.flip(0), targets_BK, share
        )

    def _weights(self, size: int, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        if not self._cutmix:
            return self._beta(self._mixup, device, generator).view(1, 1)
        cut_HW = _outside_box(self._beta(self._cutmix, device, generator), size, generator)
        if not self._mixup:
            return cut_HW
        share_1 = self._beta(self._mixup, device, generator)
        use_cutmix_1 = torch.rand(1, generator=generator, device=device) < 0.5
        return torch.where(use_cutmix_1, cut_HW, share_1)

    def _beta(self, alpha: float, device: torch.device, generator: torch.Generator) -> torch.Tensor:
        # The inverse distribution function from a table: torch's own Beta accepts no generator.
        table_Q = self._tables[alpha] = self._tables[alpha].to(device)
        at_1 = torch.rand(1, generator=generator, device=device) * (_QUANTILES - 1)
        below_1 = at_1.long().clamp_(max=_QUANTILES - 2)  # float32 may round up to the last one
        return torch.lerp(table_Q[below_1], table_Q[below_1 + 1], at_1 - below_1)


def soft_targets(labels_B: torch.Tensor, classes: int, smoothing: float) -> torch.Tensor:
    """Class probabilities (B, K): 1 for the label, minus ``smoothing``, which is spread over all
    classes.
    """
    rest = smoothing / classes
    targets_BK = torch.full((len(labels_B), classes), rest, device=labels_B.device)
    return targets_BK.scatter_(1, labels_B[:, None], 1 - smoothing + rest)


def erase(x_BCHW: torch.Tensor, probability: float, generator: torch.Generator) -> torch.Tensor:
    """Overwrite one random box of each image, with ``probability``, with standard normal noise;
    changes ``x_BCHW`` itself.

    Box areas and aspect ratios are timm's. The images are drawn without replacement, ⌈pB⌉
    candidates per batch, each of which is erased with the remaining probability: each image is
    erased with exactly ``probability``, while noise is generated for the candidates only and no
    synchronisation is needed to count them.
    """
    count, channels, height, width = x_BCHW.shape
    device = x_BCHW.device
    candidates = math.ceil(probability * count)
    index_E = torch.randperm(count, generator=generator, device=device)[:candidates]
    inside_EHW = _boxes(candidates, height, width, generator, device)
    erased_E = (
        torch.rand(candidates, generator=generator, device=device)
        < probability * count / candidates
    )
    noise_ECHW = torch.randn(
        candidates, channels, height, width, generator=generator, device=device
    )
    mask_E1HW = (inside_EHW & erased_E[:, None, None])[:, None].float()
    # products: several times faster than torch.where here
    kept_ECHW = x_BCHW.index_select(0, index_E).mul_(1 - mask_E1HW)
    return x_BCHW.index_copy_(0, index_E, kept_ECHW.add_(noise_ECHW.mul_(mask_E1HW)))


def _boxes(
    count: int, height: int, width: int, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    draw_2AE = torch.rand(2, ATTEMPTS, count, generator=generator, device=device)
    low, high = _ERASED_AREA
    area_AE = (low + (high - low) * draw_2AE[0]) * (height * width)
    ratio_AE = torch.exp((2 * draw_2AE[1] - 1) * _LOG_RATIO)
    tall_AE = (area_AE * ratio_AE).sqrt().round()
    wide_AE = (area_AE / ratio_AE).sqrt().round()
    wide_E, tall_E = first_fitting(wide_AE, tall_AE, min(height, width) - 1, 0)
    place_2E = torch.rand(2, count, generator=generator, device=device)
    top_E = (place_2E[0] * (height - tall_E + 1)).floor()
    left_E = (place_2E[1] * (width - wide_E + 1)).floor()
    rows_EH = _between(top_E, top_E + tall_E, height)
    columns_EW = _between(left_E, left_E + wide_E, width)
    return rows_EH[:, :, None] & columns_EW[:, None, :]


def _outside_box(share_1: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    side_1 = ((1 - share_1).sqrt() * size).floor()
    centre_2 = torch.rand(2, generator=generator, device=share_1.device).mul_(size).floor()
    start_2 = centre_2 - (side_1 / 2).floor()
    inside_2S = _between(start_2, start_2 + side_1, size)
    return 1 - (inside_2S[0][:, None] & inside_2S[1][None, :]).float()


def _between(start_B: torch.Tensor, end_B: torch.Tensor, length: int) -> torch.Tensor:
    position = torch.arange(length, device=start_B.device)
    return (position >= start_B[:, None]) & (position < end_B[:, None])


def _beta_quantiles(alpha: float) -> torch.Tensor:
    from scipy.special import betaincinv  # local import: only trainings with mixing need it

    return torch.from_numpy(betaincinv(alpha, alpha, np.linspace(0, 1, _QUANTILES))).float()
