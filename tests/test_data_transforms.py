"""What training and evaluation see of an image, against timm's own transforms and PIL."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from hopsearch.data import PAPER_AUGMENT, Augment, AugmentConfig, DataConfig, load
from hopsearch.data.augmentation.geometry import resample, resized_crop, stretch
from hopsearch.data.files.preprocessing import to_pixels
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.recipes import viewed


def picture(width, height, seed=0):
    """Soft shapes with edges: worse for resizing than photographs are, better than noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    edges = np.asarray(coarse).astype(int) + 80 * (
        rng.random((1, 1, 3))
        > np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width))[..., None]
    )
    return Image.fromarray(edges.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    "size",
    [(32, 32), (224, 224), (256, 256), (533, 400), (400, 533), (300, 257), (1000, 231), (225, 500)],
    ids=str,
)
def test_evaluation_sees_what_timm_shows(size):
    """Shorter side to 256, bicubic, centre 224: crop_pct 0.875."""
    image = picture(*size)
    shown = create_transform(
        224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875
    )(image)
    expected = ((shown + 1) * 127.5).round()
    ours = torch.from_numpy(np.ascontiguousarray(to_pixels(image, 224, 3, 0.875))).float()
    assert (ours - expected).abs().max() <= 1
    assert (ours - expected).abs().mean() < 0.02


@pytest.mark.parametrize(("own", "size"), [(32, 224), (32, 32), (300, 224), (64, 48)])
@pytest.mark.parametrize("cubic", [False, True])
def test_a_box_is_stretched_as_pil_does(own, size, cubic):
    images = [picture(own, own, seed) for seed in range(6)]
    x_BCHW = torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])
    rng = np.random.default_rng(1)
    width_B, height_B = (
        torch.from_numpy(rng.integers(own // 4, own + 1, 6)).float() for _ in range(2)
    )
    left_B, top_B = (
        (torch.from_numpy(rng.random(6)).float() * (own - length_B + 1)).floor()
        for length_B in (width_B, height_B)
    )
    mirror_B = torch.arange(6) % 2 == 0
    out = resample(
        x_BCHW, size, (left_B, width_B), (top_B, height_B), torch.full((6,), cubic), mirror_B
    )
    method = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    for at, image in enumerate(images):
        left, top, width, height = (int(value[at]) for value in (left_B, top_B, width_B, height_B))
        box = image.crop((left, top, left + width, top + height))
        # One side after the other: PIL's own order until 12; since then it begins with the side
        # that shrinks more.
        expected = np.asarray(
            box.resize((size, height), method).resize((size, size), method)
        ).astype(int)
        expected = expected[:, ::-1] if mirror_B[at] else expected
        differences = np.abs(out[at].permute(1, 2, 0).numpy() - expected)
        # Where it shrinks, both sides' roundings may fall on exact halves, which PIL's whole
        # numbers round otherwise.
        assert differences.max() <= (1 if size >= own else 2)
        assert (differences > 1).mean() < 1e-3


def test_bilinear_and_bicubic_take_turns_by_chance():
    x_BCHW = torch.randint(
        256, (400, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    each = {
        name: resized_crop(x_BCHW, 0.3, True, torch.Generator().manual_seed(1), 16, name)
        for name in ("bilinear", "bicubic", "random")
    }
    cubic_B = (each["random"] == each["bicubic"]).flatten(1).all(1)
    assert ((each["random"] == each["bilinear"]).flatten(1).all(1) | cubic_B).all()
    assert cubic_B.float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_small_originals_become_full_images_by_any_augmentation(digits):
    facts = digits.facts
    large = torch.Generator().manual_seed(0)
    kept = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8, generator=large)
    for config in (AugmentConfig(), AugmentConfig(crop_pad=1), PAPER_AUGMENT):
        x_BCHW, _ = Augment(config, facts)(kept, torch.zeros(5, dtype=torch.int64), large)
        assert x_BCHW.shape[-2:] == (facts.image_size, facts.image_size)
    assert stretch(kept, 8).shape == (5, 1, 8, 8)


@pytest.fixture
def squares(tmp_path):
    for part, images in (("train", 10), ("test", 4)):
        for name in ("a", "b"):
            folder = tmp_path / "squares" / part / name
            folder.mkdir(parents=True)
            for number in range(images):
                picture(32, 32, number + images * ord(name)).save(folder / f"{number}.png")
    return str(tmp_path / "squares")


def test_training_keeps_originals_and_evaluation_sees_the_centre(squares):
    plain = DataConfig(source=squares, image_size=64)
    config = viewed(plain, "imixer")
    splits, again = load(config), load(config.model_copy(update={"split_seed": 0}))
    assert again is splits
    facts = splits.facts
    assert (facts.image_size, facts.crop_pct) == (64, 0.875)
    assert splits.train.images_NCHW.shape[-1] == 32
    assert splits.val.images_NCHW.shape[-1] == splits.read_test().images_NCHW.shape[-1] == 64
    assert any("training images are kept at 32 × 32 px" in line for line in facts.summary)
    assert load(plain).train.images_NCHW.shape[-1] == 64
    assert torch.equal(load(plain).val.labels_N, splits.val.labels_N)
    values = {
        "model.family": "imixer",
        "model.depth": 1,
        "model.dim": 16,
        "model.patch_size": 16,
        "optim.batch_size": 8,
    }
    run = ImageTrialRun(
        resolve(values | {"train.epochs": 2, "optim.warmup_epochs": 0}, facts, 0, "imixer"), splits
    )
    assert run.step()["val_loss"] > 0


def test_images_of_several_sizes_are_kept_at_the_models(tmp_path):
    for name in ("a", "b"):
        folder = tmp_path / "mixed" / name
        folder.mkdir(parents=True)
        for number in range(8):
            picture(40 + 3 * number, 50, number).save(folder / f"{number}.png")
    config = viewed(DataConfig(source=str(tmp_path / "mixed"), image_size=32), "paramixer")
    for _ in range(2):  # decoded, then from the cache
        splits = load(config)
        assert (
            splits.train.images_NCHW.shape[-1],
            splits.val.images_NCHW.shape[-1],
            splits.facts.channels,
        ) == (32, 32, 3)
        config = config.model_copy(update={"memory_limit": config.memory_limit - 1})


def test_another_view_is_another_study(squares):
    from hopsearch.data.comparison import data_difference, data_identity

    plain = DataConfig(source=squares, image_size=64)
    config = viewed(plain, "imixer")
    asked, begun = (
        data_identity(config, load(config).facts),
        data_identity(plain, load(plain).facts),
    )
    assert any("data.crop_pct: 0.875 != 1.0" in line for line in data_difference(asked, begun))
    assert not data_difference(asked, asked)
