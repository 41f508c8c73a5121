"""A trial's config: all settings of a training except the data."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, SerializeAsAny, field_validator, model_validator

from hopsearch.core.config import Settings, brief, choices, unflatten
from hopsearch.core.errors import ConfigError
from hopsearch.training.known_optimizers import ADAMW, OPTIMIZERS, OWN_SETTINGS


class OptimConfig(Settings):
    """Optimizer and its schedule: linear warm-up, then a half cosine, then a cooldown.

    The settings that only some optimizers have (`OWN_SETTINGS`) get the default of the chosen one,
    so that a saved config is complete even if timm's defaults change.
    """

    name: str = ADAMW
    """The optimizer, by timm's name: adamw, nadamw, radamw, cadamw, adopt, adoptw, laprop, lamb,
    lion, clion, mars, muon, nmuon, adamuon, nadamuon or sgdw. docs/optimizers.md lists suitable
    learning rates.
    """
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate; absolute unless `lr_base_batch` is given."""
    lr_base_batch: int | None = Field(default=None, gt=0)
    """Linear scaling: the peak is lr × batch_size / lr_base_batch (the mixers' paper: 5e-4 per
    512).
    """
    weight_decay: float = Field(default=0.05, ge=0)
    """Decoupled weight decay, except that adopt adds it to the gradient, and lamb to the scaled
    update; biases and vectors are exempt (timm's rule), a LayerNorm over (S, D) is not.
    """
    beta1: float | None = Field(default=None, ge=0, lt=1)
    """Decay of the first moment. Defaults to the optimizer's own, 0.9; sgdw has none."""
    beta2: float | None = Field(default=None, ge=0, lt=1)
    """Decay of the second moment; of the first moment for lion and clion. Defaults to the
    optimizer's own: 0.9999 for adopt and adoptw, 0.99 for lion, clion and mars, 0.95 for the
    variants of muon, else 0.999; sgdw has none.
    """
    momentum: float | None = Field(default=None, ge=0, lt=1)
    """Momentum of sgdw (above 0) and the variants of muon. Defaults to 0.9; the others have
    none.
    """
    eps: float | None = Field(default=None, gt=0)
    """Constant in the denominator. Defaults to the optimizer's own: 1e-6 for adopt, adoptw and
    lamb, 1e-7 for the variants of muon, 1e-15 for laprop, else 1e-8; lion, clion and sgdw have
    none.
    """
    batch_size: int = Field(default=64, gt=0)
    """Items per optimizer step."""
    clip_grad: float | None = Field(default=None, gt=0)
    """Largest gradient norm; none: no clipping."""
    warmup_epochs: float = Field(default=1.0, ge=0)
    """Epochs of linear warm-up from `warmup_lr`."""
    warmup_lr: float = Field(default=1e-6, ge=0)
    """Learning rate of the first step of the warm-up."""
    min_lr: float = Field(default=1e-6, ge=0)
    """Learning rate at the end of the cosine."""
    cooldown_epochs: int = Field(default=0, ge=0)
    """Last epochs of the training, which stay at `min_lr`."""
    schedule: Literal["step", "epoch"] = "step"
    """``step``: the rate changes with every optimizer step, and the cosine starts after the
    warm-up. ``epoch``: it is set once per epoch, as in timm's scripts: the whole first epoch is at
    `warmup_lr`, and the cosine starts with the training, so that the warm-up ends below the peak.
    """
    drop_last: bool = False
    """Skip the last batch of an epoch if it is not full."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_optimizer(cls, given: Any) -> Any:
        name = given.get("name", ADAMW) if isinstance(given, Mapping) else None
        known = OPTIMIZERS.get(name) if isinstance(name, str) else None
        return {**known.defaults, **given} if known else given

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in OPTIMIZERS:
            raise ValueError(f"must be a known optimizer; {choices(name, OPTIMIZERS)}")
        return name

    @model_validator(mode="after")
    def _settings_of_the_optimizer(self) -> "OptimConfig":
        defaults = OPTIMIZERS[self.name].defaults
        for key in OWN_SETTINGS:
            value = getattr(self, key)
            if value is not None and key not in defaults:
                hint = f"Remove optim.{key}, or set optim.{key}=null"
                raise ValueError(
                    f"{key} must be left out with name={self.name}, which has no such setting, got "
                    f"{value}; "
                    f"{hint}"
                )
            if value is None and key in defaults:
                hint = f"Leave optim.{key} out, or set its default, optim.{key}={defaults[key]:g}"
                raise ValueError(f"{key} must be a number with name={self.name}, got none; {hint}")
        return self

    @model_validator(mode="after")
    def _momentum_of_sgdw(self) -> "OptimConfig":
        if self.name == "sgdw" and self.momentum == 0:
            raise ValueError(
                "momentum must be above 0 with name=sgdw, which uses Nesterov momentum, got 0.0; "
                "Raise optim.momentum"
            )
        return self

    @property
    def own_settings(self) -> dict[str, Any]:
        """The optimizer's keyword arguments, except learning rate and weight decay, by their names
        in torch and timm.
        """
        keywords: dict[str, Any] = {
            key: getattr(self, key) for key in ("momentum", "eps") if getattr(self, key) is not None
        }
        return keywords if self.beta1 is None else keywords | {"betas": (self.beta1, self.beta2)}

    @property
    def peak_lr(self) -> float:
        """The learning rate after warm-up, linear scaling applied."""
        return self.lr * self.batch_size / self.lr_base_batch if self.lr_base_batch else self.lr


class TrainConfig(Settings):
    """Length and execution of one training."""

    epochs: int = Field(default=27, gt=0)
    """Full length, which determines the schedule even if a trial is stopped early."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto uses a GPU if one is assigned."""
    amp: bool = True
    """Autocast to `amp_dtype` on a GPU that supports it (bfloat16: Ampere or later); a CPU always
    trains in float32.
    """
    amp_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    """Autocast's type on a GPU; float16 with loss scaling, as in the papers' scripts."""
    compile: bool = False
    """torch.compile the model; off by default, since compiling costs more than it saves for short
    trials.
    """
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, which is then evaluated and exported;
    after t steps it is at most (1 + t) / (10 + t).
    """
    micro_batch: int | None = Field(default=None, gt=0)
    """Maximum number of items per forward pass of a process; gradients of a larger batch are
    accumulated. None: no limit.
    """
    grad_checkpointing: bool = False
    """Keep only the blocks' inputs for the backward pass and recompute the blocks there: less
    memory, more time.
    """
    eval_batch_size: int = Field(default=512, gt=0)
    """Items per forward pass in evaluation."""


class TrialConfig(Settings):
    """The complete settings of one trial: with the data set they determine the training bit for bit
    on a CPU.

    A task's own config gives ``model`` and ``train`` the types that it needs, and may add sections.
    """

    model: SerializeAsAny[Settings]
    """Sizes and switches of the model."""
    optim: OptimConfig = OptimConfig()
    """Optimizer and schedule."""
    train: SerializeAsAny[TrainConfig] = TrainConfig()
    """Length and execution."""
    seed: int = Field(default=0, ge=0)
    """Seed of initial weights, order of the items and all other randomness."""

    @model_validator(mode="after")
    def _schedule_fits(self) -> "TrialConfig":
        if self.optim.min_lr > self.optim.peak_lr:
            low = self.optim.min_lr
            peak = self.optim.peak_lr
            rule = f"optim.min_lr <= peak learning rate must hold, got {low} > {peak:g} of optim.lr"
            raise ValueError(f"{rule}; Lower optim.min_lr, or raise optim.lr")
        return self


def sections_of(config: type[TrialConfig]) -> tuple[str, ...]:
    """The first words of a trial's settings: ``model``, ``optim``, …."""
    return tuple(name for name in config.model_fields if name != "seed")


def read_sections(
    values: Mapping[str, Any], sections: Sequence[str], place: str
) -> dict[str, dict[str, object]]:
    """Dotted values by section.

    Raises:
        ConfigError: an unknown section, a section that is given one value, or a name below a
            setting: one would hide the other.
    """
    for name, value in values.items():
        section, *rest = name.split(".")
        if section in sections and not rest:
            rule = f"is a group of settings, not a single one, got {brief(value)}"
            raise ConfigError(
                f"{place}: {name}", rule, f"Set one of them: {section}.<name>=…, see --help"
            )
        if section in sections and len(rest) > 1:
            raise ConfigError(
                f"{place}: {name}",
                "unknown key",
                f"{section}.{rest[0]} takes a single value, without settings below it",
            )
    tree: dict[str, dict[str, object]] = unflatten(values)
    for section in tree:
        if section not in sections:
            raise ConfigError(
                f"{place}: {section}",
                f"unknown section, got {section!r}",
                choices(section, sections),
            )
    return tree
