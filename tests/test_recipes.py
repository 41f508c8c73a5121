"""The papers' recipes, as their authors' scripts run them; one recipe for what is compared;
schedules that make sense.
"""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from timm.data import create_transform

from hopsearch import train, tune
from hopsearch.command_line.command import MISTAKE, run_verb
from hopsearch.core.errors import ConfigError, StudyError
from hopsearch.data import Augment, DataConfig, DataFacts
from hopsearch.data.augmentation import geometry, mixing, randaugment
from hopsearch.data.augmentation.randaugment import RandAugment, parse_policy
from hopsearch.models import FAMILIES
from hopsearch.orchestration.space_preparation import open_space
from hopsearch.space import Fidelity
from hopsearch.study import Identity
from hopsearch.tasks.images.classifier_config import resolve
from hopsearch.tasks.images.classifier_run import ImageTrialRun
from hopsearch.tasks.images.recipes import choose_recipe, recipe, viewed
from hopsearch.tasks.images.training_remarks import opening, require_schedule
from hopsearch.training.schedule import after_warmup, learning_rate, rates, settled_after
from tests.conftest import identity

CURVES = json.loads((Path(__file__).parent / "assets" / "learning_rates.json").read_text())
"""Learning rate of every epoch, recorded from timm's own schedulers as the authors' scripts call
them.
"""
CIFAR = DataFacts("cifar10", 224, 3, tuple("0123456789"), 50_000, 0, 10_000, True, "0")

SETTINGS = {
    "optim.lr": 5e-4,
    "optim.weight_decay": 0.05,
    "optim.beta1": 0.9,
    "optim.beta2": 0.999,
    "optim.clip_grad": None,
    "optim.warmup_epochs": 20,
    "optim.warmup_lr": 1e-6,
    "optim.schedule": "epoch",
    "optim.drop_last": True,
    "train.ema_decay": None,
    "train.amp": True,
    "train.amp_dtype": "float16",
    "model.drop_path": 0.1,
    "augment.crop_pad": 0,
    "augment.resized_crop": 0.08,
    "augment.interpolation": "random",
    "augment.flip": None,  # where the data allow it; CIFAR's do
    "augment.randaugment": "rand-m9-mstd0.5-inc1",
    "augment.erasing": 0.25,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.mix_groups": 4,
    "augment.label_smoothing": 0.1,
}
OWN = {
    "imixer": {
        "optim.batch_size": 2048,
        "optim.lr_base_batch": None,
        "optim.min_lr": 1e-6,
        "optim.cooldown_epochs": 10,
        "train.epochs": 310,
    },
    "paramixer": {
        "optim.batch_size": 384,
        "optim.lr_base_batch": 512,
        "optim.min_lr": 0.0,
        "optim.cooldown_epochs": 0,
        "train.epochs": 300,
    },
}
STEPS = {"imixer": 24, "paramixer": 130}
"""Of an epoch of all 50,000 images of CIFAR, the last batch dropped."""


def trial_of(name, family="imixer", facts=CIFAR, **values):
    dotted = {key.replace("__", "."): value for key, value in values.items()}
    return resolve({"model.family": family} | dotted, facts, 0, name)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_rate_of_every_epoch_is_the_recorded_one(name, family):
    trial, steps = trial_of(name, family), STEPS[name]
    expected = CURVES[name]
    assert trial.train.epochs == len(expected)
    for at in (0, 1, steps - 1):  # set once an epoch: the same at all its steps
        rate = [
            learning_rate(epoch * steps + at, steps, len(expected), trial.optim)
            for epoch in range(len(expected))
        ]
        assert rate == pytest.approx(expected, abs=1e-9, rel=1e-9)
    assert 50_000 // trial.optim.batch_size == steps


@pytest.mark.parametrize(
    ("name", "peak", "low", "last"), [("imixer", 5e-4, 1e-6, 10), ("paramixer", 3.75e-4, 0.0, 0)]
)
def test_the_recorded_curves_are_the_formula(name, peak, low, last):
    for epoch, rate in enumerate(CURVES[name]):
        if epoch < 20:
            expected = 1e-6 + epoch / 20 * (peak - 1e-6)
        else:
            expected = low + (peak - low) * (1 + math.cos(math.pi * min(1, epoch / 300))) / 2
        assert rate == pytest.approx(expected, abs=1e-12)
    assert CURVES[name][300:] == [low] * last


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("family", FAMILIES)
def test_settings_are_the_scripts_whatever_the_family(name, family):
    trial = trial_of(name, family)
    for key, value in (SETTINGS | OWN[name]).items():
        section, field = key.split(".")
        assert getattr(getattr(trial, section), field) == value, key
    assert (viewed(DataConfig(), name).crop_pct, viewed(DataConfig(), name).keep_original) == (
        0.875,
        True,
    )
    assert viewed(DataConfig(crop_pct=1.0), name).crop_pct == 1.0, (
        "the user's own goes before the recipe's"
    )


