"""Early stopping as it was published, each rule a small pure function of what the study has recorded; `pruners` has them by name.

A rule looks at one trial at one epoch and at the trials that came to the same epochs before it (`Evidence`). It keeps no state of
its own, so its decisions survive any restart by construction and can be made again from the journal (see `StudyView.audit`).
A trial that is stopped has ended; a paused one waits, with its checkpoint, until the rule promotes it or the search is over.
A trial that fails frees its places: it is compared with no longer, so the next one can be promoted in its stead.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol

from hopsearch.core.seeds import derive
from hopsearch.space import Fidelity
from hopsearch.study.stopping.agreement import Tau
from hopsearch.study.stopping.evidence import Arrival, Evidence


class Verdict(enum.StrEnum):
    """What becomes of a trial that a rule has looked at."""

    GO = "go"
    WITNESS = "witness"
    """Goes on whatever its value, so that it is known whether this epoch ranks trials as later ones do."""
    STOP = "stop"
    PAUSE = "pause"


class Pruner(Protocol):
    """The contract of an early-stopping rule."""

    @property
    def name(self) -> str:
        """The word for it on the command line and in decisions."""

    @property
    def behind(self) -> bool:
        """Whether a trial stands behind those that came before it with the same values, or ahead of them."""

    def decides_at(self, epoch: int, number: int) -> bool:
        """Whether the rule looks at trial ``number`` at ``epoch`` (full epochs are never asked for)."""

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Whether it may end or pause the trial there; a rule may look at others only to learn from them."""

    def bracket(self, number: int) -> int:
        """Trials compete within a bracket only."""

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """What becomes of the trial; ``evidence`` is of those before it, without it."""

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The (trial, epoch) that is to go on from a pause, if any.

        Args:
            evidence: all that came.
            over: no new trial will come, and none that runs will be looked at again.
        """

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Whether all go on from a rung since it does not rank, for those that the rule measures; else empty."""

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """How well a rung ranks trials, for a rule that measures it."""


