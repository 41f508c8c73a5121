"""Early-stopping rules by name."""

from collections.abc import Callable

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.space import Fidelity
from hopsearch.study.stopping.adaptive import AdaptiveAsha
from hopsearch.study.stopping.curve import Curve
from hopsearch.study.stopping.rules import (
    AshaPromotion,
    AshaStopping,
    DelayedAsha,
    Hyperband,
    Median,
    NoPruner,
    OneEpoch,
    Pasha,
    Patience,
    Pruner,
)

PRUNERS: dict[str, Callable[[Fidelity], Pruner]] = {
    "asha": AshaStopping,
    "asha_promotion": AshaPromotion,
    "delayed_asha": DelayedAsha,
    "adaptive_asha": AdaptiveAsha,
    "hyperband": Hyperband,
    "pasha": Pasha,
    "curve": Curve,
    "median": Median,
    "patience": Patience,
    "one_epoch": OneEpoch,
    "none": NoPruner,
}


def make_pruner(name: str, fidelity: Fidelity, place: str = "pruner") -> Pruner:
    """The pruner of that name.

    Raises:
        ConfigError: unknown name.
    """
    if name not in PRUNERS:
        raise ConfigError(place, f"unknown pruner {name!r}", choices(name, PRUNERS))
    return PRUNERS[name](fidelity)
