"""Early-stopping rules by name."""

from collections.abc import Callable

from hopsearch.core.config import choices
from hopsearch.core.errors import ConfigError
from hopsearch.space import Fidelity
from hopsearch.study.stopping.adaptive_asha import AdaptiveAsha
from hopsearch.study.stopping.asha import AshaPromotion, AshaStopping, DelayedAsha, Hyperband, Pasha
from hopsearch.study.stopping.curve_prediction import Curve
from hopsearch.study.stopping.rule import Pruner
from hopsearch.study.stopping.simple_rules import Median, NoPruner, OneEpoch, Patience

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
