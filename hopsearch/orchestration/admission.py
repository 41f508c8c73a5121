"""What a configuration costs, and whether it is worth a training."""

from typing import Any

from hopsearch.study import Admission, Identity
from hopsearch.tasks import task_of
from hopsearch.training import Constraint


def assess(
    config: dict[str, Any], facts: Any, constraint: Constraint, identity: Identity
) -> Admission:
    """The cost of a configuration, and whether it meets the constraints.

    Raises:
        ConfigError: a setting that no trial can have.
    """
    task = task_of(identity.space)
    trial = task.resolve(config, facts, 0, identity.recipe, f"space {identity.name}")
    cost = task.cost(trial)
    text, excess = constraint.violation(cost) or ("", 0.0)
    return Admission(
        {"params": cost.params, "flops": cost.flops, "memory": cost.memory}, text, excess
    )
