"""What a configuration costs, and whether it is worth a training."""

from typing import Any

from hopsearch.data import DataFacts
from hopsearch.study import Admission, Identity
from hopsearch.training import Constraint, estimate_cost, resolve


def assess(
    config: dict[str, Any], facts: DataFacts, constraint: Constraint, identity: Identity
) -> Admission:
    """The cost of a configuration, and whether it meets the constraints.

    Raises:
        ConfigError: a setting that no trial can have.
    """
    trial = resolve(config, facts, 0, identity.recipe, f"space {identity.name}")
    cost = estimate_cost(trial)
    text, excess = constraint.violation(cost) or ("", 0.0)
    return Admission(
        {"params": cost.params, "flops": cost.flops, "memory": cost.memory}, text, excess
    )
