"""What a task of the user's own must give, checked where it is first used: a mistake is a sentence
instead of an error deep inside a search.
"""

import math
import re
from collections.abc import Mapping
from numbers import Real

from pydantic import ValidationError

from hopsearch.core.config import Settings, brief
from hopsearch.core.errors import ConfigError, TaskError
from hopsearch.core.metrics import TEST, VALIDATION, Kind, Metric
from hopsearch.space.objectives import COSTS
from hopsearch.tasks.contract import EVERY_EPOCH, Run, Task
from hopsearch.training import Cost, TrialConfig, TrialRun
from hopsearch.training.trial_config import sections_of

_ROWS = {*EVERY_EPOCH, "epoch", *COSTS}  # names that an epoch's row has of its own
_WORD = re.compile(r"[A-Za-z0-9_.@-]+")
_SPLITS = ("n_train", "n_val", "n_test")


def require_class(found: type[Task], place: str) -> None:
    """Refuse a class whose attributes or methods are missing or of the wrong kind.

    Raises:
        ConfigError: the first of them.
    """
    if missing := sorted(found.__abstractmethods__):
        rule = f"{found.__name__} must define {', '.join(missing)}"
        raise ConfigError(place, rule, "See hopsearch.tasks.Task for what they return")
    for name, kind in (("data", Settings), ("config", TrialConfig)):
        value = getattr(found, name, None)
        if not (isinstance(value, type) and issubclass(value, kind)):
            rule = (
                f"{found.__name__}.{name} must be a subclass of hopsearch.tasks.{kind.__name__}, "
                f"got {brief(value)}"
            )
            raise ConfigError(place, rule, f"Set {name} = <the class> in the task")
    word = getattr(found, "name", None)
    if not (isinstance(word, str) and word.strip()):
        rule = f"{found.__name__}.name must be a word, got {brief(word)}"
        raise ConfigError(place, rule, 'Set name = "…" in the task')
    if "source" not in found.data.model_fields:
        rule = f"{found.data.__name__} must have a setting source, which data=… sets, got none"
        raise ConfigError(place, rule, 'Add source: str = "…" to it')
    _require_metrics(found, place)
    if not found.settings:
        _require_sections(found, place)


def _require_metrics(found: type[Task], place: str) -> None:
    metrics = getattr(found, "metrics", None)
    where = f"{found.__name__}.metrics"
    if not (isinstance(metrics, tuple) and metrics and _all_metrics(metrics)):
        got = brief(metrics)
        rule = f"{where} must be a tuple of at least one Metric, each with a Kind, got {got}"
        hint = 'Write e.g. metrics = (Metric("val_error", maximize=False),)'
        raise ConfigError(place, rule, hint)
    names = [metric.name for metric in metrics]
    for name in names:
        short = name.removeprefix(VALIDATION)
        if short == name or not _WORD.fullmatch(short):
            rule = f"{where}: a name must be {VALIDATION} and a word, got {brief(name)}"
            hint = f"Write e.g. {VALIDATION}error; the test split's is then {TEST}error"
            raise ConfigError(place, rule, hint)
    if len(set(names)) < len(names):
        rule = f"{where}: names must differ, got {', '.join(names)}"
        raise ConfigError(place, rule, "Rename or drop one")
    if found.throughput in {*_ROWS, *names}:
        where = f"{found.__name__}.throughput"
        rule = f"{where} must differ from the other columns, got {found.throughput!r}"
        raise ConfigError(place, rule, "Write e.g. items_per_s")


def _all_metrics(metrics: tuple[object, ...]) -> bool:
    return all(isinstance(metric, Metric) and isinstance(metric.kind, Kind) for metric in metrics)


def _require_sections(found: type[Task], place: str) -> None:
    for section in sections_of(found.config):
        kind = found.config.model_fields[section].annotation
        if not (isinstance(kind, type) and issubclass(kind, Settings)):
            rule = (
                f"{found.config.__name__}.{section} must be a group of settings, a subclass of "
                f"hopsearch.tasks.Settings, got {brief(kind)}"
            )
            hint = f"Put single settings into a group of their own, e.g. model.{section}"
            raise ConfigError(place, rule, hint)


