"""The cost of a configuration, and whether it satisfies the constraints."""

from hopsearch.study import Admission, Identity
from hopsearch.tasks import FactsLike, task_of
from hopsearch.tasks.checks import require_cost
from hopsearch.training import Constraint


def assess(
    config: dict[str, object], facts: FactsLike, constraint: Constraint, identity: Identity
) -> Admission:
    """Compute the cost of a configuration and check it against the constraints.

    Raises:
        ConfigError: a setting is invalid for any trial.
    """
    task = task_of(identity.space)
    trial = task.resolve(config, facts, 0, identity.recipe, f"space {identity.name}")
    cost = task.cost(trial)
    require_cost(task, cost)
    text, excess = constraint.violation(cost) or ("", 0.0)
    return Admission(
        {"n_params": cost.n_params, "flops": cost.flops, "memory": cost.memory}, text, excess
    )
