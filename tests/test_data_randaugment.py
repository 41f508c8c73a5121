"""Each batched operation against timm's on PIL images, and the statistics of what is drawn.

Shapes: B batch, C channels, H/W height and width.
"""

import numpy as np
import pytest
import timm.data.auto_augment as timm_ops
import torch
from PIL import Image

from hopsearch.data.augmentation import pixel_ops
from hopsearch.data.augmentation.geometry import warp
from hopsearch.data.augmentation.randaugment import (
    _AFFINE_OPS,
    Policy,
    RandAugment,
    affine_matrices,
    parse_policy,
)

PAPER = "rand-m9-mstd0.5-inc1"


def pictures(size: int = 32, channels: int = 3, count: int = 8) -> torch.Tensor:
    """Soft shapes with some noise, a flat picture, and pure noise."""
    rng = np.random.default_rng(size + channels)
    y, x = np.mgrid[:size, :size] / size
    made = []
    for number in range(count):
        waves = rng.uniform(1, 6, (channels, 2))
        picture = (
            np.stack([np.sin(a * x + b * y + number) for a, b in waves]) * 70
            + 120
            + rng.normal(0, 6, (channels, size, size))
        )
        made.append(picture.clip(30, 220))
    made[-2][:] = 77
    made[-1] = rng.integers(0, 256, (channels, size, size))
    return torch.from_numpy(np.stack(made).astype(np.uint8))


def to_pil(x_CHW: torch.Tensor) -> Image.Image:
    pixels = x_CHW.permute(1, 2, 0).numpy()
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def from_pil(image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(np.array(image)).int()
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


PIXEL_CASES = [
    (pixel_ops.auto_contrast, timm_ops.auto_contrast, [None]),
    (pixel_ops.equalize, timm_ops.equalize, [None]),
    (pixel_ops.invert, timm_ops.invert, [None]),
    (pixel_ops.posterize, timm_ops.posterize, [1, 2, 3, 4, 8]),
    (pixel_ops.solarize, timm_ops.solarize, [0, 25, 128, 256]),
    (pixel_ops.solarize_add, timm_ops.solarize_add, [0, 99, 110]),
    (pixel_ops.color, timm_ops.color, [0.1, 0.19, 1.0, 1.81]),
    (pixel_ops.contrast, timm_ops.contrast, [0.1, 0.19, 1.0, 1.81]),
    (pixel_ops.brightness, timm_ops.brightness, [0.1, 0.19, 1.0, 1.81]),
    (pixel_ops.sharpness, timm_ops.sharpness, [0.1, 0.19, 1.0, 1.81]),
]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"), PIXEL_CASES, ids=lambda case: getattr(case, "__name__", None)
)
def test_a_pixel_operation_is_timms_to_one_grey_level(ours, theirs, arguments, channels):
    x_BCHW = pictures(channels=channels)
    for argument in arguments:
        got_BCHW = ours(
            x_BCHW, torch.full((len(x_BCHW),), 0.0 if argument is None else float(argument))
        )
        assert (got_BCHW.dtype, got_BCHW.shape) == (torch.uint8, x_BCHW.shape)
        for x_CHW, got_CHW in zip(x_BCHW, got_BCHW, strict=True):
            expected_CHW = from_pil(
                theirs(to_pil(x_CHW), *([] if argument is None else [argument]))
            )
            assert (got_CHW.int() - expected_CHW).abs().max() <= 1


def test_arguments_differ_by_image():
    x_BCHW = pictures(count=3)
    factor_B = torch.tensor([0.2, 1.0, 1.7])
    for function in (
        pixel_ops.brightness,
        pixel_ops.contrast,
        pixel_ops.color,
        pixel_ops.sharpness,
    ):
        together = function(x_BCHW, factor_B)
        apart = [function(x_BCHW[i : i + 1], factor_B[i : i + 1]) for i in range(3)]
        assert torch.equal(together, torch.cat(apart))


def test_posterize_keeps_zero_bits_as_timm_defines_it():
    # Its strongest magnitude; Pillow 13 refuses to be asked.
    assert pixel_ops.posterize(pictures(), torch.zeros(8)).max() == 0


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_images_pass_through_every_operation(size):
    x_BCHW = torch.randint(256, (40, 3, size, size), dtype=torch.uint8)
    assert (
        RandAugment(parse_policy("rand-m9-p1"))(x_BCHW, torch.Generator().manual_seed(0)).shape
        == x_BCHW.shape
    )


