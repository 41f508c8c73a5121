"""What a study found out about its own rungs, and when: that one does not rank trials, or does after all."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hopsearch.study.agreement import Tau
from hopsearch.study.evidence import Evidence
from hopsearch.study.format import known_fields
from hopsearch.study.rules import Pruner

JUDGEMENTS = "judgements"
"""Name of Optuna's study attribute that holds them, in order."""


@dataclass(frozen=True)
class Judgement:
    """A change in whether trials are chosen at a rung.

    Attributes:
        epoch: the rung.
        skipped: whether all go on from it.
        tau: how its ranks agree with those of the next rung, see `agreement`.
        trials: how many that was measured on.
        order: how many decisions the study had made before.
        rule: the pruner that made it.
    """

    epoch: int
    skipped: bool
    tau: float
    trials: int
    order: int
    rule: str

    def words(self, rungs: Sequence[int]) -> str:
        """In a sentence.

        Args:
            rungs: of the study.
        """
        tau = Tau(self.tau, self.trials)
        if not self.skipped:
            return f"epoch {self.epoch} ranks after all ({tau}): comparing there again"
        after = next(rung for rung in rungs if rung > self.epoch)
        how = "no better than chance" if tau.value - tau.error <= 0 else "too little to choose by"
        return f"epoch {self.epoch} ranks {how} ({tau}): all go on to epoch {after}"


def latest(judgements: Sequence[Judgement]) -> list[Judgement]:
    """The newest of each rung, from the lowest."""
    newest = {one.epoch: one for one in judgements}
    return [newest[epoch] for epoch in sorted(newest)]


def changes(known: Sequence[Judgement], rule: Pruner, evidence: Evidence, order: int) -> list[Judgement]:
    """What is new: rungs that are skipped from now on, and those that no longer are.

    Args:
        known: what was found before, in order.
        rule: the study's.
        evidence: of all decisions so far.
        order: how many these are.
    """
    before = {one.epoch: one.skipped for one in known}
    return [one for one in judged(rule, evidence, order) if one.skipped != before.get(one.epoch, False)]


def judged(rule: Pruner, evidence: Evidence, order: int) -> list[Judgement]:
    """All that a rule finds about the rungs that it measures; see `changes`."""
    taus = {epoch: (skipped, rule.tau(epoch, evidence)) for epoch, skipped in rule.skipped(evidence).items()}
    return [
        Judgement(epoch, skipped, round(tau.value, 4), tau.trials, order, rule.name) for epoch, (skipped, tau) in taus.items()
    ]


def stored(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """As plain JSON."""
    return [asdict(one) for one in judgements]


def read(values: Sequence[Mapping[str, Any]]) -> list[Judgement]:
    """The inverse of `stored`."""
    return [known_fields(Judgement, value) for value in values]