@pytest.mark.parametrize("name", OWN)
def test_augmentations_are_those_of_timms_list(name):
    """What timm makes of the scripts' words, one by one and in order; mixing lies before erasing,
    as in timm's loader.
    """
    erased = {"re_prob": 0.25, "re_mode": "pixel"}
    scripts = {
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "interpolation": "random",
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
    }
    crop, flip, varied, tensor, normalized, erasing = create_transform(
        224, is_training=True, **scripts, **erased
    ).transforms
    kinds = [type(step).__name__ for step in (crop, flip, varied, tensor, normalized, erasing)]
    assert kinds[:3] == ["RandomResizedCropAndInterpolation", "RandomHorizontalFlip", "RandAugment"]
    assert kinds[3:] == ["MaybeToTensor", "Normalize", "RandomErasing"]

    ours = trial_of(name).augment
    assert (crop.size, crop.scale) == ((224, 224), (ours.resized_crop, 1.0))
    assert [math.log(ratio) for ratio in crop.ratio] == pytest.approx(
        [-geometry._LOG_RATIO, geometry._LOG_RATIO]
    )
    assert [method.value for method in crop.interpolation] == ["bilinear", "bicubic"]
    assert ours.interpolation == "random"
    assert (flip.p, Augment(ours, CIFAR)._flip) == (0.5, True)

    policy = parse_policy(ours.randaugment)
    operations = {(step.name, step.prob, step.magnitude, step.magnitude_std) for step in varied.ops}
    named = [
        *randaugment._AFFINE_OPS,
        *(operation for operation, _, _ in RandAugment(policy)._pixel),
    ]
    assert operations == {
        (operation, policy.probability, policy.magnitude, policy.std) for operation in named
    }
    assert (varied.num_layers, len(varied.ops)) == (policy.layers, len(named))
    assert {step.magnitude_max or randaugment._SCALE for step in varied.ops} == {policy.most}

    darkest, brightest = Augment.normalize(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    assert [darkest, brightest] == normalized(torch.tensor([0.0, 1.0]).expand(3, 1, 2))[
        0, 0
    ].tolist()
    assert (erasing.probability, erasing.min_area, erasing.max_area) == (
        ours.erasing,
        *mixing._ERASED_AREA,
    )
    assert erasing.log_aspect_ratio == pytest.approx((-mixing._LOG_RATIO, mixing._LOG_RATIO))
    assert (erasing.min_count, erasing.max_count, erasing.per_pixel) == (1, 1, True)


def test_the_rate_does_not_follow_the_batch_where_it_is_absolute():
    assert trial_of("imixer", optim__batch_size=64).optim.peak_lr == 5e-4
    scaled = trial_of("paramixer", "paramixer", optim__batch_size=64)
    assert scaled.optim.peak_lr == pytest.approx(5e-4 * 64 / 512)
    assert "peak 6.25e-05 (optim.lr × 64 / 512)" in rates([scaled])
    assert "at most 99% of the peak" in rates([trial_of("imixer")]), (
        "the cosine's clock runs during the warm-up"
    )


class TestOneRecipe:
    """What is compared is trained alike."""

    @pytest.mark.parametrize(
        ("families", "chosen"),
        [
            (["imixer"], "imixer"),
            (["mlpmixer", "imixer"], "imixer"),
            (["mlpmixer"], "imixer"),
            (["paramixer", "symmixer", "asymmixer", "vanillamixer"], "paramixer"),
        ],
    )
    def test_paper_is_the_families_own(self, families, chosen):
        name, said = choose_recipe("paper", families, "here")
        assert (name, f"recipe=paper: recipe={chosen}" in said) == (chosen, True)

    def test_paper_is_refused_for_families_of_several_papers(self, digits):
        with pytest.raises(
            ConfigError,
            match=r"must use the same recipe.*imixer, mlpmixer with recipe=imixer.*for all of them",
        ):
            open_space("hopfield", digits.facts, {}, "paper")
        one = open_space("hopfield", digits.facts, {"model.family": "symmixer"}, "paper")
        assert (one.recipe, list(one.rates)) == ("paramixer", ["symmixer"])

    @pytest.mark.parametrize("name", ["default", "imixer", "paramixer"])
    @pytest.mark.parametrize("fixed", [{"optim.lr": 2e-3}, {}], ids=["fixed", "searched"])
    def test_families_of_a_space_have_one_rate(self, digits, name, fixed):
        opened = open_space("hopfield", digits.facts, dict(fixed), name)
        assert len(opened.rates) == 6
        assert len(set(opened.rates.values())) == 1
        (told,) = [sentence for sentence in opened.said if sentence.startswith("learning rate of")]
        assert "asymmixer, imixer, mlpmixer, paramixer, symmixer, vanillamixer: peak " in told

    def test_what_goes_before_the_recipe_is_said(self, digits):
        opened = open_space("imixer", digits.facts, {"train.epochs": 9, "model.depth": 2}, "imixer")
        said = "\n".join(opened.said)
        assert "optim.batch_size=64 (recipe: 2048)" in said
        assert "searched: optim.lr" in said
        assert "augment.crop_pad is 0, not searched" in said
        assert "optim.cooldown_epochs 10 → 0" in said
        assert opened.space.fixed["augment.crop_pad"] == 0

    def test_its_rates_are_recorded(self, trial):
        assert trial.step()["peak_lr"] == trial.config.optim.peak_lr


class TestOldStudies:
    def test_what_paper_meant_at_first_keeps_a_name(self, digits):
        old = resolve(
            {"model.family": "paramixer", "model.patch_size": 2}, digits.facts, 0, "paper-v1"
        )
        assert (old.optim.schedule, old.augment.resized_crop, old.optim.peak_lr) == (
            "step",
            None,
            pytest.approx(3.75e-4),
        )
        assert recipe("paper-v1", "mlpmixer")["optim.batch_size"] == 384
        assert recipe("paper-v1", "imixer")["optim.batch_size"] == 2048

    def test_a_study_of_then_is_not_continued_with_another_recipe(self):
        stored = identity().to_dict() | {"recipe": "paper"}
        begun = Identity.from_dict(json.loads(json.dumps(stored)))
        assert begun.recipe == "paper-v1"
        dataclasses.replace(identity(), recipe="paper-v1").require_same(begun, "here")
        with pytest.raises(
            StudyError, match=r"recipe: imixer != paper-v1 .*recipe=paper-v1 continues it"
        ):
            dataclasses.replace(identity(), recipe="imixer").require_same(begun, "here")

    def test_a_training_of_before_new_settings_goes_on(self, digits, tmp_path):
        trial = trial_of("default", facts=digits.facts, model__patch_size=2)
        file = tmp_path / "training.json"
        train.require_same(file, trial, {"fingerprint": "0"})
        known = json.loads(file.read_text())
        old = {
            key: value
            for key, value in known.items()
            if key not in ("optim.schedule", "optim.drop_last", "augment.mix_groups")
        }
        file.write_text(json.dumps(old))
        train.require_same(file, trial, {"fingerprint": "0"})
        file.write_text(json.dumps(old))
        changed = trial.model_copy(
            update={"optim": trial.optim.model_copy(update={"schedule": "epoch"})}
        )
        with pytest.raises(ConfigError, match=r"optim\.schedule: epoch != step"):
            train.require_same(file, changed, {"fingerprint": "0"})


class TestSchedules:
    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            (
                "default",
                {"optim.warmup_epochs": 20, "train.epochs": 9},
                "must leave part of train.epochs, got 20 and 0 of 9",
            ),
            ("default", {"optim.warmup_epochs": 9, "train.epochs": 9}, "raise train.epochs to 10"),
            ("default", {"optim.cooldown_epochs": 30}, "got 1 and 30 of 27"),
            ("default", {"optim.warmup_lr": 1e-2}, "warmup_lr must be below the peak, got 0.01"),
            (
                "default",
                {"optim.drop_last": True, "optim.batch_size": 2048},
                r"Set optim.batch_size=1024 or less",
            ),
            ("default", {"augment.mixup": 0.2, "optim.batch_size": 1}, "mixup needs 2 images"),
            (
                "imixer",
                {"augment.mix_groups": 64, "optim.batch_size": 64},
                "in each of mix_groups=64",
            ),
        ],
    )
    def test_one_that_makes_no_sense_is_refused(self, digits, name, values, message):
        trial = resolve(
            {"model.family": "imixer", "model.patch_size": 2} | values, digits.facts, 0, name
        )
        with pytest.raises(ConfigError, match=message):
            require_schedule(trial, digits.facts, "here")

    def test_a_lowest_rate_above_the_peak_is_refused(self, digits):
        with pytest.raises(ConfigError, match="min_lr <= peak learning rate must hold"):
            resolve(
                {"model.family": "imixer", "model.patch_size": 2, "optim.lr": 1e-7}, digits.facts, 0
            )

    @pytest.mark.parametrize(
        ("epochs", "warmup", "cooldown"),
        [(310, 20, 10), (60, 20, 10), (59, 4, 2), (9, 1, 0), (1, 0, 0)],
    )
    def test_a_papers_warmup_is_shortened_with_the_training(self, epochs, warmup, cooldown):
        optim = trial_of("imixer", train__epochs=epochs).optim
        assert (optim.warmup_epochs, optim.cooldown_epochs) == (warmup, cooldown)
        assert (
            trial_of("imixer", train__epochs=epochs, optim__warmup_epochs=0).optim.warmup_epochs
            == 0
        )

    def test_rungs_come_after_the_warmup(self):
        slow, by_epoch = (
            trial_of("default", train__epochs=27, optim__warmup_epochs=5, optim__schedule=schedule)
            for schedule in ("step", "epoch")
        )
        assert (settled_after(slow), settled_after(by_epoch)) == (5, 6)
        moved, why = after_warmup(Fidelity(1, 27, 3), [slow, by_epoch])
        assert (moved.rungs, "first rung is at 6 epochs instead of 1" in why) == ((6, 18, 27), True)
        assert after_warmup(Fidelity(6, 27, 3), [by_epoch]) == (Fidelity(6, 27, 3), "")

    @pytest.mark.parametrize("space", ["imixer", "hopfield", "mixer", "paramixer"])
    def test_shipped_spaces_need_no_change(self, digits, space):
        assert open_space(space, digits.facts, {}, "default").later is None

    def test_one_epoch_is_said_to_be_all_warmup(self, digits):
        assert "train.epochs=1 is all warm-up" in "\n".join(
            open_space("imixer", digits.facts, {"train.epochs": 1}, "default").said
        )