@dataclass(frozen=True)
class Rule:
    """What most rules share: one bracket, nobody paused, every epoch looked at from ``min_epochs`` on."""

    fidelity: Fidelity
    behind: ClassVar[bool] = False

    def decides_at(self, epoch: int, number: int) -> bool:
        """From min_epochs on."""
        return self.fidelity.min_epochs <= epoch < self.fidelity.max_epochs

    def chooses_at(self, epoch: int, number: int) -> bool:
        """Wherever it looks."""
        return self.decides_at(epoch, number)

    def bracket(self, number: int) -> int:
        """One bracket for all."""
        return 0

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Go on."""
        return Verdict.GO

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """Nobody waits."""
        return None

    def skipped(self, evidence: Evidence) -> dict[int, bool]:
        """Nothing is measured."""
        return {}

    def tau(self, epoch: int, evidence: Evidence) -> Tau:
        """Nothing is known."""
        return Tau()


@dataclass(frozen=True)
class NoPruner(Rule):
    """Every trial trains to full epochs."""

    name: str = "none"

    def decides_at(self, epoch: int, number: int) -> bool:
        """Never."""
        return False


@dataclass(frozen=True)
class AshaStopping(Rule):
    """Asynchronous successive halving, the stopping variant (Li et al. 2020, arXiv 1810.05934).

    At each rung (min_epochs · reduction^k) a trial goes on if it is among the best 1/reduction of those that have come there
    so far, itself included, and always if it is the best of them.
    """

    name: str = "asha"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop unless among the best 1/reduction."""
        rung = evidence.of(arrival)
        goes_on = rung.rank(arrival.values) <= max(1, (len(rung) + 1) // self.fidelity.reduction)
        return Verdict.GO if goes_on else Verdict.STOP


@dataclass(frozen=True)
class Hyperband(AshaStopping):
    """Asynchronous Hyperband (Li et al. 2018, arXiv 1603.06560; 2020): brackets of ASHA that begin to stop later and later.

    Bracket s skips the first s rungs. A trial's bracket follows from its number, in Hyperband's proportions
    n_s ∝ reduction^(s_max − s) / (s_max − s + 1), so each bracket spends about the same.
    """

    name: str = "hyperband"

    def decides_at(self, epoch: int, number: int) -> bool:
        """At the rungs that the trial's bracket does not skip."""
        return epoch in self.fidelity.rungs[self.bracket(number) : -1]

    def bracket(self, number: int) -> int:
        """The bracket of a trial, the same in every run."""
        brackets = len(self.fidelity.rungs)
        weights = [self.fidelity.reduction ** (brackets - 1 - s) / (brackets - s) for s in range(brackets)]
        draw = derive("hyperband", number) / 2**31 * sum(weights)
        for s, weight in enumerate(weights):
            draw -= weight
            if draw < 0:
                return s
        return brackets - 1


@dataclass(frozen=True)
class AshaPromotion(Rule):
    """Asynchronous successive halving as published, the promotion variant (Li et al. 2020, arXiv 1810.05934, algorithm 2).

    At each rung a trial waits until it is among the best 1/reduction of those that have come there. Others are begun meanwhile,
    so the first comers are not trained to the end for want of rivals. When the search is over, the best of the highest rung
    goes on if nobody has from there, so that there is always one with full epochs. Of equals the first that came is the best:
    where all are at chance level, no more than 1/reduction of them go on.
    """

    name: str = "asha_promotion"
    behind: ClassVar[bool] = True

    def decides_at(self, epoch: int, number: int) -> bool:
        """At every rung but the last."""
        return epoch in self.fidelity.rungs[:-1]

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Pause unless among the best 1/reduction already."""
        rung = evidence.of(arrival)
        among = rung.rank(arrival.values, self.behind) <= (len(rung) + 1) // self.fidelity.reduction
        return Verdict.GO if among and self._allowed(arrival.epoch, evidence) else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best that waits where it is among the best 1/reduction, from the highest rung down."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            first = rung.first_waiting()
            if first and first[1] <= len(rung) // self.fidelity.reduction and self._allowed(epoch, evidence):
                return first[0], epoch
        return self._last(evidence) if over else None

    def _allowed(self, epoch: int, evidence: Evidence) -> bool:
        return True

    def _last(self, evidence: Evidence) -> tuple[int, int] | None:
        highest = max((epoch for epoch in self.fidelity.rungs[:-1] if len(evidence.rung(epoch))), default=None)
        first = evidence.rung(highest).first_waiting() if highest else None
        return (first[0], highest) if first and highest and first[1] == 1 else None


@dataclass(frozen=True)
class DelayedAsha(AshaPromotion):
    """`AshaPromotion` in which no more than 1/reduction of a rung's trials ever go on (D-ASHA: Li et al. 2022, arXiv 2201.06834).

    A sampler that learns proposes better and better configurations. Each is among the best when it comes, so as published all of
    them go on at once, and the budget is spent on long trainings of the first good ones. Here a trial waits for its place.
    """

    name: str = "delayed_asha"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Pause unless among the best 1/reduction, with a place left."""
        rung = evidence.of(arrival)
        places = (len(rung) + 1) // self.fidelity.reduction
        among = rung.rank(arrival.values, self.behind) <= places
        return Verdict.GO if among and rung.gone < places else Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best that waits, from the highest rung down that has a place left."""
        for epoch in reversed(self.fidelity.rungs[:-1]):
            rung = evidence.rung(epoch)
            places, first = len(rung) // self.fidelity.reduction, rung.first_waiting()
            if first and first[1] <= places and rung.gone < places:
                return first[0], epoch
        return self._last(evidence) if over else None


@dataclass(frozen=True)
class Pasha(AshaPromotion):
    """Progressive ASHA (Bohdal et al. 2023, arXiv 2207.06940): the longest training grows only while it changes who is best.

    Trials go no further than a cap, at first the second rung. While the trials at the cap stand in another order than they did
    a rung below, the cap is raised by a rung. Soft ranking: two that were closer than ``tolerance`` of the spread below may swap.

    Attributes:
        tolerance: share of the lower rung's range of values within which two trials count as equal there.
    """

    name: str = "pasha"
    tolerance: float = 0.025

    def _allowed(self, epoch: int, evidence: Evidence) -> bool:
        rungs = self.fidelity.rungs
        place = rungs.index(epoch)
        if place == 0 or evidence.rung(rungs[place + 1]).came:
            return True  # below the first cap, or the cap was raised before
        return not evidence.stable(rungs[place - 1], epoch, self.tolerance)


@dataclass(frozen=True)
class OneEpoch(Rule):
    """Train all for ``min_epochs``, then the best few to the end (Egele et al. 2023, arXiv 2307.15422).

    Attributes:
        keep: how many.
    """

    name: str = "one_epoch"
    keep: int = 3

    def decides_at(self, epoch: int, number: int) -> bool:
        """After min_epochs."""
        return epoch == self.fidelity.min_epochs < self.fidelity.max_epochs

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Wait for all others."""
        return Verdict.PAUSE

    def promotion(self, evidence: Evidence, over: bool) -> tuple[int, int] | None:
        """The best, once all have come."""
        epoch = self.fidelity.min_epochs
        first = evidence.rung(epoch).first_waiting() if over else None
        return (first[0], epoch) if first and first[1] <= self.keep else None


@dataclass(frozen=True)
class Median(Rule):
    """The median rule (Golovin et al. 2017, Vizier): stop below the median of the best-so-far values at the same epoch.

    It looks at every epoch from ``min_epochs`` on, once ``startup`` trials have come there.
    """

    name: str = "median"
    startup: int = 5

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop below the median; with several objectives, in the worse half."""
        rung = evidence.of(arrival)
        if len(rung) < self.startup:
            return Verdict.GO
        several = len(arrival.values) > 1
        below = rung.rank(arrival.values) > (len(rung) + 1) / 2 if several else arrival.values[0] < rung.median
        return Verdict.STOP if below else Verdict.GO


@dataclass(frozen=True)
class Patience(Rule):
    """Stop a trial whose own curve has not risen for a fifth of the full epochs (and at least ``reduction`` of them)."""

    name: str = "patience"

    def verdict(self, arrival: Arrival, evidence: Evidence) -> Verdict:
        """Stop when the best is too long ago."""
        longest = max(self.fidelity.reduction, self.fidelity.max_epochs // 5)
        return Verdict.STOP if arrival.since >= longest else Verdict.GO
