"""Decisions: how they follow from the study's records, and how they extend the evidence for later
ones.
"""

from collections.abc import Iterable, Sequence

from hopsearch.core.errors import StudyError
from hopsearch.space import Objective
from hopsearch.study.record.trial import Decision, Failure, Promotion, TrialRecord
from hopsearch.study.stopping.rule import Pruner, Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence

Made = Decision | Promotion | Failure
"""An event that changes the evidence for later decisions."""


def in_order(records: Iterable[TrialRecord]) -> list[tuple[TrialRecord, Made]]:
    """All decisions, promotions and failures of a study, in order."""
    made: list[tuple[TrialRecord, Made]] = []
    for record in records:
        made += [(record, one) for one in record.made]
        made += [(record, record.failure)] if record.failure is not None else []
    return sorted(made, key=lambda pair: pair[1].order)


def take_in(
    evidence: Evidence, record: TrialRecord, made: Made, objectives: Sequence[Objective]
) -> None:
    """Add an event to the evidence for later decisions."""
    if isinstance(made, Decision):
        evidence.add(arrival(record, made.epoch, objectives), made.pause, made.stop, made.witness)
    elif isinstance(made, Failure):
        evidence.drop(record.number, record.decisions)
    else:
        evidence.leave(record.number, made.epoch, made.retired)


def arrival(record: TrialRecord, epoch: int, objectives: Sequence[Objective]) -> Arrival:
    """A trial as rules see it at ``epoch``.

    Raises:
        StudyError: the trial has no value there, or a cost that is an objective is not known.
    """
    first, *costs = objectives
    best = record.best(first.sign, up_to=epoch)
    if best is None:
        raise StudyError(
            f"trial {record.number}",
            f"must have a value at epoch {epoch}, got none",
            "Report before deciding",
        )
    for objective in costs:
        if objective.name not in record.cost:
            known = ", ".join(record.cost) or "nothing"
            raise StudyError(
                f"trial {record.number}",
                f"objective {objective.name!r} must be measured",
                f"Known: {known}",
            )
    values = (
        first.sign * best[1],
        *(objective.sign * record.cost[objective.name] for objective in costs),
    )
    return Arrival(record.number, epoch, values, epoch - best[0])


def decide(
    pruner: Pruner,
    record: TrialRecord,
    epoch: int,
    objectives: Sequence[Objective],
    evidence: Evidence,
    order: int,
) -> Decision:
    """Make a decision from the trial's curve up to ``epoch`` and the earlier decisions.

    Raises:
        StudyError: the trial has no value at ``epoch``.
    """
    came = arrival(record, epoch, objectives)
    rung = evidence.of(came)
    verdict = Verdict.GO if record.sent_on(epoch) else pruner.verdict(came, evidence)
    value = objectives[0].sign * came.values[0]
    stop, pause, witness = (
        verdict == one for one in (Verdict.STOP, Verdict.PAUSE, Verdict.WITNESS)
    )
    rank = rung.rank(came.values, pruner.behind)
    return Decision(epoch, value, order, rank, len(rung) + 1, stop, pruner.name, pause, witness)