def test_last_batches_are_dropped(tiny, digits):
    optim = tiny.optim.model_copy(update={"drop_last": True, "batch_size": 500})
    run = ImageTrialRun(tiny.model_copy(update={"optim": optim}), digits)
    row = run.step()
    steps = len(digits.train) // 500
    assert int(run.optimizer.state_dict()["state"][0]["step"]) == steps
    assert 1.0 < row["train_loss"] < 3.0  # a mean over the images that were seen


class TestCommandLine:
    @pytest.fixture
    def tell(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "300")

        def run(verb, schema, *words):
            code = run_verb(verb.main, schema, "about", words)
            out = capsys.readouterr()
            return code, out.out + out.err

        return run

    def test_small_images_in_large_patches_are_refused(self, tell, tmp_path):
        from tests.conftest import folder_of_images

        folder_of_images(tmp_path / "images")
        code, said = tell(
            train, train.TrainingConfig, "model=imixer_s16_224", "data=images", "data.image_size=32"
        )
        assert code == MISTAKE
        assert (
            "made for images of 224 px, got 32 px, which are 4 patches of 16 px. Enlarge them "
            "with data.image_size=224" in said
        )

    @pytest.mark.parametrize(
        ("patch", "said_so"), [(16, "leaves 4 patches"), (32, "leaves 1 patch "), (8, "")]
    )
    def test_a_search_says_that_small_images_make_few_patches(self, tell, tmp_path, patch, said_so):
        from tests.conftest import folder_of_images

        folder_of_images(tmp_path / "images")
        words = (
            "space=imixer",
            "data=images",
            "data.image_size=32",
            f"model.patch_size={patch}",
            "trials=2",
            "dry_run=true",
        )
        code, said = tell(tune, tune.TuneConfig, *words)
        assert code == 0, said
        said = " ".join(said.split())
        remedy = "enlarge the images with data.image_size=224, or set model.patch_size=8"
        expected = f"model.patch_size={patch} {said_so}" if said_so else "patches of an image"
        assert (expected in said, remedy in said) == ((True, True) if said_so else (False, False))

    def test_a_training_says_that_small_images_make_few_patches(self, digits):
        trial = resolve(
            {"model.family": "imixer", "model.patch_size": 16},
            dataclasses.replace(digits.facts, image_size=32),
            0,
        )
        assert any(
            "leaves 4 patches of an image of 32 px" in remark
            for remark in opening(trial, digits.facts, None, {})
        )

    def test_a_plan_shows_rates_recipe_and_rungs(self, tell):
        words = (
            "space=imixer",
            "recipe=paper",
            "dry_run=true",
            "train.epochs=9",
            "model.dim=32",
            "model.depth=2",
            "trials=2",
        )
        code, said = tell(tune, tune.TuneConfig, *words)
        assert code == 0, said
        assert "recipe=paper: recipe=imixer" in said
        assert (
            "learning rate of imixer: peak 0.0003 … 0.01 (optim.lr), from 1e-06 over 1 epoch, "
            "cosine to 1e-06; set each epoch" in said
        )
        assert "the first rung is at 2 epochs instead of 1" in said
        assert "rungs: 2, 6, 9 epochs" in said
