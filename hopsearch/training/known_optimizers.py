"""The supported optimizers, by their names in timm, and the settings of each.

``tests/test_optimizers.py`` trains, saves and resumes every one to the bit and compares it with
timm's defaults; an added name is tested automatically. ``docs/optimizers.md`` lists suitable
learning rates.
"""

from dataclasses import dataclass

ADAMW = "adamw"
"""The default, and the only one from torch itself: its trainings do not import timm."""
OWN_SETTINGS = ("beta1", "beta2", "momentum", "eps")
"""Settings that only some optimizers have; each has its own default."""


@dataclass(frozen=True)
class KnownOptimizer:
    """Facts about an optimizer before it is built.

    Attributes:
        beta1: default decay of the first moment; None: no such setting (also below).
        beta2: default decay of the second moment.
        momentum: default momentum.
        eps: default constant in the denominator.
        state_copies: tensors of the weights' size that its state holds, for
            `hopsearch.training.cost`.
        hybrid: whether it orthogonalizes the updates of matrices, and updates everything else like
            AdamW (or NAdamW).
    """

    beta1: float | None = 0.9
    beta2: float | None = 0.999
    momentum: float | None = None
    eps: float | None = 1e-8
    state_copies: int = 2
    hybrid: bool = False

    @property
    def defaults(self) -> dict[str, float]:
        """Its settings with their defaults."""
        values = {name: getattr(self, name) for name in OWN_SETTINGS}
        return {name: value for name, value in values.items() if value is not None}


_MUON = KnownOptimizer(beta2=0.95, momentum=0.9, eps=1e-7, state_copies=1, hybrid=True)
_ADAMUON = KnownOptimizer(beta2=0.95, momentum=0.9, eps=1e-7, hybrid=True)

OPTIMIZERS: dict[str, KnownOptimizer] = {
    ADAMW: KnownOptimizer(),
    "nadamw": KnownOptimizer(),
    "radamw": KnownOptimizer(),
    "cadamw": KnownOptimizer(),
    "adopt": KnownOptimizer(beta2=0.9999, eps=1e-6),
    "adoptw": KnownOptimizer(beta2=0.9999, eps=1e-6),
    "laprop": KnownOptimizer(eps=1e-15),
    "lamb": KnownOptimizer(eps=1e-6),
    "lion": KnownOptimizer(beta2=0.99, eps=None, state_copies=1),
    "clion": KnownOptimizer(beta2=0.99, eps=None, state_copies=1),
    "mars": KnownOptimizer(beta2=0.99, state_copies=3),
    "muon": _MUON,
    "nmuon": _MUON,
    "adamuon": _ADAMUON,
    "nadamuon": _ADAMUON,
    "sgdw": KnownOptimizer(beta1=None, beta2=None, momentum=0.9, eps=None, state_copies=1),
}
"""By name in timm's registry of optimizers."""
