"""Rules without rungs: none, median, patience, and one epoch for all."""

from dataclasses import dataclass

from hopsearch.study.stopping.rule import Rule, Verdict
from hopsearch.study.stopping.rung_values import Arrival, Evidence


@dataclass(frozen=True)
class NoPruner(Rule):
    """Every trial trains to full epochs."""

    name: str = "none"

    def decides_at(self, epoch: int, number: int) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class OneEpoch(Rule):
    """Train all for ``min_epochs``, then the best few to the end (Egele et al. 2023, arXiv
    2307.15422).

    Attributes:
        keep: how many.
    """

    name: str = "one_epoch"
    keep: int = 3

    def decides_at(self, epoch: int, number: int) -> bool:
        """After min_epochs."""
        return epoch == self.fidelity.min_epochs < self.fidelity.max_epochs

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Pause until all others have arrived."""
        return Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best, once all have arrived."""
        epoch = self.fidelity.min_epochs
        first = evidence.rung(epoch).first_waiting() if over else None
        return (first[0], epoch) if first and first[1] <= self.keep else None


@dataclass(frozen=True)
class Median(Rule):
    """The median rule (Golovin et al. 2017, Vizier): stop below the median of the best-so-far
    values at the same epoch.

    It judges every epoch from ``min_epochs`` on, once ``startup`` trials have reached it.
    """

    name: str = "median"
    startup: int = 5

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop below the median; with several objectives, in the worse half."""
        rung = evidence.of(arrival)
        if len(rung) < self.startup:
            return Verdict.GO
        several = len(arrival.values) > 1
        below = (
            rung.rank(arrival.values) > (len(rung) + 1) / 2
            if several
            else arrival.values[0] < rung.median
        )
        return Verdict.STOP if below else Verdict.GO


@dataclass(frozen=True)
class Patience(Rule):
    """Stop a trial whose curve has not improved for a fifth of the full epochs (and at least
    ``reduction`` of them).
    """

    name: str = "patience"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop if the best value is too long ago."""
        longest = max(self.fidelity.reduction, self.fidelity.max_epochs // 5)
        return Verdict.STOP if arrival.since >= longest else Verdict.GO
