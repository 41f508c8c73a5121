"""RandAugment's operations on pixel values, each over a batch with one argument per image.

Every function takes uint8 (B, C, H, W) and a float argument (B,), and returns uint8 of the same
shape. Rounding follows PIL's: blends and look-ups truncate, filters round. The arguments' meaning
is that of timm's functions of the same names.

Shapes: B batch, C channels (1 or 3), H/W height and width, R = B C rows of P = H W pixels, V = 256
values.
"""

import torch

_GREY = (19595, 38470, 7471)  # PIL's luma in 1/65536


def auto_contrast(x_BCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Stretch each channel to the full range."""
    low_BC11 = x_BCHW.amin((2, 3), keepdim=True).float()
    high_BC11 = x_BCHW.amax((2, 3), keepdim=True).float()
    flat_BC11 = high_BC11 <= low_BC11
    scale_BC11 = torch.where(flat_BC11, 1.0, 255 / (high_BC11 - low_BC11))
    low_BC11 = torch.where(flat_BC11, 0.0, low_BC11)
    # 1e-4: the top stays 255
    return (x_BCHW - low_BC11).mul_(scale_BC11).add_(1e-4).to(torch.uint8)


def equalize(x_BCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Spread each channel's values evenly over the range."""
    value_RP = x_BCHW.flatten(2).flatten(0, 1).long()
    histogram_RV = torch.zeros(len(value_RP), 256, dtype=torch.int32, device=x_BCHW.device)
    histogram_RV.scatter_add_(
        1, value_RP, torch.ones((), dtype=torch.int32, device=x_BCHW.device).expand_as(value_RP)
    )
    top_R1 = value_RP.amax(1, keepdim=True)
    step_R1 = (value_RP.shape[1] - histogram_RV.gather(1, top_R1)) // 255
    below_RV = histogram_RV.cumsum(1, dtype=torch.int32) - histogram_RV
    table_RV = ((below_RV + step_R1 // 2) // step_R1.clamp(min=1)).clamp_(max=255).to(torch.uint8)
    out_BCHW = table_RV.gather(1, value_RP).view_as(x_BCHW)
    # One value, or fewer than 255 pixels to spread: unchanged.
    return torch.where((step_R1 > 0).view(*x_BCHW.shape[:2], 1, 1), out_BCHW, x_BCHW)


def invert(x_BCHW: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """Negative."""
    return 255 - x_BCHW


def posterize(x_BCHW: torch.Tensor, bits_B: torch.Tensor) -> torch.Tensor:
    """Keep the highest ``bits_B`` (0 … 8) bits."""
    shift_B111 = _per_image(8 - bits_B).to(torch.int32)
    mask_B111 = torch.bitwise_left_shift(torch.bitwise_right_shift(255, shift_B111), shift_B111)
    return x_BCHW & mask_B111.to(torch.uint8)


def solarize(x_BCHW: torch.Tensor, threshold_B: torch.Tensor) -> torch.Tensor:
    """Invert values from ``threshold_B`` (0 … 256) on."""
    return torch.where(x_BCHW < _per_image(threshold_B), x_BCHW, 255 - x_BCHW)


def solarize_add(x_BCHW: torch.Tensor, addition_B: torch.Tensor) -> torch.Tensor:
    """Brighten values below 128 by ``addition_B`` (0 … 128)."""
    # below 256: no overflow
    return torch.where(x_BCHW < 128, x_BCHW + _per_image(addition_B).to(torch.uint8), x_BCHW)


def color(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Blend with the grey image; a grey image stays."""
    return x_BCHW if x_BCHW.shape[1] == 1 else _blend(_grey(x_BCHW), x_BCHW, factor_B)


def contrast(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Blend with the image's mean grey."""
    mean_B111 = _grey(x_BCHW).mean((1, 2, 3), keepdim=True).add_(0.5).floor_()
    return _blend(mean_B111, x_BCHW, factor_B)


def brightness(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Blend with black."""
    return (x_BCHW * _per_image(factor_B)).clamp_(max=255).to(torch.uint8)


def sharpness(x_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    """Blend with PIL's SMOOTH filter (3 × 3, centre 5, the border kept)."""
    if min(x_BCHW.shape[-2:]) < 3:
        return x_BCHW
    pixel_BCHW = x_BCHW.float()
    # sums of 3 rows, then of 3 columns
    three = pixel_BCHW[:, :, :-2] + pixel_BCHW[:, :, 1:-1] + pixel_BCHW[:, :, 2:]
    nine = (three[..., :-2] + three[..., 1:-1]).add_(three[..., 2:])
    smooth_BCHW = pixel_BCHW.clone()
    smooth_BCHW[:, :, 1:-1, 1:-1] = (
        nine.add_(pixel_BCHW[:, :, 1:-1, 1:-1], alpha=4).div_(13).add_(0.5).floor_()
    )
    return _blend(smooth_BCHW, pixel_BCHW, factor_B)


def _blend(from_BCHW: torch.Tensor, to_BCHW: torch.Tensor, factor_B: torch.Tensor) -> torch.Tensor:
    # Beyond 1 it extrapolates past the image, which makes colours stronger and edges sharper.
    return (
        (to_BCHW - from_BCHW)
        .mul_(_per_image(factor_B))
        .add_(from_BCHW)
        .clamp_(0, 255)
        .to(torch.uint8)
    )


def _grey(x_BCHW: torch.Tensor) -> torch.Tensor:
    if x_BCHW.shape[1] == 1:
        return x_BCHW.float()
    red, green, blue = (
        x_BCHW[:, channel : channel + 1].to(torch.int32) * weight
        for channel, weight in enumerate(_GREY)
    )
    return (red.add_(green).add_(blue).add_(0x8000) >> 16).float()


def _per_image(value_B: torch.Tensor) -> torch.Tensor:
    return value_B[:, None, None, None]
