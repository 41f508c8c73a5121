"""Crops, flips, mixing, erasing, and the whole of `Augment`.

Shapes: B batch, C channels, H/W height and width, K classes, N draws.
"""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats

from hopsearch.core.config import parse
from hopsearch.core.errors import ConfigError
from hopsearch.data import (
    PAPER_AUGMENT,
    Augment,
    AugmentConfig,
    DataFacts,
    epoch_batches,
    ordered_batches,
)
from hopsearch.data.augmentation.geometry import (
    first_fitting,
    padded_crop,
    random_flip,
    resized_crop,
)
from hopsearch.data.augmentation.mixing import Mix, erase, soft_targets

FACTS = DataFacts("test", 16, 3, tuple("abcdefg"), 100, 20, 10, True, "0")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 32, size: int = 16, channels: int = 3) -> torch.Tensor:
    return torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=seeded(9))


def smooth(count: int, size: int) -> torch.Tensor:
    """Planes: the value tells the position, ``7 x + y / 8`` scaled to grey levels."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return (x * (240 // size) + y // 8).to(torch.uint8).expand(count, 1, size, size).contiguous()


# Crops and flips


def test_resized_crop_is_pils_crop_and_resize(monkeypatch):
    x_BCHW, size = noise(16, 32), 32
    draws = []
    rand = torch.rand
    monkeypatch.setattr(
        torch, "rand", lambda *shape, **words: draws.append(rand(*shape, **words)) or draws[-1]
    )
    out_BCHW = resized_crop(x_BCHW, 0.08, True, seeded())
    (area_AB, ratio_AB), place_3B = draws[0], draws[1]
    area_AB, ratio_AB = (
        (0.08 + 0.92 * area_AB) * size**2,
        torch.exp((2 * ratio_AB - 1) * np.log(4 / 3)),
    )
    width_B, height_B = first_fitting(
        (area_AB * ratio_AB).sqrt().round(), (area_AB / ratio_AB).sqrt().round(), size, size
    )
    for i in range(16):
        width, height = int(width_B[i]), int(height_B[i])
        left, top = (
            int(place_3B[0, i] * (size - width + 1)),
            int(place_3B[1, i] * (size - height + 1)),
        )
        box = Image.fromarray(x_BCHW[i].permute(1, 2, 0).numpy()).crop(
            (left, top, left + width, top + height)
        )
        expected = np.asarray(box.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        expected = expected[:, ::-1] if place_3B[2, i] < 0.5 else expected
        assert np.abs(out_BCHW[i].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_resized_crops_are_as_large_as_asked():
    x_BCHW = smooth(4000, 16)
    seen = resized_crop(x_BCHW, 0.25, False, seeded()).float()
    # of the plane, that is of the side
    width_B = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))) / 240
    assert 0.25 < width_B.min() < 0.5
    assert width_B.max() > 0.9


def test_first_fitting_takes_the_first_that_fits():
    width_AB = torch.tensor([[9.0, 3.0, 9.0], [5.0, 4.0, 9.0]])
    width_B, height_B = first_fitting(width_AB, torch.full((2, 3), 2.0), 8, 8)
    assert (width_B.tolist(), height_B.tolist()) == ([5.0, 3.0, 8.0], [2.0, 2.0, 8.0])


def test_padded_crop_moves_the_image_by_at_most_the_padding():
    x_BCHW = noise(500, 8)
    out_BCHW = padded_crop(x_BCHW, 2, seeded())
    padded_BCHW = F.pad(x_BCHW, (2, 2, 2, 2))
    seen = set()
    for before, after in zip(padded_BCHW, out_BCHW, strict=True):
        places = [
            (t, s)
            for t in range(5)
            for s in range(5)
            if torch.equal(before[:, t : t + 8, s : s + 8], after)
        ]
        assert len(places) == 1
        seen.update(places)
    assert len(seen) == 25


def test_half_of_the_images_are_mirrored():
    x_BCHW = noise(2000, 4)
    out_BCHW = random_flip(x_BCHW, seeded())
    mirrored_B = (out_BCHW == x_BCHW.flip(3)).flatten(1).all(1)
    assert (mirrored_B | (out_BCHW == x_BCHW).flatten(1).all(1)).all()
    assert mirrored_B.float().mean().item() == pytest.approx(0.5, abs=0.06)


# Mixing


def test_soft_targets_are_timms():
    labels_B = torch.tensor([0, 2, 1])
    target_BK = soft_targets(labels_B, 5, 0.1)
    assert torch.allclose(target_BK[0], torch.tensor([0.92, 0.02, 0.02, 0.02, 0.02]))
    assert torch.equal(soft_targets(labels_B, 5, 0.0), F.one_hot(labels_B, 5).float())


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
@pytest.mark.parametrize("count", [1, 7, 8])
def test_targets_are_mixed_as_much_as_the_pixels(mixup, cutmix, count):
    mix, generator = Mix(mixup, cutmix), seeded()
    x_BCHW = torch.arange(count).float()[:, None, None, None].expand(count, 1, 12, 12)
    for _ in range(30):
        out_BCHW, targets_BK = mix(x_BCHW.clone(), torch.eye(count), generator)
        assert torch.allclose(targets_BK.sum(1), torch.ones(count))
        expected_B = targets_BK @ torch.arange(count).float()  # the image's value is its label
        assert torch.allclose(out_BCHW.mean((1, 2, 3)), expected_B, atol=1e-4)


def test_cutmix_pastes_one_square_box():
    mix = Mix(0.0, 1.0)
    x_BCHW = torch.stack((torch.zeros(1, 16, 16), torch.ones(1, 16, 16)))
    for seed in range(50):
        box_HW = mix(x_BCHW.clone(), torch.eye(2), seeded(seed))[0][0, 0]
        assert set(box_HW.unique().tolist()) <= {0.0, 1.0}, "pixels are taken, not blended"
        rows, columns = box_HW.amax(1).sum(), box_HW.amax(0).sum()
        assert rows * columns == box_HW.sum()


def test_each_batch_takes_mixup_or_cutmix_evenly():
    mix, generator = Mix(0.8, 1.0), seeded()
    x_BCHW = torch.stack((torch.zeros(1, 8, 8), torch.ones(1, 8, 8)))
    blended = [
        0 < mix(x_BCHW.clone(), torch.eye(2), generator)[0][0, 0, 0, 0] < 1 for _ in range(1000)
    ]
    assert np.mean(blended) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
def test_mixing_weights_follow_beta(alpha):
    mix, generator = Mix(alpha, 0.0), seeded()
    weights_N = torch.cat([mix._beta(alpha, torch.device("cpu"), generator) for _ in range(3000)])
    assert stats.kstest(weights_N.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.001


# Erasing


@pytest.mark.parametrize("count", [1, 3, 64])
def test_a_quarter_of_the_images_loses_a_box_of_a_third_at_most(count):
    generator, shares = seeded(), []
    for _ in range(2560 // count):
        erased_BHW = (erase(torch.full((count, 2, 16, 16), 9.0), 0.25, generator) != 9).all(1)
        for mask_HW in erased_BHW.float():
            assert mask_HW.amax(1).sum() * mask_HW.amax(0).sum() == mask_HW.sum(), "one rectangle"
        shares.extend(erased_BHW.float().mean((1, 2)).tolist())
    hit = [share for share in shares if share]
    assert len(hit) / len(shares) == pytest.approx(0.25, abs=0.045)
    assert 0.01 < min(hit) < 0.04
    assert 0.25 < max(hit) < 0.37
    assert np.mean(hit) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)


def test_erased_pixels_are_standard_normal():
    out_BCHW = erase(torch.full((400, 1, 32, 32), 9.0), 1.0, seeded())
    values = out_BCHW[out_BCHW != 9]
    assert values.mean().item() == pytest.approx(0, abs=0.02)
    assert values.std().item() == pytest.approx(1, abs=0.02)


# All together


CONFIGS = {
    "nothing": AugmentConfig(flip=False),
    "default": AugmentConfig(),
    "small images": AugmentConfig(crop_pad=2, mixup=0.2, label_smoothing=0.1),
    "paper": PAPER_AUGMENT,
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 33])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_contract_of_a_batch(config, count, channels):
    augment = Augment(config, dataclasses.replace(FACTS, channels=channels))
    images_BCHW, labels_B = noise(count, channels=channels), torch.arange(count) % 7
    before = images_BCHW.clone()
    x_BCHW, targets_BK = augment(images_BCHW, labels_B, seeded())
    assert (x_BCHW.dtype, x_BCHW.shape, targets_BK.dtype, targets_BK.shape) == (
        torch.float32,
        images_BCHW.shape,
        torch.float32,
        (count, 7),
    )
    assert torch.isfinite(x_BCHW).all()
    assert torch.allclose(targets_BK.sum(1), torch.ones(count))
    assert (targets_BK >= 0).all()
    assert torch.equal(images_BCHW, before), "the caller's images must not change"
    again, targets_again = augment(images_BCHW, labels_B, seeded())
    assert torch.equal(x_BCHW, again)
    assert torch.equal(targets_BK, targets_again)


def test_nothing_asked_is_only_normalised():
    images_BCHW = noise()
    x_BCHW, targets_BK = Augment(CONFIGS["nothing"], FACTS)(
        images_BCHW, torch.zeros(32, dtype=torch.int64), seeded()
    )
    assert torch.equal(x_BCHW, Augment.normalize(images_BCHW))
    assert torch.allclose(x_BCHW, (images_BCHW / 255 - 0.5) / 0.5, atol=1e-6)
    assert targets_BK[:, 0].sum() == 32


def test_flips_follow_the_data_unless_told():
    images_BCHW, labels_B = noise(), torch.zeros(32, dtype=torch.int64)
    plain_BCHW = Augment.normalize(images_BCHW)
    for config, allowed, flipped in (
        (None, True, True),
        (None, False, False),
        (True, False, True),
        (False, True, False),
    ):
        augment = Augment(AugmentConfig(flip=config), dataclasses.replace(FACTS, flip=allowed))
        assert torch.equal(augment(images_BCHW, labels_B, seeded())[0], plain_BCHW) != flipped


@pytest.mark.gpu
# torch says once that it does not see every wait
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_never_waited_for():
    images_BCHW, labels_B = noise(64).cuda(), torch.arange(64, device="cuda") % 7
    augment, generator = Augment(PAPER_AUGMENT, FACTS), torch.Generator("cuda").manual_seed(0)
    augment(images_BCHW, labels_B, generator)  # copies its table of quantiles once
    torch.cuda.set_sync_debug_mode("error")
    try:
        x_BCHW, targets_BK = augment(images_BCHW, labels_B, generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (x_BCHW.device.type, targets_BK.device.type) == ("cuda", "cuda")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"randaugment": "rand-9"}, "augment: randaugment: .*The papers use rand-m9-mstd0.5-inc1"),
        (
            {"crop_pad": 2, "resized_crop": 0.5},
            "only one of crop_pad and resized_crop .* set crop_pad=0",
        ),
        ({"erasing": 1.5}, "erasing"),
        ({"mixup": -1}, "mixup"),
        ({"resized_crop": 0}, "resized_crop"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"cutmx": 1.0}, "Did you mean cutmix"),
    ],
)
def test_bad_settings_are_explained(values, message):
    with pytest.raises(ConfigError, match="(?i)" + message):
        parse(AugmentConfig, values, "augment")


def test_randaugment_can_be_switched_off_by_a_word():
    assert AugmentConfig(randaugment="none").randaugment is None


# Batches


@pytest.mark.parametrize(
    ("n", "batch", "drop", "lengths"),
    [(10, 4, False, [4, 4, 2]), (10, 4, True, [4, 4]), (3, 8, True, [3])],
)
def test_an_epoch_has_every_image_once(n, batch, drop, lengths):
    batches = list(epoch_batches(n, batch, seeded(), drop_last=drop))
    assert [len(index_B) for index_B in batches] == lengths
    index = torch.cat(batches).tolist()
    assert len(set(index)) == len(index) == sum(lengths)
    assert set(index) <= set(range(n))


def test_epochs_differ_and_repeat_by_seed():
    generator = seeded()
    first, second = (torch.cat(list(epoch_batches(50, 8, generator))) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(list(epoch_batches(50, 8, seeded()))))


def test_evaluation_goes_in_order():
    assert [list(range(10))[part] for part in ordered_batches(10, 4)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
