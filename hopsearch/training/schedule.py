"""The learning-rate schedule: the rate of each step, its check against the data and the training's
length, and its description.
"""

import math
from collections.abc import Iterable, Sequence

from hopsearch.core.errors import ConfigError
from hopsearch.space import Fidelity
from hopsearch.training.trial_config import OptimConfig, TrialConfig


def learning_rate(step: int, steps_per_epoch: int, epochs: int, config: OptimConfig) -> float:
    """Learning rate of optimizer step ``step`` (from 0): see `OptimConfig.schedule`.

    A function of the step alone, so a restored training needs no schedule state.
    """
    cosine = epochs - config.cooldown_epochs
    if config.schedule == "epoch":
        # timm's CosineLRScheduler as its training script calls it: before each epoch, with the
        # epoch's number.
        epoch = step // steps_per_epoch
        if epoch < config.warmup_epochs:
            return (
                config.warmup_lr
                + (config.peak_lr - config.warmup_lr) * epoch / config.warmup_epochs
            )
        return _half_cosine(min(1.0, epoch / max(1, cosine)), config)
    warmup = round(config.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return config.warmup_lr + (config.peak_lr - config.warmup_lr) * (step + 1) / warmup
    return _half_cosine(
        min(1.0, (step - warmup) / max(1, cosine * steps_per_epoch - warmup)), config
    )


def _half_cosine(progress: float, config: OptimConfig) -> float:
    return config.min_lr + (config.peak_lr - config.min_lr) * 0.5 * (
        1.0 + math.cos(math.pi * progress)
    )


def require_schedule(trial: TrialConfig, n_train: int, place: str) -> None:
    """Refuse an inconsistent schedule.

    Raises:
        ConfigError: warm-up and cooldown that leave no epoch between them, a warm-up that falls, or
            a batch larger than the data with drop_last.
    """
    optim = trial.optim
    epochs = trial.train.epochs
    warmup = optim.warmup_epochs
    cooldown = optim.cooldown_epochs
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
    if optim.drop_last and optim.batch_size > n_train:
        rule = (
            f"drop_last needs a batch_size that the {n_train} training items fill, got "
            f"{optim.batch_size}"
        )
        hint = f"Set optim.batch_size={_power_below(n_train)} or less, or optim.drop_last=false"
        raise ConfigError(f"{place}: optim", rule, hint)


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
    warmups = {trial.optim.warmup_epochs for trial in trials}
    lows = {trial.optim.min_lr for trial in trials}
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
    optim = trial.optim
    epochs = trial.train.epochs
    share = max(learning_rate(epoch, 1, epochs, optim) for epoch in range(epochs)) / optim.peak_lr
    return f", at most {share:.0%} of the peak" if share < 0.995 else ""


def remarks(trial: TrialConfig, n_train: int) -> list[str]:
    """Remarks on settings of a trial that act differently than they read."""
    optim = trial.optim
    said = list[str]()
    if optim.batch_size > n_train:
        said.append(
            f"optim.batch_size={optim.batch_size} exceeds the {n_train} training items: "
            f"each step uses all"
        )
    if optim.warmup_epochs == trial.train.epochs == 1:
        said.append(
            "train.epochs=1 is all warm-up: the learning rate reaches its peak only at the last "
            "step"
        )
    return said


def _span(values: Iterable[float]) -> str:
    numbers = sorted(set(values))
    return f"{numbers[0]:.4g}" if len(numbers) == 1 else f"{numbers[0]:.4g} … {numbers[-1]:.4g}"


def _power_below(count: int) -> int:
    return 1 << (count.bit_length() - 1)
