"""The audit: recomputes every recorded decision from the records and compares.

Decisions are pure functions of what was recorded before them, so anyone with the journal can verify
the search.
"""

from collections.abc import Mapping, Sequence

from hopsearch.space import Space
from hopsearch.study.record.trial import Decision, Failure, Promotion, State, TrialRecord
from hopsearch.study.stopping.decisions import decide, in_order, take_in
from hopsearch.study.stopping.finalists import finalist
from hopsearch.study.stopping.pruners import make_pruner
from hopsearch.study.stopping.rule import Pruner
from hopsearch.study.stopping.rung_judgements import Judgement, changes
from hopsearch.study.stopping.rung_values import Evidence


def audit(
    records: Mapping[int, TrialRecord], judgements: Sequence[Judgement], space: Space
) -> list[str]:
    """The differences between recorded and recomputed decisions and judgements.

    Args:
        records: every trial of a study by number.
        judgements: the study's recorded judgements of its rungs, in order.
        space: the search space.

    Returns:
        One line per difference; empty if there is none.
    """
    again = _Again(records, judgements, space)
    return again.differences()


class _Again:
    """The decisions of a study, recomputed in order."""

    def __init__(
        self, records: Mapping[int, TrialRecord], judgements: Sequence[Judgement], space: Space
    ) -> None:
        self._records = records
        self._noted = judgements
        self._space = space
        self._rules: dict[str, Pruner] = {}
        self._evidence: dict[str, Evidence] = {}  # one per rule
        made = {one.rule for record in records.values() for one in record.made}
        for name in made | {one.rule for one in judgements}:
            self._rules[name] = make_pruner(name, space.fidelity)
            self._evidence[name] = Evidence(self._rules[name].bracket)
        self._turn = 0  # of the next judgement
        self._rule = ""  # the rule that decided last
        # recomputed judgements that are not recorded yet
        self._due: list[Judgement] = []

    def differences(self) -> list[str]:
        """One line per difference."""
        lines: list[str] = []
        order = 0
        for record, made in in_order(self._records.values()):
            order = made.order
            lines += self._judgements_until(order)
            if not isinstance(made, Failure):
                self._rule = made.rule
                lines += self._of(record, made)
                self._due = self._following(len(self._noted), 0)
            for evidence in self._evidence.values():
                take_in(evidence, record, made, self._space.objectives)
        lines += self._judgements_until(None)
        if self._rule:  # what follows from the newest decision may not have been recorded yet
            due = {known.epoch for known in self._due}
            missing = self._following(len(self._noted), order)
            lines += [f"not recorded: {one}" for one in missing if one.epoch in due]
        return lines

    def _judgements_until(self, order: int | None) -> list[str]:
        """Differences in the judgements recorded up to a decision; None: in all remaining ones."""
        lines: list[str] = []
        while self._turn < len(self._noted) and (
            order is None or self._noted[self._turn].order <= order
        ):
            made = self._noted[self._turn]
            self._rule = made.rule
            again = self._following(self._turn, made.order)
            if made not in again:
                of_the_epoch = [one for one in again if one.epoch == made.epoch]
                lines.append(f"epoch {made.epoch}: recorded {made}, recomputed {of_the_epoch}")
            self._due = self._following(len(self._noted), 0)
            self._turn += 1
        return lines

    def _following(self, turn: int, order: int) -> list[Judgement]:
        """The recomputed judgements, after the first ``turn`` recorded ones."""
        return changes(
            self._noted[:turn], self._rules[self._rule], self._evidence[self._rule], order
        )

    def _of(self, record: TrialRecord, made: Decision | Promotion) -> list[str]:
        rule = self._rules[made.rule]
        evidence = self._evidence[made.rule]
        place = f"trial {record.number}, epoch {made.epoch}"
        if isinstance(made, Promotion):
            if made.retired:
                return []
            fidelity = self._space.fidelity
            promoted = (
                finalist(evidence, fidelity, made.reach)
                if made.reach
                else rule.promotion(evidence, made.over)
            )
            return (
                []
                if promoted == (record.number, made.epoch)
                else [f"{place}: promoted, recomputed {promoted}"]
            )
        lines: list[str] = []
        again = decide(rule, record, made.epoch, self._space.objectives, evidence, made.order)
        if again != made:
            lines.append(f"{place}: recorded {made}, recomputed {again}")
        ended_here = record.state == State.PRUNED and record.epoch == made.epoch and not made.pause
        if made.stop != ended_here:
            lines.append(f"{place}: decided stop={made.stop}, state {record.state}")
        return lines
