"""A study's judgements of its rungs over time: a rung does not rank trials, does after all, or is
no longer measured.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from hopsearch.study.record.format_version import known_fields
from hopsearch.study.stopping.rank_agreement import Tau
from hopsearch.study.stopping.rule import Pruner
from hopsearch.study.stopping.rung_values import Evidence


@dataclass(frozen=True)
class Judgement:
    """A change of whether trials are selected at a rung, or a switch to a rule that does not
    measure this.

    Attributes:
        epoch: the rung.
        skipped: whether all continue from it.
        tau: agreement of its ranks with those of the next rung, see `rank_agreement`.
        trials: how many it was measured on.
        order: number of earlier decisions of the study.
        rule: the pruner that made it.
        withdrawn: whether another rule's judgement, to which ``tau`` and ``trials`` then belong, no
            longer applies.
    """

    epoch: int
    skipped: bool
    tau: float
    trials: int
    order: int
    rule: str
    withdrawn: bool = False

    def words(self, rungs: Sequence[int]) -> str:
        """In a sentence.

        Args:
            rungs: of the study.
        """
        tau = Tau(self.tau, self.trials)
        if self.withdrawn:
            found = f"the finding about epoch {self.epoch} ({tau}) no longer applies"
            return (
                f"{found}: pruner={self.rule} does not measure whether rungs predict the final "
                f"ranking"
            )
        if not self.skipped:
            return (
                f"epoch {self.epoch} predicts the ranking after all ({tau}): comparing there again"
            )
        after = next(rung for rung in rungs if rung > self.epoch)
        how = "no better than chance" if tau.value - tau.error <= 0 else "too little to choose by"
        return f"epoch {self.epoch} ranks {how} ({tau}): all continue to epoch {after}"


def latest(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The newest judgement per rung, from the lowest."""
    newest = {one.epoch: one for one in judgements}
    return [newest[epoch] for epoch in sorted(newest)]


def changes(
    known: Sequence[Judgement], rule: Pruner, evidence: Evidence, order: int
) -> list[Judgement]:
    """New judgements: rungs skipped from now on, rungs no longer skipped, and rungs that another
    rule had judged.

    Args:
        known: earlier judgements, in order.
        rule: the study's.
        evidence: of all decisions so far.
        order: the number of these.
    """
    before = {one.epoch: one for one in latest(known)}
    found = judged(rule, evidence, order)
    measured = {one.epoch for one in found}
    lost = [one for one in before.values() if one.epoch not in measured and not one.withdrawn]
    gone = [
        replace(one, skipped=False, order=order, rule=rule.name, withdrawn=True) for one in lost
    ]
    return [one for one in found if _differs(one, before.get(one.epoch))] + gone


def _differs(judgement: Judgement, before: Judgement | None) -> bool:
    return (
        judgement.skipped
        if before is None
        else before.withdrawn or judgement.skipped != before.skipped
    )


def judged(rule: Pruner, evidence: Evidence, order: int) -> list[Judgement]:
    """All current judgements of the rungs that a rule measures; see `changes`."""
    taus = {
        epoch: (skipped, rule.tau(epoch, evidence))
        for epoch, skipped in rule.skipped(evidence).items()
    }
    return [
        Judgement(epoch, skipped, round(tau.value, 4), tau.trials, order, rule.name)
        for epoch, (skipped, tau) in taus.items()
    ]


def stored(judgements: Sequence[Judgement]) -> list[dict[str, object]]:
    """As plain JSON."""
    return [asdict(one) for one in judgements]


def read(values: Sequence[Mapping[str, object]]) -> list[Judgement]:
    """The inverse of `stored`."""
    return [known_fields(Judgement, value) for value in values]
