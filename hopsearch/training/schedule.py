"""Validates a trial's schedule against its data and length, and describes the resulting learning
rates.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hopsearch.core.errors import ConfigError
from hopsearch.data import DataFacts
from hopsearch.models import about_patches
from hopsearch.space import Fidelity
from hopsearch.training.optimizer import learning_rate
from hopsearch.training.recipe.papers import choose_recipe, fit_lengths, recipe
from hopsearch.training.recipe.settings import TrialConfig


def require_schedule(trial: TrialConfig, facts: DataFacts, place: str) -> None:
    """Refuse an inconsistent schedule.

    Raises:
        ConfigError: warm-up and cooldown that leave no epoch between them, a warm-up that falls, a
            batch larger than the data with drop_last, or mixing without a partner.
    """
    optim, epochs = trial.optim, trial.train.epochs
    warmup, cooldown = optim.warmup_epochs, optim.cooldown_epochs
    # one epoch, rising to the peak
    alone = epochs == 1 and cooldown == 0 and warmup == 1 and optim.schedule == "step"
    if warmup + cooldown >= epochs and (warmup or cooldown) and not alone:
        rule = (
            f"warmup_epochs and cooldown_epochs must leave part of train.epochs, got "
            f"{warmup:g} and {cooldown} of {epochs}"
        )
        hint = (
            f"Lower optim.warmup_epochs or optim.cooldown_epochs, or raise train.epochs to "
            f"{math.floor(warmup + cooldown) + 1}"
        )
        raise ConfigError(f"{place}: optim", rule, hint)
    if warmup and optim.warmup_lr > optim.peak_lr:
        rule = (
            f"warmup_lr must be below the peak, got {optim.warmup_lr:g} with a peak learning "
            f"rate of {optim.peak_lr:g}"
        )
        raise ConfigError(
            f"{place}: optim", rule, "Lower optim.warmup_lr, or set optim.warmup_epochs=0"
        )
    if optim.drop_last and optim.batch_size > facts.n_train:
        rule = (
            f"drop_last needs a batch_size that the {facts.n_train} training images fill, got "
            f"{optim.batch_size}"
        )
        hint = (
            f"Set optim.batch_size={_power_below(facts.n_train)} or less, or optim.drop_last=false"
        )
        raise ConfigError(f"{place}: optim", rule, hint)
    mixing = [name for name in ("mixup", "cutmix") if getattr(trial.augment, name)]
    if mixing and min(optim.batch_size, facts.n_train) < 2 * trial.augment.mix_groups:
        rule = (
            f"{mixing[0]} needs 2 images in each of mix_groups={trial.augment.mix_groups}, got "
            f"batch_size {optim.batch_size}"
        )
        raise ConfigError(
            f"{place}: augment", rule, f"Raise optim.batch_size, or set augment.{mixing[0]}=0"
        )


def settled_after(trial: TrialConfig) -> int:
    """Epochs until the end of the warm-up: earlier comparisons would compare trials that have
    hardly learned.
    """
    warmup = trial.optim.warmup_epochs
    # With a per-epoch schedule, the rate first reaches the cosine in the epoch after the warm-up's
    # last.
    return max(1, math.ceil(warmup) + int(warmup > 0 and trial.optim.schedule == "epoch"))


def after_warmup(fidelity: Fidelity, trials: Iterable[TrialConfig]) -> tuple[Fidelity, str]:
    """Rungs after the warm-up, and a sentence if the first was moved; else empty.

    Args:
        fidelity: as requested.
        trials: example trials.
    """
    least = max((settled_after(trial) for trial in trials), default=1)
    if fidelity.min_epochs >= least or least >= fidelity.max_epochs:
        return fidelity, ""
    moved = Fidelity(least, fidelity.max_epochs, fidelity.reduction)
    return moved, (
        f"the first rung is at {least} epochs instead of {fidelity.min_epochs}: before that, "
        f"trials are still warming up (optim.warmup_epochs)"
    )


def rates(trials: Sequence[TrialConfig]) -> str:
    """The learning rates of trials of one kind, as a sentence, after linear scaling."""
    optim = trials[0].optim
    peaks = [trial.optim.peak_lr for trial in trials]
    scaled = {
        f"optim.lr × {trial.optim.batch_size} / {trial.optim.lr_base_batch}"
        if trial.optim.lr_base_batch
        else "optim.lr"
        for trial in trials
    }
    source = f" ({scaled.pop()})" if len(scaled) == 1 else ""
    warmups, lows = (
        {trial.optim.warmup_epochs for trial in trials},
        {trial.optim.min_lr for trial in trials},
    )
    epochs = "epoch" if warmups == {1} else "epochs"
    rise = (
        f"from {optim.warmup_lr:g} over {_span(warmups)} {epochs}"
        if max(warmups)
        else "without warm-up"
    )
    cooldown = f", then {optim.cooldown_epochs} at the lowest" if optim.cooldown_epochs else ""
    set_by = f"each epoch{_reached(trials[0])}" if optim.schedule == "epoch" else "each step"
    return f"peak {_span(peaks)}{source}, {rise}, cosine to {_span(lows)}{cooldown}; set {set_by}"


def _reached(trial: TrialConfig) -> str:
    # The cosine also runs during the warm-up, so no epoch has exactly the peak rate.
    optim, epochs = trial.optim, trial.train.epochs
    share = max(learning_rate(epoch, 1, epochs, optim) for epoch in range(epochs)) / optim.peak_lr
    return f", at most {share:.0%} of the peak" if share < 0.995 else ""


def remarks(trial: TrialConfig, facts: DataFacts) -> list[str]:
    """Remarks on settings of a trial that act differently than they read."""
    optim, said = trial.optim, list[str]()
    if optim.batch_size > facts.n_train:
        said.append(
            f"optim.batch_size={optim.batch_size} exceeds the {facts.n_train} training images: "
            f"each step uses all"
        )
    if optim.warmup_epochs == trial.train.epochs == 1:
        said.append(
            "train.epochs=1 is all warm-up: the learning rate reaches its peak only at the last "
            "step"
        )
    return [*said, *filter(None, [about_patches(trial.model)])]


def opening(
    trial: TrialConfig, facts: DataFacts, recipe_name: str | None, values: Mapping[str, Any]
) -> list[str]:
    """Messages printed before a training starts: recipe, model, learning rate, and remarks on
    settings.

    Args:
        trial: the trial's config.
        facts: of the data.
        recipe_name: the requested recipe; None if the trial is from a study.
        values: settings that override the recipe's.
    """
    model, said = trial.model, list[str]()
    if recipe_name is not None:
        chosen, why = choose_recipe(recipe_name, [model.family], "command line")
        length = {**values, "train.epochs": trial.train.epochs}
        said += [
            sentence
            for sentence in (why, fit_lengths(chosen, recipe(chosen, model.family), length)[1])
            if sentence
        ]
    said.append(
        f"model: {model.family}, images of {model.image_size} px in {model.tokens} patches of "
        f"{model.patch_size} px"
    )
    return [*said, f"learning rate: {rates([trial])}", *remarks(trial, facts)]


def _span(values: Iterable[float]) -> str:
    numbers = sorted(set(values))
    return f"{numbers[0]:.4g}" if len(numbers) == 1 else f"{numbers[0]:.4g} … {numbers[-1]:.4g}"


def _power_below(count: int) -> int:
    return 1 << (count.bit_length() - 1)
