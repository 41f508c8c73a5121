"""Geometric transforms: crops, flips and affine maps, for a whole batch at once.

Coordinates are continuous with the origin in the top-left corner, so that a pixel's centre is at
its index + 0.5, as in PIL.

Shapes: B batch, C channels, H/W height and width, A attempts.
"""

import math

import torch
import torch.nn.functional as F

ATTEMPTS = 10
"""Draws of a box before giving up, as timm."""
_CUBIC_SHARE = {"bilinear": 0.0, "random": 0.5, "bicubic": 1.0}
_PIECE = 2**18  # values
_MOST_AT_ONCE = 512  # images whose filters are held at once on a GPU: some 200 MB at 224 px
_LOG_RATIO = math.log(4 / 3)  # aspect ratios of a resized crop: 3/4 … 4/3


def warp(x_BCHW: torch.Tensor, matrix_B23: torch.Tensor, fill: float) -> torch.Tensor:
    """Bilinear affine map of uint8 images.

    Args:
        x_BCHW: uint8.
        matrix_B23: maps an output pixel's (x, y, 1) to its input position (x, y).
        fill: value (0 … 255) shown for positions outside the image.

    Returns:
        uint8, rounded, of the same shape.
    """
    height, width = x_BCHW.shape[-2:]
    column_W = _centres(width, x_BCHW.device)
    row_H = _centres(height, x_BCHW.device)
    positions = []
    for along_B, across_B, shift_B in (row_B3.unbind(1) for row_B3 in matrix_B23.unbind(1)):
        line_BH = torch.addcmul(shift_B[:, None], across_B[:, None], row_H)
        positions.append(torch.addcmul(line_BH[:, :, None], along_B[:, None, None], column_W))
    return _sample(x_BCHW, positions[0], positions[1], fill)


