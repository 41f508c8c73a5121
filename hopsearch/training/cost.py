"""What a configuration costs, and the limits that a search sets to that. How the cost is found out
before anything runs, each task says.
"""

from dataclasses import dataclass

from pydantic import Field

from hopsearch.core.config import Settings


@dataclass(frozen=True)
class Cost:
    """Cost of a configuration.

    Attributes:
        n_params: trainable parameters.
        flops: floating-point operations of one item's forward pass, spectral norms folded (a
            multiply-add counts two).
        memory: bytes of a training step at its peak: weights, gradients, the optimizer's state, the
            moving average, and what autograd keeps for the backward pass of one batch. An estimate
            from below: allocator slack and the temporary buffers of single operations are not in
            it, and autocast's smaller activations are not taken off.
    """

    n_params: int
    flops: int
    memory: int


class Constraint(Settings):
    """Limits on a configuration's cost. One that breaks a limit is re-sampled, never trained;
    ``max_latency`` alone is soft.
    """

    max_params: float | None = Field(default=None, gt=0)
    """Most trainable parameters, e.g. 5e6."""
    max_flops: float | None = Field(default=None, gt=0)
    """Most floating-point operations of one item's forward pass, e.g. 1e9."""
    max_memory: float | None = Field(default=None, gt=0)
    """Most bytes of a training step at its peak, e.g. 8e9."""
    max_latency: float | None = Field(default=None, gt=0)
    """Most seconds of one item's forward pass on a trial's own device, e.g. 2e-3: measured after
    its first epoch, where a trial that breaks it ends, and the sampler learns from it."""

    def violation(self, cost: Cost) -> tuple[str, float] | None:
        """The first broken limit as a sentence, with its relative excess (0.1 is ten per cent
        over); None if all hold.
        """
        for name, limit in (
            ("n_params", self.max_params),
            ("flops", self.max_flops),
            ("memory", self.max_memory),
        ):
            value = getattr(cost, name)
            if limit is not None and value > limit:
                return _broken(name, value, limit)
        return None

    def too_slow(self, latency: float) -> tuple[str, float] | None:
        """As `violation`, of what is measured while it trains."""
        limit = self.max_latency
        return _broken("latency", latency, limit) if limit is not None and latency > limit else None


def _broken(name: str, value: float, limit: float) -> tuple[str, float]:
    return f"{name} <= {limit:.4g} must hold, got {value:.4g}", value / limit - 1.0
