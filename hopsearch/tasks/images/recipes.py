"""Named recipes: the papers' authors' settings, as defaults below a trial's own values.

A recipe's name is its version: studies record it, so the settings behind a name never change. New
settings get a new name. Unavoidable differences from the authors' scripts are listed in
``docs/recipes.md``.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.data import DataConfig

PAPER = "paper"
"""Stands for the recipe that a family's own paper used; see `choose_recipe`."""

# Settings shared by both papers' scripts (arXiv 2304.13061 and 2406.12220).
_BOTH: dict[str, object] = {
    "optim.lr": 5e-4,
    "optim.weight_decay": 0.05,
    "optim.schedule": "epoch",
    "optim.warmup_epochs": 20,
    "optim.warmup_lr": 1e-6,
    "optim.drop_last": True,
    "train.amp_dtype": "float16",
    "model.drop_path": 0.1,
    "augment.resized_crop": 0.08,
    "augment.interpolation": "random",
    "augment.randaugment": "rand-m9-mstd0.5-inc1",
    "augment.erasing": 0.25,
    "augment.label_smoothing": 0.1,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
    "augment.mix_groups": 4,
}
_SETTINGS: dict[str, dict[str, object]] = {
    "default": {},
    # arXiv 2304.13061: 4 GPUs with 512 images each, the rate unscaled, 300 epochs and 10 more at
    # the smallest rate.
    "imixer": _BOTH
    | {
        "optim.batch_size": 2048,
        "optim.min_lr": 1e-6,
        "optim.cooldown_epochs": 10,
        "train.epochs": 310,
    },
    # arXiv 2406.12220: 4 GPUs with 96 images each, the rate given for 512 images and scaled:
    # 3.75e-4.
    "paramixer": _BOTH
    | {
        "optim.batch_size": 384,
        "optim.lr_base_batch": 512,
        "optim.min_lr": 0.0,
        "train.epochs": 300,
    },
}

# The original meaning of ``recipe=paper``, for studies that recorded it: no random resized crop, a
# per-step schedule, and a different batch and rate per family of a space.
OLD_PAPER = "paper-v1"
_OLD_BOTH: dict[str, object] = {
    "optim.lr": 5e-4,
    "optim.weight_decay": 0.05,
    "optim.warmup_epochs": 20,
    "optim.warmup_lr": 1e-6,
    "train.epochs": 300,
    "model.drop_path": 0.1,
    "augment.randaugment": "rand-m9-mstd0.5-inc1",
    "augment.erasing": 0.25,
    "augment.label_smoothing": 0.1,
    "augment.mixup": 0.8,
    "augment.cutmix": 1.0,
}
_OLD_IMIXER: dict[str, object] = {"optim.batch_size": 2048, "optim.min_lr": 1e-6}
_OLD_MIXERS: dict[str, object] = {
    "optim.batch_size": 384,
    "optim.lr_base_batch": 512,
    "optim.min_lr": 0.0,
}

RECIPES: tuple[str, ...] = (*_SETTINGS, PAPER, OLD_PAPER)
_DATA: dict[str, object] = {"crop_pct": 0.875, "keep_original": True}
_WARMUP = "optim.warmup_epochs"
_COOLDOWN = "optim.cooldown_epochs"


def paper_of(family: str) -> str:
    """The recipe that ``family`` was trained with in its own paper; for MLP-Mixer, in the iMixer
    paper, as its baseline.
    """
    return "imixer" if family in ("imixer", "mlpmixer") else "paramixer"


def recipe(name: str, family: str, place: str = "recipe") -> dict[str, object]:
    """Dotted settings of a named recipe, as defaults below a trial's own values.

    Args:
        name: ``default`` (small images, short trainings), ``imixer`` or ``paramixer`` (as the
            authors' scripts run, for any family), ``paper`` (the one of the family's own paper), or
            ``paper-v1`` (the original meaning of ``paper``).
        family: the model's; only used by the last two.
        place: start of an error message.

    Raises:
        ConfigError: unknown name.
    """
    require_recipe(name, place)
    if name == OLD_PAPER:
        return _OLD_BOTH | (_OLD_IMIXER if family == "imixer" else _OLD_MIXERS)
    return dict(_SETTINGS[paper_of(family) if name == PAPER else name])


def require_recipe(name: str, place: str) -> None:
    """Refuse a name that is not a recipe.

    Raises:
        ConfigError: unknown name.
    """
    if name not in RECIPES:
        raise ConfigError(place, f"unknown recipe {name!r}", choices(name, RECIPES))


def viewed(data: DataConfig, name: str) -> DataConfig:
    """Data settings with a recipe's defaults below the user's own: how images are prepared for
    training and evaluation.
    """
    settings = _DATA if name in ("imixer", "paramixer", PAPER) else {}
    return data.model_copy(
        update={key: value for key, value in settings.items() if key not in data.model_fields_set}
    )


def choose_recipe(name: str, families: Iterable[str], place: str) -> tuple[str, str]:
    """The common recipe of all ``families``, and a sentence about it if ``paper`` was requested.

    Compared models must be trained the same way: families of different papers need an explicit
    recipe.

    Raises:
        ConfigError: an unknown name, or ``paper`` for families of several papers.
    """
    require_recipe(name, place)
    if name != PAPER:
        return name, ""
    trained: dict[str, list[str]] = {}
    for family in sorted(set(families)):
        trained.setdefault(paper_of(family), []).append(family)
    if len(trained) == 1:
        ((chosen, names),) = trained.items()
        return (
            chosen,
            f"recipe=paper: recipe={chosen}, with which its paper trained {' and '.join(names)}",
        )
    listed = " and ".join(
        f"{', '.join(names)} with recipe={of}" for of, names in sorted(trained.items())
    )
    rule = (
        f"compared families must use the same recipe, got recipe=paper, with which the papers "
        f"trained {listed}"
    )
    raise ConfigError(
        f"{place}: recipe",
        rule,
        "Set recipe=imixer or recipe=paramixer for all of them, or fix model.family",
    )


def fit_lengths(
    name: str, settings: Mapping[str, Any], values: Mapping[str, Any]
) -> tuple[dict[str, object], str]:
    """Scale a recipe's warm-up and cooldown down if they would take more than half of a shorter
    training.

    Args:
        name: the recipe's.
        settings: its settings.
        values: a trial's own, which override the recipe's.

    Returns:
        The settings, and a sentence about the changes, empty if there are none.
    """
    full = settings.get("train.epochs")
    epochs = values.get("train.epochs")
    lengths = {
        key: settings[key] for key in (_WARMUP, _COOLDOWN) if key in settings and key not in values
    }
    if (
        name == OLD_PAPER
        or not full
        or not epochs
        or not lengths
        or 2 * sum(lengths.values()) <= epochs
    ):
        return dict(settings), ""
    least = {_WARMUP: 1, _COOLDOWN: 0}
    fitted = {
        key: min(max(least[key], round(length * epochs / full)), epochs - 1)
        for key, length in lengths.items()
    }
    changes = ", ".join(f"{key} {lengths[key]} → {fitted[key]}" for key in lengths)
    said = (
        f"recipe={name} was designed for {full} epochs; shortened to train.epochs={epochs}: "
        f"{changes}"
    )
    return {**settings, **fitted}, said