AFFINE = {
    "Rotate": (timm_ops.rotate, 30.0),
    "ShearX": (timm_ops.shear_x, 0.3),
    "ShearY": (timm_ops.shear_y, 0.3),
    "TranslateXRel": (timm_ops.translate_x_rel, 0.45),
    "TranslateYRel": (timm_ops.translate_y_rel, 0.45),
}


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("name", AFFINE)
@pytest.mark.parametrize("signed_level", [0.0, 0.31, 0.9, -0.85, 1.0])
def test_an_affine_operation_is_timms_bilinear_one_to_one_grey_level(name, signed_level, size):
    function, strongest = AFFINE[name]
    x_BCHW = pictures(size)
    level_S, sign_S = (
        torch.full((5,), abs(signed_level)),
        torch.full((5,), 1.0 if signed_level >= 0 else -1.0),
    )
    matrix_B23 = affine_matrices(level_S, sign_S, size)[list(_AFFINE_OPS).index(name)].expand(
        len(x_BCHW), 2, 3
    )
    got_BCHW = warp(x_BCHW, matrix_B23, 128.0)
    off = 0
    for x_CHW, got_CHW in zip(x_BCHW, got_BCHW, strict=True):
        theirs = function(
            to_pil(x_CHW),
            signed_level * strongest,
            fillcolor=(128,) * 3,
            resample=Image.Resampling.BILINEAR,
        )
        off += ((got_CHW.int() - from_pil(theirs)).abs() > 1).sum()
    # a pixel on the very edge of the picture may fall on the other side
    assert off <= 0.002 * x_BCHW.numel()


def test_arguments_follow_timms_magnitudes():
    ours = {name: argument for name, _, argument in RandAugment(parse_policy("rand-inc1"))._pixel}
    ours |= {name: argument for name, _, argument in RandAugment(parse_policy("rand"))._pixel}
    for level in (0.0, 3.3, 8.7, 9.0, 9.49, 10.0):
        for name, argument in ours.items():
            mapping = timm_ops.LEVEL_TO_ARG[name]
            if mapping is None:
                continue
            # both signs, where there are two
            theirs = {round(mapping(level, {})[0], 5) for _ in range(40)}
            mine = {
                round(float(argument(torch.tensor([level / 10]), torch.tensor([sign]))), 5)
                for sign in (-1.0, 1.0)
            }
            assert mine == theirs, (name, level)


def test_every_operation_is_timms():
    for text in ("rand", "rand-inc1"):
        ours = {*_AFFINE_OPS, *(name for name, _, _ in RandAugment(parse_policy(text))._pixel)}
        assert ours == set(timm_ops.rand_augment_choices("", increasing=text.endswith("inc1")))


@pytest.mark.parametrize("count", [1, 7, 64, 200])
@pytest.mark.parametrize("text", [PAPER, "rand-p1-n1", "rand-p0.1-n3"])
def test_each_image_is_changed_as_often_as_timm_says(count, text, monkeypatch):
    policy = parse_policy(text)
    augment = RandAugment(policy)
    # Stands in for all operations: counts how often each image is touched, in a pixel.
    monkeypatch.setattr(augment, "_apply", lambda x_SCHW, *_: x_SCHW + 1)
    generator = torch.Generator().manual_seed(count)
    x_BCHW = torch.zeros(count, 1, 1, 1, dtype=torch.uint8)
    rounds = 6000 // count
    touched = torch.stack([augment(x_BCHW, generator).flatten() for _ in range(rounds)]).double()
    expected = policy.layers * policy.probability
    spread = (policy.layers * policy.probability * (1 - policy.probability) / 6000) ** 0.5
    assert touched.mean().item() == pytest.approx(expected, abs=5 * spread + 1e-9)
    assert touched.max() <= policy.layers


def test_magnitudes_are_normal_and_clipped():
    level_S = (
        RandAugment(parse_policy(PAPER))._levels(
            100_000, torch.Generator().manual_seed(0), torch.device("cpu")
        )
        * 10
    )
    assert level_S.mean().item() == pytest.approx(9.0, abs=0.01)
    assert level_S.std().item() == pytest.approx(0.49, abs=0.01)  # the clip takes a little off 0.5
    assert level_S.max() == 10
    uniform_S = RandAugment(parse_policy("rand-m9-mstd101"))._levels(
        100_000, torch.Generator().manual_seed(0), torch.device("cpu")
    )
    assert uniform_S.mean().item() == pytest.approx(0.45, abs=0.01)


def test_the_generator_decides_everything():
    augment, x_BCHW = RandAugment(parse_policy(PAPER)), pictures(count=64)
    before = x_BCHW.clone()
    first, second, other = (
        augment(x_BCHW, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(x_BCHW, before), "the caller's images must not change"


def test_images_stay_in_their_places():
    # flat, each of its own grey
    x_BCHW = (torch.arange(64, dtype=torch.uint8) * 2)[:, None, None, None].expand(64, 1, 4, 4)
    out_BCHW = RandAugment(parse_policy("rand-m0-p0.3-n1-inc1"))(
        x_BCHW, torch.Generator().manual_seed(0)
    )
    # at magnitude 0 few operations do anything
    assert (out_BCHW == x_BCHW).flatten(1).all(1).float().mean() > 0.8


def test_notation():
    assert parse_policy(PAPER) == Policy(magnitude=9, std=0.5, increasing=True)
    assert parse_policy("rand-m7-n3-p0.25-mmax12") == Policy(
        magnitude=7, layers=3, probability=0.25, most=12
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "augmix-m3",
        "rand-9",
        "rand-m",
        "rand-tweights",
        "rand-m9-mstd",
        "rand-p1.5",
        "rand-m9--inc1",
    ],
)
def test_bad_notation_is_explained(text):
    with pytest.raises(ValueError, match=r"The papers use rand-m9-mstd0\.5-inc1"):
        parse_policy(text)
