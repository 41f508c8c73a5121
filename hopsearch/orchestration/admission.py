"""The cost of a configuration, and whether it satisfies the constraints."""

from hopsearch.study import Admission, Identity
from hopsearch.tasks import FactsLike, task_of
from hopsearch.tasks.contract_checks import require_cost
from hopsearch.training import Constraint, TrialConfig


def assess(
    config: dict[str, object], facts: FactsLike, constraint: Constraint, identity: Identity
) -> tuple[Admission, TrialConfig]:
    """Compute the cost of a configuration and check it against the constraints; also returns the
    trial's settings, whose seed is not drawn yet and 0.

    Raises:
        ConfigError: a setting is invalid for any trial.
    """
    task = task_of(identity.space)
    trial = task.resolve(config, facts, 0, identity.recipe, f"space {identity.name}")
    cost = task.cost(trial)
    require_cost(task, cost)
    text, excess = constraint.violation(cost) or ("", 0.0)
    admission = Admission(
        {"n_params": cost.n_params, "flops": cost.flops, "memory": cost.memory}, text, excess
    )
    return admission, trial