def require_data(task: Task, data: object) -> None:
    """Refuse data whose facts are missing or cannot be.

    Raises:
        TaskError: the first of them.
    """
    facts = getattr(data, "facts", None)
    if facts is None:
        rule = f"load() must return an object with facts, got {brief(data)}"
        raise TaskError(f"task {task.name}", rule, "Set self.facts = Facts(…) in it")
    for name, kind in (*((split, int) for split in _SPLITS), ("name", str), ("fingerprint", str)):
        value = getattr(facts, name, None)
        if not isinstance(value, kind):
            rule = f"facts.{name} must be of type {kind.__name__}, got {brief(value)}"
            raise TaskError(f"task {task.name}", rule, "See hopsearch.tasks.Facts")
    for name in _SPLITS:
        if getattr(facts, name) < 1:
            rule = f"facts.{name} must be at least 1, got {getattr(facts, name)}"
            raise TaskError(f"task {task.name}", rule, "Give every split an item")
    if not isinstance(getattr(facts, "summary", None), tuple):
        rule = (
            f"facts.summary must be a tuple of lines, got {brief(getattr(facts, 'summary', None))}"
        )
        raise TaskError(f"task {task.name}", rule, "Write () for none")


def known_of(task: Task, facts: object) -> Mapping[str, object]:
    """`Task.condition_facts`.

    Raises:
        TaskError: it is no mapping.
    """
    known = task.condition_facts(facts)
    if not isinstance(known, Mapping):
        rule = f"condition_facts() must return values by name, got {brief(known)}"
        raise TaskError(f"task {task.name}", rule, "Return super().condition_facts(facts) | {…}")
    return known


def started(task: Task, config: object, data: object) -> Run:
    """`Task.start`.

    Raises:
        TaskError: it is no `TrialRun`.
    """
    run = task.start(config, data)
    if not isinstance(run, TrialRun):
        rule = f"start() must return a hopsearch.tasks.TrialRun, got {brief(run)}"
        raise TaskError(f"task {task.name}", rule, "Return the run")
    return run


def require_cost(task: Task, cost: object) -> None:
    """Refuse a cost that is none.

    Raises:
        TaskError: it is no `Cost`, or of something else than numbers.
    """
    if not isinstance(cost, Cost) or not all(
        isinstance(getattr(cost, name), Real) for name in ("n_params", "flops", "memory")
    ):
        rule = f"cost() must return a Cost of three numbers, got {brief(cost)}"
        raise TaskError(f"task {task.name}", rule, "Write Cost(n_params=…, flops=…, memory=…)")


def miscounted(task: Task, n_params: int, run: Run) -> str:
    """A sentence, if `Task.cost` counts other parameters than the built model has; else empty."""
    built = sum(parameter.numel() for parameter in run.model.parameters())
    if n_params == built:
        return ""
    return (
        f"task {task.name}: cost() says n_params={n_params:,}, but the model has {built:,} "
        f"parameters; constraints and Pareto fronts go by what cost() says"
    )


def require_metrics(task: Task, row: Mapping[str, object]) -> None:
    """Refuse an epoch in which a metric of the task is missing.

    Raises:
        TaskError: the first one.
    """
    for metric in task.metrics:
        if metric.name not in row:
            raise _missing(task, "validate", metric.name, row)


def require_tested(task: Task, results: Mapping[str, object]) -> None:
    """Refuse the results of a finished winner, if they have a metric of the validation split alone,
    or none.

    Raises:
        TaskError: the first one that is missing, or no finite number.
    """
    held = [metric for metric in task.metrics if metric.name in results] or task.metrics
    for metric in held:
        value = results.get(metric.of_test)
        if not isinstance(value, Real) or not math.isfinite(value):
            raise _missing(task, "test", metric.of_test, results)


def _missing(task: Task, method: str, name: str, row: Mapping[str, object]) -> TaskError:
    got = f"{brief(row[name])}" if name in row else f"only {', '.join(row) or 'none'}"
    rule = f"{method}() must return a finite number for {name}, got {got}"
    hint = "Return every metric that the task names, or take it out of its metrics"
    return TaskError(f"task {task.name}", rule, hint)


def has_defaults(schema: type[Settings]) -> bool:
    """Whether every one of these settings may be left out."""
    try:
        schema()
    except ValidationError:
        return False
    return True
