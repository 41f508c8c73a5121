"""Configs of the six families: every setting is a field, with the same name in YAML, Optuna and the
report.

Sources: MLP-Mixer (arXiv 2105.01601); iMixer (arXiv 2304.13061); VanillaMixer, ParaMixer, SymMixer,
AsymMixer (arXiv 2406.12220).
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hopsearch.core.config import Settings, choices, nearest, parse
from hopsearch.core.errors import ConfigError


class MixerConfig(Settings):
    """Settings shared by all families; use a subclass.

    The defaults are the papers' S/16: 8 blocks, 512 channels, ratios (0.5, 4), 224 px.
    """

    image_size: int = Field(default=224, ge=1)
    """Height and width of an image, in pixels."""
    channels: int = Field(default=3, ge=1)
    """Colour channels of an image."""
    classes: int = Field(default=1000, ge=0)
    """Classes of the head; 0: no head."""
    patch_size: int = Field(default=16, ge=1)
    """Height and width of a patch, in pixels; (image_size / patch_size)² tokens."""
    depth: int = Field(default=8, ge=1)
    """Blocks."""
    dim: int = Field(default=512, ge=1)
    """Channels of a token."""
    token_ratio: float = Field(default=0.5, gt=0)
    """Width of the token MLP, as a multiple of dim."""
    channel_ratio: float = Field(default=4.0, gt=0)
    """Width of the channel MLP, as a multiple of dim."""
    drop: float = Field(default=0.0, ge=0, lt=1)
    """Dropout inside both MLPs, after the activation and after the last matrix."""
    head_drop: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the head."""
    drop_path: float = Field(default=0.0, ge=0, lt=1)
    """Probability that an image skips a branch in training (stochastic depth); the same in every
    block, as in the papers.
    """

    @property
    def tokens(self) -> int:
        """Patches of an image, S."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def tokens_dim(self) -> int:
        """Width of the token MLP, T."""
        return int(self.token_ratio * self.dim)

    @property
    def channels_dim(self) -> int:
        """Width of the channel MLP."""
        return int(self.channel_ratio * self.dim)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "MixerConfig":
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size must divide image_size, got {self.patch_size} and {self.image_size}; "
                f"{_remedies(self.patch_size, self.image_size)}"
            )
        for name, width in (("token_ratio", self.tokens_dim), ("channel_ratio", self.channels_dim)):
            if width < 1:
                raise ValueError(
                    f"int({name} * dim) must be at least 1, got {width}; Raise {name} or dim"
                )
        return self


def _remedies(patch: int, image: int) -> str:
    """Patch sizes that fit these images, and image sizes that fit the patches."""
    patches = [size for size in range(1, image + 1) if image % size == 0]
    images = [size for size in (image // patch * patch, (image // patch + 1) * patch) if size]
    return f"Set model.patch_size={_either(patches)}, or data.image_size={_either(images)}"


def _either(sizes: list[int]) -> str:
    return " or ".join(filter(None, [", ".join(map(str, sizes[:-1])), str(sizes[-1])]))


class MlpMixerConfig(MixerConfig):
    """MLP-Mixer as in timm: serial blocks, MLPs with bias, LayerNorm over channels (arXiv
    2105.01601).
    """

    family: Literal["mlpmixer"] = "mlpmixer"
    """The family's name."""


class IMixerConfig(MixerConfig):
    """iMixer: MLP-Mixer whose token MLP holds an inverted residual block, solved by iteration
    (arXiv 2304.13061).

    The defaults are those of the paper's CIFAR-10 run: h_ratio 2, n_iter 2, n_power 8. The authors'
    code defaults to h_ratio 1, n_iter 4, n_power 8 instead.
    """

    family: Literal["imixer"] = "imixer"
    """The family's name."""
    h_ratio: float = Field(default=2.0, gt=0)
    """Width of the hierarchy's hidden layer, as a multiple of the token MLP's width."""
    n_iter: int = Field(default=2, ge=0)
    """Fixed-point iterations, without additional parameters. 0 is MLP-Mixer itself, built without
    the unused matrices.
    """
    n_power: int = Field(default=8, ge=1)
    """Power iterations of the spectral normalisation, per training step."""
    spectral_coeff: float = Field(default=0.9, gt=0)
    """Largest spectral norm of the iterated matrices; below 0.8858 contraction is guaranteed, since
    Lip(GELU) = 1.1289.
    """

    @property
    def hidden_dim(self) -> int:
        """Width of the hierarchy's hidden layer, H."""
        return int(self.h_ratio * self.tokens_dim)

    @model_validator(mode="after")
    def _hidden_fits(self) -> "IMixerConfig":
        if self.hidden_dim < 1:
            raise ValueError(
                f"int(h_ratio * token_ratio * dim) must be at least 1, got {self.hidden_dim}; "
                f"Raise h_ratio"
            )
        return self