def resized_crop(
    x_BCHW: torch.Tensor,
    least_area: float,
    flip: bool,
    generator: torch.Generator,
    size: int | None = None,
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """Cut a random box out of each (square) image, mirror it half of the time, and resize it to
    ``size``.

    The box has a share of the area between ``least_area`` and 1 and an aspect ratio between 3/4 and
    4/3; as in timm, boxes that exceed the image are drawn again, up to `ATTEMPTS` times, then the
    whole image is used.

    Args:
        x_BCHW: uint8, square.
        least_area: see above.
        flip: whether to mirror at all.
        generator: all randomness.
        size: pixels per side of the result; the images' own by default.
        interpolation: ``bilinear``, ``bicubic``, or ``random``: one of the two per image, as in
            timm.
    """
    own = x_BCHW.shape[-1]
    count = len(x_BCHW)
    device = x_BCHW.device
    size = size or own
    draw_2AB = torch.rand(2, ATTEMPTS, count, generator=generator, device=device)
    area_AB = (least_area + (1 - least_area) * draw_2AB[0]) * own**2
    ratio_AB = torch.exp((2 * draw_2AB[1] - 1) * _LOG_RATIO)
    width_AB = (area_AB * ratio_AB).sqrt().round()
    height_AB = (area_AB / ratio_AB).sqrt().round()
    width_B, height_B = first_fitting(width_AB, height_AB, own, own)
    place_3B = torch.rand(3, count, generator=generator, device=device)
    mirror_B = place_3B[2] < (0.5 if flip else 0.0)
    if interpolation == "bilinear" and size == own:
        columns_BW = _inside(place_3B[0], width_B, own)
        columns_BW = torch.where(mirror_B[:, None], columns_BW.flip(1), columns_BW)
        return _sample(
            x_BCHW, columns_BW[:, None, :], _inside(place_3B[1], height_B, own)[:, :, None], None
        )
    cubic_B = torch.rand(count, generator=generator, device=device) < _CUBIC_SHARE[interpolation]
    left_B, top_B = (
        (place * (own - length + 1)).floor()
        for place, length in zip(place_3B, (width_B, height_B), strict=False)
    )
    return resample(x_BCHW, size, (left_B, width_B), (top_B, height_B), cubic_B, mirror_B)


def stretch(x_BCHW: torch.Tensor, size: int) -> torch.Tensor:
    """Resize each whole (square) image, bicubic."""
    start_B = torch.zeros(len(x_BCHW), device=x_BCHW.device)
    whole = (start_B, start_B + x_BCHW.shape[-1])
    yes_B = start_B == 0
    return resample(x_BCHW, size, whole, whole, yes_B, ~yes_B)


Span = tuple[torch.Tensor, torch.Tensor]
"""Start and length (B,) of a box along one side, in whole pixels."""


def resample(
    x_BCHW: torch.Tensor,
    size: int,
    across: Span,
    down: Span,
    cubic_B: torch.Tensor,
    mirror_B: torch.Tensor,
) -> torch.Tensor:
    """Crop boxes of uint8 images and resize them to ``size`` as PIL does, with antialiasing when
    shrinking.

    The filter is one matrix per side of each image, and an image is two products with them, so that
    a whole batch with individual boxes takes a few calls on any device. Agrees with PIL to one grey
    level: both round after each side.

    Args:
        x_BCHW: uint8.
        size: pixels per side of the result.
        across: the boxes' columns.
        down: their rows.
        cubic_B: whether an image is resized bicubic, else bilinear.
        mirror_B: whether its columns come in reverse.
    """
    rows = (
        max(1, _PIECE // (x_BCHW[0].numel() + size * size))
        if x_BCHW.device.type == "cpu"
        else _MOST_AT_ONCE
    )
    if len(x_BCHW) > rows:
        spans = [zip(*(part.split(rows) for part in span), strict=True) for span in (across, down)]
        each = zip(
            x_BCHW.split(rows), *spans, cubic_B.split(rows), mirror_B.split(rows), strict=True
        )
        return torch.cat([resample(x, size, *rest) for x, *rest in each])
    columns_BOI = _filters(x_BCHW.shape[-1], size, across, cubic_B)
    columns_BOI = torch.where(mirror_B[:, None, None], columns_BOI.flip(1), columns_BOI)
    rows_BOI = _filters(x_BCHW.shape[-2], size, down, cubic_B)
    wide_BCHO = (
        torch.matmul(x_BCHW.float(), columns_BOI.mT[:, None]).add_(0.5).floor_().clamp_(0, 255)
    )
    return torch.matmul(rows_BOI[:, None], wide_BCHO).add_(0.5).clamp_(0, 255).to(torch.uint8)


def _filters(own: int, size: int, span: Span, cubic_B: torch.Tensor) -> torch.Tensor:
    """The weight of each input pixel I of a side in each output pixel O, (B, O, I)."""
    start_B, length_B = (value[:, None, None] for value in span)
    scale_B = length_B / size
    position_I = _centres(own, cubic_B.device)
    wanted_BO = start_B + scale_B * _centres(size, cubic_B.device)[:, None]
    distance_BOI = ((position_I - wanted_BO) / scale_B.clamp(min=1)).abs_()
    linear_BOI = (1 - distance_BOI).clamp_(min=0)
    # Keys' cubic, a = -1/2, as PIL
    near_BOI = ((1.5 * distance_BOI - 2.5) * distance_BOI).mul_(distance_BOI).add_(1)
    far_BOI = (((2.5 - 0.5 * distance_BOI) * distance_BOI - 4) * distance_BOI).add_(2)
    cubic_BOI = torch.where(distance_BOI < 1, near_BOI, far_BOI).masked_fill_(distance_BOI >= 2, 0)
    weight_BOI = torch.where(cubic_B[:, None, None], cubic_BOI, linear_BOI)
    weight_BOI = weight_BOI.masked_fill(
        (position_I < start_B) | (position_I >= start_B + length_B), 0
    )
    return weight_BOI / weight_BOI.sum(2, keepdim=True)


def _inside(place_B: torch.Tensor, length_B: torch.Tensor, size: int) -> torch.Tensor:
    """Positions (B, size) spread over a span of the side; at its ends they use the last pixel
    inside, not the next outside.
    """
    start_B = (place_B * (size - length_B + 1)).floor()
    position_BS = torch.addcmul(
        start_B[:, None], (length_B / size)[:, None], _centres(size, place_B.device)
    )
    return position_BS.clamp_((start_B + 0.5)[:, None], (start_B + length_B - 0.5)[:, None])


def _sample(
    x_BCHW: torch.Tensor, column_BHW: torch.Tensor, row_BHW: torch.Tensor, fill: float | None
) -> torch.Tensor:
    """Bilinear uint8 pixels at positions that may be broadcast; outside ``fill``, or the border if
    it is None.
    """
    if x_BCHW.device.type == "cpu" and x_BCHW.numel() > _PIECE and len(x_BCHW) > 1:
        # Small chunks stay in the CPU cache and in memory already allocated: 2 to 4 times faster
        # than one large pass.
        rows = max(1, _PIECE // x_BCHW[0].numel())
        pieces = zip(x_BCHW.split(rows), column_BHW.split(rows), row_BHW.split(rows), strict=True)
        return torch.cat([_sample(*piece, fill) for piece in pieces])
    height, width = x_BCHW.shape[-2:]
    grid_BHW2 = torch.empty(len(x_BCHW), height, width, 2, device=x_BCHW.device)
    grid_BHW2[..., 0] = column_BHW.mul(2 / width).sub_(1)
    grid_BHW2[..., 1] = row_BHW.mul(2 / height).sub_(1)
    out_BCHW = F.grid_sample(
        x_BCHW.float(), grid_BHW2, mode="bilinear", padding_mode="border", align_corners=False
    )
    if fill is not None:
        outside_BHW = (column_BHW < 0) | (column_BHW >= width) | (row_BHW < 0) | (row_BHW >= height)
        out_BCHW.masked_fill_(outside_BHW[:, None], fill)
    return out_BCHW.add_(0.5).to(torch.uint8)


def _centres(length: int, device: torch.device) -> torch.Tensor:
    return torch.arange(0.5, length, device=device)


def first_fitting(
    width_AB: torch.Tensor, height_AB: torch.Tensor, most: int, otherwise: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and height (B,) of the first attempt with both at most ``most``, or ``otherwise`` where
    none fits.
    """
    fits_AB = (width_AB <= most) & (height_AB <= most)
    first_1B = fits_AB.to(torch.uint8).argmax(0, keepdim=True)  # argmax of 0 and 1: the first 1
    any_B = fits_AB.any(0)
    width_B, height_B = (side_AB.gather(0, first_1B)[0] for side_AB in (width_AB, height_AB))
    return torch.where(any_B, width_B, otherwise), torch.where(any_B, height_B, otherwise)


def padded_crop(x_BCHW: torch.Tensor, pad: int, generator: torch.Generator) -> torch.Tensor:
    """Pad each image with ``pad`` black pixels and crop to its size at a random position (He et
    al., arXiv 1512.03385).
    """
    count = len(x_BCHW)
    height, width = x_BCHW.shape[-2:]
    windows = F.pad(x_BCHW, (pad, pad, pad, pad)).unfold(2, height, 1).unfold(3, width, 1)
    top_B, left_B = torch.randint(
        2 * pad + 1, (2, count), generator=generator, device=x_BCHW.device
    )
    return windows[torch.arange(count, device=x_BCHW.device), :, top_B, left_B]


def random_flip(x_BCHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror each image with probability ½."""
    mirror_B = torch.rand(len(x_BCHW), generator=generator, device=x_BCHW.device) < 0.5
    return torch.where(mirror_B[:, None, None, None], x_BCHW.flip(3), x_BCHW)