class MapNormConfig(MixerConfig):
    """Settings shared by the four families of arXiv 2406.12220: LayerNorm over the whole map, MLPs
    without bias, iterated blocks.
    """

    n_iter: int = Field(default=1, ge=1, le=4)
    """How often each block is applied, with the same weights."""


class VanillaMixerConfig(MapNormConfig):
    """VanillaMixer: serial blocks (arXiv 2406.12220)."""

    family: Literal["vanillamixer"] = "vanillamixer"
    """The family's name."""


class ParaMixerConfig(MapNormConfig):
    """ParaMixer: token and channel MLP side by side behind one norm (arXiv 2406.12220)."""

    family: Literal["paramixer"] = "paramixer"
    """The family's name."""


class SymMixerConfig(MapNormConfig):
    """SymMixer: ParaMixer with the symmetric weights required by the Hopfield energy, x ↦ Wᵀ σ(W x)
    (arXiv 2406.12220).
    """

    family: Literal["symmixer"] = "symmixer"
    """The family's name."""


class AsymMixerConfig(MapNormConfig):
    """AsymMixer: SymMixer plus a symmetry-breaking part W̃, x ↦ (Wᵀ + W̃) σ(W x) (arXiv
    2406.12220).
    """

    family: Literal["asymmixer"] = "asymmixer"
    """The family's name."""
    symmetry_breaking: float = Field(default=0.0, ge=0)
    """Strength λ of the penalty λ Σ ‖W̃‖², a sum over all MLPs: 0 is ParaMixer's function class,
    large λ approaches SymMixer.
    """


ModelConfig = Annotated[
    MlpMixerConfig
    | IMixerConfig
    | VanillaMixerConfig
    | ParaMixerConfig
    | SymMixerConfig
    | AsymMixerConfig,
    Field(discriminator="family"),
]
"""Any family's config, discriminated by ``family``."""


FAMILIES: dict[str, type[MixerConfig]] = {
    "mlpmixer": MlpMixerConfig,
    "imixer": IMixerConfig,
    "vanillamixer": VanillaMixerConfig,
    "paramixer": ParaMixerConfig,
    "symmixer": SymMixerConfig,
    "asymmixer": AsymMixerConfig,
}
"""The config class of every family, by name."""


def _refuse_others(family: str, key: str, place: str) -> None:
    """A key of another family is not a typo: name the families that have it."""
    if key in FAMILIES[family].model_fields:
        return
    everywhere = {name for config in FAMILIES.values() for name in config.model_fields}
    meant = key if key in everywhere else nearest(key, everywhere)
    owners = [name for name, config in FAMILIES.items() if meant in config.model_fields]
    if not owners or family in owners:
        return
    whose = (
        f"only {_all(owners)} {'has' if len(owners) == 1 else 'have'} "
        f"{'it' if meant == key else meant}"
    )
    rule = (
        f"{family} has no such setting"
        if meant == key
        else f"unknown key, and {family} has nothing like it"
    )
    raise ConfigError(
        f"{place}: {key}", f"{rule}; {whose}", f"Leave it out, or set model.family={owners[0]}"
    )


def _all(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def parse_model(values: Mapping[str, object], place: str) -> ModelConfig:
    """Validate ``values`` as the config of the family that they name.

    Args:
        values: ``family`` and that family's fields; omitted fields have their defaults.
        place: origin of the values, the start of an error message.

    Raises:
        ConfigError: the family is missing or unknown, a key is not one of this family's, or a rule
            is broken.
    """
    family = values.get("family")
    if family is None:
        raise ConfigError(
            f"{place}: family", "is required", f"Known: {', '.join(sorted(FAMILIES))}"
        )
    if not isinstance(family, str) or family not in FAMILIES:
        raise ConfigError(
            f"{place}: family",
            f"must be a known family, got {family!r}",
            choices(str(family), FAMILIES),
        )
    for key in values:
        _refuse_others(family, str(key), place)
    return parse(FAMILIES[family], values, place)  # type: ignore[return-value]  # every class of the table is in the union
